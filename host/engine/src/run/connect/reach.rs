//! Connecting to a process that is before this one in `--hosts`, however late it starts.

use super::hello::{ConnectionEnd, ConnectionPurpose, HELLO_BYTES, Hello, HelloBytes, MAGIC, PROOF_BYTES, Transcript};
use super::sealed::{LENGTH_BYTES, Opener, Sealed};
use super::status::{STATUS_SILENCE_MAX, Status};
use crate::error::{Error, Result};
use crate::ids::Generation;
use crate::limits::HELLO_MS_MAX;
use crate::running::cluster_key::ClusterKey;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

const TRY_AGAIN: Duration = Duration::from_millis(100);
/// Processes that are started together are there after less; until then it is no warning that one is not.
const STARTING_MAX: Duration = Duration::from_secs(10);

/// Why a connection has not come about.
enum Missed {
    /// It may the next time.
    Now(io::Error),
    /// The other runs something else.
    Differs(String),
}

impl From<io::Error> for Missed {
    fn from(error: io::Error) -> Missed {
        Missed::Now(error)
    }
}

/// Connects to this process, and waits until it is ready. An error where it runs something else.
pub fn reach(
    own: Hello,
    key: &ClusterKey,
    purpose: ConnectionPurpose,
    process: u32,
    host: &str,
) -> Result<(Sealed, Generation)> {
    let began = Instant::now();
    let (mut told, mut warned) = (None, false);
    loop {
        match greet(own, key, purpose, process, host) {
            Ok(reached) => return Ok(reached),
            Err(Missed::Differs(difference)) => return Err(Error::job(format!("at {host}: {difference}"))),
            Err(Missed::Now(error)) => {
                let starting = began.elapsed() < STARTING_MAX && error.kind() != ErrorKind::InvalidData;
                let words = error.to_string();
                if told.as_ref() != Some(&words) || (!starting && !warned) {
                    let line = format!(
                        "cannot connect to process {process} at {host} ({words}); trying again until it is there"
                    );
                    if starting {
                        tracing::info!("{line}");
                    } else {
                        tracing::warn!("{line}");
                    }
                    (told, warned) = (Some(words), !starting);
                }
                std::thread::sleep(TRY_AGAIN);
            }
        }
    }
}

/// Connects once.
fn greet(
    own: Hello,
    key: &ClusterKey,
    purpose: ConnectionPurpose,
    process: u32,
    host: &str,
) -> Result<(Sealed, Generation), Missed> {
    let time_max = Duration::from_millis(HELLO_MS_MAX);
    let socket = connect(host, time_max)?;
    // For all that is said, not for each byte of it.
    let deadline = Instant::now() + time_max;
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(time_max))?;
    let said = HelloBytes::new(own, purpose)?;
    (&socket).write_all(&said.0)?;
    let mut other = HelloBytes([0; HELLO_BYTES]);
    read(&socket, &mut other.0, deadline)?;
    if !other.0.starts_with(&MAGIC) {
        return Err(stranger("what answers there is no process of a job, or one of another version").into());
    }
    let mut proof = [0; PROOF_BYTES];
    read(&socket, &mut proof, deadline)?;
    let transcript = Transcript::new(key, &said, &other);
    if !transcript.proves(ConnectionEnd::Listens, &proof) {
        return Err(stranger(
            "what answers there does not know the key of this process; give all the same file with --cluster-key",
        )
        .into());
    }
    (&socket).write_all(&transcript.proof(ConnectionEnd::Connects))?;
    let (hello, _) = other.hello();
    if hello.process != process {
        return Err(Missed::Differs(format!(
            "process {} is there, where --hosts of this one has process {process}; start all with the same --hosts",
            hello.process
        )));
    }
    if let Some(difference) = own.differs(hello) {
        return Err(Missed::Differs(difference));
    }
    let (sealer, mut opener) = transcript.seals(ConnectionEnd::Connects);
    let generation = welcome(&socket, &mut opener, process)?;
    socket.set_read_timeout(None)?;
    socket.set_write_timeout(None)?;
    Ok((Sealed::new(socket, (sealer, opener)), generation))
}

/// Waits until the other is ready: one that still opens its sinks may need long for it. It says all the while that it
/// lives.
fn welcome(socket: &TcpStream, opener: &mut Opener, process: u32) -> io::Result<Generation> {
    let (began, mut told) = (Instant::now(), false);
    loop {
        let deadline = Instant::now() + STATUS_SILENCE_MAX;
        let mut head = [0; LENGTH_BYTES];
        read(socket, &mut head, deadline)?;
        let mut frame = vec![0; Opener::length(head)?];
        read(socket, &mut frame, deadline)?;
        match Status::read(opener.open(&mut frame)?) {
            Some(Status::Welcome(generation)) => return Ok(generation),
            Some(Status::Taken) => return Err(io::Error::other("a process with the number of this one takes part")),
            Some(Status::Wait) if !told && began.elapsed() >= STATUS_SILENCE_MAX => {
                tracing::info!("process {process} is there and not ready yet; waiting for it");
                told = true;
            }
            Some(Status::Wait) => {}
            None => return Err(stranger("what answers there speaks of what this version does not know")),
        }
    }
}

fn stranger(words: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, words)
}

/// Connects to the first of the host's addresses that answers.
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

/// Fills `bytes` until the deadline.
fn read(mut socket: &TcpStream, mut bytes: &mut [u8], deadline: Instant) -> io::Result<()> {
    let late = || io::Error::new(ErrorKind::TimedOut, "it did not answer in time");
    while !bytes.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late());
        }
        socket.set_read_timeout(Some(left))?;
        match socket.read(bytes) {
            Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "it closed the connection")),
            Ok(count) => bytes = &mut bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(late()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
