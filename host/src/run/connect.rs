//! The connections between the processes of a job: each connects to those before it in `--hosts` and waits for those
//! after it. timely's own way of doing so writes to standard output, which belongs to `print` sinks, and trusts whoever
//! connects.

use super::Cluster;
use crate::error::{Error, Result};
use crate::ids::Generation;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// What a process says first, so that nobody else is taken for one.
const MAGIC: [u8; 8] = *b"mllstrm3";
/// Magic, then the fields of [`Hello`].
const HELLO_BYTES: usize = 40;
/// Who does not say hello within this time is no process of ours.
const HELLO_TIME_MAX: Duration = Duration::from_secs(5);
const TRY_AGAIN: Duration = Duration::from_millis(100);
/// Whoever is not there for so long is told: processes never start at the same moment.
const STARTING: Duration = Duration::from_secs(3);

/// What processes tell each other when they connect: what they run must be the same.
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
    /// Of this start, as process 0 claimed it; the others learn it from that one and say 0.
    pub generation: Generation,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// Batches.
    Dataflow,
    /// Signs of life, see [`super::liveness`].
    Liveness,
}

/// The connections of a process with the others.
pub struct Connected {
    /// Those of the dataflow, by process; `None` for this one.
    pub sockets: Vec<Option<TcpStream>>,
    /// The generation that process 0 has claimed.
    pub generation: Generation,
    /// For [`super::liveness::watch`].
    pub links: Links,
}

/// The connections by which processes notice that one is lost.
#[derive(Default)]
pub struct Links {
    /// For signs of life: of process 0 with each of the others, of the others with process 0.
    pub liveness: Vec<TcpStream>,
    /// Second handles of the dataflow's connections.
    pub dataflow: Vec<TcpStream>,
}

impl Hello {
    fn bytes(self, purpose: Purpose) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.process.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.processes.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.workers.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.job.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.generation.0.to_le_bytes());
        bytes[36..].copy_from_slice(&u32::from(purpose == Purpose::Liveness).to_le_bytes());
        bytes
    }

    /// Reads what the other end says; `None` where it is no process of a job.
    fn read(mut socket: &TcpStream) -> io::Result<Option<(Hello, Purpose)>> {
        // The magic first: a stranger may say less than a hello and wait for an answer.
        let mut bytes = [0; HELLO_BYTES];
        socket.read_exact(&mut bytes[..MAGIC.len()])?;
        if !bytes.starts_with(&MAGIC) {
            return Ok(None);
        }
        socket.read_exact(&mut bytes[MAGIC.len()..])?;
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let purpose = if word(36) == 0 { Purpose::Dataflow } else { Purpose::Liveness };
        let generation = Generation(long(28));
        let hello = Hello { process: word(8), processes: word(12), workers: word(16), job: long(20), generation };
        Ok(Some((hello, purpose)))
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

/// Connects with all other processes, for as long as it takes them to start. An error where a process that is there
/// already runs something else.
pub fn connect(cluster: &Cluster, own: Hello, listener: &TcpListener) -> Result<Connected> {
    let mut peers: Vec<Peer> = cluster.hosts.iter().map(|_| Peer::default()).collect();
    let mut generation = own.generation;
    // The listeners of all are there before anyone connects, so no two processes can wait for each other.
    for ((process, host), peer) in cluster.hosts.iter().enumerate().take(cluster.process).zip(&mut peers) {
        let (socket, hello) = reach(own, Purpose::Dataflow, process, host)?;
        peer.dataflow = Some(socket);
        if process == 0 {
            generation = hello.generation;
            peer.liveness = Some(reach(own, Purpose::Liveness, process, host)?.0);
        }
    }
    if let Some(later) = peers.get_mut(cluster.process + 1..) {
        accept_all(later, own, listener);
    }
    let mut links = Links::default();
    for peer in &mut peers {
        links.liveness.extend(peer.liveness.take());
        if let Some(socket) = &peer.dataflow {
            let again = socket.try_clone();
            links.dataflow.push(again.map_err(|error| Error::environment(format!("a connection: {error}")))?);
        }
    }
    Ok(Connected { sockets: peers.into_iter().map(|peer| peer.dataflow).collect(), generation, links })
}

/// The connections with another process.
#[derive(Default)]
struct Peer {
    dataflow: Option<TcpStream>,
    liveness: Option<TcpStream>,
}

/// Waits until the processes behind this one have connected. A process that died while others were waited for may come
/// again and takes its own place.
fn accept_all(later: &mut [Peer], own: Hello, listener: &TcpListener) {
    let missing = |later: &[Peer]| {
        later.iter().filter(|peer| peer.dataflow.is_none() || (own.process == 0 && peer.liveness.is_none())).count()
    };
    if missing(later) > 0 {
        tracing::info!("waiting for {} of {} processes", missing(later), own.processes);
    }
    while missing(later) > 0 {
        let accepted = listener.accept().and_then(|(socket, from)| {
            let hello = answer(&socket, own);
            Ok((hello.map_err(|error| io::Error::other(format!("{from}: {error}")))?, socket))
        });
        let ((hello, purpose), socket) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("a connection was refused: {error}");
                continue;
            }
        };
        let place = (hello.process as usize).checked_sub(own.process as usize + 1);
        let place = place.and_then(|place| later.get_mut(place)).map(|peer| match purpose {
            Purpose::Liveness => &mut peer.liveness,
            Purpose::Dataflow => &mut peer.dataflow,
        });
        match place {
            Some(place) if place.as_ref().is_none_or(closed) => *place = Some(socket),
            _ => tracing::warn!("a second process {} wants to take part; it is left out", hello.process),
        }
    }
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

