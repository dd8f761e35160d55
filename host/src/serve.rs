//! Plugins for other engines. A client of a small protocol on a Unix socket names a plugin, sends tables as Arrow IPC
//! streams, and receives the plugin's results. `docs/reference/serve-protocol.md` describes the protocol. It is a thin
//! layer over `hosting`, which Python also uses to call plugins. This module limits clients and is robust against them:
//!
//! - the socket is private to this user, and managed by `socket`;
//! - one thread per connection reads frames (`frame`), parses them (`message`), and answers them in turn (`conversation`);
//! - plugins are loaded once for all connections that name the same (`plugins`), and `tables` reads and writes tables.

mod conversation;
mod frame;
mod message;
mod plugins;
mod room;
mod socket;
mod tables;

use conversation::Conversation;
use millstream_base::error::{Error, Result};
use millstream_base::{memory, private, shown, threads, units};
use plugins::Plugins;
use room::Rooms;
use socket::Socket;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

/// Default and maximum bytes of a frame.
pub const FRAME_BYTES: u64 = 64 << 20;
const FRAME_BYTES_MAX: u64 = 512 << 20;
/// Default and maximum number of connections.
pub const CONNECTIONS: usize = 64;
const CONNECTIONS_MAX: usize = 1024;

/// The options of a server.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The path of the socket.
    pub socket: PathBuf,
    /// Whether the server ends when standard input does.
    pub with_parent: bool,
    /// Maximum number of connections.
    pub connections_max: usize,
    /// Maximum bytes of a frame.
    pub frame: Option<String>,
    /// The memory budget.
    pub memory: Option<String>,
}

/// The shared state of all connections.
struct ServerState {
    plugins: Plugins,
    frame_bytes_max: usize,
    rooms: Arc<Rooms>,
    open: AtomicUsize,
}

/// Serves until a signal, or the end of standard input if that was requested.
pub fn run(options: &ServeOptions, ready: impl FnOnce() -> Result<()>) -> Result<()> {
    let size = |what: &str, text: &Option<String>| {
        text.as_deref().map(units::size).transpose().map_err(|cause| Error::job(format!("{what}: {cause}")))
    };
    let frame_bytes = size("--frame", &options.frame)?.unwrap_or(FRAME_BYTES);
    if !(4096..=FRAME_BYTES_MAX).contains(&frame_bytes) {
        return Err(Error::job("--frame: write a size from 4KiB to 512MiB"));
    }
    if !(1..=CONNECTIONS_MAX).contains(&options.connections_max) {
        return Err(Error::job(format!("--connections: write a number from 1 to {CONNECTIONS_MAX}")));
    }
    // First, as it temporarily changes the permissions of new files.
    let socket = Socket::take(&options.socket)?;
    memory::limit(size("--memory", &options.memory)?, 1)?;
    let frame_bytes_max = usize::try_from(frame_bytes).unwrap_or(usize::MAX);
    let rooms = Rooms::new(frame_bytes_max);
    let served = Arc::new(ServerState { plugins: Plugins::new()?, frame_bytes_max, rooms, open: AtomicUsize::new(0) });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::environment(format!("cannot wait for connections: {error}")))?;
    runtime.block_on(accept_all(&socket, options, &served, ready))
}

async fn accept_all(
    socket: &Socket,
    options: &ServeOptions,
    served: &Arc<ServerState>,
    ready: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let failed = |error: io::Error| Error::environment(format!("{}: {error}", options.socket.display()));
    let listener = UnixListener::from_std(socket.listener()?).map_err(failed)?;
    let mut term = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let parent = parent_exit(options.with_parent)?;
    ready()?;
    loop {
        tokio::select! {
            _ = term.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            // The parent sends nothing, so the only event is its end.
            _ = parent.notified() => return Ok(()),
            come = listener.accept() => match come {
                Ok((stream, _)) => {
                    // The permissions of the socket already exclude others. This is a second barrier.
                    let is_own = stream.peer_cred().is_ok_and(|peer| [0, private::user()].contains(&peer.uid()));
                    if let (true, Ok(stream)) = (is_own, stream.into_std()) {
                        serve(stream, served, options.connections_max);
                    }
                }
                // For example too many open files. Open connections continue, and may close.
                Err(error) => {
                    tracing::warn!("a connection could not be accepted: {error}");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            },
        }
    }
}

/// Returns a notification for the end of standard input, if requested: its other end has exited, in whatever way.
fn parent_exit(counts: bool) -> Result<Arc<tokio::sync::Notify>> {
    let closed_notice = Arc::new(tokio::sync::Notify::new());
    if counts {
        let (ended_notice, panicked) = (closed_notice.clone(), closed_notice.clone());
        let wait = move || {
            let mut bytes = [0; 1024];
            while io::stdin().read(&mut bytes).is_ok_and(|count| count > 0) {}
            ended_notice.notify_one();
        };
        let failed = move |_| panicked.notify_one();
        threads::start("millstream-serve-parent", "the thread that reads standard input", failed, wait)?;
    }
    Ok(closed_notice)
}

/// Counts a connection among the open ones until it is dropped.
struct ConnectionPermit(Arc<ServerState>);

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves a connection on its own thread.
fn serve(stream: UnixStream, served: &Arc<ServerState>, connections_max: usize) {
    let are_open = served.open.fetch_add(1, Ordering::Relaxed);
    let permit = ConnectionPermit(served.clone());
    if are_open >= connections_max {
        let full = format!("{connections_max} connections are open, which is the maximum; raise it with --connections");
        conversation::reject(&stream, &Error::environment(full));
        return;
    }
    let work = move || {
        if let Err(error) = stream.set_nonblocking(false) {
            return tracing::warn!("a connection cannot be used: {error}");
        }
        Conversation::new(&permit.0, stream).run();
    };
    let failed = |error: Error| tracing::error!("{}", shown::message(&error.to_string()));
    if let Err(error) = threads::start("millstream-serve-connection", "a connection", failed, work) {
        tracing::warn!("{}", shown::message(&error.to_string()));
    }
}
