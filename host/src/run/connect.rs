//! The connections between the processes of a job: each connects to those before it in `--hosts` and waits for those
//! after it. timely's own way of doing so writes to standard output, which belongs to `print` sinks, and trusts whoever
//! connects.

use super::Cluster;
use crate::error::{Error, Result};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// What a process says first, so that nobody else is taken for one.
const MAGIC: [u8; 8] = *b"mllstrm1";
/// Magic, the number of the process, how many there are.
const HELLO_BYTES: usize = 16;
/// Who does not say hello within this time is no process of ours.
const HELLO_TIME_MAX: Duration = Duration::from_secs(5);
const TRY_AGAIN: Duration = Duration::from_millis(100);

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

/// Connects with all other processes, for as long as it takes them to start. By process; `None` for this one.
pub fn connect(cluster: &Cluster, listener: &TcpListener) -> Result<Vec<Option<TcpStream>>> {
    let mut sockets: Vec<Option<TcpStream>> = cluster.hosts.iter().map(|_| None).collect();
    // The listeners of all are there before anyone connects, so no two processes can wait for each other.
    for (process, host) in cluster.hosts.iter().enumerate().take(cluster.process) {
        let socket = reach(cluster, process, host)?;
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
            let hello = read_hello(&socket, cluster);
            Ok((hello.map_err(|error| io::Error::other(format!("{from} {error}")))?, socket))
        });
        match accepted {
            Ok((process, socket)) => match sockets.get_mut(process) {
                Some(place @ None) => {
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
fn reach(cluster: &Cluster, process: usize, host: &str) -> Result<TcpStream> {
    let mut told = None;
    loop {
        match TcpStream::connect(host).and_then(|socket| say_hello(socket, cluster)) {
            Ok(socket) => return Ok(socket),
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

fn say_hello(mut socket: TcpStream, cluster: &Cluster) -> io::Result<TcpStream> {
    let mut hello = MAGIC.to_vec();
    for number in [cluster.process, cluster.hosts.len()] {
        hello.extend_from_slice(&u32::try_from(number).map_err(io::Error::other)?.to_le_bytes());
    }
    socket.set_nodelay(true)?;
    socket.write_all(&hello)?;
    Ok(socket)
}

/// The number of the process that connected.
fn read_hello(mut socket: &TcpStream, cluster: &Cluster) -> Result<usize, String> {
    let mut hello = [0; HELLO_BYTES];
    let read = socket.set_read_timeout(Some(HELLO_TIME_MAX)).and_then(|()| socket.read_exact(&mut hello));
    let read = read.and_then(|()| socket.set_read_timeout(None)).and_then(|()| socket.set_nodelay(true));
    read.map_err(|error| format!("did not say that it is a process of a job ({error})"))?;
    let [magic @ .., a, b, c, d, e, f, g, h] = hello;
    let (process, processes) = (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]) as usize);
    if magic != MAGIC {
        return Err("is no process of a job".into());
    }
    if processes != cluster.hosts.len() || process <= cluster.process || process >= processes {
        return Err(format!(
            "is process {process} of {processes}, and this is process {} of {}; start all with the same --processes and \
             --hosts",
            cluster.process,
            cluster.hosts.len()
        ));
    }
    Ok(process)
}
