//! The Python package, as built by `make wheel`, in its own environment.

use crate::{Process, root};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Includes the time to download what the environment needs.
const MADE_WITHIN: Duration = Duration::from_secs(900);

/// Returns a Python with the package installed.
///
/// # Panics
/// If the wheel has not been built.
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
    // Python does not need to store compiled modules of the tests.
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    python
}
