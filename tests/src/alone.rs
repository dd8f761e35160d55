//! Tests that need their own process: they measure the process as a unit, or it may not survive.

use std::path::Path;
use std::process::Command;

/// Set in the process that a test has for itself.
const ALONE: &str = "MILLSTREAM_TEST_ALONE";

/// Whether this is the process that a test has for itself.
pub fn is_alone() -> bool {
    std::env::var_os(ALONE).is_some()
}

/// Returns a command that runs one test of this program in its own process, in which [`is_alone`] is true. The process keeps no
/// compiled code and compiles in-process: thousands of processes that compile a few bytes each would take most of the time. Its
/// temporary files go into `dir`.
pub fn alone(test: &str, dir: &Path) -> Command {
    let this = std::env::current_exe().expect("a test knows its path");
    // `millstream` compiles in a separate process if it finds the program next to the caller's; from here it does not.
    let program = dir.join("test");
    if std::fs::hard_link(&this, &program).is_err() {
        std::fs::copy(&this, &program).expect("a file can be copied");
    }
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(ALONE, "1").env("TMPDIR", dir);
    // Without these variables there is no cache directory for compiled code.
    command.env_remove("HOME").env_remove("XDG_CACHE_HOME").env("MILLSTREAM_CONFIG", dir.join("settings"));
    command
}
