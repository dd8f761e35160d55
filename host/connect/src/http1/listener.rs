//! Listens on a port and accepts connections.

use super::slots::{ClosedConnections, Slot, Slots, sender};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UdpSocket, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::{error, warn};

/// How long to wait for a port in use: a process of the job that has just exited may still hold it.
const BIND_TIME_MAX: Duration = Duration::from_secs(2);
const BIND_PAUSE: Duration = Duration::from_millis(50);
/// Pause after an OS error, for example too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Maximum connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// Listens on an address. `shared`: other processes of the job listen on it too, and the OS distributes connections among them.
pub async fn bind(address: &str, shared: bool) -> io::Result<TcpListener> {
    let until = Instant::now() + BIND_TIME_MAX;
    loop {
        let bound = match shared {
            false => TcpListener::bind(address).await,
            true => {
                bind_first(address, |address| {
                    let socket = shared_socket(address, Type::STREAM, Protocol::TCP)?;
                    socket.listen(BACKLOG)?;
                    TcpListener::from_std(socket.into())
                })
                .await
            }
        };
        match bound {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < until => sleep(BIND_PAUSE).await,
            bound => return bound,
        }
    }
}

/// Binds a UDP socket, as [`bind`] does for connections.
pub async fn bind_datagrams(address: &str, shared: bool) -> io::Result<UdpSocket> {
    match shared {
        false => UdpSocket::bind(address).await,
        true => {
            bind_first(address, |address| {
                UdpSocket::from_std(shared_socket(address, Type::DGRAM, Protocol::UDP)?.into())
            })
            .await
        }
    }
}

/// Binds the first address of a name that can be bound.
async fn bind_first<S>(address: &str, bind: impl Fn(SocketAddr) -> io::Result<S>) -> io::Result<S> {
    let mut failed = io::Error::from(ErrorKind::AddrNotAvailable);
    for address in lookup_host(address).await? {
        match bind(address) {
            Ok(bound) => return Ok(bound),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Creates a socket at an address that other processes of the same user may share, if they also allow it.
fn shared_socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_reuse_address(kind == Type::STREAM)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

/// Describes why a source or sink cannot listen, and what to do.
pub fn cannot_listen(who: &str, address: &str, error: &io::Error) -> String {
    let (why, help) = match error.kind() {
        ErrorKind::AddrInUse => {
            ("another program listens there".to_owned(), "stop that program, or choose another port")
        }
        ErrorKind::PermissionDenied => ("permission denied".to_owned(), "choose a port from 1024 on"),
        ErrorKind::AddrNotAvailable => (
            "this machine does not have that address".to_owned(),
            "write 127.0.0.1, 0.0.0.0 or an address of this \
                machine",
        ),
        _ => (error.to_string(), "choose another address"),
    };
    format!("{who}: cannot listen on {address}: {why}; {help} (`listen`)")
}

/// Maximum connections that wait for a slot.
const WAITING_MAX: usize = 64;
/// Minimum interval of warnings about connections that were closed for others.
const CLOSED_LOG_INTERVAL: Duration = Duration::from_secs(10);
/// How often to check whether a connection without a token has to make room.
const ROOM_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// A connection, its peer, and its slot.
pub type AcceptedConnection = (TcpStream, SocketAddr, Arc<Slot>);

/// Accepts connections, each with one of a limited number of slots. Of the waiting connections, the one whose sender has the fewest slots is next.
pub struct Acceptor<'a> {
    listener: &'a TcpListener,
    who: &'a str,
    slots: Arc<Slots>,
    waiting: VecDeque<(TcpStream, SocketAddr)>,
    accept_failed: bool,
    connections_max: u64,
    /// When the log last reported connections that were closed for others.
    logged_at: Option<Instant>,
}

impl<'a> Acceptor<'a> {
    /// Creates an acceptor for at most `connections_max` open connections; more wait.
    pub fn new(listener: &'a TcpListener, who: &'a str, connections_max: u64) -> Acceptor<'a> {
        let slots = Slots::new(connections_max);
        Acceptor {
            listener,
            who,
            slots,
            waiting: VecDeque::new(),
            accept_failed: false,
            connections_max,
            logged_at: None,
        }
    }

    /// Returns the next connection.
    pub async fn next(&mut self) -> AcceptedConnection {
        loop {
            if let Some(next) = self.assign_slot() {
                return next;
            }
            let waits = !self.waiting.is_empty();
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok(connection) => {
                        self.accept_failed = false;
                        self.wait(connection);
                    }
                    Err(error) => {
                        if !std::mem::replace(&mut self.accept_failed, true) {
                            warn!("{}: cannot accept a connection: {error}; retrying", self.who);
                        }
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                () = self.slots.freed(), if waits => {}
                () = sleep(ROOM_CHECK_INTERVAL), if waits => {}
            }
        }
    }

    fn assign_slot(&mut self) -> Option<AcceptedConnection> {
        let waiting = self.waiting.iter().enumerate();
        let (first, from) =
            waiting.map(|(n, (_, peer))| (n, peer.ip())).min_by_key(|(_, ip)| self.slots.count_of(*ip))?;
        let slot = self.slots.take(from)?;
        self.log_closed();
        let (stream, peer) = self.waiting.remove(first)?;
        Some((stream, peer, Arc::new(slot)))
    }

    /// Periodically logs which connections had to make room.
    fn log_closed(&mut self) {
        if self.logged_at.is_some_and(|logged_at| logged_at.elapsed() < CLOSED_LOG_INTERVAL) {
            return;
        }
        let ClosedConnections { count, last: Some(last) } = self.slots.take_closed() else { return };
        self.logged_at = Some(Instant::now());
        warn!(
            "{}: all {} allowed connections are open; closed {count} of them for new ones, the last one from {last}",
            self.who, self.connections_max
        );
    }

    /// Queues a connection. If too many wait, closes one of the sender that has the most.
    fn wait(&mut self, connection: (TcpStream, SocketAddr)) {
        self.waiting.push_back(connection);
        if self.waiting.len() <= WAITING_MAX {
            return;
        }
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for (_, peer) in &self.waiting {
            *counts.entry(sender(peer.ip())).or_default() += 1;
        }
        let count = |peer: &SocketAddr| counts.get(&sender(peer.ip())).copied();
        let largest = self.waiting.iter().enumerate().max_by_key(|(n, (_, peer))| (count(peer), *n)).map(|(n, _)| n);
        largest.into_iter().for_each(|largest| drop(self.waiting.remove(largest)));
    }
}

/// Serves every connection in its own task, indefinitely.
pub async fn accept_all<F: Future<Output = ()> + Send + 'static>(
    listener: &TcpListener,
    who: &str,
    connections_max: u64,
    serve: impl Fn(TcpStream, SocketAddr, Arc<Slot>) -> F,
) {
    let mut acceptor = Acceptor::new(listener, who, connections_max);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                let ended: Result<(), tokio::task::JoinError> = ended;
                if let Err(panicked) = ended {
                    error!("{who}: a connection failed because of a bug in Millstream: {panicked}");
                }
            }
            (stream, peer, slot) = acceptor.next() => {
                let served = serve(stream, peer, slot.clone());
                connections.spawn(async move {
                    tokio::select! {
                        () = served => {}
                        () = slot.ended() => {}
                    }
                });
            }
        }
    }
}
