//! Tests that take a process for themselves: what they measure is the whole process, and it may not survive.

use std::path::Path;
use std::process::Command;

/// Set in the process that a test has for itself.
const ALONE: &str = "MILLSTREAM_TEST_ALONE";

/// Whether this is the process that a test has for itself.
pub fn is_alone() -> bool {
    std::env::var_os(ALONE).is_some()
}

/// A command that runs one test of this program in a process of its own, in which [`is_alone`]. It keeps no compiled code,
/// and compiles by itself: thousands of processes that compile a few bytes each would take most of the time. What it leaves
/// in temporary folders lies in this one.
pub fn alone(test: &str, dir: &Path) -> Command {
    let this = std::env::current_exe().expect("a test knows its path");
    // `millstream` compiles in a process where it is found beside the program that asks; here it is not.
    let program = dir.join("test");
    if std::fs::hard_link(&this, &program).is_err() {
        std::fs::copy(&this, &program).expect("a file can be copied");
    }
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(ALONE, "1").env("TMPDIR", dir);
    // Without them there is no place for compiled code.
    command.env_remove("HOME").env_remove("XDG_CACHE_HOME").env("MILLSTREAM_CONFIG", dir.join("settings"));
    command
}