/// Connects to a process, however late it starts.
fn reach(own: Hello, purpose: Purpose, process: usize, host: &str) -> Result<(TcpStream, Hello)> {
    let (began, mut told) = (Instant::now(), None);
    loop {
        match TcpStream::connect(host).and_then(|socket| greet(socket, own, purpose)) {
            Ok((socket, other)) => match own.differs(other) {
                None => return Ok((socket, other)),
                Some(difference) => return Err(Error::job(format!("at {host}: {difference}"))),
            },
            Err(error) => {
                let words = error.to_string();
                // Processes never start at the same moment.
                if told.as_ref() != Some(&words) && began.elapsed() >= STARTING {
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
fn greet(mut socket: TcpStream, own: Hello, purpose: Purpose) -> io::Result<(TcpStream, Hello)> {
    socket.set_nodelay(true)?;
    socket.write_all(&own.bytes(purpose))?;
    let (other, _) =
        Hello::read(&socket)?.ok_or_else(|| io::Error::other("what answers there is no process of a job"))?;
    Ok((socket, other))
}

/// Reads the hello of who connected, and answers it also where it cannot take part, so that it can say why.
fn answer(mut socket: &TcpStream, own: Hello) -> Result<(Hello, Purpose), String> {
    let hello = socket.set_read_timeout(Some(HELLO_TIME_MAX)).and_then(|()| Hello::read(socket));
    let hello = hello.and_then(|hello| {
        socket.set_read_timeout(None)?;
        socket.set_nodelay(true)?;
        Ok(hello)
    });
    let hello = hello.map_err(|error| format!("it did not say that it is a process of a job ({error})"))?;
    let (hello, purpose) = hello.ok_or("it is no process of a job")?;
    socket.write_all(&own.bytes(purpose)).map_err(|error| error.to_string())?;
    match own.differs(hello) {
        Some(difference) => Err(difference),
        None => Ok((hello, purpose)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn hello(process: u32, generation: u64) -> Hello {
        Hello { process, processes: 3, workers: 2, job: 7, generation: Generation(generation) }
    }

    #[test]
    fn all_learn_the_generation_and_a_process_that_died_meanwhile_gets_its_place_again() {
        let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let hosts: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
        let mut listeners = listeners.into_iter();
        let mut start = |process: u32, generation| {
            let (listener, hosts) = (listeners.next().unwrap(), hosts.clone());
            let cluster = Cluster { process: process as usize, hosts };
            thread::spawn(move || connect(&cluster, hello(process, generation), &listener).unwrap())
        };
        let first = start(0, 42);
        // Process 2 says hello and dies.
        drop(reach(hello(2, 0), Purpose::Dataflow, 0, &hosts[0]).unwrap());
        let others = [start(1, 0), start(2, 0)];
        let first = first.join().unwrap();
        assert_eq!((first.generation.0, first.links.liveness.len(), first.links.dataflow.len()), (42, 2, 2));
        assert_eq!(first.sockets.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, true]);
        let others = others.map(|other| other.join().unwrap());
        for other in &others {
            assert_eq!((other.generation.0, other.links.liveness.len(), other.links.dataflow.len()), (42, 1, 2));
        }
        assert!(!first.sockets.iter().flatten().any(closed), "every connection is one that lives");
    }
}
