//! The `syslog` source listens, and every datagram and every message on a connection is a row.
//!
//! Senders receive no acknowledgment. A connection is read no faster than the job takes rows. Datagrams that arrive while it takes none are dropped
//! and counted.

mod bsd;
mod columns;
pub mod declaration;
mod frames;
mod message;
pub mod settings;

use columns::Columns;
use frames::{Frame, Frames};
use message::Reader;
use millstream_base::error::{Error, Result};
use millstream_base::limits::{PART_BYTES_MAX, PART_ROWS_MAX};
use millstream_connect::http1::listener::{self, accept_all, bind_datagrams, cannot_listen};
use millstream_connect::http1::slots::{Slot, TrustLevel};
use millstream_connect::receiver::json_text::text_of;
use millstream_connect::receiver::listening::Listening;
use millstream_job::spec::SourceSpec;
use millstream_rows::batch::cell;
use millstream_rows::batch::chunk::{Chunk, RejectedRecord};
use millstream_rows::batch::position::Positions;
use millstream_rows::inbox::Inbox;
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
/// Requested size of the OS buffer for datagrams; the OS may grant less.
const DATAGRAM_BYTES: usize = 4 << 20;
/// Datagrams that are combined, and pieces that wait for the inbox.
const DATAGRAMS_TOGETHER_MAX: usize = 1000;
const WAITING_MAX: usize = 16;
/// Pause after an OS error.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// Maximum time to receive a message. After that its connection is closed if another one needs its slot.
const MESSAGE_TIME_MAX: Duration = Duration::from_secs(30);
/// Idle time before TCP keep-alive probes are sent.
const TCP_KEEP_ALIVE_AFTER: Duration = Duration::from_secs(60);
/// Minimum interval of warnings about dropped datagrams.
const DROPPED_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The messages of one read, as chunks.
struct Rows {
    chunks: Vec<Chunk>,
    /// Messages as columns; `None` if the job needs lines of JSON.
    columns: Option<Columns>,
    /// Lines of JSON, and rejected rows.
    next: Chunk,
    bytes: Vec<u8>,
    /// Bytes of the last read, as an estimate for the next.
    usual_bytes: usize,
    record_bytes_max: u64,
    rejected_bytes_max: usize,
}

impl Rows {
    fn new(source: &SourceSpec) -> Rows {
        Rows {
            chunks: Vec::new(),
            columns: Columns::new(&source.schema),
            next: Chunk::default(),
            bytes: Vec::new(),
            usual_bytes: 0,
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
                self.bytes.reserve(self.usual_bytes);
            }
            read.write(sender, &mut self.bytes);
            return self.end_row();
        };
        columns.add(&read, sender, message.len());
        if columns.is_full() {
            self.end_columns();
        }
    }

    /// Adds the beginning of a message that is too long; `length` is its known length so far.
    fn add_too_long(&mut self, beginning: &[u8], length: usize) {
        self.end_columns();
        let kept = beginning.get(..self.rejected_bytes_max.min(beginning.len())).unwrap_or_default();
        self.bytes.extend_from_slice(kept);
        self.bytes.push(b'\n');
        let reason = format!("{length} bytes, record_bytes_max is {}", self.record_bytes_max);
        let dropped = length.saturating_sub(kept.len()) as u64;
        self.next.rejected.push(RejectedRecord { row: self.next.ends.len() as u32, reason, dropped });
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
            self.usual_bytes = self.bytes.len();
            let bytes = std::mem::take(&mut self.bytes).into();
            self.chunks.push(Chunk { bytes, ..std::mem::take(&mut self.next) });
        }
    }

    fn end_columns(&mut self) {
        let columns = self.columns.as_mut().filter(|columns| !columns.is_empty());
        self.chunks.extend(columns.map(|columns| Chunk::of_ready(columns.take())));
    }

    /// Returns everything added since the last call.
    fn take(&mut self) -> Vec<Chunk> {
        self.end_lines();
        self.end_columns();
        std::mem::take(&mut self.chunks)
    }
}

/// The sockets of a source.
struct Ports {
    streams: Option<TcpListener>,
    datagrams: Option<UdpSocket>,
}

/// Listens at the address of a source.
///
/// # Errors
/// `Environment` if it cannot listen at the address; the message has the reason and what to do.
async fn bind(source: &SourceSpec, spec: &SyslogReads, listening: &Listening) -> Result<Ports> {
    let binding = async {
        let streams = if spec.tcp { Some(listener::bind(&spec.listen, listening.shared).await?) } else { None };
        let datagrams = if spec.udp { Some(bind_udp(&spec.listen, listening.shared).await?) } else { None };
        io::Result::Ok(Ports { streams, datagrams })
    };
    let who = format!("source `{}`", source.name);
    binding.await.map_err(|error| Error::environment(cannot_listen(&who, &spec.listen, &error)))
}

/// Receives until the future is dropped.
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
    let (forward, received) = mpsc::channel(WAITING_MAX);
    let reader = Arc::new(Reader::new());
    let connections = async {
        let Some(streams) = &streams else { return std::future::pending().await };
        accept_all(streams, &who, spec.connections_max, |stream, peer, slot| {
            read(stream, (peer, slot), reader.clone(), Rows::new(source), bytes_max, forward.clone())
        })
        .await;
    };
    let from_datagrams = async {
        let Some(datagrams) = &datagrams else { return std::future::pending().await };
        receive_datagrams(datagrams, &who, (&reader, Rows::new(source)), bytes_max, &forward).await;
    };
    tokio::select! {
        () = connections => {}
        () = from_datagrams => {}
        () = put(listening, from, received, inbox) => {}
    }
}

