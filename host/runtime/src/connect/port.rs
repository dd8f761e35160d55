//! The open port of a process. Any client may connect. One thread authenticates all clients concurrently, each for a
//! limited time, and admits those that know the key. Until this process is ready, admitted processes receive signs of
//! life.

use super::hello::{ConnectionEnd, ConnectionPurpose, HELLO_BYTES, Hello, HelloBytes, MAGIC, PROOF_BYTES, Transcript};
use super::records::export_secret;
use super::sealed::{FRAME_BYTES_MAX, Opener, Sealer, split};
use super::status::{STATUS_EVERY, Status};
use crate::limits::{HELLO_MS_MAX, STRANGERS_MAX};
use millstream_base::error::{Error, Result};
use millstream_base::threads;
use millstream_engine::running::Cluster;
use millstream_engine::running::layout::JobLayout;
use millstream_engine::running::peer_trust::{EXPORTED_BYTES, PeerTrust, name_in};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

/// Minimum interval between log messages about rejected connections.
const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(10);
/// The pause after a connection cannot be accepted because no more files can be opened.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A connection from another process that knows the key.
pub struct PeerConnection {
    /// What the other process runs.
    pub hello: Hello,
    /// The purpose of the connection.
    pub purpose: ConnectionPurpose,
    /// The connection.
    pub socket: std::net::TcpStream,
    /// Encrypts sent data and decrypts received data.
    pub seals: (Sealer, Opener),
}

/// The open port. Dropping it closes it.
pub struct PeerPort {
    /// Whether processes are admitted. The thread ends when this is dropped.
    ready: Option<watch::Sender<bool>>,
    admitted: Receiver<Result<PeerConnection>>,
    thread: Option<JoinHandle<()>>,
    waiting: WaitingProcesses,
}

/// The number of connections per process that wait until this one is ready.
type WaitingProcesses = Arc<Mutex<BTreeMap<u32, usize>>>;

/// The shared state of the tasks that admit connections.
struct Admission {
    own: Hello,
    trust: PeerTrust,
    /// The addresses of all processes.
    hosts: Vec<String>,
    ready: watch::Receiver<bool>,
    admitted: Sender<Result<PeerConnection>>,
    /// Limits how many connections may wait until this process is ready.
    wait_slots: Arc<Semaphore>,
    notice: Mutex<RefusalNotice>,
    waiting: WaitingProcesses,
}

/// When a rejected connection was last logged, and the number since.
#[derive(Default)]
struct RefusalNotice {
    logged_at: Option<Instant>,
    since: u64,
}

impl PeerPort {
    /// Opens the port. From now on clients are authenticated.
    pub fn open(listener: TcpListener, own: Hello, cluster: &Cluster) -> Result<PeerPort> {
        let failed = |error: io::Error| Error::environment(format!("cannot wait for the other processes: {error}"));
        listener.set_nonblocking(true).map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (ready, is_ready) = watch::channel(false);
        let (sender, admitted) = channel();
        let (failing, closing) = (sender.clone(), sender.clone());
        let waiting = WaitingProcesses::default();
        let wait_slots =
            usize::try_from(own.processes).unwrap_or(usize::MAX).saturating_mul(6).min(Semaphore::MAX_PERMITS);
        let admission = Admission {
            own,
            trust: cluster.trust.clone(),
            hosts: cluster.hosts.clone(),
            ready: is_ready,
            admitted: sender,
            wait_slots: Arc::new(Semaphore::new(wait_slots)),
            notice: Mutex::default(),
            waiting: waiting.clone(),
        };
        let serve = move || {
            if let Err(error) = runtime.block_on(async { serve(listener, Arc::new(admission)).await }) {
                // The receiver is dropped if the startup has failed.
                let _ = closing
                    .send(Err(Error::environment(format!("the port for the job's processes is closed: {error}"))));
            }
        };
        let panicked = move |error| {
            let _ = failing.send(Err(error));
        };
        let thread = threads::start(
            "millstream-door",
            "the thread that accepts connections of the job's processes",
            panicked,
            serve,
        )?;
        Ok(PeerPort { ready: Some(ready), admitted, thread: Some(thread), waiting })
    }

    /// Admits processes from now on, because this process knows what they need.
    pub fn ready(&self) {
        if let Some(ready) = &self.ready {
            // There is no receiver if the thread has failed, which `next` reports.
            let _ = ready.send(true);
        }
    }

