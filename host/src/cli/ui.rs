//! `millstream ui`: a page about all jobs of a user that run on this machine.

use super::output::show_as_it_is;
use crate::page::{self, Jobs, PageOptions};
use clap::Args;
use millstream_base::error::Result;
use std::path::PathBuf;
use std::thread;

/// The arguments of `millstream ui`.
#[derive(Args)]
#[command(after_help = "Ctrl-C ends it; jobs do not notice.")]
pub struct UiArguments {
    /// Where the page is served (default: a free port of 127.0.0.1). Other machines may only look with
    /// --ui-cert or --ui-token-file
    #[arg(long = "ui", value_name = "ADDRESS")]
    address: Option<String>,
    /// A file with the token that the page asks for, mode 0600 (default: one is made, and printed with the address)
    #[arg(long = "ui-token-file", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Serve the page with TLS: a file with a certificate and those of its issuers (PEM)
    #[arg(long = "ui-cert", value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The key of that certificate (PEM)
    #[arg(long = "ui-key", value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Let the page stop jobs, give rejected rows back and upgrade plugins; without this it only shows
    #[arg(long = "ui-actions")]
    actions: bool,
}

/// Serves the page until somebody ends the process.
pub fn ui(arguments: &UiArguments) -> Result<()> {
    let UiArguments { address, token_file, cert, key, actions } = arguments;
    let options = PageOptions {
        address: address.clone(),
        token_file: token_file.clone(),
        certificate: cert.clone().zip(key.clone()),
        actions: *actions,
    };
    let page = page::serve(&options, Jobs::of_user())?;
    show_as_it_is(&format!("{}\n", page.address))?;
    loop {
        thread::park();
    }
}
