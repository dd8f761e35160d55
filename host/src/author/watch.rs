//! Notices when the files of a project change, for `millstream test`.
//!
//! It looks at their times again and again: that works on every file system, and a project has few files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// When and how large each file was, by its path in the project.
pub(super) type SeenFiles = BTreeMap<PathBuf, (SystemTime, u64)>;

/// The files of a project as they were seen last.
pub struct ProjectWatch {
    folder: PathBuf,
    seen: SeenFiles,
}

impl ProjectWatch {
    /// Begins with the files as they are.
    pub fn new(folder: &Path) -> ProjectWatch {
        ProjectWatch { folder: folder.into(), seen: look(folder) }
    }

    /// Waits until files differ from how they were seen last and have come to rest, because an editor or `git` writes them
    /// one by one. Returns which: one that changed, came or went. `None`: it was told to stop.
    pub fn wait(&mut self, stop: &AtomicBool) -> Option<PathBuf> {
        let mut before = None;
        while !stop.load(Ordering::Acquire) {
            let now = look(&self.folder);
            match (difference(&self.seen, &now), before) {
                (Some(path), Some(seen)) if seen == now => {
                    self.seen = now;
                    return Some(path);
                }
                (Some(_), _) => before = Some(now),
                (None, _) => before = None,
            }
            thread::sleep(LOOK_EVERY);
        }
        None
    }
}

/// The first file that is in one of both only, or otherwise.
fn difference(old: &SeenFiles, new: &SeenFiles) -> Option<PathBuf> {
    let changed = new.iter().find(|(path, state)| old.get(*path) != Some(state));
    changed.or_else(|| old.iter().find(|(path, _)| !new.contains_key(*path))).map(|(path, _)| path.clone())
}

/// The files of a project that people write.
pub(super) fn look(folder: &Path) -> SeenFiles {
    let mut seen = SeenFiles::new();
    gather(folder, Path::new(""), &mut seen);
    seen
}

/// Files that cannot be read count as not there: they may be just being replaced.
fn gather(folder: &Path, inside: &Path, seen: &mut SeenFiles) {
    for entry in fs::read_dir(folder.join(inside)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if is_made(&name.to_string_lossy()) {
            continue;
        }
        let path = inside.join(&name);
        // Of the entry itself: a link may lead in a circle.
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            gather(folder, &path, seen);
        } else if let Some(state) = state(&folder.join(&path)) {
            seen.insert(path, state);
        }
    }
}

fn state(file: &Path) -> Option<(SystemTime, u64)> {
    let metadata = fs::metadata(file).ok().filter(fs::Metadata::is_file)?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Whether a build or an editor makes such files: hidden ones too.
fn is_made(name: &str) -> bool {
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
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("inside")).expect("a folder");
            fs::write(path, text).expect("a file");
        };
        write("src/a.py", "1");
        write("cases/one/case.toml", "");
        let old = look(folder.path());
        assert_eq!(old.len(), 2);
        for made in
            ["target/x", "a.wasm", ".venv/bin/x", "node_modules/x/y", "src/__pycache__/a.pyc", ".git/HEAD", "a~"]
        {
            write(made, "x");
        }
        assert_eq!(difference(&old, &look(folder.path())), None);
        write("src/b.py", "2");
        assert_eq!(difference(&old, &look(folder.path())), Some("src/b.py".into()));
        fs::remove_file(folder.path().join("src/b.py")).expect("a file");
        write("src/a.py", "12");
        assert_eq!(difference(&old, &look(folder.path())), Some("src/a.py".into()));
        fs::remove_file(folder.path().join("src/a.py")).expect("a file");
        assert_eq!(difference(&old, &look(folder.path())), Some("src/a.py".into()));
    }

    #[test]
    fn it_waits_for_a_change_or_the_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.c");
        fs::write(&path, "1").expect("a file");
        let mut watch = ProjectWatch::new(folder.path());
        let stop = Arc::new(AtomicBool::new(false));
        fs::write(&path, "12").expect("a file");
        assert_eq!(watch.wait(&stop), Some("a.c".into()));
        stop.store(true, Ordering::Release);
        assert_eq!(watch.wait(&stop), None);
    }
}