async fn bind_udp(address: &str, shared: bool) -> io::Result<UdpSocket> {
    let socket = bind_datagrams(address, shared).await?;
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(DATAGRAM_BYTES);
    Ok(socket)
}

/// Reads a connection to its end, no faster than its rows are taken.
async fn read(
    mut stream: TcpStream,
    (peer, slot): (SocketAddr, Arc<Slot>),
    reader: Arc<Reader>,
    mut rows: Rows,
    bytes_max: usize,
    forward: mpsc::Sender<Vec<Chunk>>,
) {
    let (mut frames, mut buffer) = (Frames::new(bytes_max), vec![0; READ_BYTES]);
    let sender = peer.ip().to_string();
    // Otherwise a connection whose peer lost its power would stay open indefinitely.
    let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_KEEP_ALIVE_AFTER));
    // The deadline of the incomplete message.
    let mut deadline = None;
    loop {
        let reading = stream.read(&mut buffer);
        let read = match deadline {
            Some(deadline) => timeout_at(deadline, reading).await,
            None => Ok(reading.await),
        };
        let Ok(read) = read else {
            deadline = None;
            slot.set_trust_level(TrustLevel::Stranger);
            continue;
        };
        let (count, was_unfinished) = (read.unwrap_or(0), frames.is_unfinished());
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
        let chunks = rows.take();
        // Bytes that do not complete a message do not extend its deadline.
        if !chunks.is_empty() || !was_unfinished {
            deadline = frames.is_unfinished().then(|| tokio::time::Instant::now() + MESSAGE_TIME_MAX);
        }
        if (!chunks.is_empty() && !pass_on(chunks, &slot, &forward).await) || count == 0 {
            return;
        }
    }
}

/// Passes on rows. Returns false if the source has stopped. While they wait for a batch, their connection is not closed for another one.
async fn pass_on(chunks: Vec<Chunk>, slot: &Slot, forward: &mpsc::Sender<Vec<Chunk>>) -> bool {
    let is_forwarded = match forward.try_send(chunks) {
        Err(mpsc::error::TrySendError::Full(chunks)) => {
            slot.set_trust_level(TrustLevel::Known);
            forward.send(chunks).await.is_ok()
        }
        result => result.is_ok(),
    };
    slot.set_trust_level(TrustLevel::Guest);
    is_forwarded
}

/// Receives datagrams. Those that arrive while no rows are taken are dropped, as UDP has no flow control.
async fn receive_datagrams(
    socket: &UdpSocket,
    who: &str,
    (reader, mut rows): (&Reader, Rows),
    bytes_max: usize,
    forward: &mpsc::Sender<Vec<Chunk>>,
) {
    let mut buffer = vec![0; READ_BYTES];
    let (mut dropped, mut logged_at) = (0_u64, None::<Instant>);
    let mut last: Option<(IpAddr, String)> = None;
    loop {
        let mut count = 0;
        let mut next = socket.recv_from(&mut buffer).await;
        let now = now();
        while let Ok((bytes, peer)) = next {
            let message = buffer.get(..bytes).unwrap_or_default();
            // Consecutive datagrams often have the same sender.
            last = last.filter(|(address, _)| *address == peer.ip());
            let (_, sender) = last.get_or_insert_with(|| (peer.ip(), peer.ip().to_string()));
            match message.len() > bytes_max {
                true => rows.add_too_long(message, message.len()),
                false => rows.add(reader, message, sender, now),
            }
            count += 1;
            if count == DATAGRAMS_TOGETHER_MAX {
                break;
            }
            next = socket.try_recv_from(&mut buffer);
        }
        if count == 0 {
            // For example, the OS is out of memory.
            tokio::time::sleep(ERROR_PAUSE).await;
            continue;
        }
        match forward.try_send(rows.take()) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => dropped = dropped.saturating_add(count as u64),
            Err(mpsc::error::TrySendError::Closed(_)) => return,
        }
        if dropped > 0 && logged_at.is_none_or(|logged_at| logged_at.elapsed() >= DROPPED_LOG_INTERVAL) {
            warn!(
                "{who}: {dropped} datagrams were dropped, because they arrive faster than the job reads them; use TCP"
            );
            (dropped, logged_at) = (0, Some(Instant::now()));
        }
    }
}

/// Puts chunks into the inbox, and numbers the rows.
async fn put(listening: &Listening, from: &Positions, mut received: mpsc::Receiver<Vec<Chunk>>, inbox: &Inbox) {
    let mut rows = listening.rows_before(from);
    inbox.idle(true);
    while let Some(chunks) = received.recv().await {
        for mut chunk in chunks {
            listening.number(std::slice::from_mut(&mut chunk), rows);
            rows = rows.saturating_add(chunk.rows() as u64);
            if !inbox.put(chunk).await {
                return;
            }
        }
        inbox.idle(received.is_empty());
    }
}

/// Returns the year and the month.
fn now() -> (i32, usize) {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut text = String::new();
    cell::write_rfc3339(&mut text, i64::try_from(since.as_micros()).unwrap_or_default());
    let mut parts = text.split('-');
    let year = parts.next().and_then(|year| year.parse().ok());
    (year.unwrap_or(1970), parts.next().and_then(|month| month.parse().ok()).unwrap_or(1))
}
