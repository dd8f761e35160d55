//! `millstream ui`: a page about all jobs of a user that run on this machine.

use super::show_as_it_is;
use crate::error::Result;
use crate::page::{self, Jobs, PageOptions};
use clap::Args;
use std::path::PathBuf;
use std::thread;

/// The arguments of `millstream ui`.
#[derive(Args)]
#[command(after_help = "Ctrl-C ends it; jobs do not notice.")]
pub struct UiArguments {
    /// Where the page is served (default: a free port of 127.0.0.1). Other machines may only look with --ui-token-file
    #[arg(long = "ui", value_name = "ADDRESS")]
    address: Option<String>,
    /// A file with the token that the page asks for, mode 0600 (default: one is made, and printed with the address)
    #[arg(long = "ui-token-file", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Let the page stop jobs, give rejected rows back and upgrade plugins; without this it only shows
    #[arg(long = "ui-actions")]
    actions: bool,
}

/// Serves the page until somebody ends the process.
pub fn ui(arguments: &UiArguments) -> Result<()> {
    let UiArguments { address, token_file, actions } = arguments;
    let options = PageOptions { address: address.clone(), token_file: token_file.clone(), actions: *actions };
    let page = page::serve(&options, Jobs::of_user())?;
    show_as_it_is(&format!("{}\n", page.address))?;
    loop {
        thread::park();
    }
}
