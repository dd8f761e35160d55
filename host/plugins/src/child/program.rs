//! Finds the program that child processes run: `millstream` itself.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The file of the program, where whoever runs here is none and knows where it is.
static NAMED: OnceLock<PathBuf> = OnceLock::new();

/// The command `millstream`.
pub struct Program {
    /// Its file.
    pub file: PathBuf,
    /// Whether it is the one that runs here, so that both are of one version.
    pub is_this: bool,
}

impl Program {
    const NAME: &str = "millstream";

    /// From now on it is this file, and nothing else takes its place. The first word counts.
    pub fn name(file: PathBuf) {
        let _ = NAMED.set(file);
    }

    /// Whether somebody has said which file it is.
    pub fn is_named() -> bool {
        NAMED.get().is_some()
    }

    /// That which was named; else this program where it is `millstream`, else one beside it or one folder up.
    pub fn find() -> Option<Program> {
        if let Some(file) = NAMED.get() {
            return Some(Program { file: file.clone(), is_this: false });
        }
        let this = std::env::current_exe().ok()?;
        if this.file_name()? == Program::NAME {
            return Some(Program { file: this, is_this: true });
        }
        // Another version was installed meanwhile. This one has no name any more, and is still there.
        if this.file_name()?.to_str()?.strip_suffix(" (deleted)") == Some(Program::NAME) {
            return Some(Program { file: "/proc/self/exe".into(), is_this: true });
        }
        let folder = this.parent()?;
        let places = [Some(folder), folder.parent()];
        let files = places.into_iter().flatten().map(|folder| folder.join(Program::NAME));
        files.into_iter().find(|file| Path::is_file(file)).map(|file| Program { file, is_this: false })
    }
}
