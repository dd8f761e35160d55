//! Builds a component from a plugin project: one module per language, and the common steps.

mod c;
pub(super) mod described;
mod go;
mod js;
mod metadata;
pub(super) mod preview1;
mod python;
pub(super) mod rust;

use super::failed;
use super::project::{Code, Project};
use millstream_base::error::{Error, Result};
use millstream_base::{package_name, progress};
use millstream_plugins::plugin::check_component;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Builds the plugin project in a directory and atomically writes the component to `<dir>/<name>.wasm`. Compiler output
/// goes to standard error. Returns the component's path.
///
/// # Errors
/// `Job`: the directory contains no plugin project. `Plugin`: it does not compile, or is not a plugin. `Environment`: a
/// tool is missing or cannot be run, or the file cannot be written.
pub fn build(dir: &Path) -> Result<PathBuf> {
    build_project(&Project::read(dir)?, "")
}

/// Builds several projects like [`build`], one after the other. Calls `built` with each component. The first error ends
/// it.
///
/// # Errors
/// Those of [`build`].
pub fn build_all(dirs: &[PathBuf], mut built: impl FnMut(&Path) -> Result<()>) -> Result<()> {
    let projects = dirs.iter().map(|dir| Project::read(dir)).collect::<Result<Vec<_>>>()?;
    rust::compile_together(&projects)?;
    let number =
        |at: usize| if projects.len() > 1 { format!(" ({} of {})", at + 1, projects.len()) } else { String::new() };
    projects.iter().enumerate().try_for_each(|(at, project)| built(&build_project(project, &number(at))?))
}

/// `number`: the position among several projects, for the progress display.
fn build_project(project: &Project, number: &str) -> Result<PathBuf> {
    let work = tempfile::tempdir()
        .map_err(|error| Error::environment(format!("cannot create a temporary directory: {error}")))?;
    let doing = |what: &str| progress::start(&format!("building {}{number}: {what}", project.about.name));
    // cargo shows its own progress.
    let shown = match project.code {
        Code::Rust { .. } => None,
        Code::Python { .. } => Some(doing("CPython, the SDK and its modules")),
        Code::JavaScript { .. } => Some(doing("types, bundle, component")),
        Code::Go => Some(doing("go")),
        Code::C { .. } => Some(doing("clang")),
    };
    let component = match project.code {
        Code::Rust { .. } => rust::component(project),
        Code::Python { .. } => python::component(project, work.path()),
        Code::JavaScript { .. } => js::component(project, work.path()),
        Code::Go => go::component(project, work.path()),
        Code::C { .. } => c::component(project, work.path()),
    };
    drop(shown);
    let _shown = doing("its description");
    let named = |error: Error| error.within(format!("plugin `{}`", project.about.name));
    let component = component.map_err(named)?;
    if let Some(version) = older_sdk(project) {
        tracing::info!(
            "plugin `{}` has the SDK of Millstream {version} and is built with it; `millstream new` creates projects with {}",
            project.about.name,
            env!("CARGO_PKG_VERSION")
        );
    }
    let file = format!("{}.wasm", project.about.name);
    check(&component, project, Path::new(&file))?;
    let description = described::describe_all(&component, project, work.path())?;
    let component = metadata::embed(&component, project, &description).map_err(named)?;
    write_atomic(&project.dir, &file, &component)
}

/// Returns the version of the SDK in the project, if it is older than that of this program.
fn older_sdk(project: &Project) -> Option<String> {
    let (_, version) = metadata::sdk(project)?;
    let (version, own) =
        (package_name::version(&version).ok()?, package_name::version(env!("CARGO_PKG_VERSION")).ok()?);
    (version < own).then(|| version.to_string())
}

/// Rejects at build time what no host would load.
fn check(component: &[u8], project: &Project, file: &Path) -> Result<()> {
    let language = project.language();
    let is = check_component(file, component).map_err(|error| {
        let what_to_do = format!("Compare it with a new project: `millstream new NAME --lang {}`.", language.keyword());
        Error { kind: error.kind, message: format!("{}\n  {what_to_do}", error.message) }
    })?;
    match project.world {
        Some(world) if world != is => Err(Error::plugin(format!(
            "plugin `{}`: the manifest names world {world}, but the code is of world {is}; change one of them",
            project.about.name
        ))),
        _ => Ok(()),
    }
}

/// Writes a file atomically.
fn write_atomic(dir: &Path, name: &str, content: &[u8]) -> Result<PathBuf> {
    let path = dir.join(name);
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(|error| failed("write to", dir, &error))?;
    file.write_all(content).map_err(|error| failed("write", &path, &error))?;
    // Temporary files are private. A component is for everyone who may read the directory.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let readable = std::fs::Permissions::from_mode(0o644);
        file.as_file().set_permissions(readable).map_err(|error| failed("write", &path, &error))?;
    }
    file.persist(&path).map_err(|error| failed("write", &path, &error.error))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::author::project::{Grants, ProjectFacts};
    use millstream_plugins::plugin::World;

    fn checked(component: &str) -> Result<(), String> {
        let component = wat::parse_str(component).expect("a component");
        let about = ProjectFacts { name: "shout".into(), ..ProjectFacts::default() };
        let project = Project {
            dir: ".".into(),
            about,
            world: Some(World::Transform),
            migrates: false,
            grants: Grants::default(),
            code: Code::Go,
        };
        check(&component, &project, Path::new("shout.wasm")).map_err(|error| error.message)
    }

    #[test]
    fn what_no_host_would_load_is_refused() {
        let exports = |name: &str| format!("(component (instance $i) (export \"{name}\" (instance $i)))");
        assert_eq!(checked(&exports("millstream:plugin/transformer@0.1.2")), Ok(()));
        let other = checked(&exports("millstream:plugin/updater@0.1.2")).expect_err("another world");
        assert!(other.contains("the manifest names world transform, but the code is of world update"), "{other}");
        let none = checked(&exports("wasi:cli/run@0.2.0")).expect_err("none of ours");
        assert!(none.contains("is a component, but not a Millstream plugin: it exports wasi:cli/run@0.2.0"), "{none}");
        assert!(none.contains("`millstream new NAME --lang go`"), "{none}");
        let sockets = checked(
            "(component (import \"wasi:sockets/tcp@0.2.6\" (instance (export \"f\" (func)))) (instance $i)
              (export \"millstream:plugin/transformer@0.1.2\" (instance $i)))",
        );
        let sockets = sockets.expect_err("an import that is not offered");
        assert!(
            sockets.contains("imports interfaces that the host does not have: wasi:sockets/tcp@0.2.6"),
            "{sockets}"
        );
        let module = checked("(module)").expect_err("no component");
        assert!(module.contains("is a core WebAssembly module"), "{module}");
    }
}
