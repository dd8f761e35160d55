//! Python: componentize-py makes a component of CPython, the module, the SDK and the packages that it needs, and keeps the
//! state that they have once all of them are imported.

mod packages;
mod sockets;

use crate::author::failed;
use crate::author::project::{Code, Project};
use crate::author::tools::{self, Tool};
use crate::error::{Error, Result};
use crate::plugin::World;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

/// The module that makes the plugin's exports. Its name must not be one that a project may have.
const ENTRY: &str = "millstream_entry";

/// A library that componentize-py links to CPython; only by such a name does it find one.
const STARTUP: &str = "millstream_startup.cpython-314-wasm32-wasi.so";

/// The time zones for `zoneinfo`, which a component has no files of. A project that names `tzdata` itself gets the version that
/// it names.
const TZDATA: &str = "tzdata==2026.6";

/// What is in a project's folder and not of its program.
const LEFT_OUT: [&str; 4] = ["cases", "sdk", "testdata", "__pycache__"];

/// Compiles a project to a component; `work` is an empty folder for what is made on the way.
pub fn component(project: &Project, work: &Path) -> Result<Vec<u8>> {
    let (Code::Python { module, paths, dependencies }, Some(world)) = (&project.code, project.world) else {
        return Err(Error::bug("no project of Python"));
    };
    let real = |path: &Path| path.canonicalize().map_err(|error| failed("read", path, &error));
    let (folder, work) = (real(&project.folder)?, real(work)?);
    if !folder.join(format!("{module}.py")).is_file() && !folder.join(module).join("__init__.py").is_file() {
        return Err(Error::plugin(format!("{module}.py is missing, the module that pyproject.toml names")));
    }
    let tool = tools::find(Tool::ComponentizePy, &folder)?;
    let sdk = sdk(&folder, paths)?;
    let mut modules = vec![work.join("entry"), work.join("project"), work.join("sdk")];
    write_entry(project, world, module, &work.join("entry"))?;
    copy(&folder, &work.join("project"), &LEFT_OUT)?;
    copy(&sdk.join("millstream"), &work.join("sdk/millstream"), &LEFT_OUT)?;
    for (number, path) in paths.iter().enumerate().filter(|(_, path)| !is_sdk(&folder.join(path))) {
        let to = work.join(format!("path{number}"));
        copy(&folder.join(path), &to, &LEFT_OUT)?;
        modules.push(to);
    }
    let mut dependencies = dependencies.clone();
    if !dependencies.iter().any(|wanted| packages::is_of(wanted, "tzdata")) && names_zones(&work)? {
        dependencies.push(TZDATA.into());
    }
    modules.extend(packages::install(&folder, &dependencies, &tool)?);
    let component = work.join("plugin.wasm");
    componentize(&tool, &work, &sdk.join("wit"), &project.world_in_wit(), &modules, &component)?;
    let component = fs::read(&component).map_err(|error| failed("read", &component, &error))?;
    sockets::without(&component)
        .map_err(|error| Error::bug(format!("componentize-py made a component that is not understood: {error}")))
}

/// The folder with the SDK, among those that the manifest names.
fn sdk(folder: &Path, paths: &[String]) -> Result<PathBuf> {
    let sdk = paths.iter().map(|path| folder.join(path)).find(|path| is_sdk(path));
    sdk.ok_or_else(|| {
        let manifest = folder.join("pyproject.toml");
        Error::job(format!(
            "{}: write where the SDK is, as in\n  [tool.millstream]\n  paths = [\"sdk\"]",
            manifest.display()
        ))
    })
}

fn is_sdk(path: &Path) -> bool {
    path.join("millstream/glue.py").is_file()
}

