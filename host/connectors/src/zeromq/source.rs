//! The `zeromq` source, with one partition: the job connects to a socket, or listens for several. Nothing keeps sent messages, so there is
//! no position. Messages are received while the source is polled; a few wait in between.

use super::settings::ZeromqReads;
use crate::zeromq::{FORM, Incoming, Peer, SocketSettings};
use millstream_base::error::Error;
use millstream_base::shown;
use millstream_connect::dial::{Fault, RESPONSE_TIMEOUT, ServerAddress, response_timed_out};
use millstream_connect::http1::listener::accept_all;
use millstream_connect::http1::slots::TrustLevel;
use millstream_job::spec::{Origin, SourceSpec};
use millstream_rows::batch::column::ColumnSource;
use millstream_rows::batch::reading::{Message, ReadContent, ReadError, ReadPartition, ReadRows};
use std::io;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::warn;

/// How long a poll that has some messages waits for more.
const MORE_WAIT: Duration = Duration::from_millis(1);
/// Approximate bytes of messages per poll.
const POLL_BYTES: usize = 1 << 20;
/// Maximum number of connected sockets if the job listens; more wait.
const PEERS_MAX: u64 = 1_000;
/// Pieces of messages that wait until the source is polled.
const PIECES_MAX: usize = 2;

/// Reads what sockets send.
pub struct Zeromq {
    source: String,
    from: MessageOrigin,
    wants: SocketSettings,
    /// Whether the topic of a message is a column.
    wants_topic: bool,
    open: Option<ReceivingTasks>,
}

/// Where messages come from.
enum MessageOrigin {
    /// A socket that listens.
    Bound(ServerAddress),
    /// Sockets that connect to this address.
    Address(String),
}

/// Tasks that receive: they make progress while the source waits for messages.
struct ReceivingTasks {
    runtime: Runtime,
    pieces: mpsc::Receiver<Result<Vec<Incoming>, Fault>>,
    /// Received messages that were too many for one poll.
    left: std::vec::IntoIter<Incoming>,
    /// Why nothing follows these.
    failed: Option<Fault>,
}

impl Zeromq {
    /// Creates a reader of this source; or returns the invalid key, and why.
    pub fn new(source: &SourceSpec, reads: &ZeromqReads, origin: &Origin) -> Result<Zeromq, (&'static str, String)> {
        let mut login = None;
        let from = match &reads.listen {
            Some(address) => MessageOrigin::Address(address.clone()),
            None => {
                let mut address = ServerAddress::parse(&reads.url, &FORM, None, &origin.dir)?;
                if address.port == 0 {
                    return Err(("url", format!("`url` names no port; {}", FORM.help)));
                }
                let password = address.password.take();
                login = address.user.take().map(|user| (user, password.unwrap_or_default()));
                MessageOrigin::Bound(address)
            }
        };
        let topics = match reads.topics.is_empty() {
            // All of them.
            true => vec![String::new()],
            false => reads.topics.clone(),
        };
        let wants = SocketSettings {
            pull: reads.pull,
            topics,
            login,
            bytes_max: source.record_bytes_max,
            kept_max: source.rejected_bytes_max.min(source.record_bytes_max),
        };
        let wants_topic = source.schema.iter().any(|column| column.from == ColumnSource::Topic);
        Ok(Zeromq { source: source.name.clone(), from, wants, wants_topic, open: None })
    }

    fn read_error(&self, fault: Fault) -> ReadError {
        let address = match &self.from {
            MessageOrigin::Bound(address) => address.shown(),
            MessageOrigin::Address(address) => format!("`listen = \"{address}\"`"),
        };
        match fault {
            Fault::Transient(why) => ReadError::Transient(format!("{address}: {why}")),
            Fault::Permanent(why) => {
                ReadError::Permanent(Error::job(format!("source `{}`: {address}: {why}", self.source)))
            }
        }
    }

