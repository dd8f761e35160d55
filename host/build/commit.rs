//! Which commit the program is made of, for `millstream --version`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, io};

/// Says which commit it is, for a checkout that is not one of git, such as an archive of the sources.
const GIVEN: &str = "MILLSTREAM_COMMIT";

/// How long what somebody gives may be.
const GIVEN_LETTERS_MAX: usize = 64;

/// What the program is made of, from the top of the checkout. A change of other files, such as tests, does not change it.
const SOURCES: [&str; 16] = [
    "Cargo.lock",
    "Cargo.toml",
    "host/Cargo.toml",
    "host/base",
    "host/build",
    "host/build.rs",
    "host/connectors",
    "host/engine",
    "host/hosting",
    "host/metrics",
    "host/packages",
    "host/plugins",
    "host/runtime",
    "host/sql",
    "host/src",
    "wit",
];

/// The SDKs are watched by what copies them.
const SDKS: &str = "sdk";

/// Tells the compiler the commit and whether sources differ from it (`changed` or nothing), and cargo when to ask again: when
/// the checkout is at another commit, or a source was changed. Nothing else makes cargo build the program anew.
pub fn tell() -> io::Result<()> {
    println!("cargo::rerun-if-env-changed={GIVEN}");
    let top = Path::new("..");
    let (commit, changed) = match env::var(GIVEN) {
        Ok(given) if !given.is_empty() => (checked(given)?, false),
        _ => match git(top, &["rev-parse", "HEAD"]) {
            Some(commit) => {
                watch(top);
                (commit, is_changed(top))
            }
            None => ("unknown".to_owned(), false),
        },
    };
    println!("cargo::rustc-env=MILLSTREAM_BUILT_FROM={commit}");
    println!("cargo::rustc-env=MILLSTREAM_BUILT_FROM_CHANGED={}", if changed { "changed" } else { "" });
    Ok(())
}

fn checked(given: String) -> io::Result<String> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || ".+-".contains(letter);
    if given.len() <= GIVEN_LETTERS_MAX && given.chars().all(plain) {
        return Ok(given);
    }
    Err(io::Error::other(format!(
        "{GIVEN} is to name a commit: at most {GIVEN_LETTERS_MAX} letters, digits, and any of `.+-`"
    )))
}

/// What git answers; `None`: there is no git, or this is no checkout of its own. Git looks in the folders above as well, and what
/// it finds there would be the commit of something else.
fn git(top: &Path, arguments: &[&str]) -> Option<String> {
    if !top.join(".git").exists() {
        return None;
    }
    // Without optional locks it writes nothing, so that asking changes no file that anybody watches.
    let asked = Command::new("git").arg("--no-optional-locks").args(arguments).current_dir(top).output().ok()?;
    let answer = String::from_utf8(asked.stdout).ok()?;
    asked.status.success().then(|| answer.trim().to_owned())
}

fn is_changed(top: &Path) -> bool {
    let mut arguments = vec!["status", "--porcelain", "--"];
    arguments.extend(SOURCES);
    arguments.push(SDKS);
    git(top, &arguments).is_none_or(|changes| !changes.is_empty())
}

/// The files that differ when the checkout is at another commit, and the sources. Only such as are there: cargo would ask each
/// time for a file that is missing.
fn watch(top: &Path) {
    let file_of = |name: &str| Some(top.join(git(top, &["rev-parse", "--git-path", name])?));
    let head = file_of("HEAD");
    let branch = git(top, &["symbolic-ref", "--quiet", "HEAD"]);
    let mut moved: Vec<PathBuf> = head.into_iter().collect();
    if let Some(branch) = branch {
        match file_of(&branch).filter(|file| file.exists()) {
            Some(file) => moved.push(file),
            // The branch is packed with others. The next commit makes a file of its own for it, and a line of the log.
            None => moved.extend(["packed-refs", "logs/HEAD"].into_iter().filter_map(file_of)),
        }
    }
    moved.extend(SOURCES.map(|source| top.join(source)));
    for path in moved.iter().filter(|path| path.exists()) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}
