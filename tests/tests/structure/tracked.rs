//! Files in git are written by people: no build output is tracked.

use std::path::Path;
use std::process::Command;

/// Extensions of files that compilers and interpreters write. WebAssembly is not among them: tests keep components of old
/// toolchains.
const MADE: [&str; 10] = ["a", "class", "dll", "exe", "o", "pyc", "pyo", "rlib", "rmeta", "so"];

/// Returns the output of `git ls-files` for this repository.
fn listed(arguments: &[&str]) -> Vec<String> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let mut git = Command::new("git");
    let output = git.args(["--no-optional-locks", "ls-files"]).args(arguments).current_dir(root).output().expect("git");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Whether a file is a build output, by its name.
fn is_build_output(file: &str) -> bool {
    let file = Path::new(file);
    let ending = file.extension().map(|ending| ending.to_string_lossy().into_owned());
    file.iter().any(|part| part == "__pycache__" || part == "node_modules")
        || ending.is_some_and(|ending| MADE.contains(&ending.as_str()))
}

#[test]
fn no_tracked_file_is_a_build_output() {
    let all = listed(&[]);
    assert!(all.len() > 1_000, "{} files", all.len());
    let made: Vec<String> = all.into_iter().filter(|file| is_build_output(file)).collect();
    assert!(made.is_empty(), "`git rm --cached` these, which a build makes: {made:?}");
    let ignored = listed(&["--cached", "--ignored", "--exclude-standard"]);
    assert!(ignored.is_empty(), "`git rm --cached` these, which .gitignore names: {ignored:?}");
}

#[test]
fn build_outputs_are_recognized_by_their_names() {
    let made = ["sdk/python/millstream/__pycache__/glue.cpython-314.pyc", "a/b.o", "x.class", "__pycache__/notes.txt"];
    assert!(made.into_iter().all(is_build_output));
    let written = ["Makefile", "tests/compat/old.wasm", "demo/words.txt", "host/src/main.rs", "a.so/text.md"];
    assert!(!written.into_iter().any(is_build_output));
}
