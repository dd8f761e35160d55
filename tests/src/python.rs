//! Python with packages that single tests need.

use crate::{Process, root};
use std::process::Command;
use std::time::Duration;

/// What scripts fetch takes its time.
const FETCHED_WITHIN: Duration = Duration::from_secs(900);

/// A Python that finds these packages of `scripts/pypi.sh`.
pub fn python_with(packages: &str) -> Command {
    let said = |command: &mut Command| Process::start(command).wait_within(FETCHED_WITHIN).stdout.trim().to_owned();
    let folder = said(Command::new(root().join("scripts/pypi.sh")).arg(packages));
    let mut command = Command::new(said(&mut Command::new(root().join("scripts/python.sh"))));
    command.env("PYTHONPATH", folder);
    command
}
