//! `millstream ui`: serves a page about all jobs of a user that run on this machine.

use super::output::show_unescaped;
use crate::page::{self, Jobs, PageOptions};
use clap::Args;
use millstream_base::error::Result;
use std::path::PathBuf;
use std::thread;

/// The arguments of `millstream ui`.
#[derive(Args)]
#[command(after_help = "Ctrl-C stops the page; the jobs keep running.")]
pub struct UiArguments {
    /// Address of the page (default: a free port of 127.0.0.1)
    ///
    /// Clients on other machines need --ui-cert or --ui-token-file.
    #[arg(long = "ui", value_name = "ADDRESS")]
    address: Option<String>,
    /// File with the access token of the page, mode 0600
    ///
    /// By default a token is created and printed with the address.
    #[arg(long = "ui-token-file", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Serve the page with TLS, with this certificate chain (PEM)
    #[arg(long = "ui-cert", value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Private key of that certificate (PEM)
    #[arg(long = "ui-key", value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Let the page stop jobs, retry rejected rows and upgrade plugins
    ///
    /// Without it, the page is read-only.
    #[arg(long = "ui-actions")]
    actions: bool,
}

/// Serves the page until the process is stopped.
pub fn ui(arguments: &UiArguments) -> Result<()> {
    let UiArguments { address, token_file, cert, key, actions } = arguments;
    let options = PageOptions {
        address: address.clone(),
        token_file: token_file.clone(),
        certificate: cert.clone().zip(key.clone()),
        actions: *actions,
    };
    let page = page::serve(&options, Jobs::of_user())?;
    show_unescaped(&format!("{}\n", page.address))?;
    loop {
        thread::park();
    }
}
