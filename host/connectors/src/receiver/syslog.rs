//! Source `syslog`: it listens, and whatever comes as a datagram or on a connection is a row.
//!
//! Nobody who sends here hears that a message arrived. A connection is read no faster than the job takes rows; datagrams that come
//! while it takes none are dropped, and counted.

mod frames;
mod message;

use super::inbox::Inbox;
use crate::batch::cell;
use crate::batch::chunk::{Chunk, RefusedRecord};
use crate::batch::position::Positions;
use crate::error::Error;
use crate::http::listener::{accept_all, bind, cannot_listen};
use crate::job::spec::{SourceSpec, SyslogSpec};
use crate::limits::{PART_BYTES_MAX, PART_ROWS_MAX};
use bytes::Bytes;
use frames::{Frame, Frames};
use message::Reader;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tracing::warn;

const READ_BYTES: usize = 64 << 10;
/// Bytes that the system keeps of datagrams until they are read; it may give less.
const DATAGRAM_BYTES: usize = 4 << 20;
/// Datagrams that are put together, and pieces that wait for the inbox.
const TOGETHER_MAX: usize = 1000;
const WAITING_MAX: usize = 16;
/// After an error of the system.
const TROUBLE_PAUSE: Duration = Duration::from_millis(100);
/// How often the log tells of dropped datagrams.
const DROPPED_EVERY: Duration = Duration::from_secs(10);

/// What came.
enum Came {
    /// A message, as a line of JSON.
    Line(Vec<u8>),
    /// The beginning of one that is too long, and how long it is at least.
    TooLong(Vec<u8>, usize),
}

/// Listens for ever.
pub async fn receive(source: &SourceSpec, spec: &SyslogSpec, from: &Positions, inbox: &Inbox) {
    if let Err(error) = listen(source, spec, from, inbox).await {
        let who = format!("source `{}`", source.name);
        inbox.fail(Error::environment(cannot_listen(&who, &spec.listen, &error)));
    }
}

async fn listen(source: &SourceSpec, spec: &SyslogSpec, from: &Positions, inbox: &Inbox) -> io::Result<()> {
    let who = format!("source `{}`", source.name);
    let streams = if spec.tcp { Some(bind(&spec.listen).await?) } else { None };
    let datagrams = if spec.udp { Some(bound(&spec.listen).await?) } else { None };
    let bytes_max = usize::try_from(source.record_bytes_max).unwrap_or(usize::MAX);
    let (tell, told) = mpsc::channel(WAITING_MAX);
    let reader = Arc::new(Reader::new());
    let connections = async {
        let Some(streams) = &streams else { return std::future::pending().await };
        accept_all(streams, &who, spec.connections_max, |stream, peer| {
            read(stream, peer, reader.clone(), bytes_max, tell.clone())
        })
        .await;
    };
    let single = async {
        let Some(datagrams) = &datagrams else { return std::future::pending().await };
        hear(datagrams, &who, &reader, bytes_max, &tell).await;
    };
    tokio::select! {
        () = connections => {}
        () = single => {}
        () = put(source, from, told, inbox) => {}
    }
    Ok(())
}

async fn bound(address: &str) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address).await?;
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(DATAGRAM_BYTES);
    Ok(socket)
}

/// Reads a connection to its end, no faster than what it brought is taken.
async fn read(
    mut stream: TcpStream,
    peer: SocketAddr,
    reader: Arc<Reader>,
    bytes_max: usize,
    tell: mpsc::Sender<Vec<Came>>,
) {
    let (mut frames, mut buffer, sender) = (Frames::new(bytes_max), vec![0; READ_BYTES], peer.ip().to_string());
    loop {
        let count = stream.read(&mut buffer).await.unwrap_or(0);
        frames.add(buffer.get(..count).unwrap_or_default());
        let (mut came, now) = (Vec::new(), now());
        while let Some(frame) = frames.next() {
            came.push(match frame {
                Frame::Message(message) => Came::Line(reader.line(&message, &sender, now)),
                Frame::TooLong(beginning, length) => Came::TooLong(beginning, length),
            });
        }
        if count == 0 {
            came.extend(frames.rest().map(|rest| Came::Line(reader.line(&rest, &sender, now))));
        }
        if (!came.is_empty() && tell.send(came).await.is_err()) || count == 0 {
            return;
        }
    }
}

