//! What git keeps is what somebody wrote: no file that a build makes.

use std::path::Path;
use std::process::Command;

/// Endings of files that compilers and interpreters leave behind. WebAssembly is not among them: tests keep components of old
/// toolchains.
const MADE: [&str; 10] = ["a", "class", "dll", "exe", "o", "pyc", "pyo", "rlib", "rmeta", "so"];

/// What `git ls-files` tells of this repository.
fn listed(arguments: &[&str]) -> Vec<String> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let mut git = Command::new("git");
    let output = git.args(["--no-optional-locks", "ls-files"]).args(arguments).current_dir(root).output().expect("git");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Whether a file is made by a build, by its name.
fn is_made(file: &str) -> bool {
    let file = Path::new(file);
    let ending = file.extension().map(|ending| ending.to_string_lossy().into_owned());
    file.iter().any(|part| part == "__pycache__" || part == "node_modules")
        || ending.is_some_and(|ending| MADE.contains(&ending.as_str()))
}

#[test]
fn no_tracked_file_is_made_by_a_build() {
    let all = listed(&[]);
    assert!(all.len() > 1_000, "{} files", all.len());
    let made: Vec<String> = all.into_iter().filter(|file| is_made(file)).collect();
    assert!(made.is_empty(), "`git rm --cached` these, which a build makes: {made:?}");
    let ignored = listed(&["--cached", "--ignored", "--exclude-standard"]);
    assert!(ignored.is_empty(), "`git rm --cached` these, which .gitignore names: {ignored:?}");
}

#[test]
fn files_of_builds_are_known_by_their_names() {
    let made = ["sdk/python/millstream/__pycache__/glue.cpython-314.pyc", "a/b.o", "x.class", "__pycache__/notes.txt"];
    assert!(made.into_iter().all(is_made));
    let written = ["Makefile", "tests/compat/old.wasm", "demo/words.txt", "host/src/main.rs", "a.so/text.md"];
    assert!(!written.into_iter().any(is_made));
}
