//! The open port of a process. Anybody may knock; a thread of its own hears all of them at once, each for a short while,
//! and lets in who knows the key. Until this process is ready, those who were let in hear that it lives.

use super::hello::{ConnectionEnd, ConnectionPurpose, HELLO_BYTES, Hello, HelloBytes, MAGIC, PROOF_BYTES, Transcript};
use super::records::exported;
use super::sealed::{FRAME_BYTES_MAX, Opener, Sealer, both};
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

/// How often it is told in the log that connections were refused.
const REFUSED_TOLD_EVERY: Duration = Duration::from_secs(10);
/// After connections cannot be taken, as there are no files left to open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The connection of another process that knows the key.
pub struct PeerConnection {
    /// What it runs.
    pub hello: Hello,
    /// What its connection is for.
    pub purpose: ConnectionPurpose,
    /// The connection.
    pub socket: std::net::TcpStream,
    /// What seals our words and opens its own.
    pub seals: (Sealer, Opener),
}

/// The open port. Dropping it closes it.
pub struct PeerPort {
    /// Whether processes are let in; the thread ends when this is dropped.
    ready: Option<watch::Sender<bool>>,
    admitted: Receiver<Result<PeerConnection>>,
    thread: Option<JoinHandle<()>>,
    waiting: WaitingProcesses,
}

/// How many connections of each process wait until this one is ready.
type WaitingProcesses = Arc<Mutex<BTreeMap<u32, usize>>>;

/// What the tasks that admit connections share.
struct Admission {
    own: Hello,
    trust: PeerTrust,
    /// The addresses of all processes.
    hosts: Vec<String>,
    ready: watch::Receiver<bool>,
    admitted: Sender<Result<PeerConnection>>,
    /// How many may wait until this process is ready.
    places: Arc<Semaphore>,
    refused: Mutex<RefusalNotice>,
    waiting: WaitingProcesses,
}

/// When a refused connection was last logged, and how many were since.
#[derive(Default)]
struct RefusalNotice {
    told: Option<Instant>,
    since: u64,
}

impl PeerPort {
    /// Opens it: whoever connects is asked from now on who it is.
    pub fn open(listener: TcpListener, own: Hello, cluster: &Cluster) -> Result<PeerPort> {
        let failed = |error: io::Error| Error::environment(format!("cannot wait for the other processes: {error}"));
        listener.set_nonblocking(true).map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (ready, is_ready) = watch::channel(false);
        let (sender, admitted) = channel();
        let (failing, closing) = (sender.clone(), sender.clone());
        let waiting = WaitingProcesses::default();
        let places = usize::try_from(own.processes).unwrap_or(usize::MAX).saturating_mul(6).min(Semaphore::MAX_PERMITS);
        let admission = Admission {
            own,
            trust: cluster.trust.clone(),
            hosts: cluster.hosts.clone(),
            ready: is_ready,
            admitted: sender,
            places: Arc::new(Semaphore::new(places)),
            refused: Mutex::default(),
            waiting: waiting.clone(),
        };
        let serve = move || {
            if let Err(error) = runtime.block_on(async { serve(listener, Arc::new(admission)).await }) {
                // Nobody waits for anybody any more where the start has failed.
                let _ = closing
                    .send(Err(Error::environment(format!("the port for the other processes is closed: {error}"))));
            }
        };
        let panicked = move |error| {
            let _ = failing.send(Err(error));
        };
        let thread = threads::start("millstream-door", "the thread that lets other processes in", panicked, serve)?;
        Ok(PeerPort { ready: Some(ready), admitted, thread: Some(thread), waiting })
    }

    /// This process knows all that those who come must know: they are let in from now on.
    pub fn ready(&self) {
        if let Some(ready) = &self.ready {
            // Nobody listens where the thread has failed, which `next` tells.
            let _ = ready.send(true);
        }
    }

    /// How many processes have proven who they are, and wait until this one is ready.
    pub fn waiting(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The next process that is let in; `None` where none came in this time.
    pub fn next(&self, within: Duration) -> Result<Option<PeerConnection>> {
        match self.admitted.recv_timeout(within) {
            Ok(connection) => connection.map(Some),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Error::environment("the port on which other processes of the job connect is closed; see the log"))
            }
        }
    }
}

impl Drop for PeerPort {
    fn drop(&mut self) {
        drop(self.ready.take());
        if let Some(thread) = self.thread.take() {
            // It has told its error itself.
            let _ = thread.join();
        }
    }
}

