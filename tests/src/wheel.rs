//! The Python package, as `make wheel` made it, in an environment of its own.

use crate::{Process, root};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What the environment is made of may have to be fetched.
const MADE_WITHIN: Duration = Duration::from_secs(900);

/// A Python that has the package.
///
/// # Panics
/// Nobody has made the wheel.
pub fn python_with_wheel() -> Command {
    let made = crate::millstream().parent().and_then(Path::parent).map(|target| target.join("wheel"));
    let made = made.expect("the program lies in a build folder");
    let wheels =
        std::fs::read_dir(&made).map(|entries| entries.flatten().map(|entry| entry.path()).collect::<Vec<_>>());
    let is_wheel = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "whl");
    let wheel = wheels.ok().and_then(|wheels| wheels.into_iter().find(is_wheel));
    let wheel = wheel.unwrap_or_else(|| panic!("there is no wheel in {}: `make wheel` makes it", made.display()));
    let mut script = Command::new(root().join("scripts/wheel-python.sh"));
    let ended = Process::start(script.arg(wheel).arg(made.with_file_name("python"))).wait_within(MADE_WITHIN);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let mut python = Command::new(ended.stdout.trim());
    python.current_dir(root().join("tests/python"));
    // Where this stands, compiled modules of the tests need not.
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    python
}
