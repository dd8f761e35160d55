//! Source `syslog`: it listens, and whatever comes as a datagram or on a connection is a row.
//!
//! Nobody who sends here hears that a message arrived. A connection is read no faster than the job takes rows; datagrams that come
//! while it takes none are dropped, and counted.

mod bsd;
mod columns;
pub mod declaration;
mod frames;
mod message;
pub mod settings;

use crate::http::listener::{self, accept_all, bind_datagrams, cannot_listen};
use crate::http::places::{Place, Standing};
use crate::receiver::json_text::text_of;
use crate::receiver::listening::Listening;
use columns::Columns;
use frames::{Frame, Frames};
use message::Reader;
use millstream_base::batch::cell;
use millstream_base::batch::chunk::{Chunk, RefusedRecord};
use millstream_base::batch::position::Positions;
use millstream_base::error::{Error, Result};
use millstream_base::inbox::Inbox;
use millstream_base::job::spec::SourceSpec;
use millstream_base::limits::{PART_BYTES_MAX, PART_ROWS_MAX};
use settings::SyslogReads;
use socket2::TcpKeepalive;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::timeout_at;
use tracing::warn;

const READ_BYTES: usize = 64 << 10;
/// Bytes that the system keeps of datagrams until they are read; it may give less.
const DATAGRAM_BYTES: usize = 4 << 20;
/// Datagrams that are put together, and pieces that wait for the inbox.
const TOGETHER_MAX: usize = 1000;
const WAITING_MAX: usize = 16;
/// After an error of the system.
const TROUBLE_PAUSE: Duration = Duration::from_millis(100);
/// How long a message may take to come whole. After that its connection is closed if another one needs its place.
const MESSAGE_TIME_MAX: Duration = Duration::from_secs(30);
/// After which silence the system asks whether the other end is still there.
const ASK_AFTER: Duration = Duration::from_secs(60);
/// How often the log tells of dropped datagrams.
const DROPPED_EVERY: Duration = Duration::from_secs(10);

/// What came at a time, as chunks.
struct Rows {
    chunks: Vec<Chunk>,
    /// Messages as columns; `None`: the job needs lines of JSON.
    columns: Option<Columns>,
    /// Lines of JSON, and what is no row.
    next: Chunk,
    bytes: Vec<u8>,
    /// Bytes that the last time took, about as many as the next.
    usual: usize,
    record_bytes_max: u64,
    rejected_bytes_max: usize,
}

impl Rows {
    fn new(source: &SourceSpec) -> Rows {
        Rows {
            chunks: Vec::new(),
            columns: Columns::of(&source.schema),
            next: Chunk::default(),
            bytes: Vec::new(),
            usual: 0,
            record_bytes_max: source.record_bytes_max,
            rejected_bytes_max: usize::try_from(source.rejected_bytes_max).unwrap_or(usize::MAX),
        }
    }

    fn add(&mut self, reader: &Reader, message: &[u8], sender: &str, now: (i32, usize)) {
        let text = text_of(message);
        let read = reader.read(&text, now);
        if self.columns.is_some() {
            self.end_lines();
        }
        let Some(columns) = &mut self.columns else {
            if self.bytes.is_empty() {
                self.bytes.reserve(self.usual);
            }
            read.write(sender, &mut self.bytes);
            return self.end_row();
        };
        columns.add(&read, sender, message.len());
        if columns.is_full() {
            self.end_columns();
        }
    }

    /// The beginning of one that is too long, and how long it is at least.
    fn add_too_long(&mut self, beginning: &[u8], length: usize) {
        self.end_columns();
        let kept = beginning.get(..self.rejected_bytes_max.min(beginning.len())).unwrap_or_default();
        self.bytes.extend_from_slice(kept);
        self.bytes.push(b'\n');
        let reason = format!("{length} bytes, record_bytes_max is {}", self.record_bytes_max);
        let dropped = length.saturating_sub(kept.len()) as u64;
        self.next.refused.push(RefusedRecord { row: self.next.ends.len() as u32, reason, dropped });
        self.end_row();
    }

