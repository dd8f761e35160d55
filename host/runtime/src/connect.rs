//! The connections between the processes of a job: each connects to those before it in `--hosts` and waits for those
//! after it. timely's own way of doing so writes to standard output, which belongs to `print` sinks, and trusts whoever
//! connects. Here both ends of each connection speak TLS, with certificates where they have such, and prove that they know the job's key
//! (`hello`), strangers cost nothing that matters (`port`), and what is sent is sealed (`sealed`, `records`) and looked at before
//! timely sees it (`message`).

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
use status::{STATUS_SILENCE_MAX, Status};
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// How often it is looked whether the port is still open.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The connections of a process with the others.
pub struct Connected {
    /// Those of the dataflow, by process; `None` for this one.
    pub sockets: Vec<Option<Sealed>>,
    /// The generation that process 0 has claimed.
    pub generation: Generation,
    /// For [`super::control`]: the process, and the connection on which it is asked and asks.
    pub questions: Vec<(usize, Sealed)>,
}

/// Opens the port of this process, which runs what `own` says.
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
            "process {process} cannot listen on {host}: {error}; stop what uses the address, or name another with {option}"
        ))
    })?;
    PeerPort::open(listener, own, cluster)
}

/// Connects with all other processes, for as long as it takes them to start; `liveness` watches over each from then on. An error where a
/// process that is there already runs something else.
pub fn connect(cluster: &Cluster, own: Hello, port: PeerPort, liveness: &Liveness) -> Result<Connected> {
    let mut peers: Vec<Peer> = cluster.hosts.iter().map(|_| Peer::default()).collect();
    let mut generation = own.generation;
    // The ports of all are open before anyone connects, so no two processes can wait for each other.
    for process in 0..cluster.process.min(cluster.hosts.len()) {
        let (earlier, own_place) = peers.split_at_mut_checked(process).unwrap_or_default();
        let Some(peer) = own_place.first_mut() else { continue };
        let caller = PeerToReach { cluster, process, is_over: &|| earlier.iter().any(Peer::is_lost) };
        let knows = Hello { generation, ..own };
        let (socket, welcomed) = reach_same(&caller, knows, ConnectionPurpose::Dataflow)?;
        generation = welcomed;
        let knows = Hello { generation, ..own };
        peer.dataflow = Some(socket);
        peer.liveness = Some(liveness.watch(reach_same(&caller, knows, ConnectionPurpose::Liveness)?.0)?);
        peer.questions = Some(reach_same(&caller, knows, ConnectionPurpose::Questions)?.0);
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
    liveness.all_there(&watched, dataflow);
    Ok(Connected { sockets, generation, questions })
}

/// As [`reach`], until the other is of the same start of the job. One of an earlier start will notice that its peers are gone, and come
/// again; where the other is of a later start, this process has to. Generation 0: this process has not heard of one.
fn reach_same(caller: &PeerToReach<'_>, own: Hello, purpose: ConnectionPurpose) -> Result<(Sealed, Generation)> {
    loop {
        let reached = reach(caller, own, purpose)?;
        match own.generation.meets(reached.1) {
            GenerationMeeting::Same => return Ok(reached),
            GenerationMeeting::OtherIsOver if !(caller.is_over)() => {}
            _ => return Err(lost_connection()),
        }
        let process = caller.process;
        tracing::info!("process {process} belongs to an earlier start of the job; waiting until it has ended");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The connections with another process.
#[derive(Default)]
struct Peer {
    dataflow: Option<Sealed>,
    liveness: Option<WatchedPeer>,
    questions: Option<Sealed>,
}

impl Peer {
    /// It was there, and is gone.
    fn is_lost(&self) -> bool {
        self.liveness.as_ref().is_some_and(WatchedPeer::is_lost)
    }

    /// All its connections are there, and it lives.
    fn is_there(&self) -> bool {
        let is_open = |connection: &Option<Sealed>| connection.as_ref().is_some_and(|taken| !closed(taken.socket()));
        self.liveness.is_some() && !self.is_lost() && is_open(&self.dataflow) && is_open(&self.questions)
    }

    /// Whether it takes a connection of this purpose. One without signs of life has no claim to its place: its machine may be gone.
    fn takes(&self, purpose: ConnectionPurpose) -> bool {
        let is_free = |connection: &Option<Sealed>| connection.as_ref().is_none_or(|taken| closed(taken.socket()));
        match purpose {
            ConnectionPurpose::Dataflow => self.liveness.is_none() || is_free(&self.dataflow),
            ConnectionPurpose::Liveness => self.liveness.is_none(),
            ConnectionPurpose::Questions => is_free(&self.questions),
        }
    }
}

/// Waits until the processes behind this one have connected. A process that died while others were waited for may come
/// again and takes its own place; none of its connections counts until then. Those that are connected already and die end this one as
/// well: it would be of a start that is over.
fn accept_all(earlier: &[Peer], later: &mut [Peer], own: Hello, port: &PeerPort, liveness: &Liveness) -> Result<()> {
    let missing = |later: &[Peer]| later.iter().filter(|peer| !peer.is_there()).count();
    if missing(later) > 0 {
        tracing::info!("waiting for {} of {} processes", missing(later), own.processes);
    }
    port.ready();
    while missing(later) > 0 {
        if earlier.iter().any(Peer::is_lost) {
            return Err(lost_connection());
        }
        let admitted = port.next(LOOK_EVERY)?;
        for (peer, process) in later.iter_mut().zip(own.process + 1..).filter(|(peer, _)| peer.is_lost()) {
            tracing::warn!("process {process} has disconnected; waiting for it");
            *peer = Peer::default();
        }
        let Some(connection) = admitted else { continue };
        let (process, purpose) = (connection.hello.process, connection.purpose);
        if own.generation.meets(connection.hello.generation) == GenerationMeeting::OwnIsOver {
            return Err(lost_connection());
        }
        let place = (process as usize).checked_sub(own.process as usize + 1).and_then(|place| later.get_mut(place));
        let Some(peer) = place.filter(|peer| peer.takes(purpose)) else {
            tracing::warn!("a second process {process} tries to join; it is rejected");
            // It need not hear it.
            let _ = let_in(connection, Status::Taken);
            continue;
        };
        match (let_in(connection, Status::Welcome(own.generation)), purpose) {
            (Ok(socket), ConnectionPurpose::Dataflow) => peer.dataflow = Some(socket),
            (Ok(socket), ConnectionPurpose::Questions) => peer.questions = Some(socket),
            (Ok(socket), ConnectionPurpose::Liveness) => peer.liveness = Some(liveness.watch(socket)?),
            (Err(error), _) => tracing::warn!("process {process} has disconnected: {error}"),
        }
    }
    Ok(())
}

/// Tells a process how it stands.
fn let_in(connection: PeerConnection, status: Status) -> io::Result<Sealed> {
    connection.socket.set_write_timeout(Some(STATUS_SILENCE_MAX))?;
    let mut sealed = Sealed::new(connection.socket, connection.seals);
    sealed.write_all(&status.bytes())?;
    sealed.socket().set_write_timeout(None)?;
    Ok(sealed)
}

/// Whether the other end of a connection on which nothing was sent yet is gone.
fn closed(socket: &TcpStream) -> bool {
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