    fn start(&self) -> Result<ReceivingTasks, Fault> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        match &self.from {
            MessageOrigin::Bound(address) => {
                let connecting = TcpStream::connect((address.host.as_str(), address.port));
                let stream = runtime.block_on(async { timeout(RESPONSE_TIMEOUT, connecting).await });
                let stream = stream.map_err(|_| response_timed_out())??;
                let mut peer = runtime.block_on(Peer::handshake(stream, &self.wants))?;
                runtime.spawn(async move { while hand_over(&mut peer, &sender).await.is_ok() {} });
            }
            MessageOrigin::Address(address) => {
                let bound = runtime.block_on(TcpListener::bind(address));
                let listener = bound.map_err(|error| match error.kind() {
                    // An exiting process of this job.
                    io::ErrorKind::AddrInUse => Fault::Transient("the address is already in use".into()),
                    _ => Fault::Permanent(format!("cannot listen there: {error}")),
                })?;
                let (source, wants) = (self.source.clone(), self.wants.clone());
                runtime.spawn(listen(listener, source, wants, sender));
            }
        }
        Ok(ReceivingTasks { runtime, pieces, left: Vec::new().into_iter(), failed: None })
    }

    fn read(&self, open: &mut ReceivingTasks, rows_max: u32, wait: Duration) -> Result<ReadRows, Fault> {
        let (mut messages, mut rejected, mut bytes) = (Vec::new(), Vec::new(), 0);
        let until = Instant::now() + wait;
        while messages.len() + rejected.len() < rows_max as usize && bytes < POLL_BYTES && open.failed.is_none() {
            let Some(incoming) = open.left.next() else {
                let is_first = messages.is_empty() && rejected.is_empty();
                let wait = if is_first { until.saturating_duration_since(Instant::now()) } else { MORE_WAIT };
                let ReceivingTasks { runtime, pieces, .. } = open;
                match runtime.block_on(async { timeout(wait, pieces.recv()).await }) {
                    Ok(Some(Ok(piece))) => open.left = piece.into_iter(),
                    Ok(Some(Err(fault))) => open.failed = Some(fault),
                    Ok(None) => open.failed = Some(Fault::Transient(FORM.closed.into())),
                    Err(_) => break,
                }
                if open.failed.is_some() {
                    break;
                }
                continue;
            };
            match incoming {
                Incoming::Message { topic, value } => {
                    bytes += value.len();
                    let topic = topic.filter(|_| self.wants_topic).map(|topic| String::from_utf8(topic.to_vec()));
                    match topic.transpose() {
                        Ok(topic) => messages.push(Message { value: Some(value), topic, ..Message::default() }),
                        Err(_) => {
                            rejected.push((value.to_vec(), "its first frame, the topic, is not UTF-8".to_owned()))
                        }
                    }
                }
                Incoming::Long { start, bytes } => {
                    let max = self.wants.bytes_max;
                    rejected.push((start.to_vec(), format!("{bytes} bytes, record_bytes_max is {max}")));
                }
                Incoming::Command { .. } => {}
            }
        }
        // Earlier messages go into a batch first.
        if messages.is_empty()
            && rejected.is_empty()
            && let Some(fault) = open.failed.take()
        {
            return Err(fault);
        }
        let content = ReadContent::Messages(messages);
        Ok(ReadRows { content, rejected, position: None, pause: Some(Duration::ZERO) })
    }
}

/// Hands over what comes next, and an error that ends it. An error if the receiver was dropped.
async fn hand_over(peer: &mut Peer, to: &mpsc::Sender<Result<Vec<Incoming>, Fault>>) -> Result<(), ()> {
    let next = peer.next().await;
    let ended = next.is_err();
    to.send(next).await.map_err(|_| ())?;
    if ended { Err(()) } else { Ok(()) }
}

/// Accepts connections. An error of one peer ends only its own connection.
async fn listen(
    listener: TcpListener,
    source: String,
    wants: SocketSettings,
    sender: mpsc::Sender<Result<Vec<Incoming>, Fault>>,
) {
    let who = format!("source `{source}`");
    accept_all(&listener, &who, PEERS_MAX, |stream, from, address| {
        let (source, wants, sender) = (source.clone(), wants.clone(), sender.clone());
        async move {
            let ended = async {
                let mut peer = Peer::handshake(stream, &wants).await?;
                address.set_trust_level(TrustLevel::Guest);
                loop {
                    let next = peer.next().await?;
                    address.set_trust_level(TrustLevel::Guest);
                    if sender.send(Ok(next)).await.is_err() {
                        return Ok::<_, Fault>(());
                    }
                }
            };
            match ended.await {
                Err(Fault::Permanent(why)) => {
                    warn!("source `{source}`: messages from {from} are ignored: {}", shown::harmless(&why, 300));
                }
                Err(Fault::Transient(_)) | Ok(()) => {}
            }
        }
    })
    .await;
}

impl ReadPartition for Zeromq {
    fn partitions(&mut self) -> Result<Vec<String>, ReadError> {
        Ok(vec![String::new()])
    }

    fn open(&mut self, _: &str, _: Option<&[u8]>) -> Result<(), ReadError> {
        self.open = Some(self.start().map_err(|fault| self.read_error(fault))?);
        if let MessageOrigin::Address(address) = &self.from {
            tracing::info!("source `{}`: listening on tcp://{address}", self.source);
        }
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.open.is_some()
    }

    fn poll(&mut self, rows_max: u32, wait: Duration) -> Result<ReadRows, ReadError> {
        let Some(mut open) = self.open.take() else { return Err(ReadError::Transient("it is not connected".into())) };
        let rows = self.read(&mut open, rows_max, wait).map_err(|fault| self.read_error(fault))?;
        self.open = Some(open);
        Ok(rows)
    }

    fn keeps_positions(&self) -> bool {
        false
    }
}
