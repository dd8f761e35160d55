//! `millstream serve`: plugins for other engines, on a Unix socket.

use super::output::show;
use crate::serve::{self, CONNECTIONS, ServeOptions};
use clap::Args;
use millstream_base::error::Result;
use millstream_base::shown::harmless;
use std::path::PathBuf;

/// The arguments of `millstream serve`.
#[derive(Args)]
#[command(after_long_help = "\
Whoever connects names a plugin, sends tables as streams of Arrow IPC, and gets
back what the plugin made of them; docs/reference/serve-protocol.md describes the
protocol. The socket is its user's alone (mode 0600), replaces one that a killed
process left, and is removed at the end: by SIGTERM, Ctrl-C, or, with
--with-parent, when standard input ends.

  millstream serve --socket /tmp/plugins.sock")]
pub struct ServeArguments {
    /// Where the socket is made
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// End when standard input does, as it does when the process that holds its other end is gone
    #[arg(long)]
    with_parent: bool,
    /// How many connections may be open at once
    #[arg(long, value_name = "NUMBER", default_value_t = CONNECTIONS)]
    connections: usize,
    /// How large a frame may be (default: 64MiB)
    #[arg(long, value_name = "SIZE")]
    frame: Option<String>,
    /// The budget of memory, as 1GiB
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
}

/// Serves until it is told to end.
pub fn serve(arguments: ServeArguments) -> Result<()> {
    let ServeArguments { socket, with_parent, connections, frame, memory } = arguments;
    let told = format!("serving plugins on {}\n", harmless(&socket.display().to_string(), usize::MAX));
    let options = ServeOptions { socket, with_parent, connections_max: connections, frame, memory };
    // A line for whoever waits until it can connect.
    serve::run(&options, || show(&told))
}