    /// Returns how many processes have been authenticated, and wait until this one is ready.
    pub fn waiting(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Returns the next admitted process, or `None` after `within`.
    pub fn next(&self, within: Duration) -> Result<Option<PeerConnection>> {
        match self.admitted.recv_timeout(within) {
            Ok(connection) => connection.map(Some),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Error::environment("the port for the job's processes is closed; see the log"))
            }
        }
    }
}

impl Drop for PeerPort {
    fn drop(&mut self) {
        drop(self.ready.take());
        if let Some(thread) = self.thread.take() {
            // The thread has already reported its error.
            let _ = thread.join();
        }
    }
}

/// Accepts connections until the port is closed. At most [`STRANGERS_MAX`] are read before authentication. If more
/// arrive, the one that has been silent longest is closed, so a mass of idle connections blocks no process.
async fn serve(listener: TcpListener, admission: Arc<Admission>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut ready = admission.ready.clone();
    let mut strangers: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            biased;
            changed = ready.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return Ok(()),
            },
            accepted = listener.accept() => accepted,
        };
        strangers.retain(|stranger| !stranger.is_finished());
        let full = strangers.len() >= STRANGERS_MAX || accepted.is_err();
        if let (true, Some(oldest)) = (full, strangers.pop_front()) {
            oldest.abort();
            admission.log_rejection("more connections at the same time than the job's processes open", None);
        }
        match accepted {
            Ok((socket, from)) => {
                strangers.push_back(tokio::spawn(handle(socket, from, admission.clone())).abort_handle())
            }
            Err(error) => {
                admission.log_rejection(&error.to_string(), None);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Handles a new connection: authenticates it within a short time, then waits until it can be admitted.
async fn handle(socket: TcpStream, from: SocketAddr, admission: Arc<Admission>) {
    let time_max = Duration::from_millis(HELLO_MS_MAX);
    let result = match tokio::time::timeout(time_max, authenticate(socket, &admission)).await {
        Ok(result) => result,
        Err(_) => Err("it did not identify itself in time as a process of a job".to_owned()),
    };
    match result {
        Ok((socket, (hello, _, seals))) if admission.own.is_elsewhere(hello) => {
            let sent = tokio::time::timeout(time_max, send_layout(socket, seals, &admission)).await;
            tracing::debug!(
                "process {} has another list of machines, and receives the current one: {}",
                hello.process,
                matches!(sent, Ok(Ok(())))
            );
        }
        Ok((socket, (hello, purpose, seals))) => {
            let Ok(permit) = admission.wait_slots.clone().try_acquire_owned() else {
                return admission.log_rejection("more processes are waiting than the job has", Some(from));
            };
            // This is a separate task, since the process is now authenticated.
            tokio::spawn(async move {
                let _permit = permit;
                let _waits = admission.add_waiting(hello.process);
                wait(socket, hello, purpose, seals, &admission).await;
            });
        }
        Err(why) => admission.log_rejection(&why, Some(from)),
    }
}

type CheckedHello = (Hello, ConnectionPurpose, (Sealer, Opener));

/// Authenticates both ends, with certificates if the processes have them.
async fn authenticate(socket: TcpStream, admission: &Admission) -> Result<(TcpStream, CheckedHello), String> {
    socket.set_nodelay(true).map_err(lost_message)?;
    let peers = admission.trust.peers();
    let to_message = |error: io::Error| peers.rejection_reason(&error).unwrap_or_else(|| lost_message(error));
    let mut stream = TlsAcceptor::from(peers.listens()).accept(socket).await.map_err(to_message)?;
    let secret = export_secret(stream.get_ref().1).map_err(lost_message)?;
    let (hello, purpose) = prove(&mut stream, admission, &secret).await?;
    let host = admission.hosts.get(hello.process as usize).map_or("", String::as_str);
    let (socket, connection) = stream.into_inner();
    peers
        .is_for(connection.peer_certificates(), name_in(host))
        .map_err(|why| format!("it claims to be process {}, at {host} in --hosts: {why}", hello.process))?;
    Ok((socket, (hello, purpose, split(connection.into(), peers))))
}

fn lost_message(error: io::Error) -> String {
    let why = match error.kind() {
        // The library's message is long.
        io::ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
        _ => error.to_string(),
    };
    format!("it did not identify itself as a process of a job ({why})")
}

/// Both ends prove that they know the key, see [`super::hello`].
async fn prove(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    admission: &Admission,
    exported: &[u8; EXPORTED_BYTES],
) -> Result<(Hello, ConnectionPurpose), String> {
    let foreign = || "it is not a process of a job, or has another version".to_owned();
    let mut hello_bytes = HelloBytes([0; HELLO_BYTES]);
    // Read the magic first: another program may send less than a hello and wait for a response.
    stream.read_exact(&mut hello_bytes.0[..MAGIC.len()]).await.map_err(lost_message)?;
    if !hello_bytes.0.starts_with(&MAGIC) {
        return Err(foreign());
    }
    stream.read_exact(&mut hello_bytes.0[MAGIC.len()..]).await.map_err(lost_message)?;
    let (hello, purpose) = hello_bytes.hello().ok_or_else(foreign)?;
    let own = HelloBytes::new(admission.own, purpose).map_err(lost_message)?;
    let transcript = Transcript::new(admission.trust.proof_key(exported), &hello_bytes, &own);
    stream.write_all(&[&own.0[..], &transcript.proof(ConnectionEnd::Listens)].concat()).await.map_err(lost_message)?;
    stream.flush().await.map_err(lost_message)?;
    let mut proof = [0; PROOF_BYTES];
    stream.read_exact(&mut proof).await.map_err(lost_message)?;
    if !transcript.proves(ConnectionEnd::Connects, &proof) {
        return Err("it does not have the key of the job's processes".to_owned());
    }
    if admission.own.is_elsewhere(hello) {
        return Ok((hello, purpose));
    }
    match admission.own.differs(hello) {
        // The other end finds the same difference, and reports it.
        Some(difference) => Err(difference),
        None => Ok((hello, purpose)),
    }
}

/// Sends signs of life until this process is ready or the other one has disconnected. Then admits the process.
async fn wait(
    mut socket: TcpStream,
    hello: Hello,
    purpose: ConnectionPurpose,
    mut seals: (Sealer, Opener),
    admission: &Admission,
) {
    let mut ready = admission.ready.clone();
    loop {
        let is_ready = match tokio::time::timeout(STATUS_EVERY, ready.wait_for(|ready| *ready)).await {
            Ok(Ok(_)) => true,
            Ok(Err(_)) => return,
            Err(_) => false,
        };
        if is_ready {
            break;
        }
        let Ok(sealed) = seals.0.seal(&Status::Wait.bytes()) else { return };
        let sent = tokio::time::timeout(STATUS_EVERY, socket.write_all(sealed)).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
    let Ok(socket) = socket.into_std() else { return };
    if socket.set_nonblocking(false).is_ok() {
        // The receiver is dropped if the startup has failed.
        let _ = admission.admitted.send(Ok(PeerConnection { hello, purpose, socket, seals }));
    }
}

/// If this is process 0, sends the job's current machines to a process that has other ones.
async fn send_layout(mut socket: TcpStream, mut seals: (Sealer, Opener), admission: &Admission) -> io::Result<()> {
    if admission.own.process != 0 {
        return Ok(());
    }
    let workers = usize::try_from(admission.own.workers).ok();
    let sent = serde_json::to_vec(&JobLayout { workers, hosts: admission.hosts.clone() }).map_err(io::Error::other)?;
    let status = Status::Elsewhere(sent.len() as u64);
    for piece in std::iter::once(&status.bytes()[..]).chain(sent.chunks(FRAME_BYTES_MAX)) {
        socket.write_all(seals.0.seal(piece)?).await?;
    }
    socket.shutdown().await
}

/// A waiting connection.
struct WaitingConnection<'a> {
    waiting: &'a WaitingProcesses,
    process: u32,
}

impl Drop for WaitingConnection<'_> {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let left = waiting.get(&self.process).map_or(0, |count| count.saturating_sub(1));
        match left {
            0 => drop(waiting.remove(&self.process)),
            left => drop(waiting.insert(self.process, left)),
        }
    }
}

impl Admission {
    /// Adds a process to those that wait.
    fn add_waiting(&self, process: u32) -> WaitingConnection<'_> {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner).entry(process).or_default() += 1;
        WaitingConnection { waiting: &self.waiting, process }
    }

    /// Logs a rejected connection, but at most one line per interval, however many are rejected.
    fn log_rejection(&self, why: &str, from: Option<SocketAddr>) {
        let mut notice = self.notice.lock().unwrap_or_else(PoisonError::into_inner);
        notice.since += 1;
        if notice.logged_at.is_some_and(|logged_at| logged_at.elapsed() < REFUSAL_LOG_INTERVAL) {
            return;
        }
        let from = from.map_or_else(String::new, |from| format!("{from}: "));
        match notice.since {
            1 => tracing::warn!("a connection was rejected: {from}{why}"),
            more => tracing::warn!("{more} connections were rejected, the last one: {from}{why}"),
        }
        *notice = RefusalNotice { logged_at: Some(Instant::now()), since: 0 };
    }
}
