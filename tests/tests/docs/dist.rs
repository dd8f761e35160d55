//! The results of `make dist` can be installed. Each archive is unpacked into an empty directory, which becomes the root of an
//! unprivileged user, who runs the demo there. And the pages about it are true.

mod archives;
mod image;
mod page;
mod root;
mod service;
mod shells;

use millstream_tests::{Process, millstream, root};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;

/// Compressing and unpacking takes longer on a busy machine.
const WITHIN: Duration = Duration::from_secs(300);

/// The output of `scripts/dist/make.sh`.
struct Made {
    dir: TempDir,
}

impl Made {
    /// Built once for all tests.
    fn once() -> &'static Made {
        static MADE: OnceLock<Made> = OnceLock::new();
        MADE.get_or_init(Made::anew)
    }

    fn anew() -> Made {
        let dir = TempDir::new().unwrap();
        let mut command = Command::new(root().join("scripts/dist/make.sh"));
        stdout_of(command.arg(millstream()).arg(dir.path()).arg("quick"));
        Made { dir }
    }

    /// The only archive whose name ends like this.
    #[track_caller]
    fn archive(&self, end: &str) -> PathBuf {
        let names = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let found: Vec<PathBuf> = names.filter(|path| path.to_str().unwrap().ends_with(end)).collect();
        assert_eq!(found.len(), 1, "so many archives end with {end}");
        found[0].clone()
    }

    /// The tarball, unpacked in its own directory.
    fn unpacked(&self) -> (TempDir, PathBuf) {
        let around = TempDir::new().unwrap();
        stdout_of(Command::new("tar").arg("-xzf").arg(self.archive(".tar.gz")).arg("-C").arg(around.path()));
        let inside: Vec<PathBuf> = fs::read_dir(around.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(inside.len(), 1, "it unpacks into one folder: {inside:?}");
        (around, inside[0].clone())
    }
}

/// Runs a command that must do; its standard output.
#[track_caller]
fn stdout_of(command: &mut Command) -> String {
    let ended = Process::start(command).wait_within(WITHIN);
    assert_eq!(ended.code, Some(0), "{command:?}\n{}{}", ended.stdout, ended.stderr);
    ended.stdout
}

/// Whether this machine has a program. If not, it is reported, as something is not tested then.
fn has(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).any(|dir| dir.join(program).is_file());
    if !found {
        eprintln!("NOT TESTED: there is no {program} here");
    }
    found
}

/// The count of each word in the demo's text.
fn words() -> BTreeMap<String, u64> {
    let mut words = BTreeMap::new();
    for word in fs::read_to_string(root().join("demo/text.txt")).unwrap().split_whitespace() {
        *words.entry(word.to_owned()).or_default() += 1;
    }
    words
}

/// The last count of each word, from the output of the demo's job `kept.toml` in this directory.
#[track_caller]
fn counted(results: &Path) -> BTreeMap<String, u64> {
    let entries = fs::read_dir(results).unwrap_or_else(|error| panic!("{}: {error}", results.display()));
    let mut parts: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    parts.retain(|path| path.extension().is_some_and(|kind| kind == "csv"));
    parts.sort();
    let mut counts = BTreeMap::new();
    for part in parts {
        for line in fs::read_to_string(&part).unwrap().lines().skip(1) {
            let (word, count) = line.rsplit_once(',').unwrap_or_else(|| panic!("{}: {line}", part.display()));
            let quoted = word.strip_prefix('"').and_then(|word| word.strip_suffix('"'));
            let word = quoted.map_or_else(|| word.to_owned(), |word| word.replace("\"\"", "\""));
            counts.insert(word, count.parse().unwrap());
        }
    }
    counts
}
