//! The connections between the processes of a job. Each process connects to those before it in `--hosts`, and accepts
//! connections from those after it.
//!
//! timely's own implementation writes to standard output, which belongs to `print` sinks, and trusts every client. Here
//! both ends of a connection use TLS, with certificates if configured, and prove that they know the job's key
//! (`hello`). Unauthenticated clients cost few resources (`port`). Data is sealed (`sealed`, `records`) and validated
//! before timely receives it (`message`).

mod port;
mod hello;
mod liveness;
mod message;
mod reach;
mod records;
mod sealed;
mod status;

pub use hello::Hello;
pub use liveness::Liveness;
pub use port::PeerPort;
pub use sealed::Sealed;
#[cfg(test)]
pub use sealed::pair;

use hello::ConnectionPurpose;
use liveness::WatchedPeer;
use message::Messages;
use millstream_base::error::{Error, Result};
use millstream_base::ids::{Generation, GenerationMeeting};
use millstream_base::threads::lost_connection;
use millstream_engine::running::Cluster;
use port::PeerConnection;
use reach::{PeerToReach, reach};
use status::{STATUS_TIMEOUT, Status};
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// How often the port is checked for being open.
const PORT_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The connections of a process to the others.
pub struct Connected {
    /// Dataflow connections by process. `None` for this process.
    pub sockets: Vec<Option<Sealed>>,
    /// The generation that process 0 has claimed.
    pub generation: Generation,
    /// For [`super::control`]: the process, and the connection for queries in both directions.
    pub questions: Vec<(usize, Sealed)>,
}

/// Opens the port of this process, which runs the job that `own` describes.
pub fn listen(cluster: &Cluster, own: Hello) -> Result<PeerPort> {
    let (process, processes) = (cluster.process, cluster.hosts.len());
    let Some(host) = cluster.hosts.get(process) else {
        return Err(Error::job(format!(
            "this is process {process}, but there are hosts for only {processes} processes (0 is the first)"
        )));
    };
    let (option, host) = cluster.listen.as_ref().map_or(("--hosts", host), |listen| ("--listen", listen));
    let listener = TcpListener::bind(host).map_err(|error| {
        Error::environment(format!(
            "process {process} cannot listen on {host}: {error}; stop the program that uses the address, or set \
            another one with {option}"
        ))
    })?;
    PeerPort::open(listener, own, cluster)
}

/// Connects to all other processes, and waits until they have started. `liveness` watches each from then on. Fails if a
/// running process has another job.
pub fn connect(cluster: &Cluster, own: Hello, port: PeerPort, liveness: &Liveness) -> Result<Connected> {
    let mut peers: Vec<Peer> = cluster.hosts.iter().map(|_| Peer::default()).collect();
    let mut generation = own.generation;
    // Every process opens its port before it connects, so no two processes can wait for each other.
    for process in 0..cluster.process.min(cluster.hosts.len()) {
        let (earlier, own_peers) = peers.split_at_mut_checked(process).unwrap_or_default();
        let Some(peer) = own_peers.first_mut() else { continue };
        let caller = PeerToReach { cluster, process, is_over: &|| earlier.iter().any(Peer::is_lost) };
        let knows = Hello { generation, ..own };
        let (socket, welcomed) = reach_same_start(&caller, knows, ConnectionPurpose::Dataflow)?;
        generation = welcomed;
        let knows = Hello { generation, ..own };
        peer.dataflow = Some(socket);
        peer.liveness = Some(liveness.watch(reach_same_start(&caller, knows, ConnectionPurpose::Liveness)?.0)?);
        peer.questions = Some(reach_same_start(&caller, knows, ConnectionPurpose::Questions)?.0);
    }
    if let Some((earlier, later)) = peers.split_at_mut_checked(cluster.process + 1) {
        accept_all(earlier, later, Hello { generation, ..own }, &port, liveness)?;
    }
    let (mut sockets, mut questions, mut watched, mut dataflow) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (process, peer) in peers.into_iter().enumerate() {
        watched.extend(peer.liveness);
        questions.extend(peer.questions.map(|link| (process, link)));
        if let Some(socket) = &peer.dataflow {
            let number = u32::try_from(process).unwrap_or(u32::MAX);
            socket.expect(Messages::between(number, own.process, own.workers));
            dataflow.push(socket.clone());
        }
        sockets.push(peer.dataflow);
    }
    liveness.all_connected(&watched, dataflow);
    Ok(Connected { sockets, generation, questions })
}

