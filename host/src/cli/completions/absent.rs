//! Replaces completions and manual pages in builds without them.

use clap::Args;
use millstream_base::built;
use millstream_base::error::{Error, Result};
use std::path::PathBuf;

/// The arguments of `millstream completions`.
#[derive(Args)]
pub struct CompletionsArguments {
    /// Name of the shell
    _shell: String,
}

/// The arguments of `millstream man-pages`.
#[derive(Args)]
pub struct ManPagesArguments {
    /// Directory
    #[arg(value_name = "DIR")]
    _dir: PathBuf,
}

/// Fails, as there is no script in this build.
pub fn completions(_arguments: &CompletionsArguments) -> Result<String> {
    Err(Error::job(built::absent("`millstream completions`", "author")))
}

/// Fails, as there are no pages in this build.
pub fn man_pages(_arguments: &ManPagesArguments) -> Result<String> {
    Err(Error::job(built::absent("`millstream man-pages`", "author")))
}