    fn end_row(&mut self) {
        self.next.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
        if self.next.ends.len() >= PART_ROWS_MAX || self.bytes.len() >= PART_BYTES_MAX {
            self.end_lines();
        }
    }

    fn end_lines(&mut self) {
        if self.next.rows() > 0 {
            self.usual = self.bytes.len();
            let bytes = std::mem::take(&mut self.bytes).into();
            self.chunks.push(Chunk { bytes, ..std::mem::take(&mut self.next) });
        }
    }

    fn end_columns(&mut self) {
        let columns = self.columns.as_mut().filter(|columns| !columns.is_empty());
        self.chunks.extend(columns.map(|columns| Chunk::of_ready(columns.take())));
    }

    /// All that came since the last time.
    fn take(&mut self) -> Vec<Chunk> {
        self.end_lines();
        self.end_columns();
        std::mem::take(&mut self.chunks)
    }
}

/// Where a source listens.
struct Ports {
    streams: Option<TcpListener>,
    datagrams: Option<UdpSocket>,
}

/// Listens at the address of a source.
///
/// # Errors
/// `Environment`: the address cannot be listened at; the message says why and what to do.
async fn bind(source: &SourceSpec, spec: &SyslogReads, listening: &Listening) -> Result<Ports> {
    let bound = async {
        let streams = if spec.tcp { Some(listener::bind(&spec.listen, listening.shared).await?) } else { None };
        let datagrams = if spec.udp { Some(bound(&spec.listen, listening.shared).await?) } else { None };
        io::Result::Ok(Ports { streams, datagrams })
    };
    let who = format!("source `{}`", source.name);
    bound.await.map_err(|error| Error::environment(cannot_listen(&who, &spec.listen, &error)))
}

/// Receives until it is dropped.
async fn receive(
    source: &SourceSpec,
    spec: &SyslogReads,
    Ports { streams, datagrams }: Ports,
    listening: &Listening,
    from: &Positions,
    inbox: &Inbox,
) {
    let who = format!("source `{}`", source.name);
    let bytes_max = usize::try_from(source.record_bytes_max).unwrap_or(usize::MAX);
    let (tell, told) = mpsc::channel(WAITING_MAX);
    let reader = Arc::new(Reader::new());
    let connections = async {
        let Some(streams) = &streams else { return std::future::pending().await };
        accept_all(streams, &who, spec.connections_max, |stream, peer, place| {
            read(stream, (peer, place), reader.clone(), Rows::new(source), bytes_max, tell.clone())
        })
        .await;
    };
    let single = async {
        let Some(datagrams) = &datagrams else { return std::future::pending().await };
        hear(datagrams, &who, (&reader, Rows::new(source)), bytes_max, &tell).await;
    };
    tokio::select! {
        () = connections => {}
        () = single => {}
        () = put(listening, from, told, inbox) => {}
    }
}

async fn bound(address: &str, shared: bool) -> io::Result<UdpSocket> {
    let socket = bind_datagrams(address, shared).await?;
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(DATAGRAM_BYTES);
    Ok(socket)
}

