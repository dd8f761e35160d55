//! Finds the names in a directory, and with `subfolders` in its subdirectories. Links to directories are not followed. So each file has one name, and
//! the walk ends even if links form a cycle.

use super::listing::is_ignored;
use super::{Dir, ScanResult, WatchedFiles};
use crate::files::source::content::Content;
use crate::files::source::file::{OpenedFile, SourceFile};
use crate::files::source::file_facts::FileFacts;
use crate::files::source::object::Pause;
use crate::files::source::settings::FilesRead;
use crate::limits::DIRECTORY_DIRS_MAX;
use glob::{MatchOptions, Pattern};
use millstream_base::error::Error;
use millstream_connect::receiver::failed;
use millstream_connect::receiver::outage::Outage;
use millstream_job::spec::SourceSpec;
use millstream_rows::batch::position::Position;
use std::ffi::OsString;
use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A local directory.
pub struct LocalDir {
    source: SourceSpec,
    path: PathBuf,
    walk: Walk,
    modified: Option<SystemTime>,
    pause: Pause,
}

impl LocalDir {
    /// Opens the directory of a source; `pause` waits and returns whether to continue.
    pub fn new(source: &SourceSpec, watched: &WatchedFiles, pause: Pause) -> LocalDir {
        let (path, walk) = (watched.path.clone(), Walk::new(&watched.files));
        LocalDir { walk, source: source.clone(), path, modified: None, pause }
    }
}

impl Dir for LocalDir {
    fn look(&mut self, see: &mut dyn FnMut(OsString, Option<FileFacts>)) -> Result<ScanResult, (PathBuf, io::Error)> {
        let names = match self.walk.names(&self.path) {
            // No rows were retried yet.
            Err((_, error)) if error.kind() == ErrorKind::NotFound && self.source.kind.retry_dir().is_some() => {
                return Ok(ScanResult::default());
            }
            names => names?,
        };
        let modified = std::fs::metadata(&self.path).and_then(|metadata| metadata.modified()).ok();
        for (name, metadata) in names.files {
            see(name, metadata.is_file().then(|| FileFacts::of(&metadata)));
        }
        let changed = self.modified != modified;
        self.modified = modified;
        // An unmounted disk leaves an empty directory, which says nothing about its files.
        Ok(ScanResult { complete: !names.empty, changed, slow: true })
    }

    fn open(&self, _: &str, path: &Path) -> Result<Option<Content>, Error> {
        match millstream_base::regular::open(path) {
            Ok(file) => Ok(Some(file.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&self.source, path, &error)),
        }
    }

    fn open_again<'a>(&self, part: SourceFile<'a>, from: Position) -> Result<Option<OpenedFile<'a>>, Error> {
        let found =
            Outage::new(&self.source, &part.path).wait_out(|| std::fs::metadata(&part.path), |time| (self.pause)(time));
        // Opening the file reports that it is still missing.
        if let Ok(None) = found {
            return Ok(None);
        }
        part.open(from).map(Some)
    }
}

/// Patterns as in a shell: `*` does not match `/`.
const LIKE_A_SHELL: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

/// Which names are scanned.
pub struct Walk {
    pattern: Option<Pattern>,
    /// Whether the pattern is for paths.
    of_paths: bool,
    subfolders: bool,
    dirs_max: usize,
}

/// The result of a walk.
#[derive(Default)]
pub struct Names {
    /// Paths within the directory, with the metadata of what they lead to.
    pub files: Vec<(OsString, Metadata)>,
    /// Whether the directory is empty, regardless of the pattern.
    pub empty: bool,
}

impl Walk {
    /// Creates a walk. An invalid pattern, which is rejected before, matches nothing.
    pub fn new(files: &FilesRead) -> Walk {
        let pattern = files.pattern.as_ref().map(|pattern| Pattern::new(pattern).unwrap_or_default());
        let of_paths = files.pattern.as_ref().is_some_and(|pattern| pattern.contains('/'));
        Walk { pattern, of_paths, subfolders: files.subfolders, dirs_max: DIRECTORY_DIRS_MAX }
    }

