//! Connects to a process that is before this one in `--hosts`, even if that process starts much later.

use super::hello::{ConnectionEnd, ConnectionPurpose, HELLO_BYTES, Hello, HelloBytes, MAGIC, PROOF_BYTES, Transcript};
use super::records::export_secret;
use super::sealed::{Opener, Sealed, Sealer, split};
use super::status::{STATUS_TIMEOUT, Status};
use crate::limits::HELLO_MS_MAX;
use millstream_base::error::{Error, Result};
use millstream_base::ids::Generation;
use millstream_base::threads::lost_connection;
use millstream_connect::tls::peers::Peers;
use millstream_engine::running::Cluster;
use millstream_engine::running::layout::JobLayout;
use millstream_engine::running::peer_trust::{EXPORTED_BYTES, name_in};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

const TRY_AGAIN: Duration = Duration::from_millis(100);
/// Maximum size of a description of the job's machines.
const LAYOUT_BYTES_MAX: usize = 1 << 20;
/// The pause between checks whether this machine belongs to the job again.
const ELSEWHERE_PAUSE: Duration = Duration::from_secs(1);
/// Processes that start together are connected after less time. Until then a missing one is no warning.
const STARTING_MAX: Duration = Duration::from_secs(10);

/// Why a connection was not established.
enum ConnectFailure {
    /// The next attempt may succeed.
    Now(io::Error),
    /// The other process runs something else.
    Differs(String),
    /// Process 0 runs the job on these machines.
    Elsewhere(JobLayout),
}

impl From<io::Error> for ConnectFailure {
    fn from(error: io::Error) -> ConnectFailure {
        ConnectFailure::Now(error)
    }
}

/// A process of the job to connect to, and when to cancel.
#[derive(Clone, Copy)]
pub struct PeerToReach<'a> {
    /// The cluster of this process.
    pub cluster: &'a Cluster,
    /// The number of the other process.
    pub process: usize,
    /// Returns whether the connection is no longer needed, because an earlier peer is lost.
    pub is_over: &'a dyn Fn() -> bool,
}

impl PeerToReach<'_> {
    fn host(&self) -> &str {
        self.cluster.hosts.get(self.process).map_or("", String::as_str)
    }
}

/// Connects to this process, and waits until it is ready. Fails if it runs something else.
pub fn reach(caller: &PeerToReach<'_>, mut own: Hello, purpose: ConnectionPurpose) -> Result<(Sealed, Generation)> {
    let PeerToReach { cluster, process, is_over } = caller;
    let host = caller.host();
    let began = Instant::now();
    let (mut last_message, mut warned) = (None, false);
    loop {
        match connect_once(caller, own, purpose) {
            Ok(reached) => return Ok(reached),
            Err(ConnectFailure::Differs(difference)) => return Err(Error::job(format!("at {host}: {difference}"))),
            Err(ConnectFailure::Elsewhere(layout))
                if cluster.hosts == layout.hosts && layout.workers == Some(own.workers as usize) =>
            {
                // The machines are the same, although the two processes learned of them differently.
                own.layout = if own.layout == 0 { layout.id() } else { 0 };
            }
            Err(ConnectFailure::Elsewhere(layout))
                if cluster.own_host().is_some_and(|own| layout.index_of_host(own).is_some()) =>
            {
                let _ = cluster.layout.reported.set(layout);
                return Err(lost_connection());
            }
            Err(ConnectFailure::Elsewhere(_)) if is_over() => return Err(lost_connection()),
            Err(ConnectFailure::Elsewhere(layout)) => {
                if !std::mem::replace(&mut warned, true) {
                    tracing::warn!(
                        "the job runs on other machines ({}), not on this one; waiting until it does",
                        layout.hosts.join(", ")
                    );
                }
                std::thread::sleep(ELSEWHERE_PAUSE);
            }
            Err(ConnectFailure::Now(_)) if is_over() => return Err(lost_connection()),
            Err(ConnectFailure::Now(error)) => {
                let starting = began.elapsed() < STARTING_MAX && error.kind() != ErrorKind::InvalidData;
                let message = error.to_string();
                if last_message.as_ref() != Some(&message) || (!starting && !warned) {
                    let line = format!(
                        "cannot connect to process {process} at {host} ({message}); retrying until it is reachable"
                    );
                    if starting {
                        tracing::info!("{line}");
                    } else {
                        tracing::warn!("{line}");
                    }
                    (last_message, warned) = (Some(message), !starting);
                }
                std::thread::sleep(TRY_AGAIN);
            }
        }
    }
}

