//! A directory that becomes the root of an unprivileged user.

use super::{WITHIN, stdout_of, words};
use millstream_tests::{Ended, Process, root};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Whom images run as, and tests.
pub const USER: u32 = 65532;

/// The exit code of `scripts/dist/root.sh` if changing the root is not permitted.
const CANNOT: i32 = 77;

/// A directory with some files of a system.
pub struct Root {
    dir: TempDir,
}

impl Root {
    /// A root with only `/tmp`.
    pub fn new() -> Root {
        let dir = TempDir::new().unwrap();
        // Others may go through it, as through every root.
        stdout_of(Command::new("chmod").arg("755").arg(dir.path()));
        stdout_of(Command::new("install").args(["-d", "-m", "1777"]).arg(dir.path().join("tmp")));
        Root { dir }
    }

    /// The outside path of an inside path.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.dir.path().join(inside.trim_start_matches('/'))
    }

    /// Copies a file or directory there and creates its parent directories.
    pub fn copy(&self, from: &Path, inside: &str) {
        let to = self.path(inside);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        stdout_of(Command::new("cp").args(["-r", "--dereference"]).args([from, &to]));
    }

    /// Puts the libraries of a program there, and its loader.
    pub fn copy_libraries_of(&self, program: &Path) {
        let output = stdout_of(Command::new("ldd").arg(program));
        for library in output.split_whitespace().filter(|word| word.starts_with('/')) {
            self.copy(Path::new(library), library);
        }
    }

    /// Runs a command in it as this user, who may write to `home`. `None`, after a message, if this machine does not permit that.
    pub fn run(&self, user: u32, home: &str, command: &[&str]) -> Option<Ended> {
        let mut script = Command::new(root().join("scripts/dist/root.sh"));
        script.arg(self.dir.path()).args([&user.to_string(), home]).args(command);
        let ended = Process::start(&mut script).wait_within(WITHIN);
        if ended.code == Some(CANNOT) {
            eprintln!("NOT TESTED: nobody may have another root here");
            return None;
        }
        Some(ended)
    }

    /// Runs the demo's job in this directory of the root with that program, and compares the counts.
    #[track_caller]
    pub fn counts(&self, user: u32, home: &str, command: &[&str], results: &str) {
        let Some(ended) = self.run(user, home, command) else { return };
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        assert!(!ended.stderr.contains("WARN"), "{}", ended.stderr);
        assert_eq!(super::counted(&self.path(results)), words());
    }
}
