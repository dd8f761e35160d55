//! Source `lumberjack`: Beats (Filebeat and others) send windows of events to us. A window is answered when the plan that holds its rows is
//! durable, so that a sender who sends again what was not answered loses nothing; a window whose answer was lost comes twice.
//!
//! ```text
//! connection -> read (frames) -> put (inbox) -> answer
//! ```
//!
//! While a window waits for its answer the next ones are read, a few at most, and its sender hears now and then that somebody is at
//! work on it. Strangers may connect: all that comes is bounded, in bytes and in time, and nobody waits for anybody else.

pub mod declaration;
mod frames;
pub mod settings;

use crate::http::certificate::Certificate;
use crate::http::listener::Acceptor;
use crate::http::places::{Place, Standing};
use crate::http::refusals::Refusals;
use crate::limits::{HTTP_BODIES_BYTES_MAX, HTTP_HEAD_MS_MAX};
use crate::receiver::bodies::{BodyRecords, Records};
use crate::receiver::budget::Budget;
use crate::receiver::listening::{Listening, bound, connection_ended, until_answered};
use crate::tls;
use frames::{Window, WindowRefusal, answer, begins};
use millstream_base::batch::chunk::Chunk;
use millstream_base::error::Result;
use millstream_base::fault;
use millstream_base::inbox::{Inbox, Ticket};
use millstream_base::job::spec::{SourceSpec, SourceStart};
use millstream_base::units;
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

/// How long a greeting of TLS may take, and the first window may be awaited.
const GREETING_TIME_MAX: Duration = Duration::from_millis(HTTP_HEAD_MS_MAX);
const FIRST_TIME_MAX: Duration = Duration::from_secs(60);
/// How long nothing may come between windows. Beats connect again.
const IDLE_TIME_MAX: Duration = Duration::from_secs(600);
/// How often a sender that waits hears that it need not give up: after half a minute it would.
const AT_WORK_EVERY: Duration = Duration::from_secs(3);
/// How long a sender may take nothing of what it is told.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// Windows of a connection that wait for their answers.
const WINDOWS_MAX: usize = 8;
/// After which silence the system asks whether the other end is still there.
const ASK_AFTER: Duration = Duration::from_secs(60);

/// Starts to listen. What was received by the time that the inbox is closed is still answered, as long as this runtime lives.
fn start(reads: &LumberjackReads, start: &SourceStart<'_>) -> Result<()> {
    let SourceStart { source, origin, inbox, from, .. } = start;
    let listening = Listening::of(start, reads.spread);
    let listener = bound(start, &reads.listen, &listening)?;
    let certificate = source.tls.as_ref().and_then(|tls| Certificate::of(tls, &origin.folder));
    let rows = listening.rows_before(from);
    inbox.idle(true);
    let intake = Arc::new(Intake {
        source: (*source).clone(),
        spec: reads.clone(),
        listening,
        inbox: inbox.clone(),
        certificate,
        rows: Mutex::new(rows),
        // A window, and a compressed frame beside it, have room in any case.
        budget: Budget::new(HTTP_BODIES_BYTES_MAX.max(reads.window_bytes_max.saturating_mul(2))),
        refusals: Refusals::new(format!("source `{}`", source.name)),
        coming: AtomicU64::new(0),
    });
    until_answered(start, listen(intake, listener));
    Ok(())
}

/// What all connections share.
struct Intake {
    source: SourceSpec,
    spec: LumberjackReads,
    listening: Listening,
    inbox: Arc<Inbox>,
    certificate: Option<Certificate>,
    /// Rows since the job's first start. Who holds it puts the next ones.
    rows: Mutex<u64>,
    budget: Budget,
    refusals: Refusals,
    /// Windows that are coming in.
    coming: AtomicU64,
}

/// A window that is coming in: the source has something to read until its rows are in the inbox.
struct IncomingWindow(Arc<Intake>);