/// Connects once.
fn connect_once(
    caller: &PeerToReach<'_>,
    own: Hello,
    purpose: ConnectionPurpose,
) -> Result<(Sealed, Generation), ConnectFailure> {
    let (PeerToReach { cluster, process, .. }, host) = (*caller, caller.host());
    let trust = &cluster.trust;
    let time_max = Duration::from_millis(HELLO_MS_MAX);
    let socket = connect(host, time_max)?;
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(time_max))?;
    // The deadline covers everything that is sent, not each byte.
    let mut reader = UntilDeadline { socket: &socket, deadline: Instant::now() + time_max };
    let ((mut sealer, mut opener), secret) = handshake(&mut reader, trust.peers(), host)?;
    let hello_bytes = HelloBytes::new(own, purpose)?;
    (&socket).write_all(sealer.seal(&hello_bytes.0)?)?;
    let mut other = HelloBytes([0; HELLO_BYTES]);
    read_exact(&mut opener, &mut reader, &mut other.0)?;
    if !other.0.starts_with(&MAGIC) {
        return Err(invalid_data("the server there is not a process of a job, or has another version").into());
    }
    let mut proof = [0; PROOF_BYTES];
    read_exact(&mut opener, &mut reader, &mut proof)?;
    let transcript = Transcript::new(trust.proof_key(&secret), &hello_bytes, &other);
    if !transcript.proves(ConnectionEnd::Listens, &proof) {
        return Err(invalid_data(
            "the server there does not have the key of this process; start all processes with the same \
             --cluster-key file",
        )
        .into());
    }
    (&socket).write_all(sealer.seal(&transcript.proof(ConnectionEnd::Connects))?)?;
    let Some((hello, _)) = other.hello() else {
        return Err(invalid_data("the server there is a process of another version").into());
    };
    if usize::try_from(hello.process) != Ok(process) {
        return Err(ConnectFailure::Differs(format!(
            "the server there is process {}, but in --hosts it is process {process}; start all with the same --hosts",
            hello.process
        )));
    }
    if own.is_elsewhere(hello) {
        return Err(read_layout(&mut reader, &mut opener)?);
    }
    if let Some(difference) = own.differs(hello) {
        return Err(ConnectFailure::Differs(difference));
    }
    let generation = await_welcome(&socket, &mut opener, caller)?;
    socket.set_read_timeout(None)?;
    socket.set_write_timeout(None)?;
    Ok((Sealed::new(socket, (sealer, opener)), generation))
}

/// Performs the TLS handshake, with certificates if configured, and exports the shared secret of both ends.
fn handshake(
    reader: &mut UntilDeadline<'_>,
    peers: &Peers,
    host: &str,
) -> io::Result<((Sealer, Opener), [u8; EXPORTED_BYTES])> {
    let mut connection = peers.connects(name_in(host))?;
    while connection.is_handshaking() {
        connection.complete_io(reader).map_err(|error| to_io_error(error, peers))?;
    }
    let secret = export_secret(&connection)?;
    Ok((split(connection.into(), peers), secret))
}

/// Describes what is wrong with the other end, or with this one as reported by the other.
fn to_io_error(error: io::Error, peers: &Peers) -> io::Error {
    match peers.rejection_reason(&error) {
        Some(message) => invalid_data(&message),
        None if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
            let why = match peers.are_certified() {
                true => "it may not have been started with --cluster-tls",
                false => "it may not be a process of a job, or have another version",
            };
            io::Error::new(error.kind(), format!("it closed the connection during the handshake; {why}"))
        }
        None => error,
    }
}

/// Fills `bytes` with data from the other end.
fn read_exact(opener: &mut Opener, reader: &mut UntilDeadline<'_>, mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match opener.read(&mut *reader, bytes)? {
            0 => return Err(closed_error()),
            count => bytes = &mut bytes[count..],
        }
    }
    Ok(())
}

/// Reads the job's current machines from process 0.
fn read_layout(reader: &mut UntilDeadline<'_>, opener: &mut Opener) -> io::Result<ConnectFailure> {
    let mut status = [0; Status::BYTES];
    read_exact(opener, reader, &mut status)?;
    let length = match Status::read(&status) {
        Some(Status::Elsewhere(length)) => usize::try_from(length).ok().filter(|length| *length <= LAYOUT_BYTES_MAX),
        _ => None,
    };
    let Some(length) = length else { return Err(invalid_data("it sent an invalid list of the job's machines")) };
    let mut last_message = vec![0; length];
    read_exact(opener, reader, &mut last_message)?;
    let layout = serde_json::from_slice(&last_message).map_err(|error| invalid_data(&error.to_string()))?;
    Ok(ConnectFailure::Elsewhere(layout))
}

/// Waits until the other process is ready, which may take long while it opens its sinks. It sends signs of life
/// meanwhile.
fn await_welcome(socket: &TcpStream, opener: &mut Opener, caller: &PeerToReach<'_>) -> io::Result<Generation> {
    let (began, mut last_message) = (Instant::now(), false);
    loop {
        let mut reader = UntilDeadline { socket, deadline: Instant::now() + STATUS_TIMEOUT };
        let mut status = [0; Status::BYTES];
        read_exact(opener, &mut reader, &mut status)?;
        match Status::read(&status) {
            Some(Status::Welcome(generation)) => return Ok(generation),
            Some(Status::Elsewhere(_)) => {
                return Err(invalid_data("it sent another list of the job's machines than before"));
            }
            Some(Status::NumberTaken) => {
                return Err(io::Error::other("another process with the same number has joined"));
            }
            Some(Status::Wait) if (caller.is_over)() => return Err(io::Error::other("it is no longer needed")),
            Some(Status::Wait) if !last_message && began.elapsed() >= STATUS_TIMEOUT => {
                let process = caller.process;
                tracing::info!("process {process} is reachable but not ready yet; waiting for it");
                last_message = true;
            }
            Some(Status::Wait) => {}
            None => return Err(invalid_data("the server there sent a message that this version does not support")),
        }
    }
}

fn invalid_data(message: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, message)
}

/// Connects to the first of the host's addresses that accepts the connection.
fn connect(host: &str, time_max: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, time_max) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn closed_error() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "it closed the connection")
}

/// A connection that is read until a deadline.
struct UntilDeadline<'a> {
    socket: &'a TcpStream,
    deadline: Instant,
}

impl Read for UntilDeadline<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let late = || io::Error::new(ErrorKind::TimedOut, "it did not respond in time");
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late());
        }
        self.socket.set_read_timeout(Some(left))?;
        match self.socket.read(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(late()),
            read => read,
        }
    }
}

impl Write for UntilDeadline<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}