/// Whether a module of the project in this folder uses time zones.
fn names_zones(folder: &Path) -> Result<bool> {
    for entry in fs::read_dir(folder).map_err(|error| failed("read", folder, &error))? {
        let path = entry.map_err(|error| failed("read", folder, &error))?.path();
        let is_ours = path.join("millstream/glue.py").is_file();
        let names = if path.is_dir() {
            !is_ours && names_zones(&path)?
        } else {
            path.extension().is_some_and(|ending| ending == "py")
                && fs::read(&path)
                    .map_err(|error| failed("read", &path, &error))?
                    .windows(8)
                    .any(|word| word == b"zoneinfo")
        };
        if names {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes the modules that make the component out of the project's.
fn write_entry(project: &Project, world: World, module: &str, to: &Path) -> Result<()> {
    let export = match world {
        World::Transform => "Transformer",
        World::Update => "Updater",
        World::Aggregate => "Aggregator",
        World::Cogroup => "Cogrouper",
    };
    let about = &project.about;
    let about = serde_json::json!({ "name": about.name, "version": about.version, "doc": about.description });
    // A text of JSON is one of Python.
    let module = serde_json::Value::from(module);
    let mut entry =
        format!("from millstream.glue import export, migrator\n\n{export} = export({module}, \"{world}\", {about})\n");
    if project.migrates {
        entry.push_str(&format!("Migrator = migrator({module})\n"));
    }
    let startup = wat::parse_str(include_str!("python/startup.wat"))
        .map_err(|error| Error::bug(format!("startup.wat does not parse: {error}")))?;
    write(&to.join(format!("{ENTRY}.py")), entry.as_bytes())?;
    write(&to.join(STARTUP), &startup)
}

/// Copies the files of a folder, but hidden ones and those of these names. All of them get the same time: CPython remembers
/// it, and a component must not tell when it was made.
fn copy(from: &Path, to: &Path, left_out: &[&str]) -> Result<()> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(from).map_err(|error| failed("read", from, &error))? {
        entries.push(entry.map_err(|error| failed("read", from, &error))?.file_name());
    }
    entries.sort_unstable();
    for name in entries {
        let text = name.to_string_lossy();
        if text.starts_with('.') || left_out.contains(&&*text) || text.ends_with(".wasm") {
            continue;
        }
        let (source, target) = (from.join(&name), to.join(&name));
        if source.is_dir() {
            copy(&source, &target, left_out)?;
        } else {
            write(&target, &fs::read(&source).map_err(|error| failed("read", &source, &error))?)?;
        }
    }
    Ok(())
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| failed("create", folder, &error))?;
    }
    let written = fs::write(path, content).and_then(|()| {
        let file = fs::File::options().append(true).open(path)?;
        file.set_modified(SystemTime::UNIX_EPOCH)
    });
    written.map_err(|error| failed("write", path, &error))
}

fn componentize(tool: &Path, work: &Path, wit: &Path, world: &str, modules: &[PathBuf], to: &Path) -> Result<()> {
    // componentize-py adds the packages of the machine's own Python, unless it is told of an environment; this one has none.
    let environment = work.join("environment");
    let packages = environment.join("lib/site-packages");
    fs::create_dir_all(&packages).map_err(|error| failed("create", &packages, &error))?;
    let mut command = Command::new(tool);
    command.current_dir(work).env("VIRTUAL_ENV", environment).env_remove("PYTHONPATH").stdin(Stdio::null());
    command.arg("--quiet").arg("--wit-path").arg(wit).args(["--world", world, "componentize", ENTRY]);
    for folder in modules {
        command.arg("--python-path").arg(folder);
    }
    let output = command.arg("--output").arg(to).output().map_err(|error| failed("run", tool, &error))?;
    if output.status.success() {
        return Ok(());
    }
    let words = [output.stdout, output.stderr].concat();
    Err(Error::plugin(format!("its modules cannot be imported:\n{}", told(&String::from_utf8_lossy(&words)))))
}

/// What the SDK says of an error, among what componentize-py says.
fn told(words: &str) -> &str {
    let (_, after) = words.split_once("<<<millstream ").unwrap_or(("", words));
    after.split_once(">>>").map_or(after, |(told, _)| told).trim_end()
}

/// The program of this name beside another one, or on the `PATH`.
fn beside(tool: &Path, name: &str) -> PathBuf {
    let own = tool.canonicalize().unwrap_or_else(|_| tool.into()).with_file_name(OsStr::new(name));
    if own.is_file() { own } else { name.into() }
}