/// Takes connections until the port is closed. At most [`STRANGERS_MAX`] are heard at a time: where more come, the one
/// that has been silent for longest goes, so that a crowd that only stands there keeps nobody out.
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
            admission.refuse("more connections at the same time than processes open", None);
        }
        match accepted {
            Ok((socket, from)) => {
                strangers.push_back(tokio::spawn(hear(socket, from, admission.clone())).abort_handle())
            }
            Err(error) => {
                admission.refuse(&error.to_string(), None);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Hears one that has connected: for a short while until it has proven who it is, then until it can be let in.
async fn hear(socket: TcpStream, from: SocketAddr, admission: Arc<Admission>) {
    let time_max = Duration::from_millis(HELLO_MS_MAX);
    let heard = match tokio::time::timeout(time_max, greet(socket, &admission)).await {
        Ok(heard) => heard,
        Err(_) => Err("it did not identify itself in time as a process of a job".to_owned()),
    };
    match heard {
        Ok((socket, (hello, _, seals))) if admission.own.is_elsewhere(hello) => {
            let told = tokio::time::timeout(time_max, tell_layout(socket, seals, &admission)).await;
            tracing::debug!(
                "process {} has other machines, and hears which there are: {}",
                hello.process,
                matches!(told, Ok(Ok(())))
            );
        }
        Ok((socket, (hello, purpose, seals))) => {
            let Ok(place) = admission.places.clone().try_acquire_owned() else {
                return admission.refuse("more processes wait than the job has", Some(from));
            };
            // A task of its own: it is no stranger any more.
            tokio::spawn(async move {
                let _place = place;
                let _waits = admission.waits(hello.process);
                wait(socket, hello, purpose, seals, &admission).await;
            });
        }
        Err(why) => admission.refuse(&why, Some(from)),
    }
}

type CheckedHello = (Hello, ConnectionPurpose, (Sealer, Opener));

/// Both ends make sure of each other, with certificates where the processes have them.
async fn greet(socket: TcpStream, admission: &Admission) -> Result<(TcpStream, CheckedHello), String> {
    socket.set_nodelay(true).map_err(lost)?;
    let peers = admission.trust.peers();
    let refused = |error: io::Error| peers.refused(&error).unwrap_or_else(|| lost(error));
    let mut stream = TlsAcceptor::from(peers.listens()).accept(socket).await.map_err(refused)?;
    let secret = exported(stream.get_ref().1).map_err(lost)?;
    let (hello, purpose) = meet(&mut stream, admission, &secret).await?;
    let host = admission.hosts.get(hello.process as usize).map_or("", String::as_str);
    let (socket, connection) = stream.into_inner();
    peers
        .is_for(connection.peer_certificates(), name_in(host))
        .map_err(|why| format!("it claims to be process {}, at {host} in --hosts: {why}", hello.process))?;
    Ok((socket, (hello, purpose, both(connection.into(), peers))))
}

fn lost(error: io::Error) -> String {
    let why = match error.kind() {
        // The library says it at length.
        io::ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
        _ => error.to_string(),
    };
    format!("it did not identify itself as a process of a job ({why})")
}

/// Both ends prove what they know, see [`super::hello`].
async fn meet(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    admission: &Admission,
    exported: &[u8; EXPORTED_BYTES],
) -> Result<(Hello, ConnectionPurpose), String> {
    let foreign = || "it is not a process of a job, or has another version".to_owned();
    let mut said = HelloBytes([0; HELLO_BYTES]);
    // The magic first: a stranger may say less than a hello and wait for an answer.
    stream.read_exact(&mut said.0[..MAGIC.len()]).await.map_err(lost)?;
    if !said.0.starts_with(&MAGIC) {
        return Err(foreign());
    }
    stream.read_exact(&mut said.0[MAGIC.len()..]).await.map_err(lost)?;
    let (hello, purpose) = said.hello().ok_or_else(foreign)?;
    let own = HelloBytes::new(admission.own, purpose).map_err(lost)?;
    let transcript = Transcript::new(admission.trust.proof_key(exported), &said, &own);
    stream.write_all(&[&own.0[..], &transcript.proof(ConnectionEnd::Listens)].concat()).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;
    let mut proof = [0; PROOF_BYTES];
    stream.read_exact(&mut proof).await.map_err(lost)?;
    if !transcript.proves(ConnectionEnd::Connects, &proof) {
        return Err("it does not have the key of the job's processes".to_owned());
    }
    if admission.own.is_elsewhere(hello) {
        return Ok((hello, purpose));
    }
    match admission.own.differs(hello) {
        // The other has found the same, and says so.
        Some(difference) => Err(difference),
        None => Ok((hello, purpose)),
    }
}

/// Tells a process that this one lives, until it is ready or the other is gone; then it is let in.
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
        // Nobody waits for it any more where the start has failed.
        let _ = admission.admitted.send(Ok(PeerConnection { hello, purpose, socket, seals }));
    }
}

/// Tells a process that has other machines on which ones the job runs, where this is process 0.
async fn tell_layout(mut socket: TcpStream, mut seals: (Sealer, Opener), admission: &Admission) -> io::Result<()> {
    if admission.own.process != 0 {
        return Ok(());
    }
    let workers = usize::try_from(admission.own.workers).ok();
    let told = serde_json::to_vec(&JobLayout { workers, hosts: admission.hosts.clone() }).map_err(io::Error::other)?;
    let status = Status::Elsewhere(told.len() as u64);
    for piece in std::iter::once(&status.bytes()[..]).chain(told.chunks(FRAME_BYTES_MAX)) {
        socket.write_all(seals.0.seal(piece)?).await?;
    }
    socket.shutdown().await
}

/// A connection that waits.
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
    /// Counts a process among those that wait.
    fn waits(&self, process: u32) -> WaitingConnection<'_> {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner).entry(process).or_default() += 1;
        WaitingConnection { waiting: &self.waiting, process }
    }

    /// Tells that somebody was refused; no more than a line every now and then, however many come.
    fn refuse(&self, why: &str, from: Option<SocketAddr>) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.since += 1;
        if refused.told.is_some_and(|told| told.elapsed() < REFUSED_TOLD_EVERY) {
            return;
        }
        let from = from.map_or_else(String::new, |from| format!("{from}: "));
        match refused.since {
            1 => tracing::warn!("a connection was rejected: {from}{why}"),
            more => tracing::warn!("{more} connections were rejected, the last one: {from}{why}"),
        }
        *refused = RefusalNotice { told: Some(Instant::now()), since: 0 };
    }
}
