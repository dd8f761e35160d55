//! Settings of sources of kinds `directory` and `file`.

use crate::limits;
use millstream_job::spec::bucket_url;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Settings of a `directory` source: it reads the files of a directory, and every new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryReads {
    /// The directory, or the URL of a bucket and a prefix such as `s3://bucket/prefix`.
    pub path: PathBuf,
    /// Which files are read.
    pub files: FilesRead,
    /// How it is watched. Objects are complete from the start and need not settle.
    pub times: WatchTimes,
    /// Whether each process reads some of the files.
    pub spread: bool,
}

impl DirectoryReads {
    /// Reads all files of a directory, with the default times.
    pub fn new(path: impl Into<PathBuf>) -> DirectoryReads {
        let path = path.into();
        let times = WatchTimes {
            poll: Duration::from_millis(match bucket_url(&path) {
                Some(_) => limits::OBJECTS_POLL_MS,
                None => limits::DIRECTORY_POLL_MS,
            }),
            settle: match bucket_url(&path) {
                Some(_) => Duration::ZERO,
                None => Duration::from_millis(limits::SETTLE_MS),
            },
        };
        DirectoryReads { path, files: FilesRead::default(), times, spread: false }
    }

    /// Returns the URL of its bucket; `None`: it is a local directory.
    pub fn bucket(&self) -> Option<&str> {
        bucket_url(&self.path)
    }
}

/// Which files of a directory are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesRead {
    /// A pattern for names, with `*`, `?` and `[…]`; with a `/` in it: for paths within the directory, where `**` matches any directories. `None`: all
    /// files.
    pub pattern: Option<String>,
    /// Whether files of subdirectories are read as well.
    pub subfolders: bool,
}

/// How a file or directory is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchTimes {
    /// How often to look. The interval grows with directories so large that listing them would take much of the time.
    pub poll: Duration,
    /// How long a file must be unchanged before it is read, and a rotated log before it counts as complete.
    pub settle: Duration,
}

/// Settings of a `file` source: it reads one file, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReads {
    /// The file.
    pub path: PathBuf,
}

/// Settings of a `file` source with `follow`: it reads a log that grows, with the rotated files next to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogReads {
    /// The log.
    pub path: PathBuf,
    /// How it is watched.
    pub times: WatchTimes,
}

/// Returns the directory before the first part of a path that is a pattern, and the pattern; `None`: the path has no pattern. In a path, `[` is no
/// wildcard.
pub(super) fn split_pattern(path: &Path) -> Option<(PathBuf, String)> {
    const WILDCARDS: [char; 2] = ['*', '?'];
    let text = path.to_str()?;
    let wildcard = text.find(WILDCARDS)?;
    let dir = text[..wildcard].rfind('/').map_or(0, |slash| slash + 1);
    let before = if dir == 0 { "." } else { &text[..dir] };
    Some((PathBuf::from(before), text[dir..].to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_of_a_path_begins_with_its_first_part_that_is_one() {
        let of = |path: &str| split_pattern(Path::new(path)).map(|(dir, pattern)| (dir.display().to_string(), pattern));
        assert_eq!(of("logs/**/*.jsonl"), Some(("logs/".into(), "**/*.jsonl".into())));
        assert_eq!(of("*.csv"), Some((".".into(), "*.csv".into())));
        assert_eq!(of("/a/b/x?.csv"), Some(("/a/b/".into(), "x?.csv".into())));
        assert_eq!(of("logs/[a]/b"), None);
    }
}