/// Takes datagrams; those that come while nobody takes rows are dropped, as nothing would make their senders wait.
async fn hear(socket: &UdpSocket, who: &str, reader: &Reader, bytes_max: usize, tell: &mpsc::Sender<Vec<Came>>) {
    let mut buffer = vec![0; READ_BYTES];
    let (mut dropped, mut said) = (0_u64, None::<Instant>);
    loop {
        let mut came = Vec::new();
        let mut next = socket.recv_from(&mut buffer).await;
        while let Ok((count, peer)) = next {
            let message = buffer.get(..count).unwrap_or_default();
            came.push(match message.len() > bytes_max {
                true => Came::TooLong(message.to_vec(), message.len()),
                false => Came::Line(reader.line(message, &peer.ip().to_string(), now())),
            });
            if came.len() == TOGETHER_MAX {
                break;
            }
            next = socket.try_recv_from(&mut buffer);
        }
        if came.is_empty() {
            // The system has no memory, or the like.
            tokio::time::sleep(TROUBLE_PAUSE).await;
            continue;
        }
        let count = came.len() as u64;
        match tell.try_send(came) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => dropped = dropped.saturating_add(count),
            Err(mpsc::error::TrySendError::Closed(_)) => return,
        }
        if dropped > 0 && said.is_none_or(|said| said.elapsed() >= DROPPED_EVERY) {
            warn!(
                "{who}: {dropped} datagrams were dropped, as the job takes rows more slowly than they come; let senders use TCP"
            );
            (dropped, said) = (0, Some(Instant::now()));
        }
    }
}

/// Puts what came into the inbox, and counts the rows.
async fn put(source: &SourceSpec, from: &Positions, mut told: mpsc::Receiver<Vec<Came>>, inbox: &Inbox) {
    let kept_max = usize::try_from(source.rejected_bytes_max).unwrap_or(usize::MAX);
    let mut rows = from.get("").map_or(0, |position| position.offset);
    inbox.idle(true);
    while let Some(came) = told.recv().await {
        let (mut chunk, mut bytes) = (Chunk::default(), Vec::new());
        let mut chunks = Vec::new();
        for one in came {
            match one {
                Came::Line(line) => bytes.extend_from_slice(&line),
                Came::TooLong(beginning, length) => {
                    let kept = beginning.get(..kept_max.min(beginning.len())).unwrap_or_default();
                    bytes.extend_from_slice(kept);
                    bytes.push(b'\n');
                    let reason = format!("{length} bytes, record_bytes_max is {}", source.record_bytes_max);
                    let dropped = length.saturating_sub(kept.len()) as u64;
                    chunk.refused.push(RefusedRecord { row: chunk.ends.len() as u32, reason, dropped });
                }
            }
            chunk.ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
            if chunk.ends.len() >= PART_ROWS_MAX || bytes.len() >= PART_BYTES_MAX {
                chunks.push(Chunk { bytes: Bytes::from(std::mem::take(&mut bytes)), ..std::mem::take(&mut chunk) });
            }
        }
        chunks.push(Chunk { bytes: bytes.into(), ..chunk });
        for mut chunk in chunks.into_iter().filter(|chunk| chunk.rows() > 0) {
            chunk.extent.row = rows;
            rows = rows.saturating_add(chunk.rows() as u64);
            if !inbox.put(chunk).await {
                return;
            }
        }
        inbox.idle(told.is_empty());
    }
}

/// The year and the month.
fn now() -> (i32, usize) {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut text = String::new();
    cell::write_rfc3339(&mut text, i64::try_from(since.as_micros()).unwrap_or_default());
    let mut parts = text.split('-');
    let year = parts.next().and_then(|year| year.parse().ok());
    (year.unwrap_or(1970), parts.next().and_then(|month| month.parse().ok()).unwrap_or(1))
}