    /// Returns all matching names. An error has the path that could not be listed.
    pub fn names(&self, dir: &Path) -> Result<Names, (PathBuf, io::Error)> {
        let mut found = Names { empty: true, ..Names::default() };
        let mut waiting = vec![PathBuf::new()];
        let mut dirs = 0;
        while let Some(below) = waiting.pop() {
            let path = dir.join(&below);
            dirs += 1;
            if dirs > self.dirs_max {
                let message =
                    format!("there are more than {} directories; read them with several sources", self.dirs_max);
                return Err((path, io::Error::other(message)));
            }
            let entries = match std::fs::read_dir(&path) {
                // It was deleted after its name was read.
                Err(error) if error.kind() == ErrorKind::NotFound && dirs > 1 => continue,
                // An unreadable subdirectory makes the complete directory wait.
                Err(error) if dirs > 1 => {
                    let message = format!("{}: {error}", path.display());
                    return Err((dir.to_owned(), io::Error::new(error.kind(), message)));
                }
                entries => entries.map_err(|error| (path.clone(), error))?,
            };
            for entry in entries {
                let entry = entry.map_err(|error| (path.clone(), error))?;
                found.empty = false;
                let name = entry.file_name();
                if is_ignored(&name.to_string_lossy()) {
                    continue;
                }
                // Follows links, as opening does.
                let metadata = match std::fs::metadata(entry.path()) {
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    metadata => metadata.map_err(|error| (entry.path(), error))?,
                };
                let name = below.join(name);
                if !metadata.is_dir() {
                    if self.accepts(&name) {
                        found.files.push((name.into_os_string(), metadata));
                    }
                } else if self.subfolders && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    waiting.push(name);
                }
            }
        }
        Ok(found)
    }

    /// Returns whether a file with this path within the directory is read.
    pub fn accepts(&self, name: &Path) -> bool {
        let Some(pattern) = &self.pattern else { return true };
        let name = if self.of_paths { Some(name.as_os_str()) } else { name.file_name() };
        name.is_some_and(|name| pattern.matches_with(&name.to_string_lossy(), LIKE_A_SHELL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn walk(pattern: Option<&str>, subfolders: bool) -> Walk {
        Walk::new(&FilesRead { pattern: pattern.map(str::to_owned), subfolders })
    }

    fn names(walk: &Walk, dir: &Path) -> Vec<String> {
        let found = walk.names(dir).unwrap();
        let mut names: Vec<_> = found.files.iter().map(|(name, _)| name.to_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_of_dirs_in_the_dir_have_their_paths_as_names() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["b/c", "b/.hidden", "d"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        for name in ["1.csv", "2.json", "b/3.csv", "b/c/4.csv", "b/.hidden/5.csv", "d/6.csv.tmp", "d/[7].csv"] {
            fs::write(at(name), "x").unwrap();
        }
        symlink(at("b"), at("b/c/circle")).unwrap();
        symlink(at("b/3.csv"), at("link.csv")).unwrap();
        symlink("nowhere", at("broken.csv")).unwrap();
        let of = |pattern, subfolders| names(&walk(pattern, subfolders), dir.path());
        assert_eq!(of(None, false), ["1.csv", "2.json", "link.csv"]);
        assert_eq!(of(None, true), ["1.csv", "2.json", "b/3.csv", "b/c/4.csv", "d/[7].csv", "link.csv"]);
        assert_eq!(of(Some("*.csv"), false), ["1.csv", "link.csv"]);
        assert_eq!(of(Some("*.csv"), true), ["1.csv", "b/3.csv", "b/c/4.csv", "d/[7].csv", "link.csv"]);
        assert_eq!(of(Some("b/*.csv"), true), ["b/3.csv"]);
        assert_eq!(of(Some("b/**/*.csv"), true), ["b/3.csv", "b/c/4.csv"]);
        assert_eq!(of(Some("**/[[]?].csv"), true), ["d/[7].csv"]);
        assert!(!walk(Some("none"), false).names(dir.path()).unwrap().empty);
    }

    #[test]
    fn more_dirs_than_are_bearable_are_told() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..5 {
            fs::create_dir(dir.path().join(number.to_string())).unwrap();
        }
        let mut walk = walk(None, true);
        walk.dirs_max = 5;
        let (_, error) = walk.names(dir.path()).err().unwrap();
        assert!(error.to_string().contains("more than 5 directories"), "{error}");
        walk.dirs_max = 6;
        assert!(walk.names(dir.path()).unwrap().files.is_empty());
        assert!(walk.names(&dir.path().join("none")).is_err());
    }
}
