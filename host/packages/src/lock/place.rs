//! Where registries are: as users name them, as lock files do, and where nobody does.

use crate::registry::Registry;
use crate::trust::config::config_folder;
use millstream_base::error::{Error, Result};
use millstream_base::limits::JOB_FILE_BYTES_MAX;
use serde::Deserialize;
use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

/// The file of the user's settings.
pub const SETTINGS: &str = "config.toml";

/// What it may say.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Where packages are looked for when no `--registry` is given.
    registry: Option<String>,
}

/// The registry that a command is told, or that of the user's settings. Relative paths start from the current folder.
pub fn registry(given: Option<&str>) -> Result<Registry> {
    if let Some(text) = given {
        return named(text, &absolute(Path::new("."))?);
    }
    let file = config_folder()?.join(SETTINGS);
    let shown = file.display();
    let wrong = |words: &dyn std::fmt::Display| Error::job(format!("{shown}: {words}"));
    let text = match settings(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text.map_err(|error| Error::environment(format!("{shown} cannot be read: {error}")))?,
    };
    let settings: Settings = toml::from_str(&text).map_err(|error| wrong(&error.message()))?;
    let Some(text) = settings.registry else {
        return Err(Error::job(format!(
            "no registry given: add --registry oci://… or --registry FOLDER, or write registry = \"…\" into {shown}"
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

/// The registry of a pin. `folder`: that of the lock file, where relative paths start.
pub fn of_lock(text: &str, folder: &Path) -> Result<Registry> {
    named(text, &absolute(folder)?)
}

/// What a lock file says of a registry, so that it finds it again. `given`: as the user named it. A folder with a relative
/// path stays relative, so that both can be moved together.
pub fn for_lock(registry: &Registry, given: Option<&str>, folder: &Path) -> Result<String> {
    match (registry, given) {
        (Registry::Folder(place), Some(text)) if Path::new(text).is_relative() => {
            Ok(relative(place, &absolute(folder)?).display().to_string())
        }
        _ => Ok(registry.to_string()),
    }
}

/// A folder has one name, however it is written: policies go by it.
fn named(text: &str, base: &Path) -> Result<Registry> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(Error::job(format!("`{}` is not a registry; write oci://… or a directory", text.escape_debug())));
    }
    match Registry::parse(text, base)? {
        Registry::Folder(folder) => Ok(Registry::Folder(absolute(&folder)?)),
        registry => Ok(registry),
    }
}

/// The whole path, without links where it is there, and without `.` and `..`.
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

/// The way from a folder to a place; both absolute.
fn relative(place: &Path, from: &Path) -> PathBuf {
    let common = place.components().zip(from.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    let way: PathBuf = up.chain(place.components().skip(common)).collect();
    if way.as_os_str().is_empty() { PathBuf::from(".") } else { way }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_name() {
        let folder = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir(real.join("plugins")).unwrap();
        std::os::unix::fs::symlink(real.join("plugins"), real.join("link")).unwrap();
        for text in ["plugins", "./plugins/", "link", "plugins/../link", "gone/../plugins"] {
            let found = named(text, &real).unwrap();
            assert_eq!(found, Registry::Folder(real.join("plugins")), "{text}");
        }
        assert_eq!(named("gone/../../x", &real.join("a")).unwrap(), Registry::Folder(real.join("x")));
        for text in ["", "a\nb", "\u{1b}"] {
            assert!(named(text, &real).is_err());
        }
    }

    #[test]
    fn the_way_from_a_lock_file_to_a_folder() {
        for (place, from, way) in
            [("/a/b", "/a", "b"), ("/a/b", "/a/c/d", "../../b"), ("/a", "/a", "."), ("/a", "/a/b", "..")]
        {
            assert_eq!(relative(Path::new(place), Path::new(from)), Path::new(way));
        }
    }
}
