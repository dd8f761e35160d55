//! Reads a project from its `Cargo.toml`, using cargo.

use super::{Code, Grants, Project, ProjectFacts};
use crate::author::build::rust::toolchain;
use crate::author::failed;
use millstream_base::error::{Error, Result};
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;

#[derive(Deserialize)]
struct CargoMetadata {
    packages: Vec<CargoPackage>,
    target_directory: PathBuf,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct CargoPackage {
    name: String,
    version: String,
    description: Option<String>,
    license: Option<String>,
    authors: Vec<String>,
    manifest_path: PathBuf,
    targets: Vec<CargoTarget>,
    /// `[package.metadata]`, which is for tools other than cargo.
    #[serde(default)]
    metadata: Value,
}

/// `[package.metadata.millstream]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct MillstreamMetadata {
    #[serde(default)]
    grants: Grants,
}

#[derive(Deserialize)]
struct CargoTarget {
    name: String,
    crate_types: Vec<String>,
}

/// Reads the project of a `Cargo.toml`, using cargo: a workspace may define parts of it.
pub fn project(dir: &Path, manifest: &Path) -> Result<Project> {
    let here = dir.display();
    let manifest = manifest.canonicalize().map_err(|error| failed("read", manifest, &error))?;
    let output = toolchain::find()?
        .cargo()
        .args(["metadata", "--format-version", "1", "--no-deps", "--manifest-path"])
        .arg(&manifest)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::environment(format!("cannot run cargo: {error}")))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(Error::plugin(format!("{here}: cargo cannot read the project\n{}", stderr.trim_end())));
    }
    let metadata: CargoMetadata = serde_json::from_slice(&output.stdout)
        .map_err(|error| Error::environment(format!("cargo's metadata of {here} cannot be read: {error}")))?;
    let package = metadata.packages.into_iter().find(|package| package.manifest_path == manifest);
    let package = package.ok_or_else(|| {
        Error::job(format!("{here}/Cargo.toml is a workspace, not a package; name a plugin's directory"))
    })?;
    let is_component = |target: &&CargoTarget| target.crate_types.iter().any(|kind| kind == "cdylib");
    let library = package.targets.iter().find(is_component).ok_or_else(|| {
        Error::job(format!(
            "{here}/Cargo.toml: a plugin is a library with\n  [lib]\n  crate-type = [\"cdylib\", \"rlib\"]"
        ))
    })?;
    let ours = package.metadata.get("millstream").cloned().map(serde_json::from_value).transpose();
    let ours: Option<MillstreamMetadata> =
        ours.map_err(|error| Error::job(format!("{here}/Cargo.toml: package.metadata.millstream: {error}")))?;
    let MillstreamMetadata { grants } = ours.unwrap_or_default();
    Ok(Project {
        dir: dir.into(),
        world: None,
        migrates: false,
        grants,
        code: Code::Rust {
            library: library.name.replace('-', "_"),
            module_only: library.crate_types == ["cdylib"],
            workspace: metadata.workspace_root,
            target: metadata.target_directory,
        },
        about: ProjectFacts {
            name: package.name,
            version: package.version,
            description: package.description.unwrap_or_default(),
            license: package.license.unwrap_or_default(),
            authors: package.authors,
        },
    })
}
