//! Turns a plugin project into a component: cargo compiles it to a core module, wit-component wraps that.

use super::toolchain::{TARGET, Toolchain, failed};
use crate::error::{Error, Result};
use serde::Deserialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The profile that plugins are compiled with. A project may define it; it builds on `release`.
const PROFILE: &str = "plugin";

/// Builds the plugin project in a folder and writes the component to `<folder>/<package name>.wasm`, whole or not at
/// all. Cargo's messages go to standard error. Returns the component's path.
///
/// # Errors
/// `Job`: the folder holds no plugin project. `Plugin`: it does not compile, or is no plugin. `Environment`: cargo
/// cannot be run, or the file not written.
pub fn build(folder: &Path, toolchain: &Toolchain) -> Result<PathBuf> {
    let project = Project::read(folder, toolchain)?;
    // Apart from what cargo builds there for the host, perhaps with another version of rustc.
    let target = project.target.join("plugins");
    let status = toolchain
        .cargo()
        // Only a lone cdylib is optimized as a whole; for tests a project's manifest lists `rlib` too.
        .args(["rustc", "--lib", "--crate-type", "cdylib", "--target", TARGET, "--profile", PROFILE])
        .args(["--config", &format!("profile.{PROFILE}.inherits=\"release\"")])
        .arg("--target-dir")
        .arg(&target)
        .arg("--manifest-path")
        .arg(folder.join("Cargo.toml"))
        .stdin(Stdio::null())
        .status()
        .map_err(|error| Error::environment(format!("cannot run cargo: {error}")))?;
    if !status.success() {
        let message = format!("cargo could not build the plugin `{}`; its messages are above", project.name);
        return Err(Error::plugin(message));
    }
    let module = target.join(TARGET).join(PROFILE).join(format!("{}.wasm", project.library));
    let module = std::fs::read(&module).map_err(|error| failed("read", &module, &error))?;
    let component = component(&module).map_err(|error| error.within(format!("plugin `{}`", project.name)))?;
    write_whole(folder, &format!("{}.wasm", project.name), &component)
}

/// Makes a component of a core module that the SDK's macros were compiled into.
fn component(module: &[u8]) -> Result<Vec<u8>> {
    const WHAT_TO_DO: &str = "Does its src/lib.rs have a function with #[millstream_sdk::transform], or with the macro of \
                              another world?";
    let encoded = wit_component::ComponentEncoder::default().validate(true).module(module).and_then(|mut e| e.encode());
    let wrong =
        |what: &dyn std::fmt::Display| Error::plugin(format!("no component can be made of it: {what}\n{WHAT_TO_DO}"));
    let component = encoded.map_err(|error| wrong(&format_args!("{error:#}")))?;
    match wit_component::decode(&component) {
        Ok(wit_component::DecodedWasm::Component(resolve, world))
            if resolve.worlds.get(world).is_some_and(|world| !world.exports.is_empty()) =>
        {
            Ok(component)
        }
        Ok(_) => Err(wrong(&"it exports nothing")),
        Err(error) => Err(wrong(&format_args!("{error:#}"))),
    }
}

/// Writes a file so that it is there whole or not at all.
fn write_whole(folder: &Path, name: &str, content: &[u8]) -> Result<PathBuf> {
    let path = folder.join(name);
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|error| failed("write to", folder, &error))?;
    file.write_all(content).map_err(|error| failed("write", &path, &error))?;
    // Temporary files are for their owner only; a component is for anyone who may read the folder.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let readable = std::fs::Permissions::from_mode(0o644);
        file.as_file().set_permissions(readable).map_err(|error| failed("write", &path, &error))?;
    }
    file.persist(&path).map_err(|error| failed("write", &path, &error.error))?;
    Ok(path)
}

/// What cargo knows of a plugin project.
struct Project {
    name: String,
    /// The file name of the library, without its ending.
    library: String,
    /// Cargo's target folder.
    target: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    crate_types: Vec<String>,
}

impl Project {
    fn read(folder: &Path, toolchain: &Toolchain) -> Result<Project> {
        let manifest = folder.join("Cargo.toml");
        let here = folder.display();
        let manifest = manifest.canonicalize().map_err(|_| {
            Error::job(format!("{here} is no plugin project: it has no Cargo.toml. Make one with `millstream new`"))
        })?;
        let output = toolchain
            .cargo()
            .args(["metadata", "--format-version", "1", "--no-deps", "--manifest-path"])
            .arg(&manifest)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| Error::environment(format!("cannot run cargo: {error}")))?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            return Err(Error::plugin(format!("{here}: cargo cannot read the project\n{}", words.trim_end())));
        }
        let metadata: Metadata = serde_json::from_slice(&output.stdout)
            .map_err(|error| Error::environment(format!("cargo's metadata of {here} cannot be read: {error}")))?;
        let package = metadata.packages.into_iter().find(|package| package.manifest_path == manifest);
        let package = package.ok_or_else(|| {
            Error::job(format!("{here}/Cargo.toml is a workspace, not a package: name a plugin's folder"))
        })?;
        let is_component = |target: &Target| target.crate_types.iter().any(|kind| kind == "cdylib");
        let library = package.targets.into_iter().find(is_component).ok_or_else(|| {
            Error::job(format!(
                "{here}/Cargo.toml: a plugin is a library with\n  [lib]\n  crate-type = [\"cdylib\", \"rlib\"]"
            ))
        })?;
        let library = library.name.replace('-', "_");
        Ok(Project { name: package.name, library, target: metadata.target_directory })
    }
}
