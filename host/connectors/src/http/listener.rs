//! Listening on a port for whoever comes.

use super::places::{ClosedConnections, Place, Places, sender};
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

/// How long a port that somebody still has is waited for: it may be a process of the job that has just ended.
const BIND_TIME_MAX: Duration = Duration::from_secs(2);
const BIND_PAUSE: Duration = Duration::from_millis(50);
/// After an error of the system, as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that wait until somebody takes them.
const BACKLOG: i32 = 1024;

/// Listens there. `shared`: other processes of the job do, too, and the system gives each connection to one of them.
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

/// Hears datagrams there, as [`bind`] does connections.
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

/// At the first of the addresses of a name where that can be done.
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

/// A socket at an address that others of the same user may have, too, if they say so as well.
fn shared_socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_reuse_address(kind == Type::STREAM)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

/// Why a source or sink cannot listen, and what to do.
pub fn cannot_listen(who: &str, address: &str, error: &io::Error) -> String {
    let (why, help) = match error.kind() {
        ErrorKind::AddrInUse => {
            ("another program listens there".to_owned(), "stop that program, or choose another port")
        }
        ErrorKind::PermissionDenied => ("permission denied".to_owned(), "choose a port from 1024 on"),
        ErrorKind::AddrNotAvailable => {
            ("this machine does not have that address".to_owned(), "write 127.0.0.1 or 0.0.0.0, or one that it has")
        }
        _ => (error.to_string(), "choose another address"),
    };
    format!("{who}: cannot listen on {address}: {why}; {help} (`listen`)")
}

/// Connections that wait for a place, at most.
const WAITING_MAX: usize = 64;
/// How often the log tells of connections that were closed for others.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How often it is looked whether somebody who had time to say who it is has to make room.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A connection, where it comes from, and its place.
pub type PlacedConnection = (TcpStream, SocketAddr, Arc<Place>);

/// Connections as they come, each with a place among those that may be there at a time. Of those that wait the first goes on whose
/// sender has the fewest.
pub struct Acceptor<'a> {
    listener: &'a TcpListener,
    who: &'a str,
    places: Arc<Places>,
    waiting: VecDeque<(TcpStream, SocketAddr)>,
    trouble: bool,
    connections_max: u64,
    /// When the log was last told of connections that were closed for others.
    told: Option<Instant>,
}

impl<'a> Acceptor<'a> {
    /// Of so many at a time; more wait.
    pub fn new(listener: &'a TcpListener, who: &'a str, connections_max: u64) -> Acceptor<'a> {
        let places = Places::new(connections_max);
        Acceptor { listener, who, places, waiting: VecDeque::new(), trouble: false, connections_max, told: None }
    }

    /// The next one.
    pub async fn next(&mut self) -> PlacedConnection {
        loop {
            if let Some(next) = self.place_one() {
                return next;
            }
            let waits = !self.waiting.is_empty();
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok(connection) => {
                        self.trouble = false;
                        self.wait(connection);
                    }
                    Err(error) => {
                        if !std::mem::replace(&mut self.trouble, true) {
                            warn!("{}: cannot accept a connection: {error}; retrying", self.who);
                        }
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                () = self.places.freed(), if waits => {}
                () = sleep(LOOK_EVERY), if waits => {}
            }
        }
    }

    fn place_one(&mut self) -> Option<PlacedConnection> {
        let waiting = self.waiting.iter().enumerate();
        let (first, from) = waiting.map(|(n, (_, peer))| (n, peer.ip())).min_by_key(|(_, ip)| self.places.of(*ip))?;
        let place = self.places.take(from)?;
        self.tell_closed();
        let (stream, peer) = self.waiting.remove(first)?;
        Some((stream, peer, Arc::new(place)))
    }

    /// Tells the log, now and then, which connections had to make room.
    fn tell_closed(&mut self) {
        if self.told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return;
        }
        let ClosedConnections { count, last: Some(last) } = self.places.take_closed() else { return };
        self.told = Some(Instant::now());
        warn!(
            "{}: all {} connections that may be open are; closed {count} of them for others, the last one from {last}",
            self.who, self.connections_max
        );
    }

    /// Lets a connection wait. Where too many do, one of the sender that has most is closed.
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
        let most = self.waiting.iter().enumerate().max_by_key(|(n, (_, peer))| (count(peer), *n)).map(|(n, _)| n);
        most.into_iter().for_each(|most| drop(self.waiting.remove(most)));
    }
}

/// Serves all that come with a task of its own each, for ever.
pub async fn accept_all<F: Future<Output = ()> + Send + 'static>(
    listener: &TcpListener,
    who: &str,
    connections_max: u64,
    serve: impl Fn(TcpStream, SocketAddr, Arc<Place>) -> F,
) {
    let mut acceptor = Acceptor::new(listener, who, connections_max);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                let ended: Result<(), tokio::task::JoinError> = ended;
                if let Err(panicked) = ended {
                    error!("{who}: a connection ended in a defect of Millstream: {panicked}");
                }
            }
            (stream, peer, place) = acceptor.next() => {
                let served = serve(stream, peer, place.clone());
                connections.spawn(async move {
                    tokio::select! {
                        () = served => {}
                        () = place.ended() => {}
                    }
                });
            }
        }
    }
}
