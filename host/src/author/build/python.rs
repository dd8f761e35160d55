//! Python: a started component of CPython and the SDK (`base`) imports the plugin's module and its packages. Then its
//! state is saved.

mod componentize;
mod base;
mod packages;
mod parts;
mod sockets;

use super::metadata::with_section;
use crate::author::failed;
use crate::author::project::{Code, Project};
use base::{PythonBase, same_times};
use millstream_base::error::{Error, Kind, Result};
use millstream_plugins::plugin::{Preparation, call_in_thread};
use millstream_plugins::sections::section;
use parts::BaseParts;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The time zones for `zoneinfo`, for which a component has no files. A project that depends on `tzdata` itself gets
/// its own version.
const TZDATA: &str = "tzdata==2026.6";

/// Entries of a project's directory that are not part of its program.
const EXCLUDED: [&str; 4] = ["cases", "sdk", "testdata", "__pycache__"];

/// Compiles a project to a component. `work` is an empty directory for intermediate files.
pub fn component(project: &Project, work: &Path) -> Result<Vec<u8>> {
    let (Code::Python { module, paths, dependencies }, Some(world)) = (&project.code, project.world) else {
        return Err(Error::bug("no project of Python"));
    };
    let real = |path: &Path| path.canonicalize().map_err(|error| failed("read", path, &error));
    let (dir, work) = (real(&project.dir)?, real(work)?);
    if !dir.join(format!("{module}.py")).is_file() && !dir.join(module).join("__init__.py").is_file() {
        return Err(Error::plugin(format!("{module}.py is missing, the module that pyproject.toml names")));
    }
    let sdk = sdk(&dir, paths)?;
    let mut modules = vec![work.join("10")];
    copy(&dir, &work.join("10"), &EXCLUDED)?;
    for path in paths.iter().filter(|path| !is_sdk(&dir.join(path))) {
        let to = work.join(format!("{}", 10 + modules.len()));
        copy(&dir.join(path), &to, &EXCLUDED)?;
        modules.push(to);
    }
    let mut dependencies = dependencies.clone();
    if !dependencies.iter().any(|wanted| packages::is_package(wanted, "tzdata")) && names_zones(&work)? {
        dependencies.push(TZDATA.into());
    }
    modules.extend(packages::install(&dir, &dependencies)?);
    let wit = project.world_in_wit();
    let http = project.grants.http.is_some() && sdk.join(parts::WIT_WITH_HTTP).is_dir();
    let parts = BaseParts { project: &dir, sdk: &sdk, world, wit: &wit, migrates: project.migrates, http };
    let component = if base::is_supported(&parts) {
        same_times(&work)?;
        import_plugin(project, module, &PythonBase::new(&parts, &work)?, &modules, &work)?
    } else {
        componentize::component(project, module, &parts, &modules, &work)?
    };
    let mut component = sockets::remove_imports(&component)
        .map_err(|error| Error::bug(format!("componentize-py created a component that cannot be read: {error}")))?;
    // Older SDKs cannot locate calls.
    if sdk.join("millstream/trace.py").is_file() {
        with_section(&mut component, section::TRACES);
    }
    Ok(component)
}

/// Makes the component import the plugin. Its directories are named by numbers, as componentize-py does.
fn import_plugin(
    project: &Project,
    module: &str,
    base: &PythonBase,
    modules: &[PathBuf],
    work: &Path,
) -> Result<Vec<u8>> {
    let names: Vec<String> = (10..).take(modules.len()).map(|number| format!("/{number}")).collect();
    let about = &project.about;
    let order = serde_json::json!({
        "module": module,
        "about": { "name": about.name, "version": about.version, "doc": about.description },
        // The project's own modules precede the SDK's. Modules of other directories and of packages follow.
        "before": names.get(..1),
        "behind": names.get(1..),
    });
    let dir = work.join("order");
    write(&dir.join("order.json"), order.to_string().as_bytes())?;
    same_times(&dir)?;
    let mut dirs = base.dirs();
    dirs.push((dir, "/2".into()));
    dirs.extend(modules.iter().cloned().zip(names));
    let (what, function) = ("CPython with the SDK", base::LOAD);
    call_in_thread(&base.component, &Preparation { what, function, dirs }).map_err(|error| match error.kind {
        Kind::Plugin => Error::plugin(format!("its modules cannot be imported:\n{}", sdk_error(&error.message))),
        _ => error,
    })
}

/// Returns the directory with the SDK, among those in the manifest.
fn sdk(dir: &Path, paths: &[String]) -> Result<PathBuf> {
    let sdk = paths.iter().map(|path| dir.join(path)).find(|path| is_sdk(path));
    sdk.ok_or_else(|| {
        let manifest = dir.join("pyproject.toml");
        Error::job(format!(
            "{}: set the path of the SDK, for example\n  [tool.millstream]\n  paths = [\"sdk\"]",
            manifest.display()
        ))
    })
}

fn is_sdk(path: &Path) -> bool {
    path.join("millstream/glue.py").is_file()
}

/// Returns whether a module of the project in this directory uses time zones.
fn names_zones(dir: &Path) -> Result<bool> {
    for entry in fs::read_dir(dir).map_err(|error| failed("read", dir, &error))? {
        let path = entry.map_err(|error| failed("read", dir, &error))?.path();
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

/// Copies the files of a directory, except hidden ones and those with these names. All get the same time: CPython
/// stores it, and a component must not depend on its build time.
fn copy(from: &Path, to: &Path, excluded: &[&str]) -> Result<()> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(from).map_err(|error| failed("read", from, &error))? {
        entries.push(entry.map_err(|error| failed("read", from, &error))?.file_name());
    }
    entries.sort_unstable();
    for name in entries {
        let text = name.to_string_lossy();
        if text.starts_with('.') || excluded.contains(&&*text) || text.ends_with(".wasm") {
            continue;
        }
        let (source, target) = (from.join(&name), to.join(&name));
        if source.is_dir() {
            copy(&source, &target, excluded)?;
        } else {
            write(&target, &millstream_base::regular::read(&source).map_err(|error| failed("read", &source, &error))?)?;
        }
    }
    Ok(())
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(|error| failed("create", dir, &error))?;
    }
    let written = fs::write(path, content).and_then(|()| {
        let file = fs::File::options().append(true).open(path)?;
        file.set_modified(SystemTime::UNIX_EPOCH)
    });
    written.map_err(|error| failed("write", path, &error))
}

/// Returns the SDK's error message within the output of componentize-py.
fn sdk_error(output: &str) -> &str {
    let (_, after) = output.split_once("<<<millstream ").unwrap_or(("", output));
    after.split_once(">>>").map_or(after, |(sdk_error, _)| sdk_error).trim_end()
}

/// Returns the program with this name next to another one, or on the `PATH`.
fn sibling(tool: &Path, name: &str) -> PathBuf {
    let own = tool.canonicalize().unwrap_or_else(|_| tool.into()).with_file_name(OsStr::new(name));
    if own.is_file() { own } else { name.into() }
}
