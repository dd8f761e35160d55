//! The commit from which the program is built, for `millstream --version`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, io};

/// Environment variable with the commit, for sources that are not a git checkout, such as an archive.
const GIVEN: &str = "MILLSTREAM_COMMIT";

/// Maximum length of that variable.
const GIVEN_CHARS_MAX: usize = 64;

/// The sources of the program, from the top of the checkout. Changes of other files, such as tests, do not count.
const SOURCES: [&str; 19] = [
    "Cargo.lock",
    "Cargo.toml",
    "host/Cargo.toml",
    "host/base",
    "host/build",
    "host/build.rs",
    "host/connect",
    "host/connectors",
    "host/engine",
    "host/hosting",
    "host/job",
    "host/metrics",
    "host/packages",
    "host/plugins",
    "host/rows",
    "host/runtime",
    "host/sql",
    "host/src",
    "wit",
];

/// The SDKs, which are watched by the code that copies them.
const SDKS: &str = "sdk";

/// Passes the commit to the compiler, and whether sources differ from it (`changed` or nothing). Cargo runs this again when
/// the checkout is at another commit, or a source was changed. Nothing else causes a rebuild.
pub fn emit() -> io::Result<()> {
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
    let plain = |c: char| c.is_ascii_alphanumeric() || ".+-".contains(c);
    if given.len() <= GIVEN_CHARS_MAX && given.chars().all(plain) {
        return Ok(given);
    }
    Err(io::Error::other(format!(
        "{GIVEN} must be a commit: at most {GIVEN_CHARS_MAX} characters of a-z, A-Z, 0-9 and `.+-`"
    )))
}

/// Returns git's output; `None` if git is missing or this is not its own checkout. Git also searches parent directories, and
/// would return the commit of another repository.
fn git(top: &Path, arguments: &[&str]) -> Option<String> {
    if !top.join(".git").exists() {
        return None;
    }
    // Without optional locks git writes nothing, so this changes no watched file.
    let result = Command::new("git").arg("--no-optional-locks").args(arguments).current_dir(top).output().ok()?;
    let reply = String::from_utf8(result.stdout).ok()?;
    result.status.success().then(|| reply.trim().to_owned())
}

fn is_changed(top: &Path) -> bool {
    let mut arguments = vec!["status", "--porcelain", "--"];
    arguments.extend(SOURCES);
    arguments.push(SDKS);
    git(top, &arguments).is_none_or(|changes| !changes.is_empty())
}

/// Watches the files that change with the checked-out commit, and the sources. Only existing ones: cargo would rebuild each
/// time for a missing file.
fn watch(top: &Path) {
    let file_of = |name: &str| Some(top.join(git(top, &["rev-parse", "--git-path", name])?));
    let head = file_of("HEAD");
    let branch = git(top, &["symbolic-ref", "--quiet", "HEAD"]);
    let mut moved: Vec<PathBuf> = head.into_iter().collect();
    if let Some(branch) = branch {
        match file_of(&branch).filter(|file| file.exists()) {
            Some(file) => moved.push(file),
            // The branch is a packed ref. The next commit creates its file, and a line of the log.
            None => moved.extend(["packed-refs", "logs/HEAD"].into_iter().filter_map(file_of)),
        }
    }
    moved.extend(SOURCES.map(|source| top.join(source)));
    for path in moved.iter().filter(|path| path.exists()) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}
