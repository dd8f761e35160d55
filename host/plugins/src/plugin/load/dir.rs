//! The component of a plugin directory, in any language.

use millstream_base::error::{Error, Result};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// The manifests that a plugin directory may have, and the key of the name in each.
const MANIFESTS: [(&str, &str); 4] = [
    ("Cargo.toml", "/package/name"),
    ("pyproject.toml", "/project/name"),
    ("package.json", "/name"),
    ("plugin.toml", "/name"),
];

/// Whether a directory is one of a plugin, built or not.
pub fn is_plugin_dir(dir: &Path) -> bool {
    MANIFESTS.iter().any(|(name, _)| dir.join(name).is_file())
}

/// Returns the component file for a path.
pub fn find(path: &Path) -> Result<PathBuf> {
    let shown = path.display();
    let Ok(metadata) = fs::metadata(path) else {
        return Err(Error::job(format!("plugin not found at {shown}: no such file or directory")));
    };
    if !metadata.is_dir() {
        return Ok(path.to_owned());
    }
    let found =
        MANIFESTS.into_iter().map(|(name, pointer)| (path.join(name), pointer)).find(|(file, _)| file.is_file());
    let Some((manifest, pointer)) = found else {
        return Err(Error::job(format!(
            "{shown} is not a plugin directory: it has no Cargo.toml, pyproject.toml, package.json or plugin.toml. \
             Name a component file or a plugin directory."
        )));
    };
    let name = name_in(&manifest, pointer)?;
    let file = path.join(format!("{name}.wasm"));
    if !file.is_file() {
        let message =
            format!("plugin {shown} is not built: {} does not exist. Run `millstream build {shown}`.", file.display());
        return Err(Error::job(message));
    }
    Ok(file)
}

fn name_in(manifest: &Path, json_pointer: &str) -> Result<String> {
    let shown = manifest.display();
    let wrong = |error: &dyn std::fmt::Display| Error::job(format!("{shown}: {error}"));
    let text = millstream_base::regular::read_to_string(manifest).map_err(|error| wrong(&error))?;
    let content: Value = match manifest.extension().is_some_and(|ending| ending == "json") {
        true => serde_json::from_str(&text).map_err(|error| wrong(&error))?,
        false => toml::from_str(&text).map_err(|error| wrong(&error))?,
    };
    let name = content.pointer(json_pointer).and_then(Value::as_str).filter(|name| !name.contains(['/', '\\']));
    name.map(str::to_owned).ok_or_else(|| wrong(&"it names no package, so it is not a plugin"))
}
