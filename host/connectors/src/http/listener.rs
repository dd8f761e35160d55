//! Listening on a port for whoever comes.

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UdpSocket, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
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

/// Connections as they come, each with a place among those that may be there at a time.
pub struct Acceptor<'a> {
    listener: &'a TcpListener,
    who: &'a str,
    places: Arc<Semaphore>,
    trouble: bool,
}

impl<'a> Acceptor<'a> {
    /// Of so many at a time; more wait.
    pub fn new(listener: &'a TcpListener, who: &'a str, connections_max: u64) -> Acceptor<'a> {
        let places = usize::try_from(connections_max).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Acceptor { listener, who, places: Arc::new(Semaphore::new(places)), trouble: false }
    }

    /// The next one, with its place.
    pub async fn next(&mut self) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
        loop {
            // Never closed.
            let place = self.places.clone().acquire_owned().await.ok();
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    self.trouble = false;
                    return (stream, peer, place);
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.trouble, true) {
                        warn!("{}: cannot accept a connection: {error}; trying again", self.who);
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Serves all that come with a task of its own each, for ever.
pub async fn accept_all<F: Future<Output = ()> + Send + 'static>(
    listener: &TcpListener,
    who: &str,
    connections_max: u64,
    serve: impl Fn(TcpStream, SocketAddr) -> F,
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
                let served = serve(stream, peer);
                connections.spawn(async move {
                    let _place = place;
                    served.await;
                });
            }
        }
    }
}
