//! Finds the program that child processes run: `millstream` itself.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The path of the program, set by processes that are not the program itself.
static NAMED: OnceLock<PathBuf> = OnceLock::new();

/// The command `millstream`.
pub struct Program {
    /// The path of the program.
    pub file: PathBuf,
    /// Whether it is this process's own program, so that both have the same version.
    pub is_this: bool,
}

impl Program {
    const NAME: &str = "millstream";

    /// Sets the path of the program. The first call wins.
    pub fn name(file: PathBuf) {
        let _ = NAMED.set(file);
    }

    /// Whether the path was set.
    pub fn is_named() -> bool {
        NAMED.get().is_some()
    }

    /// Finds the program: the path that was set; otherwise this program if it is `millstream`; otherwise one next to it or one directory up.
    pub fn find() -> Option<Program> {
        if let Some(file) = NAMED.get() {
            return Some(Program { file: file.clone(), is_this: false });
        }
        let this = std::env::current_exe().ok()?;
        if this.file_name()? == Program::NAME {
            return Some(Program { file: this, is_this: true });
        }
        // Another version was installed meanwhile. The file of this one was deleted, but can still be executed.
        if this.file_name()?.to_str()?.strip_suffix(" (deleted)") == Some(Program::NAME) {
            return Some(Program { file: "/proc/self/exe".into(), is_this: true });
        }
        let dir = this.parent()?;
        let dirs = [Some(dir), dir.parent()];
        let files = dirs.into_iter().flatten().map(|dir| dir.join(Program::NAME));
        files.into_iter().find(|file| Path::is_file(file)).map(|file| Program { file, is_this: false })
    }
}