impl IncomingWindow {
    fn new(intake: &Arc<Intake>) -> IncomingWindow {
        intake.coming.fetch_add(1, Ordering::AcqRel);
        intake.inbox.idle(false);
        IncomingWindow(intake.clone())
    }
}

impl Drop for IncomingWindow {
    fn drop(&mut self) {
        if self.0.coming.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.inbox.idle(true);
        }
    }
}

/// Serves until the inbox is closed and all windows that came are answered.
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
            (stream, peer, place) = acceptor.next() => {
                let (intake, answering) = (intake.clone(), intake.inbox.answers());
                connections.spawn(async move {
                    let _kept = answering;
                    fault::thread("lumberjack-connection");
                    tokio::select! {
                        () = serve(stream, (peer, &place), &intake) => {}
                        () = place.ended() => {}
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
async fn serve(stream: TcpStream, (peer, place): (SocketAddr, &Place), intake: &Arc<Intake>) {
    // Answers are small and somebody waits for them.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(ASK_AFTER));
    let Some(certificate) = &intake.certificate else { return speak(stream, (peer, place), intake).await };
    let acceptor = match certificate.acceptor(&format!("source `{}`", intake.source.name)) {
        Ok(acceptor) => acceptor,
        Err(why) => return intake.refusals.tell(peer, &why),
    };
    match timeout(GREETING_TIME_MAX, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => speak(stream, (peer, place), intake).await,
        Ok(Err(error)) => {
            let why = tls::of_client(&error, "set `ssl.enabled: true` for its output");
            intake.refusals.tell(peer, &format!("TLS: {why}"));
        }
        Err(_) => intake.refusals.tell(peer, "TLS: it did not finish its greeting in time"),
    }
}

/// A window on its way into the inbox.
struct Received {
    window: Window,
    coming: IncomingWindow,
}

/// A window whose rows a batch will take.
struct TakenWindow {
    last: u32,
    ticket: Ticket,
}

async fn speak(stream: impl AsyncRead + AsyncWrite, (peer, place): (SocketAddr, &Place), intake: &Arc<Intake>) {
    let (reading, writing) = split(stream);
    let ((receive, received), (take, taken)) = (mpsc::channel(1), mpsc::channel(WINDOWS_MAX));
    // Those that were received, until they are answered.
    let waiting = AtomicU64::new(0);
    let read = async {
        let read = tokio::select! {
            read = read(reading, (intake, place), &receive, &waiting) => read,
            // What is whole by now is answered.
            () = intake.inbox.closed() => Ok(()),
        };
        drop(receive);
        read
    };
    let work = async {
        let ((), ()) = tokio::join!(put(received, intake, take), tell(writing, taken, (intake, place), &waiting));
    };
    let (mut read, mut work) = (pin!(read), pin!(work));
    tokio::select! {
        read = &mut read => {
            if let Err(why) = read {
                intake.refusals.tell(peer, &why);
            }
            work.await;
        }
        // Nobody hears answers any more, or nobody gives some.
        () = &mut work => {}
    }
}

/// Reads windows to the end of the connection; why it is not read any further, otherwise.
async fn read<S: AsyncRead + AsyncWrite>(
    stream: ReadHalf<S>,
    (intake, place): (&Arc<Intake>, &Place),
    receive: &mpsc::Sender<Received>,
    waiting: &AtomicU64,
) -> Result<(), String> {
    let mut stream = tokio::io::BufReader::new(stream);
    let mut patience = FIRST_TIME_MAX;
    let (bytes_max, time_max) = (intake.spec.window_bytes_max, intake.spec.window_time_max);
    let told = |refused| match refused {
        // Somebody who goes away is nothing to tell.
        WindowRefusal::Broken => Ok(()),
        WindowRefusal::Wrong(words) => Err(words),
        WindowRefusal::TooLarge => {
            let most = units::show_size(bytes_max);
            Err(format!("a window has more than {most} (`window_bytes_max`); let it send fewer events together"))
        }
        WindowRefusal::NoRoom => Err("too many windows are coming in at the same time; it may try again".into()),
    };
    loop {
        let count = match timeout(patience, begins(&mut stream)).await {
            Ok(Ok(Some(count))) => count,
            Ok(Ok(None)) | Err(_) => return Ok(()),
            Ok(Err(refused)) => return told(refused),
        };
        patience = IDLE_TIME_MAX;
        let coming = IncomingWindow::new(intake);
        let mut window = Window::new(count, usize::try_from(bytes_max).unwrap_or(usize::MAX));
        let whole = async {
            while !window.is_whole() {
                window = window.read(&mut stream, &intake.budget).await?;
            }
            Ok(window)
        };
        let window = match timeout(time_max, whole).await {
            Ok(Ok(window)) => window,
            Ok(Err(refused)) => return told(refused),
            Err(_) => {
                let most = units::show_time(time_max);
                return Err(format!("a window did not come within {most} (`window_time_max`)"));
            }
        };
        if count == 0 {
            continue;
        }
        place.set_standing(Standing::Known);
        waiting.fetch_add(1, Ordering::AcqRel);
        if receive.send(Received { window, coming }).await.is_err() {
            return Ok(());
        }
    }
}

/// Puts windows into the inbox, as it has room.
async fn put(mut received: mpsc::Receiver<Received>, intake: &Arc<Intake>, take: mpsc::Sender<TakenWindow>) {
    while let Some(Received { window, coming }) = received.recv().await {
        let (last, source) = (window.last(), intake.source.clone());
        let cutting = tokio::task::spawn_blocking(move || cut(&window, &source));
        let Ok(mut chunks) = cutting.await else { return };
        let mut rows = intake.rows.lock().await;
        intake.listening.number(&mut chunks, *rows);
        let count: u64 = chunks.iter().map(|chunk| chunk.rows() as u64).sum();
        let Some(ticket) = intake.inbox.put_all_for(chunks).await else { return };
        *rows = rows.saturating_add(count);
        drop((rows, coming));
        if take.send(TakenWindow { last, ticket }).await.is_err() {
            return;
        }
    }
}

/// The events of a window as records.
fn cut(window: &Window, source: &SourceSpec) -> Vec<Chunk> {
    let mut records = Records::new(source, b"\n", u64::MAX);
    window.events().for_each(|event| records.add(event));
    let BodyRecords { chunks, .. } = records.end();
    chunks
}

/// Answers windows in their order, each when its rows are safe; until then tells now and then that somebody is at work on them.
async fn tell<S: AsyncWrite>(
    mut stream: WriteHalf<S>,
    mut taken: mpsc::Receiver<TakenWindow>,
    (intake, place): (&Arc<Intake>, &Place),
    waiting: &AtomicU64,
) {
    loop {
        let next = async {
            let TakenWindow { last, ticket } = taken.recv().await?;
            intake.inbox.durable(ticket).await.then_some(last)
        };
        let mut next = pin!(next);
        let last = loop {
            tokio::select! {
                biased;
                last = &mut next => break last,
                () = sleep(AT_WORK_EVERY) => {
                    if waiting.load(Ordering::Acquire) > 0 && !written(&mut stream, 0).await {
                        return;
                    }
                }
            }
        };
        let Some(last) = last else { break };
        // Who has shown a certificate keeps its place, and the others while there is something that they wait for.
        let shown = intake.source.tls.as_ref().is_some_and(|tls| tls.ca.is_some());
        if waiting.fetch_sub(1, Ordering::AcqRel) == 1 && !shown {
            place.set_standing(Standing::Guest);
        }
        if !written(&mut stream, last).await {
            return;
        }
    }
    // So that the other end knows that nothing more comes.
    let _ = timeout(ANSWER_TIME_MAX, stream.shutdown()).await;
}

/// Whether the sender took an answer.
async fn written<S: AsyncWrite>(stream: &mut WriteHalf<S>, last: u32) -> bool {
    let writing = async {
        stream.write_all(&answer(last)).await?;
        stream.flush().await
    };
    matches!(timeout(ANSWER_TIME_MAX, writing).await, Ok(Ok(())))
}
