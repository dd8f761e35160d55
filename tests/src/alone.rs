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
/// and what it leaves in temporary folders lies in this one.
pub fn alone(test: &str, folder: &Path) -> Command {
    let program = std::env::current_exe().expect("a test knows its path");
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(ALONE, "1").env("TMPDIR", folder);
    // Without them there is no place for compiled code.
    command.env_remove("HOME").env_remove("XDG_CACHE_HOME");
    command
}
