//! Detects changes of the files of a project, for `millstream test`.
//!
//! It polls the modification times. That works on every file system, and a project has few files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

/// The polling interval.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The modification time and size of each file, by its path in the project.
pub(super) type SeenFiles = BTreeMap<PathBuf, (SystemTime, u64)>;

/// The last seen state of a project's files.
pub struct ProjectWatch {
    dir: PathBuf,
    seen: SeenFiles,
}

impl ProjectWatch {
    /// Starts with the current state of the files.
    pub fn new(dir: &Path) -> ProjectWatch {
        ProjectWatch { dir: dir.into(), seen: look(dir) }
    }

    /// Waits until files differ from their last seen state and no longer change, because an editor or `git` writes them
    /// one by one. Returns a file that changed, appeared or disappeared, or `None` if `stop` was set.
    pub fn wait(&mut self, stop: &AtomicBool) -> Option<PathBuf> {
        let mut before = None;
        while !stop.load(Ordering::Acquire) {
            let now = look(&self.dir);
            match (difference(&self.seen, &now), before) {
                (Some(path), Some(seen)) if seen == now => {
                    self.seen = now;
                    return Some(path);
                }
                (Some(_), _) => before = Some(now),
                (None, _) => before = None,
            }
            thread::sleep(POLL_INTERVAL);
        }
        None
    }
}

/// Returns the first file that is different, or exists only in one of both.
fn difference(old: &SeenFiles, new: &SeenFiles) -> Option<PathBuf> {
    let changed = new.iter().find(|(path, state)| old.get(*path) != Some(state));
    changed.or_else(|| old.iter().find(|(path, _)| !new.contains_key(*path))).map(|(path, _)| path.clone())
}

/// Returns the files of a project that people write.
pub(super) fn look(dir: &Path) -> SeenFiles {
    let mut seen = SeenFiles::new();
    collect_files(dir, Path::new(""), &mut seen);
    seen
}

/// Unreadable files are treated as missing: they may be in the process of being replaced.
fn collect_files(dir: &Path, inside: &Path, seen: &mut SeenFiles) {
    for entry in fs::read_dir(dir.join(inside)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if is_generated(&name.to_string_lossy()) {
            continue;
        }
        let path = inside.join(&name);
        // The type of the entry itself: links may form a cycle.
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            collect_files(dir, &path, seen);
        } else if let Some(state) = state(&dir.join(&path)) {
            seen.insert(path, state);
        }
    }
}

fn state(file: &Path) -> Option<(SystemTime, u64)> {
    let metadata = fs::metadata(file).ok().filter(fs::Metadata::is_file)?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Returns whether such files are created by a build or an editor. This includes hidden files.
fn is_generated(name: &str) -> bool {
    let made = ["Cargo.lock", "__pycache__", "build", "node_modules", "target"];
    let endings = [".wasm", ".pyc", "~", ".swp", ".tmp"];
    name.starts_with('.') || made.contains(&name) || endings.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn what_is_written_by_hand_counts() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("inside")).expect("a directory");
            fs::write(path, text).expect("a file");
        };
        write("src/a.py", "1");
        write("cases/one/case.toml", "");
        let old = look(dir.path());
        assert_eq!(old.len(), 2);
        for made in
            ["target/x", "a.wasm", ".venv/bin/x", "node_modules/x/y", "src/__pycache__/a.pyc", ".git/HEAD", "a~"]
        {
            write(made, "x");
        }
        assert_eq!(difference(&old, &look(dir.path())), None);
        write("src/b.py", "2");
        assert_eq!(difference(&old, &look(dir.path())), Some("src/b.py".into()));
        fs::remove_file(dir.path().join("src/b.py")).expect("a file");
        write("src/a.py", "12");
        assert_eq!(difference(&old, &look(dir.path())), Some("src/a.py".into()));
        fs::remove_file(dir.path().join("src/a.py")).expect("a file");
        assert_eq!(difference(&old, &look(dir.path())), Some("src/a.py".into()));
    }

    #[test]
    fn it_waits_for_a_change_or_the_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.c");
        fs::write(&path, "1").expect("a file");
        let mut watch = ProjectWatch::new(dir.path());
        let stop = Arc::new(AtomicBool::new(false));
        fs::write(&path, "12").expect("a file");
        assert_eq!(watch.wait(&stop), Some("a.c".into()));
        stop.store(true, Ordering::Release);
        assert_eq!(watch.wait(&stop), None);
    }
}
