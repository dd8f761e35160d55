//! Gathers what `millstream new` writes into projects, so that it becomes part of the program: for each language with an
//! SDK, its templates and the part of the SDK that a plugin needs. Also the commit, for `millstream --version`.

#[path = "build/commit.rs"]
mod commit;

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Files and directories of an SDK that no plugin needs: its tests, and the generator of its bindings.
const FOR_US: [&str; 7] = ["bindgen", "package-lock.json", "template", "test", "testdata", "tests", "tools"];

/// Suffixes of test files.
const TESTS: [&str; 3] = ["_test.go", ".test.ts", ".test.js"];

fn main() -> io::Result<()> {
    // Merges identical functions. There are many, as each crate compiles the generic code it uses. Of Rust's targets, only this one is
    // linked by lld; GNU ld does not know the option.
    if env::var("TARGET").as_deref() == Ok("x86_64-unknown-linux-gnu") {
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
    }
    let sdk = Path::new("../sdk");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    for to in ["sdk", "template"].map(|dir| out.join(dir)) {
        if to.exists() {
            fs::remove_dir_all(&to)?;
        }
        fs::create_dir_all(&to)?;
    }
    for language in ["rust", "python", "js", "go", "c"] {
        let from = sdk.join(language);
        copy(&from, &out.join("sdk").join(language), &|name| is_made(name) || is_for_us(name))?;
        copy(&from.join("template"), &out.join("template").join(language), &is_made)?;
        watch(&from)?;
    }
    commit::emit()
}

/// Returns whether tools create such files.
fn is_made(name: &str) -> bool {
    let hidden = name.starts_with('.') && name != ".gitignore";
    let made = ["Cargo.lock", "__pycache__", "build", "node_modules", "target"].contains(&name);
    hidden || made || name.ends_with(".wasm") || name.ends_with(".pyc") || name.ends_with(".egg-info")
}

fn is_for_us(name: &str) -> bool {
    FOR_US.contains(&name) || TESTS.iter().any(|end| name.ends_with(end))
}

/// Returns the entries of a directory that are not created by tools, with their names, and whether these are all.
fn entries(dir: &Path) -> io::Result<(Vec<(String, PathBuf)>, bool)> {
    let (mut kept, mut all) = (Vec::new(), true);
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_made(&name) {
            all = false;
        } else {
            kept.push((name, entry.path()));
        }
    }
    Ok((kept, all))
}

/// Lets cargo run this again when something changes in a directory, except for files that tools create in it.
/// Returns whether the directory itself is watched; otherwise its current entries are, one by one.
fn watch(dir: &Path) -> io::Result<bool> {
    if !dir.is_dir() {
        return Ok(true);
    }
    let (entries, mut complete) = entries(dir)?;
    for (_, path) in entries.iter().filter(|(_, path)| path.is_dir()) {
        complete &= watch(path)?;
    }
    if complete {
        println!("cargo::rerun-if-changed={}", dir.display());
    } else {
        let files = entries.iter().filter(|(_, path)| path.is_file());
        files.for_each(|(_, path)| println!("cargo::rerun-if-changed={}", path.display()));
    }
    Ok(complete)
}

/// Copies a directory, if it exists, except for what `left_out` selects.
fn copy(from: &Path, to: &Path, left_out: &dyn Fn(&str) -> bool) -> io::Result<()> {
    if !from.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for (name, path) in entries(from)?.0 {
        let to = to.join(&name);
        match path.is_dir() {
            _ if left_out(&name) => {}
            true => copy(&path, &to, left_out)?,
            false => fs::copy(&path, &to).map(drop)?,
        }
    }
    Ok(())
}
