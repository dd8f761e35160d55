//! The `lumberjack` source receives windows of events from Beats (Filebeat and others). A window is acknowledged once the plan with its rows is
//! durable. A sender that repeats unacknowledged windows so loses nothing; a window whose acknowledgment was lost is duplicated.
//!
//! ```text
//! connection -> read (frames) -> put (inbox) -> acknowledge
//! ```
//!
//! While a window waits for its acknowledgment, a few more are read, and its sender periodically receives keep-alives. Strangers may connect: bytes
//! and times are limited, and no client waits for another one.

pub mod declaration;
mod frames;
pub mod settings;

use crate::limits::{HTTP_BODIES_BYTES_MAX, HTTP_HEAD_MS_MAX};
use frames::{Window, WindowError, acknowledgment, read_window_start};
use millstream_base::error::Result;
use millstream_base::fault;
use millstream_base::units;
use millstream_connect::http1::certificate::Certificate;
use millstream_connect::http1::listener::Acceptor;
use millstream_connect::http1::rejection_log::RejectionLog;
use millstream_connect::http1::slots::{Slot, TrustLevel};
use millstream_connect::receiver::bodies::{BodyRecords, Records};
use millstream_connect::receiver::budget::Budget;
use millstream_connect::receiver::listening::{Listening, bind_listener, connection_ended, run_until_answered};
use millstream_connect::tls;
use millstream_job::spec::{SourceSpec, SourceStart};
use millstream_rows::batch::chunk::Chunk;
use millstream_rows::inbox::{Inbox, Ticket};
use settings::LumberjackReads;
use socket2::{SockRef, TcpKeepalive};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// Timeouts for the TLS handshake and for the first window.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_millis(HTTP_HEAD_MS_MAX);
const FIRST_TIME_MAX: Duration = Duration::from_secs(60);
/// Maximum time between windows. Beats reconnect.
const IDLE_TIME_MAX: Duration = Duration::from_secs(600);
/// Interval of keep-alives to a waiting sender, which would disconnect after half a minute.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(3);
/// How long a sender may not read its acknowledgments.
const WRITE_TIME_MAX: Duration = Duration::from_secs(30);
/// Maximum windows of a connection that wait for their acknowledgment.
const WINDOWS_MAX: usize = 8;
/// Idle time before TCP keep-alive probes are sent.
const TCP_KEEP_ALIVE_AFTER: Duration = Duration::from_secs(60);

/// Starts listening. Windows received before the inbox is closed are still acknowledged, as long as this runtime lives.
fn start(reads: &LumberjackReads, start: &SourceStart<'_>) -> Result<()> {
    let SourceStart { source, origin, inbox, from, .. } = start;
    let listening = Listening::new(start, reads.spread);
    let listener = bind_listener(start, &reads.listen, &listening)?;
    let certificate = source.tls.as_ref().and_then(|tls| Certificate::from_spec(tls, &origin.dir));
    let rows = listening.rows_before(from);
    inbox.idle(true);
    let intake = Arc::new(Intake {
        source: (*source).clone(),
        spec: reads.clone(),
        listening,
        inbox: inbox.clone(),
        certificate,
        rows: Mutex::new(rows),
        // There is always room for one window and one compressed frame.
        budget: Budget::new(HTTP_BODIES_BYTES_MAX.max(reads.window_bytes_max.saturating_mul(2))),
        rejection_log: RejectionLog::new(format!("source `{}`", source.name)),
        incoming: AtomicU64::new(0),
    });
    run_until_answered(start, listen(intake, listener));
    Ok(())
}

/// State that all connections share.
struct Intake {
    source: SourceSpec,
    spec: LumberjackReads,
    listening: Listening,
    inbox: Arc<Inbox>,
    certificate: Option<Certificate>,
    /// Number of rows since the job's first start. The lock is held while rows go into the inbox.
    rows: Mutex<u64>,
    budget: Budget,
    rejection_log: RejectionLog,
    /// Number of windows that are being received.
    incoming: AtomicU64,
}

/// A window that is being received. The source is not idle until its rows are in the inbox.
struct IncomingWindow(Arc<Intake>);

impl IncomingWindow {
    fn new(intake: &Arc<Intake>) -> IncomingWindow {
        intake.incoming.fetch_add(1, Ordering::AcqRel);
        intake.inbox.idle(false);
        IncomingWindow(intake.clone())
    }
}

impl Drop for IncomingWindow {
    fn drop(&mut self) {
        if self.0.incoming.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.inbox.idle(true);
        }
    }
}

