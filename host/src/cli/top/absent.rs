//! Replaces the terminal view of a job in builds without it.

use clap::Args;
use millstream_base::built;
use millstream_base::error::{Error, Result};
use std::path::PathBuf;

/// The arguments of `millstream top`.
#[derive(Args)]
pub struct TopArguments {
    /// Path of the job file
    _job: PathBuf,
}

/// Fails, as the view does not exist in this build.
pub fn top(_arguments: &TopArguments) -> Result<()> {
    Err(Error::job(built::absent("`millstream top`", "top")))
}