/// Calls [`reach`] until the other process belongs to the same start of the job. A process of an earlier startup detects
/// that its peers have exited, and reconnects. If the other process is of a later startup, this one must restart.
/// Generation 0 means that this process does not know one yet.
fn reach_same_start(caller: &PeerToReach<'_>, own: Hello, purpose: ConnectionPurpose) -> Result<(Sealed, Generation)> {
    loop {
        let reached = reach(caller, own, purpose)?;
        match own.generation.meets(reached.1) {
            GenerationMeeting::Same => return Ok(reached),
            GenerationMeeting::OtherIsOver if !(caller.is_over)() => {}
            _ => return Err(lost_connection()),
        }
        let process = caller.process;
        tracing::info!("process {process} belongs to a previous run of the job; waiting until it has exited");
        std::thread::sleep(PORT_CHECK_INTERVAL);
    }
}

/// The connections to another process.
#[derive(Default)]
struct Peer {
    dataflow: Option<Sealed>,
    liveness: Option<WatchedPeer>,
    questions: Option<Sealed>,
}

impl Peer {
    /// Returns whether it was connected and is lost.
    fn is_lost(&self) -> bool {
        self.liveness.as_ref().is_some_and(WatchedPeer::is_lost)
    }

    /// Returns whether it is alive and all its connections are open.
    fn is_connected(&self) -> bool {
        let is_open = |connection: &Option<Sealed>| connection.as_ref().is_some_and(|taken| !is_closed(taken.socket()));
        self.liveness.is_some() && !self.is_lost() && is_open(&self.dataflow) && is_open(&self.questions)
    }

    /// Returns whether it accepts a connection for this purpose. A peer without liveness connection is replaced, since
    /// its machine may be down.
    fn accepts(&self, purpose: ConnectionPurpose) -> bool {
        let is_free = |connection: &Option<Sealed>| connection.as_ref().is_none_or(|taken| is_closed(taken.socket()));
        match purpose {
            ConnectionPurpose::Dataflow => self.liveness.is_none() || is_free(&self.dataflow),
            ConnectionPurpose::Liveness => self.liveness.is_none(),
            ConnectionPurpose::Questions => is_free(&self.questions),
        }
    }
}

/// Waits until the processes after this one have connected. A process that died meanwhile may reconnect and replace
/// itself; its earlier connections do not count. If an already connected earlier process dies, this one fails too,
/// since its start would be over.
fn accept_all(earlier: &[Peer], later: &mut [Peer], own: Hello, port: &PeerPort, liveness: &Liveness) -> Result<()> {
    let missing = |later: &[Peer]| later.iter().filter(|peer| !peer.is_connected()).count();
    if missing(later) > 0 {
        tracing::info!("waiting for {} of {} processes", missing(later), own.processes);
    }
    port.ready();
    while missing(later) > 0 {
        if earlier.iter().any(Peer::is_lost) {
            return Err(lost_connection());
        }
        let admitted = port.next(PORT_CHECK_INTERVAL)?;
        for (peer, process) in later.iter_mut().zip(own.process + 1..).filter(|(peer, _)| peer.is_lost()) {
            tracing::warn!("process {process} has disconnected; waiting for it");
            *peer = Peer::default();
        }
        let Some(connection) = admitted else { continue };
        let (process, purpose) = (connection.hello.process, connection.purpose);
        if own.generation.meets(connection.hello.generation) == GenerationMeeting::OwnIsOver {
            return Err(lost_connection());
        }
        let index = (process as usize).checked_sub(own.process as usize + 1).and_then(|index| later.get_mut(index));
        let Some(peer) = index.filter(|peer| peer.accepts(purpose)) else {
            tracing::warn!("a second process {process} tried to join; it was rejected");
            // The client need not receive it.
            let _ = send_status(connection, Status::NumberTaken);
            continue;
        };
        match (send_status(connection, Status::Welcome(own.generation)), purpose) {
            (Ok(socket), ConnectionPurpose::Dataflow) => peer.dataflow = Some(socket),
            (Ok(socket), ConnectionPurpose::Questions) => peer.questions = Some(socket),
            (Ok(socket), ConnectionPurpose::Liveness) => peer.liveness = Some(liveness.watch(socket)?),
            (Err(error), _) => tracing::warn!("process {process} has disconnected: {error}"),
        }
    }
    Ok(())
}

/// Sends a process its status.
fn send_status(connection: PeerConnection, status: Status) -> io::Result<Sealed> {
    connection.socket.set_write_timeout(Some(STATUS_TIMEOUT))?;
    let mut sealed = Sealed::new(connection.socket, connection.seals);
    sealed.write_all(&status.bytes())?;
    sealed.socket().set_write_timeout(None)?;
    Ok(sealed)
}

/// Returns whether the other end of an unused connection has closed it.
fn is_closed(socket: &TcpStream) -> bool {
    if socket.set_nonblocking(true).is_err() {
        return true;
    }
    let seen = socket.peek(&mut [0]);
    let usable = socket.set_nonblocking(false).is_ok();
    match seen {
        Ok(0) => true,
        Ok(_) => !usable,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock || !usable,
    }
}

#[cfg(test)]
mod tests;
