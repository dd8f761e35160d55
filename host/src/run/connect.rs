//! The connections between the processes of a job: each connects to those before it in `--hosts` and waits for those
//! after it. timely's own way of doing so writes to standard output, which belongs to `print` sinks, and trusts whoever
//! connects.

use super::Cluster;
use crate::error::{Error, Result};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// What a process says first, so that nobody else is taken for one.
const MAGIC: [u8; 8] = *b"mllstrm2";
/// Magic, then the fields of [`Hello`].
const HELLO_BYTES: usize = 28;
/// Who does not say hello within this time is no process of ours.
const HELLO_TIME_MAX: Duration = Duration::from_secs(5);
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// What processes tell each other when they connect: all but `process` must be the same.
#[derive(Clone, Copy, Debug)]
pub struct Hello {
    /// Its place in `--hosts`.
    pub process: u32,
    /// How many there are.
    pub processes: u32,
    /// Workers of each process.
    pub workers: u32,
    /// A digest of the job: of its streams, their columns and its plugins.
    pub job: u64,
}

impl Hello {
    fn bytes(self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.process.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.processes.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.workers.to_le_bytes());
        bytes[20..].copy_from_slice(&self.job.to_le_bytes());
        bytes
    }

    /// Reads what the other end says; `None` where it is no process of a job.
    fn read(mut socket: &TcpStream) -> io::Result<Option<Hello>> {
        // The magic first: a stranger may say less than a hello and wait for an answer.
        let mut bytes = [0; HELLO_BYTES];
        socket.read_exact(&mut bytes[..MAGIC.len()])?;
        if !bytes.starts_with(&MAGIC) {
            return Ok(None);
        }
        socket.read_exact(&mut bytes[MAGIC.len()..])?;
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let job = u64::from(word(20)) | u64::from(word(24)) << 32;
        Ok(Some(Hello { process: word(8), processes: word(12), workers: word(16), job }))
    }

    /// Why the other cannot take part with this one; `None`: it can.
    fn differs(self, other: Hello) -> Option<String> {
        let (what, own, others) = if self.processes != other.processes {
            ("--processes", self.processes.to_string(), other.processes.to_string())
        } else if self.workers != other.workers {
            ("--workers", self.workers.to_string(), other.workers.to_string())
        } else if self.job != other.job {
            ("job", "one with these streams and plugins".into(), "another".into())
        } else {
            return None;
        };
        Some(format!(
            "process {} has another {what} than process {} ({others}, not {own}); start all with the same job file, \
             plugins, --processes, --hosts and --workers",
            other.process, self.process
        ))
    }
}

/// Listens on the address of this process.
pub fn listen(cluster: &Cluster) -> Result<TcpListener> {
    let (process, processes) = (cluster.process, cluster.hosts.len());
    let Some(host) = cluster.hosts.get(process) else {
        return Err(Error::job(format!(
            "this is process {process}, and there are hosts for {processes} processes only (0 is the first)"
        )));
    };
    TcpListener::bind(host).map_err(|error| {
        Error::environment(format!(
            "process {process} cannot listen on {host}: {error}; stop what uses the address, or name another with --hosts"
        ))
    })
}

/// Connects with all other processes, for as long as it takes them to start. By process; `None` for this one. An error
/// where a process that is there already runs something else.
pub fn connect(cluster: &Cluster, own: Hello, listener: &TcpListener) -> Result<Vec<Option<TcpStream>>> {
    let mut sockets: Vec<Option<TcpStream>> = cluster.hosts.iter().map(|_| None).collect();
    // The listeners of all are there before anyone connects, so no two processes can wait for each other.
    for (process, host) in cluster.hosts.iter().enumerate().take(cluster.process) {
        let socket = reach(own, process, host)?;
        if let Some(place) = sockets.get_mut(process) {
            *place = Some(socket);
        }
    }
    let mut missing = cluster.hosts.len().saturating_sub(cluster.process + 1);
    if missing > 0 {
        tracing::info!("waiting for {missing} of {} processes", cluster.hosts.len());
    }
    while missing > 0 {
        let accepted = listener.accept().and_then(|(socket, from)| {
            let hello = answer(&socket, own);
            Ok((hello.map_err(|error| io::Error::other(format!("{from}: {error}")))?, socket))
        });
        match accepted {
            Ok((process, socket)) => match sockets.get_mut(process) {
                Some(place @ None) if process > cluster.process => {
                    *place = Some(socket);
                    missing -= 1;
                }
                _ => tracing::warn!("a second process {process} wants to take part; it is left out"),
            },
            Err(error) => tracing::warn!("a connection was refused: {error}"),
        }
    }
    Ok(sockets)
}

/// Connects to a process, however late it starts.
fn reach(own: Hello, process: usize, host: &str) -> Result<TcpStream> {
    let mut told = None;
    loop {
        match TcpStream::connect(host).and_then(|socket| greet(socket, own)) {
            Ok((socket, other)) => match own.differs(other) {
                None => return Ok(socket),
                Some(difference) => return Err(Error::job(format!("at {host}: {difference}"))),
            },
            Err(error) => {
                let words = error.to_string();
                if told.as_ref() != Some(&words) {
                    tracing::warn!(
                        "cannot connect to process {process} at {host} ({words}); trying again until it is there"
                    );
                    told = Some(words);
                }
                std::thread::sleep(TRY_AGAIN);
            }
        }
    }
}

/// Says hello and waits for the answer: a process that still loads its plugins answers late.
fn greet(mut socket: TcpStream, own: Hello) -> io::Result<(TcpStream, Hello)> {
    socket.set_nodelay(true)?;
    socket.write_all(&own.bytes())?;
    let other = Hello::read(&socket)?.ok_or_else(|| io::Error::other("what answers there is no process of a job"))?;
    Ok((socket, other))
}

/// Reads the hello of who connected, and answers it also where it cannot take part, so that it can say why. The number
/// of the process.
fn answer(mut socket: &TcpStream, own: Hello) -> Result<usize, String> {
    let hello = socket.set_read_timeout(Some(HELLO_TIME_MAX)).and_then(|()| Hello::read(socket));
    let hello = hello.and_then(|hello| {
        socket.set_read_timeout(None)?;
        socket.set_nodelay(true)?;
        Ok(hello)
    });
    let hello = hello.map_err(|error| format!("it did not say that it is a process of a job ({error})"))?;
    let hello = hello.ok_or("it is no process of a job")?;
    socket.write_all(&own.bytes()).map_err(|error| error.to_string())?;
    match own.differs(hello) {
        Some(difference) => Err(difference),
        None => Ok(hello.process as usize),
    }
}
