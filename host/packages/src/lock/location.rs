//! Addresses of registries: as users write them, as lock files store them, and the default.

use crate::registry::Registry;
use crate::trust::config::config_dir;
use millstream_base::error::{Error, Result};
use millstream_base::limits::JOB_FILE_BYTES_MAX;
use serde::Deserialize;
use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

/// The name of the user's settings file.
pub const SETTINGS: &str = "config.toml";

/// The content of the settings file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The registry to use without `--registry`.
    registry: Option<String>,
}

/// Returns the registry of the command line, or else of the user's settings. Relative paths start from the current directory.
pub fn registry(given: Option<&str>) -> Result<Registry> {
    if let Some(text) = given {
        return named(text, &absolute(Path::new("."))?);
    }
    let file = config_dir()?.join(SETTINGS);
    let shown = file.display();
    let wrong = |cause: &dyn std::fmt::Display| Error::job(format!("{shown}: {cause}"));
    let text = match settings(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text.map_err(|error| Error::environment(format!("{shown} cannot be read: {error}")))?,
    };
    let settings: Settings = toml::from_str(&text).map_err(|error| wrong(&error.message()))?;
    let Some(text) = settings.registry else {
        return Err(Error::job(format!(
            "no registry given: add --registry oci://… or --registry DIR, or write registry = \"…\" into {shown}"
        )));
    };
    if !text.starts_with("oci://") && Path::new(&text).is_relative() {
        return Err(wrong(&"`registry` is a relative path; write oci://… or the absolute path of a directory"));
    }
    named(&text, Path::new("/"))
}

fn settings(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    millstream_base::regular::open(file)?.take(JOB_FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Returns the registry of a pin. `dir` is the directory of the lock file, from which relative paths start.
pub fn of_lock(text: &str, dir: &Path) -> Result<Registry> {
    named(text, &absolute(dir)?)
}

/// Returns the form of a registry in a lock file. `given` is the form that the user wrote. A relative path stays relative, so that
/// registry and job can be moved together.
pub fn for_lock(registry: &Registry, given: Option<&str>, dir: &Path) -> Result<String> {
    match (registry, given) {
        (Registry::Dir(path), Some(text)) if Path::new(text).is_relative() => {
            Ok(relative(path, &absolute(dir)?).display().to_string())
        }
        _ => Ok(registry.to_string()),
    }
}

/// Gives a directory one canonical name, because policies compare names.
fn named(text: &str, base: &Path) -> Result<Registry> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(Error::job(format!("`{}` is not a registry; write oci://… or a directory", text.escape_debug())));
    }
    match Registry::parse(text, base)? {
        Registry::Dir(dir) => Ok(Registry::Dir(absolute(&dir)?)),
        registry => Ok(registry),
    }
}

/// Returns the absolute path, without `.` and `..`, and without links if it exists.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    if let Ok(path) = fs::canonicalize(path) {
        return Ok(path);
    }
    let path = std::path::absolute(path).map_err(|error| Error::environment(format!("{}: {error}", path.display())))?;
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            other => clean.push(other),
        }
    }
    Ok(clean)
}

/// Returns the relative path from a directory to a place; both are absolute.
fn relative(path: &Path, from: &Path) -> PathBuf {
    let common = path.components().zip(from.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    let relative_path: PathBuf = up.chain(path.components().skip(common)).collect();
    if relative_path.as_os_str().is_empty() { PathBuf::from(".") } else { relative_path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dir_has_one_name() {
        let dir = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir(real.join("plugins")).unwrap();
        std::os::unix::fs::symlink(real.join("plugins"), real.join("link")).unwrap();
        for text in ["plugins", "./plugins/", "link", "plugins/../link", "gone/../plugins"] {
            let found = named(text, &real).unwrap();
            assert_eq!(found, Registry::Dir(real.join("plugins")), "{text}");
        }
        assert_eq!(named("gone/../../x", &real.join("a")).unwrap(), Registry::Dir(real.join("x")));
        for text in ["", "a\nb", "\u{1b}"] {
            assert!(named(text, &real).is_err());
        }
    }

    #[test]
    fn the_way_from_a_lock_file_to_a_dir() {
        for (path, from, relative_path) in
            [("/a/b", "/a", "b"), ("/a/b", "/a/c/d", "../../b"), ("/a", "/a", "."), ("/a", "/a/b", "..")]
        {
            assert_eq!(relative(Path::new(path), Path::new(from)), Path::new(relative_path));
        }
    }
}
