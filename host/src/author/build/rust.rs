//! Rust: cargo compiles a project to a core module, wit-component wraps that.

pub mod toolchain;

use crate::author::failed;
use crate::author::project::{About, Code, Grants, Project};
use crate::error::{Error, Result};
use crate::plugin::with_heap;
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use toolchain::TARGET;

/// The profile that plugins are compiled with. A project may define it; it builds on `release`.
const PROFILE: &str = "plugin";
/// What a plugin's allocator has before it asks for more: enough for calls with a few rows.
const HEAP_BYTES: i32 = 256 << 10;

/// Compiles a project to a component.
pub fn component(project: &Project) -> Result<Vec<u8>> {
    let Code::Rust { library, target } = &project.code else { return Err(Error::bug("no project of cargo")) };
    // Apart from what cargo builds there for the host, perhaps with another version of rustc.
    let target = target.join("plugins");
    let status = toolchain::find()?
        .compile()
        // Only a lone cdylib is optimized as a whole; for tests a project's manifest lists `rlib` too.
        .args(["rustc", "--lib", "--crate-type", "cdylib", "--target", TARGET, "--profile", PROFILE])
        .args(["--config", &format!("profile.{PROFILE}.inherits=\"release\"")])
        .arg("--target-dir")
        .arg(&target)
        .arg("--manifest-path")
        .arg(project.folder.join("Cargo.toml"))
        .stdin(Stdio::null())
        .status()
        .map_err(|error| Error::environment(format!("cannot run cargo: {error}")))?;
    if !status.success() {
        return Err(Error::plugin("cargo could not build it; its messages are above"));
    }
    let module = target.join(TARGET).join(PROFILE).join(format!("{library}.wasm"));
    let module = std::fs::read(&module).map_err(|error| failed("read", &module, &error))?;
    encoded(&with_heap(&module, HEAP_BYTES)?)
}

/// Makes a component of a core module that the SDK's macros were compiled into.
fn encoded(module: &[u8]) -> Result<Vec<u8>> {
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

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    description: Option<String>,
    license: Option<String>,
    authors: Vec<String>,
    manifest_path: PathBuf,
    targets: Vec<Target>,
    /// `[package.metadata]`: what others than cargo read.
    #[serde(default)]
    metadata: Value,
}

/// `[package.metadata.millstream]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ours {
    #[serde(default)]
    grants: Grants,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    crate_types: Vec<String>,
}

/// The project of a `Cargo.toml`, as cargo knows it: a workspace may say a part of it.
pub fn project(folder: &Path, manifest: &Path) -> Result<Project> {
    let here = folder.display();
    let manifest = manifest.canonicalize().map_err(|error| failed("read", manifest, &error))?;
    let output = toolchain::find()?
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
    let is_component = |target: &&Target| target.crate_types.iter().any(|kind| kind == "cdylib");
    let library = package.targets.iter().find(is_component).ok_or_else(|| {
        Error::job(format!(
            "{here}/Cargo.toml: a plugin is a library with\n  [lib]\n  crate-type = [\"cdylib\", \"rlib\"]"
        ))
    })?;
    let ours = package.metadata.get("millstream").cloned().map(serde_json::from_value).transpose();
    let ours: Option<Ours> =
        ours.map_err(|error| Error::job(format!("{here}/Cargo.toml: package.metadata.millstream: {error}")))?;
    let Ours { grants } = ours.unwrap_or_default();
    Ok(Project {
        folder: folder.into(),
        world: None,
        migrates: false,
        grants,
        code: Code::Rust { library: library.name.replace('-', "_"), target: metadata.target_directory },
        about: About {
            name: package.name,
            version: package.version,
            description: package.description.unwrap_or_default(),
            license: package.license.unwrap_or_default(),
            authors: package.authors,
        },
    })
}