/// Reads a connection to its end, no faster than what it brought is taken.
async fn read(
    mut stream: TcpStream,
    (peer, place): (SocketAddr, Arc<Place>),
    reader: Arc<Reader>,
    mut rows: Rows,
    bytes_max: usize,
    tell: mpsc::Sender<Vec<Chunk>>,
) {
    let (mut frames, mut buffer) = (Frames::new(bytes_max), vec![0; READ_BYTES]);
    let sender = peer.ip().to_string();
    // One whose other end has lost its power would else be there for ever.
    let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(ASK_AFTER));
    // When the message that is coming has taken too long.
    let mut late = None;
    loop {
        let reading = stream.read(&mut buffer);
        let read = match late {
            Some(late) => timeout_at(late, reading).await,
            None => Ok(reading.await),
        };
        let Ok(read) = read else {
            late = None;
            place.set_standing(Standing::Stranger);
            continue;
        };
        let (count, begun) = (read.unwrap_or(0), frames.is_unfinished());
        frames.add(buffer.get(..count).unwrap_or_default());
        let now = now();
        while let Some(frame) = frames.next() {
            match frame {
                Frame::Message(message) => rows.add(&reader, message, &sender, now),
                Frame::TooLong(beginning, length) => rows.add_too_long(&beginning, length),
            }
        }
        if count == 0
            && let Some(rest) = frames.rest()
        {
            rows.add(&reader, &rest, &sender, now);
        }
        let came = rows.take();
        // Bytes without an end show nothing, and more of them give no more time.
        if !came.is_empty() || !begun {
            late = frames.is_unfinished().then(|| tokio::time::Instant::now() + MESSAGE_TIME_MAX);
        }
        if (!came.is_empty() && !hand_over(came, &place, &tell).await) || count == 0 {
            return;
        }
    }
}

/// Whether rows could be handed over. While they wait for a batch, their connection is not closed for another.
async fn hand_over(came: Vec<Chunk>, place: &Place, tell: &mpsc::Sender<Vec<Chunk>>) -> bool {
    let handed = match tell.try_send(came) {
        Err(mpsc::error::TrySendError::Full(came)) => {
            place.set_standing(Standing::Known);
            tell.send(came).await.is_ok()
        }
        tried => tried.is_ok(),
    };
    place.set_standing(Standing::Guest);
    handed
}

/// Takes datagrams; those that come while nobody takes rows are dropped, as nothing would make their senders wait.
async fn hear(
    socket: &UdpSocket,
    who: &str,
    (reader, mut rows): (&Reader, Rows),
    bytes_max: usize,
    tell: &mpsc::Sender<Vec<Chunk>>,
) {
    let mut buffer = vec![0; READ_BYTES];
    let (mut dropped, mut said) = (0_u64, None::<Instant>);
    let mut last: Option<(IpAddr, String)> = None;
    loop {
        let mut count = 0;
        let mut next = socket.recv_from(&mut buffer).await;
        let now = now();
        while let Ok((bytes, peer)) = next {
            let message = buffer.get(..bytes).unwrap_or_default();
            // Many come from one after the other.
            last = last.filter(|(address, _)| *address == peer.ip());
            let (_, sender) = last.get_or_insert_with(|| (peer.ip(), peer.ip().to_string()));
            match message.len() > bytes_max {
                true => rows.add_too_long(message, message.len()),
                false => rows.add(reader, message, sender, now),
            }
            count += 1;
            if count == TOGETHER_MAX {
                break;
            }
            next = socket.try_recv_from(&mut buffer);
        }
        if count == 0 {
            // The system has no memory, or the like.
            tokio::time::sleep(TROUBLE_PAUSE).await;
            continue;
        }
        match tell.try_send(rows.take()) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => dropped = dropped.saturating_add(count as u64),
            Err(mpsc::error::TrySendError::Closed(_)) => return,
        }
        if dropped > 0 && said.is_none_or(|said| said.elapsed() >= DROPPED_EVERY) {
            warn!(
                "{who}: {dropped} datagrams were dropped, because they come faster than the job reads them; let senders use TCP"
            );
            (dropped, said) = (0, Some(Instant::now()));
        }
    }
}

/// Puts what came into the inbox, and counts the rows.
async fn put(listening: &Listening, from: &Positions, mut told: mpsc::Receiver<Vec<Chunk>>, inbox: &Inbox) {
    let mut rows = listening.rows_before(from);
    inbox.idle(true);
    while let Some(chunks) = told.recv().await {
        for mut chunk in chunks {
            listening.number(std::slice::from_mut(&mut chunk), rows);
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
