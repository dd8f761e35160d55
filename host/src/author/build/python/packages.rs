//! The packages that a project needs, installed into its directory by pip.

use crate::author::tools::{self, Tool};
use crate::author::{failed, say};
use millstream_base::error::{Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The directory of the packages. A build needs no network while the manifest names the same ones.
const KEPT: &str = ".millstream/packages";

/// Returns whether a dependency in a manifest is the package with this name.
pub fn is_package(dependency: &str, package: &str) -> bool {
    let name: String =
        dependency.trim().chars().take_while(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
    normalize(&name) == normalize(package)
}

/// Installs packages, as written in a manifest, and returns their directory, or `None` if there are none. Only packages
/// in pure Python can be part of a component. The pip of componentize-py's Python is preferred.
pub fn install(dir: &Path, dependencies: &[String]) -> Result<Option<PathBuf>> {
    if dependencies.is_empty() {
        return Ok(None);
    }
    let kept = dir.join(KEPT);
    let (packages, list, taken) = (kept.join("modules"), kept.join("installed.txt"), kept.join("taken.txt"));
    let wanted = dependencies.join("\n");
    if millstream_base::regular::read_to_string(&list).is_ok_and(|installed| installed == wanted) {
        say(&millstream_base::regular::read_to_string(&taken).unwrap_or_default());
        return Ok(Some(packages));
    }
    match fs::remove_dir_all(&kept) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed("empty", &kept, &error)),
        _ => fs::create_dir_all(&packages).map_err(|error| failed("create", &packages, &error))?,
    }
    let tool = tools::first(Tool::ComponentizePy, dir).unwrap_or_default();
    let python = super::sibling(&tool, "python3");
    let mut command = Command::new(&python);
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", "--target"]);
    command.arg(&packages).stdin(Stdio::null());
    // Wheels that pip accepts under these conditions contain no machine code.
    command.args(["--only-binary", ":all:", "--platform", "any", "--implementation", "py", "--abi", "none"]);
    command.args(["--python-version", "3.14"]).args(dependencies);
    let output = command.output().map_err(|error| failed("run", &python, &error))?;
    if !output.status.success() {
        let error_output = String::from_utf8_lossy(&output.stderr);
        return Err(Error::plugin(format!(
            "pip cannot install what pyproject.toml lists as `dependencies`; only wheels of pure Python (`py3-none-any`) can be \
             a part of a component\n{}",
            error_output.trim_end()
        )));
    }
    let notes = older_notes(&versions(&packages)?, &newest(&python, dependencies));
    fs::write(&taken, &notes).map_err(|error| failed("write", &taken, &error))?;
    say(&notes);
    fs::write(&list, wanted).map_err(|error| failed("write", &list, &error))?;
    Ok(Some(packages))
}

/// Returns the packages in a directory and their versions, by name.
fn versions(packages: &Path) -> Result<BTreeMap<String, String>> {
    let mut versions = BTreeMap::new();
    for entry in fs::read_dir(packages).map_err(|error| failed("read", packages, &error))? {
        let name = entry.map_err(|error| failed("read", packages, &error))?.file_name();
        let name = name.to_string_lossy();
        if let Some((name, version)) = name.strip_suffix(".dist-info").and_then(|name| name.rsplit_once('-')) {
            versions.insert(normalize(name), version.to_owned());
        }
    }
    Ok(versions)
}

/// Returns the version of each dependency that pip would install if machine code were allowed. Empty if unknown.
fn newest(python: &Path, dependencies: &[String]) -> BTreeMap<String, String> {
    #[derive(Default, Deserialize)]
    struct PipReport {
        install: Vec<PipItem>,
    }
    #[derive(Deserialize)]
    struct PipItem {
        metadata: PipMetadata,
    }
    #[derive(Deserialize)]
    struct PipMetadata {
        name: String,
        version: String,
    }
    let mut command = Command::new(python);
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run", "--no-deps"]);
    command.args(["--ignore-installed", "--report", "-"]).args(dependencies).stdin(Stdio::null());
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    let report: PipReport = serde_json::from_slice(&output).unwrap_or_default();
    report.install.into_iter().map(|item| (normalize(&item.metadata.name), item.metadata.version)).collect()
}

/// Returns notes for packages that are older than those.
fn older_notes(taken: &BTreeMap<String, String>, newest: &BTreeMap<String, String>) -> String {
    let differ = newest.iter().filter_map(|(name, newest)| Some((name, newest, taken.get(name)?)));
    let notes = differ.filter(|(_, newest, taken)| newest != taken).map(|(name, newest, taken)| {
        format!(
            "note: {name} {taken} was used instead of {newest}, which (or a dependency of which) needs machine \
             code; components can contain only pure Python. To confirm this, write `{name}=={taken}` into \
             pyproject.toml\n"
        )
    });
    notes.collect()
}

/// Returns the normalized name of a package.
fn normalize(name: &str) -> String {
    name.replace(['_', '.'], "-").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_known_by_their_names() {
        for dependency in ["tzdata", "tzdata==2026.6", "TZdata >= 2", "tzdata[x]; python_version > '3'"] {
            assert!(is_package(dependency, "tzdata"), "{dependency}");
        }
        assert!(!is_package("tzdata-legacy", "tzdata") && !is_package("", "tzdata"));
        assert!(is_package("ruamel_yaml", "ruamel.yaml") && is_package("ruamel.yaml", "ruamel-yaml"));
    }

    #[test]
    fn what_is_older_than_elsewhere_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        for made in ["pydantic-1.10.26.dist-info", "typing_extensions-4.15.0.dist-info", "idna-3.11.dist-info", "idna"]
        {
            fs::create_dir(dir.path().join(made)).expect("a directory");
        }
        let taken = versions(dir.path()).expect("versions");
        let newest = [("pydantic", "2.12.0"), ("typing-extensions", "4.15.0"), ("numpy", "2.0")];
        let newest = newest.map(|(name, version)| (name.to_owned(), version.to_owned())).into();
        let notes = older_notes(&taken, &newest);
        assert!(
            notes.starts_with(
                "note: pydantic 1.10.26 was used instead of 2.12.0, which (or a dependency of which) \
                             needs machine code"
            ),
            "{notes}"
        );
        assert_eq!(notes.lines().count(), 1, "{notes}");
    }
}
