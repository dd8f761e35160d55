//! The connections between the processes of a job: each connects to those before it in `--hosts` and waits for those
//! after it. timely's own way of doing so writes to standard output, which belongs to `print` sinks, and trusts whoever
//! connects. Here both ends of each connection show their certificates where they have such, and prove that they know the job's key
//! (`hello`), strangers cost nothing that matters (`port`), and what is sent is sealed (`sealed`, `records`) and looked at before
//! timely sees it (`message`).

mod port;
mod hello;
mod message;
mod reach;
mod records;
mod sealed;
mod status;

pub use hello::Hello;
pub use port::PeerPort;
pub use sealed::Sealed;
#[cfg(test)]
pub use sealed::pair;

use crate::error::{Error, Result};
use crate::ids::Generation;
use crate::running::Cluster;
use crate::running::peer_trust::PeerTrust;
use crate::threads::lost_connection;
use hello::ConnectionPurpose;
use message::Messages;
use port::PeerConnection;
use reach::reach;
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
    /// For [`super::liveness::watch`].
    pub links: Links,
    /// For [`super::control`]: the process, and the connection on which it is asked and asks.
    pub questions: Vec<(usize, Sealed)>,
}

/// The connections by which processes notice that one is lost.
#[derive(Default)]
pub struct Links {
    /// For signs of life, one with each of the others.
    pub liveness: Vec<Sealed>,
    /// Second handles of the dataflow's connections.
    pub dataflow: Vec<Sealed>,
}

/// Opens the port of this process, which runs what `own` says.
pub fn listen(cluster: &Cluster, own: Hello) -> Result<PeerPort> {
    let (process, processes) = (cluster.process, cluster.hosts.len());
    let Some(host) = cluster.hosts.get(process) else {
        return Err(Error::job(format!(
            "this is process {process}, and there are hosts for {processes} processes only (0 is the first)"
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

/// Connects with all other processes, for as long as it takes them to start. An error where a process that is there
/// already runs something else.
pub fn connect(cluster: &Cluster, own: Hello, port: PeerPort) -> Result<Connected> {
    let mut peers: Vec<Peer> = cluster.hosts.iter().map(|_| Peer::default()).collect();
    let mut generation = own.generation;
    // The ports of all are open before anyone connects, so no two processes can wait for each other.
    for ((process, host), peer) in (0..).zip(&cluster.hosts).take(cluster.process).zip(&mut peers) {
        let knows = Hello { generation, ..own };
        let (socket, welcomed) = reach_same(knows, &cluster.trust, ConnectionPurpose::Dataflow, process, host)?;
        generation = welcomed;
        let knows = Hello { generation, ..own };
        peer.dataflow = Some(socket);
        peer.liveness = Some(reach_same(knows, &cluster.trust, ConnectionPurpose::Liveness, process, host)?.0);
        peer.questions = Some(reach_same(knows, &cluster.trust, ConnectionPurpose::Questions, process, host)?.0);
    }
    if let Some((earlier, later)) = peers.split_at_mut_checked(cluster.process + 1) {
        accept_all(earlier, later, Hello { generation, ..own }, &port)?;
    }
    let (mut links, mut questions) = (Links::default(), Vec::new());
    for (peer, process) in peers.iter_mut().zip(0..) {
        links.liveness.extend(peer.liveness.take());
        questions.extend(peer.questions.take().map(|link| (process as usize, link)));
        if let Some(socket) = &peer.dataflow {
            socket.expect(Messages::between(process, own.process, own.workers));
            links.dataflow.push(socket.clone());
        }
    }
    Ok(Connected { sockets: peers.into_iter().map(|peer| peer.dataflow).collect(), generation, links, questions })
}

/// As [`reach`], until the other is of the same start of the job. One of an earlier start will notice that its peers are gone, and come
/// again; where the other is of a later start, this process has to. Generation 0: this process has not heard of one.
fn reach_same(
    own: Hello,
    trust: &PeerTrust,
    purpose: ConnectionPurpose,
    process: u32,
    host: &str,
) -> Result<(Sealed, Generation)> {
    loop {
        let reached = reach(own, trust, purpose, process, host)?;
        if own.generation == Generation(0) || reached.1 == own.generation {
            return Ok(reached);
        }
        if reached.1 > own.generation {
            return Err(lost_connection());
        }
        tracing::info!("process {process} is of an earlier start of the job; waiting until it has ended");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The connections with another process.
#[derive(Default)]
struct Peer {
    dataflow: Option<Sealed>,
    liveness: Option<Sealed>,
    questions: Option<Sealed>,
}

/// Waits until the processes behind this one have connected. A process that died while others were waited for may come
/// again and takes its own place; none of its connections counts until then. Those that are connected already and die end this one as
/// well: it would be of a start that is over.
fn accept_all(earlier: &[Peer], later: &mut [Peer], own: Hello, port: &PeerPort) -> Result<()> {
    let is_there = |connection: &Option<Sealed>| connection.as_ref().is_some_and(|taken| !closed(taken.socket()));
    let is_missing = |peer: &&Peer| ![&peer.dataflow, &peer.liveness, &peer.questions].into_iter().all(is_there);
    let missing = |later: &[Peer]| later.iter().filter(is_missing).count();
    if missing(later) > 0 {
        tracing::info!("waiting for {} of {} processes", missing(later), own.processes);
    }
    port.ready();
    while missing(later) > 0 {
        let is_lost = |peer: &Peer| peer.liveness.as_ref().is_some_and(|socket| closed(socket.socket()));
        if earlier.iter().any(is_lost) {
            return Err(lost_connection());
        }
        let Some(connection) = port.next(LOOK_EVERY)? else { continue };
        let process = connection.hello.process;
        if connection.hello.generation > own.generation {
            return Err(lost_connection());
        }
        let place = (process as usize).checked_sub(own.process as usize + 1);
        let place = place.and_then(|place| later.get_mut(place)).map(|peer| match connection.purpose {
            ConnectionPurpose::Liveness => &mut peer.liveness,
            ConnectionPurpose::Dataflow => &mut peer.dataflow,
            ConnectionPurpose::Questions => &mut peer.questions,
        });
        match place {
            Some(place) if place.as_ref().is_none_or(|taken| closed(taken.socket())) => {
                match let_in(connection, Status::Welcome(own.generation)) {
                    Ok(socket) => *place = Some(socket),
                    Err(error) => tracing::warn!("process {process} was there, and is lost again: {error}"),
                }
            }
            _ => {
                tracing::warn!("a second process {process} wants to take part; it is left out");
                // It need not hear it.
                let _ = let_in(connection, Status::Taken);
            }
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
