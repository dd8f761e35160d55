//! Plugins for other engines: whoever speaks a small protocol on a Unix socket names a plugin, sends tables as streams of Arrow IPC, and
//! gets back what the plugin made of them. `docs/reference/serve-protocol.md` describes the protocol. It is a thin layer over
//! `hosting`, by which Python calls plugins too; what is here bounds and survives those who connect:
//!
//! - the socket is this user's alone, taken and given up by `socket`;
//! - a thread for each connection reads frames (`frame`), knows what they ask (`message`), and answers them in turn (`conversation`);
//! - plugins are loaded once for all connections that name the same (`plugins`), and tables are read and written by `tables`.

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

/// Bytes of a frame, unless somebody says otherwise, and at most.
pub const FRAME_BYTES: u64 = 64 << 20;
const FRAME_BYTES_MAX: u64 = 512 << 20;
/// Connections at once, unless somebody says otherwise, and at most.
pub const CONNECTIONS: usize = 64;
const CONNECTIONS_MAX: usize = 1024;

/// What is to be served.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Where the socket is made.
    pub socket: PathBuf,
    /// Whether all ends when standard input does.
    pub with_parent: bool,
    /// Connections at once.
    pub connections_max: usize,
    /// Bytes of a frame.
    pub frame: Option<String>,
    /// The budget of memory.
    pub memory: Option<String>,
}

/// What all connections of the server share.
struct ServerState {
    plugins: Plugins,
    frame_bytes_max: usize,
    rooms: Arc<Rooms>,
    open: AtomicUsize,
}

/// Serves until a signal, or the end of standard input where that is asked for.
pub fn run(options: &ServeOptions, ready: impl FnOnce() -> Result<()>) -> Result<()> {
    let size = |what: &str, text: &Option<String>| {
        text.as_deref().map(units::size).transpose().map_err(|words| Error::job(format!("{what}: {words}")))
    };
    let frame_bytes = size("--frame", &options.frame)?.unwrap_or(FRAME_BYTES);
    if !(4096..=FRAME_BYTES_MAX).contains(&frame_bytes) {
        return Err(Error::job("--frame: between 4KiB and 512MiB"));
    }
    if !(1..=CONNECTIONS_MAX).contains(&options.connections_max) {
        return Err(Error::job(format!("--connections: between 1 and {CONNECTIONS_MAX}")));
    }
    // First, as it changes for a moment which rights new files get.
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
    let parent = parent_gone(options.with_parent)?;
    ready()?;
    loop {
        tokio::select! {
            _ = term.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            // Whoever holds the other end of it says nothing, so all that comes is that it has ended.
            _ = parent.notified() => return Ok(()),
            come = listener.accept() => match come {
                Ok((stream, _)) => {
                    // The rights of the socket keep others out; this is a second lock.
                    let is_own = stream.peer_cred().is_ok_and(|peer| [0, private::user()].contains(&peer.uid()));
                    if let (true, Ok(stream)) = (is_own, stream.into_std()) {
                        serve(stream, served, options.connections_max);
                    }
                }
                // As of too many open files: those that are there go on, and then there is room again.
                Err(error) => {
                    tracing::warn!("a connection could not be taken: {error}");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            },
        }
    }
}

/// Told when standard input has ended, where that counts: so whoever holds the other end of it is gone, by whatever way it ended.
fn parent_gone(counts: bool) -> Result<Arc<tokio::sync::Notify>> {
    let gone = Arc::new(tokio::sync::Notify::new());
    if counts {
        let (told, panicked) = (gone.clone(), gone.clone());
        let wait = move || {
            let mut bytes = [0; 1024];
            while io::stdin().read(&mut bytes).is_ok_and(|count| count > 0) {}
            told.notify_one();
        };
        let failed = move |_| panicked.notify_one();
        threads::start("millstream-serve-parent", "the thread that reads standard input", failed, wait)?;
    }
    Ok(gone)
}

/// Counts a connection among the open ones until this is dropped.
struct ConnectionPermit(Arc<ServerState>);

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves a connection on a thread of its own.
fn serve(stream: UnixStream, served: &Arc<ServerState>, connections_max: usize) {
    let are_open = served.open.fetch_add(1, Ordering::Relaxed);
    let place = ConnectionPermit(served.clone());
    if are_open >= connections_max {
        let full = format!("{connections_max} connections are open, which is the most; --connections allows more");
        conversation::refuse(&stream, &Error::environment(full));
        return;
    }
    let work = move || {
        if let Err(error) = stream.set_nonblocking(false) {
            return tracing::warn!("a connection cannot be used: {error}");
        }
        Conversation::new(&place.0, stream).hold();
    };
    let failed = |error: Error| tracing::error!("{}", shown::message(&error.to_string()));
    if let Err(error) = threads::start("millstream-serve-connection", "a connection", failed, work) {
        tracing::warn!("{}", shown::message(&error.to_string()));
    }
}