/// Serves connections until the inbox is closed and all received windows are acknowledged.
async fn listen(intake: Arc<Intake>, listener: TcpListener) {
    let (name, address) = (&intake.source.name, &intake.spec.listen);
    let who = format!("source `{name}`");
    let with = if intake.certificate.is_some() { " with TLS" } else { "" };
    info!("{who}: listening for Beats on {address}{with}");
    let reachable = listener.local_addr().is_ok_and(|address| !address.ip().is_loopback());
    if reachable && intake.source.tls.as_ref().is_none_or(|tls| tls.ca.is_none()) {
        warn!(
            "{who}: any client that reaches {address} can send rows; set `tls` with `ca`, and give senders certificates"
        );
    }
    let mut connections = JoinSet::new();
    let mut acceptor = Acceptor::new(&listener, &who, intake.spec.connections_max);
    loop {
        tokio::select! {
            () = intake.inbox.closed() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => connection_ended(&intake.source, &intake.inbox, ended),
            (stream, peer, slot) = acceptor.next() => {
                let (intake, response_guard) = (intake.clone(), intake.inbox.open_response());
                connections.spawn(async move {
                    let _kept = response_guard;
                    fault::thread("lumberjack-connection");
                    tokio::select! {
                        () = serve(stream, (peer, &slot), &intake) => {}
                        () = slot.ended() => {}
                    }
                });
            }
        }
    }
    drop(acceptor);
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        connection_ended(&intake.source, &intake.inbox, ended);
    }
}

/// Serves one connection to its end.
async fn serve(stream: TcpStream, (peer, slot): (SocketAddr, &Slot), intake: &Arc<Intake>) {
    // Acknowledgments are small, and clients wait for them.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_KEEP_ALIVE_AFTER));
    let Some(certificate) = &intake.certificate else { return serve_windows(stream, (peer, slot), intake).await };
    let acceptor = match certificate.acceptor(&format!("source `{}`", intake.source.name)) {
        Ok(acceptor) => acceptor,
        Err(why) => return intake.rejection_log.log(peer, &why),
    };
    match timeout(HANDSHAKE_TIME_MAX, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => serve_windows(stream, (peer, slot), intake).await,
        Ok(Err(error)) => {
            let why = tls::describe_client_error(&error, "set `ssl.enabled: true` for its output");
            intake.rejection_log.log(peer, &format!("TLS: {why}"));
        }
        Err(_) => intake.rejection_log.log(peer, "TLS: it did not finish the handshake in time"),
    }
}

/// A received window that is not in the inbox yet.
struct ReceivedWindow {
    window: Window,
    incoming: IncomingWindow,
}

/// A window whose rows are in the inbox.
struct PendingWindow {
    last: u32,
    ticket: Ticket,
}

async fn serve_windows(stream: impl AsyncRead + AsyncWrite, (peer, slot): (SocketAddr, &Slot), intake: &Arc<Intake>) {
    let (reading, writing) = split(stream);
    let ((receive, received), (forward, pending)) = (mpsc::channel(1), mpsc::channel(WINDOWS_MAX));
    // Windows that were received and not acknowledged.
    let waiting = AtomicU64::new(0);
    let read = async {
        let read = tokio::select! {
            read = read(reading, (intake, slot), &receive, &waiting) => read,
            // Windows that are complete by now are acknowledged.
            () = intake.inbox.closed() => Ok(()),
        };
        drop(receive);
        read
    };
    let work = async {
        let ((), ()) =
            tokio::join!(put(received, intake, forward), acknowledge(writing, pending, (intake, slot), &waiting));
    };
    let (mut read, mut work) = (pin!(read), pin!(work));
    tokio::select! {
        read = &mut read => {
            if let Err(why) = read {
                intake.rejection_log.log(peer, &why);
            }
            work.await;
        }
        // The client does not read acknowledgments any longer, or none follow.
        () = &mut work => {}
    }
}

