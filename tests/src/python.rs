//! Python with packages that single tests need.

use crate::{Process, root};
use std::process::Command;
use std::time::Duration;

/// Includes the time of downloads by scripts.
const FETCHED_WITHIN: Duration = Duration::from_secs(900);

/// A Python that finds these packages of `scripts/pypi.sh`.
pub fn python_with(packages: &str) -> Command {
    let mut command = Command::new(output_of(&mut Command::new(root().join("scripts/python.sh"))));
    command.env("PYTHONPATH", packages_of_python(packages));
    command
}

/// The directory of a set of packages that `scripts/pypi.sh` downloads.
pub fn packages_of_python(packages: &str) -> String {
    output_of(Command::new(root().join("scripts/pypi.sh")).arg(packages))
}

fn output_of(command: &mut Command) -> String {
    Process::start(command).wait_within(FETCHED_WITHIN).stdout.trim().to_owned()
}
