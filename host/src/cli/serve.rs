//! `millstream serve`: runs plugins for other engines, on a Unix socket.

use super::output::show;
use crate::serve::{self, CONNECTIONS, ServeOptions};
use clap::Args;
use millstream_base::error::Result;
use millstream_base::shown::harmless;
use std::path::PathBuf;

/// The arguments of `millstream serve`.
#[derive(Args)]
#[command(after_long_help = "\
A client names a plugin, sends tables as Arrow IPC streams, and receives what the
plugin returns for them; docs/reference/serve-protocol.md describes the protocol. Only
the user can open the socket (mode 0600). It replaces a socket that a killed
process left, and is removed at the end: on SIGTERM, on Ctrl-C, or, with
--with-parent, when standard input ends.

  millstream serve --socket /tmp/plugins.sock")]
pub struct ServeArguments {
    /// Path of the socket
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Exit when standard input ends
    ///
    /// It ends when the process at its other end has exited.
    #[arg(long)]
    with_parent: bool,
    /// Maximum number of open connections
    #[arg(long, value_name = "NUMBER", default_value_t = CONNECTIONS)]
    connections: usize,
    /// Maximum size of a frame (default: 64MiB)
    #[arg(long, value_name = "SIZE")]
    frame: Option<String>,
    /// Memory budget, for example 1GiB
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
}

/// Serves until it is stopped.
pub fn serve(arguments: ServeArguments) -> Result<()> {
    let ServeArguments { socket, with_parent, connections, frame, memory } = arguments;
    let notice = format!("serving plugins on {}\n", harmless(&socket.display().to_string(), usize::MAX));
    let options = ServeOptions { socket, with_parent, connections_max: connections, frame, memory };
    // This line signals that clients can connect.
    serve::run(&options, || show(&notice))
}