/// Reads windows until the connection ends. Fails with the reason if the client violates the protocol or a limit.
async fn read<S: AsyncRead + AsyncWrite>(
    stream: ReadHalf<S>,
    (intake, slot): (&Arc<Intake>, &Slot),
    receive: &mpsc::Sender<ReceivedWindow>,
    waiting: &AtomicU64,
) -> Result<(), String> {
    let mut stream = tokio::io::BufReader::new(stream);
    let mut idle_max = FIRST_TIME_MAX;
    let (bytes_max, time_max) = (intake.spec.window_bytes_max, intake.spec.window_time_max);
    let to_result = |error| match error {
        // A client that disconnects is not an error.
        WindowError::Broken => Ok(()),
        WindowError::Wrong(message) => Err(message),
        WindowError::TooLarge => {
            let max = units::show_size(bytes_max);
            Err(format!(
                "a window has more than {max} (`window_bytes_max`); configure it to send fewer events at a \
                time"
            ))
        }
        WindowError::NoRoom => Err("too many windows are arriving at the same time; it may retry".into()),
    };
    loop {
        let count = match timeout(idle_max, read_window_start(&mut stream)).await {
            Ok(Ok(Some(count))) => count,
            Ok(Ok(None)) | Err(_) => return Ok(()),
            Ok(Err(error)) => return to_result(error),
        };
        idle_max = IDLE_TIME_MAX;
        let incoming = IncomingWindow::new(intake);
        let mut window = Window::new(count, usize::try_from(bytes_max).unwrap_or(usize::MAX));
        let receiving = async {
            while !window.is_complete() {
                window = window.read(&mut stream, &intake.budget).await?;
            }
            Ok(window)
        };
        let window = match timeout(time_max, receiving).await {
            Ok(Ok(window)) => window,
            Ok(Err(error)) => return to_result(error),
            Err(_) => {
                let max = units::show_time(time_max);
                return Err(format!("a window did not come within {max} (`window_time_max`)"));
            }
        };
        if count == 0 {
            continue;
        }
        slot.set_trust_level(TrustLevel::Known);
        waiting.fetch_add(1, Ordering::AcqRel);
        if receive.send(ReceivedWindow { window, incoming }).await.is_err() {
            return Ok(());
        }
    }
}

/// Puts windows into the inbox as it has room.
async fn put(mut received: mpsc::Receiver<ReceivedWindow>, intake: &Arc<Intake>, forward: mpsc::Sender<PendingWindow>) {
    while let Some(ReceivedWindow { window, incoming }) = received.recv().await {
        let (last, source) = (window.last(), intake.source.clone());
        let cutting = tokio::task::spawn_blocking(move || cut(&window, &source));
        let Ok(mut chunks) = cutting.await else { return };
        let mut rows = intake.rows.lock().await;
        intake.listening.number(&mut chunks, *rows);
        let count: u64 = chunks.iter().map(|chunk| chunk.rows() as u64).sum();
        let Some(ticket) = intake.inbox.put_all_for(chunks).await else { return };
        *rows = rows.saturating_add(count);
        drop((rows, incoming));
        if forward.send(PendingWindow { last, ticket }).await.is_err() {
            return;
        }
    }
}

/// Converts the events of a window to records.
fn cut(window: &Window, source: &SourceSpec) -> Vec<Chunk> {
    let mut records = Records::new(source, b"\n", u64::MAX);
    window.events().for_each(|event| records.add(event));
    let BodyRecords { chunks, .. } = records.end();
    chunks
}

/// Acknowledges windows in order, each when its rows are durable. Sends keep-alives meanwhile.
async fn acknowledge<S: AsyncWrite>(
    mut stream: WriteHalf<S>,
    mut pending: mpsc::Receiver<PendingWindow>,
    (intake, slot): (&Arc<Intake>, &Slot),
    waiting: &AtomicU64,
) {
    loop {
        let next = async {
            let PendingWindow { last, ticket } = pending.recv().await?;
            intake.inbox.durable(ticket).await.then_some(last)
        };
        let mut next = pin!(next);
        let last = loop {
            tokio::select! {
                biased;
                last = &mut next => break last,
                () = sleep(KEEP_ALIVE_INTERVAL) => {
                    if waiting.load(Ordering::Acquire) > 0 && !send_acknowledgment(&mut stream, 0).await {
                        return;
                    }
                }
            }
        };
        let Some(last) = last else { break };
        // A connection with a certificate keeps its slot, others only while they wait for an acknowledgment.
        let is_certified = intake.source.tls.as_ref().is_some_and(|tls| tls.ca.is_some());
        if waiting.fetch_sub(1, Ordering::AcqRel) == 1 && !is_certified {
            slot.set_trust_level(TrustLevel::Guest);
        }
        if !send_acknowledgment(&mut stream, last).await {
            return;
        }
    }
    // Notifies the client that nothing more follows.
    let _ = timeout(WRITE_TIME_MAX, stream.shutdown()).await;
}

/// Sends an acknowledgment. Returns whether that succeeded.
async fn send_acknowledgment<S: AsyncWrite>(stream: &mut WriteHalf<S>, last: u32) -> bool {
    let writing = async {
        stream.write_all(&acknowledgment(last)).await?;
        stream.flush().await
    };
    matches!(timeout(WRITE_TIME_MAX, writing).await, Ok(Ok(())))
}
