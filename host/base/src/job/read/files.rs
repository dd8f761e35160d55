//! Which files of a folder a source of a job file reads: `pattern` and `subfolders`, or both within `path`; and whether the folder
//! is in a bucket.

use crate::job::spec::{FilesRead, SourceKind, bucket_url};
use crate::job::table::Reader;
use crate::limits;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What stands for other letters in a path. `[` does not: there it stands for itself.
const WILD: [char; 2] = ['*', '?'];

/// Takes the pattern out of a path, as `logs/**/*.jsonl`.
pub(in crate::job) fn read(kind: SourceKind, r: &Reader<'_>) -> (SourceKind, FilesRead) {
    if kind.declared().is_some() {
        return (kind, FilesRead::default());
    }
    let pattern = r.text("pattern", "pattern = \"*.jsonl\"").map(str::to_owned);
    let subfolders = r.flag("subfolders");
    match kind {
        SourceKind::Directory { path, poll, settle, spread } => match within(&path) {
            None => {
                let files = FilesRead { pattern, subfolders: subfolders.unwrap_or(false) };
                (dir(path, poll, settle, spread, r), files)
            }
            Some((path, in_path)) => {
                for key in ["pattern", "subfolders"].into_iter().filter(|key| r.has(key)) {
                    r.wrong(
                        key,
                        format!("`path` already selects the files; remove `{key}`, or set `path` to a directory"),
                    );
                }
                let subfolders = in_path.contains('/');
                (dir(path, poll, settle, spread, r), FilesRead { pattern: Some(in_path), subfolders })
            }
        },
        SourceKind::File { path } | SourceKind::Follow { path, .. } if within(&path).is_some() => {
            let what = format!(
                "`path = \"{}\"` is a pattern, and a source of kind `file` reads one file; write kind = \"directory\" for all \
                 files of a pattern",
                path.display()
            );
            r.wrong("path", what);
            (SourceKind::File { path }, FilesRead::default())
        }
        kind => (kind, FilesRead::default()),
    }
}

/// A folder of this machine, or one in a bucket.
fn dir(path: PathBuf, poll: Duration, settle: Duration, spread: bool, r: &Reader<'_>) -> SourceKind {
    let Some(url) = bucket_url(&path).map(str::to_owned) else {
        return SourceKind::Directory { path, poll, settle, spread };
    };
    if r.has("settle") {
        r.wrong("settle", "`settle` is for files, which may still be growing; an object is always complete; remove it");
    }
    let poll = if r.has("poll") { poll } else { Duration::from_millis(limits::OBJECTS_POLL_MS) };
    SourceKind::Objects { url, poll, spread }
}

/// The folder before the first part of a path that is a pattern, and the pattern; `None`: it is a path.
fn within(path: &Path) -> Option<(PathBuf, String)> {
    let text = path.to_str()?;
    let wild = text.find(WILD)?;
    let dir = text[..wild].rfind('/').map_or(0, |slash| slash + 1);
    let before = if dir == 0 { "." } else { &text[..dir] };
    Some((PathBuf::from(before), text[dir..].to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_of_a_path_begins_with_its_first_part_that_is_one() {
        let of = |path: &str| within(Path::new(path)).map(|(dir, pattern)| (dir.display().to_string(), pattern));
        assert_eq!(of("logs/**/*.jsonl"), Some(("logs/".into(), "**/*.jsonl".into())));
        assert_eq!(of("*.csv"), Some((".".into(), "*.csv".into())));
        assert_eq!(of("/a/b/x?.csv"), Some(("/a/b/".into(), "x?.csv".into())));
        assert_eq!(of("logs/[a]/b"), None);
    }
}
