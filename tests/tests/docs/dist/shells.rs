//! Completions, requested in each shell, and the manual, as its programs read it.

use super::{Made, has, stdout_of};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// The tarball, unpacked, and a path in it.
fn unpacked(inside: &str) -> (TempDir, PathBuf) {
    let (around, dir) = Made::once().unpacked();
    let path = dir.join(inside);
    assert!(path.exists(), "{}", path.display());
    (around, path)
}

/// A shell's completions must contain the one and not the other.
#[track_caller]
fn completes(message: &str) {
    assert!(message.split_whitespace().any(|word| word == "validate"), "{message}");
    assert!(!message.contains("compile-component") && !message.contains("version"), "{message}");
}

#[test]
fn bash_completes() {
    let (_around, script) = unpacked("share/bash-completion/completions/millstream");
    let ask = |strings: &str, at: usize| {
        let lines = format!(
            "source {}; COMP_WORDS=({strings}); COMP_CWORD={at}; _millstream millstream \"${{COMP_WORDS[COMP_CWORD]}}\" x; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        stdout_of(Command::new("bash").args(["--norc", "-c", &lines]))
    };
    completes(&ask("millstream va", 1));
    let options = ask("millstream run --un", 2);
    assert!(options.contains("--until-idle") && !options.contains("--unsupervised"), "{options}");
}

#[test]
fn zsh_completes() {
    let (_around, script) = unpacked("share/zsh/site-functions/_millstream");
    if !has("zsh") {
        return;
    }
    // A terminal of its own, as completion is for people.
    let lines = r#"
        zmodload zsh/zpty
        zpty shell zsh -f -i
        zpty -w shell "PS1=; fpath=($FOLDER \$fpath); autoload -U compinit; compinit -u -D; print -r READY"
        zpty -r shell told '*READY*READY*'
        zpty -n -w shell $'millstream va\t'
        zpty -r shell told '*validate*' && print -r -- validate
        zpty -d shell
    "#;
    let dir = script.parent().unwrap();
    let message = stdout_of(Command::new("zsh").args(["-f", "-c", lines]).env("FOLDER", dir).env("TERM", "dumb"));
    completes(&message);
    let text = fs::read_to_string(&script).unwrap();
    assert!(!text.contains("compile-component") && !text.contains("unsupervised"));
}

#[test]
fn fish_completes() {
    let (_around, script) = unpacked("share/fish/vendor_completions.d/millstream.fish");
    if !has("fish") {
        return;
    }
    let home = TempDir::new().unwrap();
    let lines = format!("source {}; complete --do-complete 'millstream va'", script.display());
    completes(&stdout_of(Command::new("fish").args(["--no-config", "-c", &lines]).env("HOME", home.path())));
}

/// Every command has a page, and `man` reports no errors in any.
#[test]
fn the_manual_is_complete() {
    let (_around, pages) = unpacked("share/man/man1");
    let mut names: Vec<String> =
        fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    for name in ["millstream.1", "millstream-run.1", "millstream-key.1", "millstream-key-new.1"] {
        assert!(names.contains(&name.to_owned()), "no {name} in {names:?}");
    }
    assert!(!names.iter().any(|name| name.contains("compile-component") || name.contains("ask-registry")), "{names:?}");
    let run = fs::read_to_string(pages.join("millstream-run.1")).unwrap();
    assert!(run.contains("until\\-idle") && !run.contains("unsupervised"), "{run}");
    if !has("man") {
        return;
    }
    for name in names {
        let mut man = Command::new("man");
        man.args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"]).arg(pages.join(&name)).env("MANWIDTH", "80");
        let message = man.output().unwrap();
        assert!(
            message.status.success() && message.stderr.is_empty(),
            "{name}: {}",
            String::from_utf8_lossy(&message.stderr)
        );
    }
}
