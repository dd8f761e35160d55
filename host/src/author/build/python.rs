//! Python: a component of CPython and the SDK, started (`base`), imports the plugin's module and the packages that it needs, and
//! is kept as it is then.

mod at_once;
mod base;
mod packages;
mod parts;
mod sockets;

use super::metadata::with_section;
use crate::author::failed;
use crate::author::project::{Code, Project};
use base::{PythonBase, same_times};
use millstream_base::error::{Error, Kind, Result};
use millstream_plugins::plugin::{Preparation, called};
use millstream_plugins::sections::section;
use parts::BaseParts;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

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
    let sdk = sdk(&folder, paths)?;
    let mut modules = vec![work.join("10")];
    copy(&folder, &work.join("10"), &LEFT_OUT)?;
    for path in paths.iter().filter(|path| !is_sdk(&folder.join(path))) {
        let to = work.join(format!("{}", 10 + modules.len()));
        copy(&folder.join(path), &to, &LEFT_OUT)?;
        modules.push(to);
    }
    let mut dependencies = dependencies.clone();
    if !dependencies.iter().any(|wanted| packages::is_of(wanted, "tzdata")) && names_zones(&work)? {
        dependencies.push(TZDATA.into());
    }
    modules.extend(packages::install(&folder, &dependencies)?);
    let wit = project.world_in_wit();
    let http = project.grants.http.is_some() && sdk.join(parts::WIT_WITH_HTTP).is_dir();
    let parts = BaseParts { project: &folder, sdk: &sdk, world, wit: &wit, migrates: project.migrates, http };
    let component = if base::is_possible(&parts) {
        same_times(&work)?;
        prepared(project, module, &PythonBase::of(&parts, &work)?, &modules, &work)?
    } else {
        at_once::component(project, module, &parts, &modules, &work)?
    };
    let mut component = sockets::without(&component)
        .map_err(|error| Error::bug(format!("componentize-py made a component that is not understood: {error}")))?;
    // Those of before could not tell where calls stand.
    if sdk.join("millstream/trace.py").is_file() {
        with_section(&mut component, section::TRACES);
    }
    Ok(component)
}

/// Lets the component import the plugin. Its folders have numbers for names, as those of componentize-py.
fn prepared(project: &Project, module: &str, base: &PythonBase, modules: &[PathBuf], work: &Path) -> Result<Vec<u8>> {
    let names: Vec<String> = (10..).take(modules.len()).map(|number| format!("/{number}")).collect();
    let about = &project.about;
    let order = serde_json::json!({
        "module": module,
        "about": { "name": about.name, "version": about.version, "doc": about.description },
        // The project's own modules come before the SDK's, those of other folders and of packages behind them.
        "before": names.get(..1),
        "behind": names.get(1..),
    });
    let folder = work.join("order");
    write(&folder.join("order.json"), order.to_string().as_bytes())?;
    same_times(&folder)?;
    let mut folders = base.folders();
    folders.push((folder, "/2".into()));
    folders.extend(modules.iter().cloned().zip(names));
    let (what, function) = ("CPython with the SDK", base::LOAD);
    called(&base.component, &Preparation { what, function, folders }).map_err(|error| match error.kind {
        Kind::Plugin => Error::plugin(format!("its modules cannot be imported:\n{}", told(&error.message))),
        _ => error,
    })
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
                && millstream_base::regular::read(&path)
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
            write(&target, &millstream_base::regular::read(&source).map_err(|error| failed("read", &source, &error))?)?;
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
