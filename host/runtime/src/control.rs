//! The control socket: it reports the status of a running job and accepts commands, from the job's owner only.
//!
//! Each process of a job has its own Unix socket. A client writes one line of JSON, a [`ControlQuestion`] such as
//! `{"send_question":"status"}`. It gets one line back, a [`ControlResponse`] such as `{"status":{…}}` or `{"error":"…"}`. Then the
//! connection is closed.
//!
//! A process also forwards requests to other processes (`others`), which may be on other machines. Only status requests
//! and messages to supervisors are forwarded.
//!
//! A job that cannot listen runs normally, and clients can neither slow nor stop it. One thread serves all clients, a
//! few at a time, each for a limited time.

mod query;

mod facts;
pub(super) mod machines;
pub(super) mod others;
mod partitions;
mod socket;
mod supervisor;
mod view;

pub use facts::{JobStatus, PartStatus, ProcessStatus, WorkerBusy};
pub use partitions::{PartitionStatus, PartitionsStatus};
pub use query::{ProcessResponse, StatusResponses, jobs, query_all, query_status, send_question, view};
pub use socket::{RunningMark, job_id};
pub use supervisor::{ScaleQuestion, ScaleResponse, ScaleStatus, ScaleStep, SupervisorControl, query_supervisor};
pub use view::{GraphPart, JobGraph, KnownNumbers, PartFacts, ProcessView};

use super::stopper::{Stop, Stopper};
use millstream_base::error::{Error, Kind, Result};
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::threads;
use millstream_base::{private, time};
use millstream_engine::running::handover::HandoverMessage;
use millstream_engine::running::upgrade;
use millstream_engine::running::upgrade::{PrepareRequest, UpgradeStatus};
use serde::{Deserialize, Serialize};
use socket::ListeningSocket;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use std::{fs, io};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, oneshot};

/// Maximum size of a request, including its end of line.
const QUESTION_BYTES_MAX: u64 = 16 << 10;
/// Maximum number of clients served concurrently. More clients wait.
const CLIENTS_MAX: usize = 8;
/// How long a client may take to send its request and to read the response.
const CLIENT_TIME_MAX: Duration = Duration::from_secs(1);
/// How long to wait if a client cannot be accepted, because no more files can be opened.
const PAUSE: Duration = Duration::from_millis(100);

/// A request to a job. Requests about upgrades are for all of its processes, except `commit`: see [`upgrade`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum ControlQuestion {
    /// Returns the status.
    Status,
    /// Returns the status with everything that is known and was not sent before.
    View(KnownNumbers),
    /// Forwards one of the requests above to another process.
    Elsewhere {
        /// The process.
        process: usize,
        /// The request.
        question: Box<ControlQuestion>,
    },
    /// Loads and checks the next plugin of a stage.
    Prepare(PrepareRequest),
    /// Returns the status of an upgrade.
    Upgrade {
        /// The upgrade.
        id: u64,
    },
    /// Runs a prepared plugin next to the old one. Sent to process 0.
    Shadow {
        /// The upgrade.
        id: u64,
        /// The number of batches.
        batches: u64,
    },
    /// Replaces a plugin with a prepared one. Sent to process 0.
    Commit {
        /// The upgrade.
        id: u64,
    },
    /// Cancels an upgrade.
    Drop {
        /// The upgrade.
        id: u64,
        /// The reason, shown in the status.
        why: String,
    },
    /// Forwards a message to the supervisor of this process. Only accepted from another process.
    Supervisor(HandoverMessage),
    /// Stops the job after the received input was processed and committed.
    Stop,
    /// Stops the job in the same way, to be restarted with `--replay-from` this batch.
    Restart {
        /// The last batch that stays unchanged.
        replay_from: BatchId,
    },
}

/// The response to a request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlResponse {
    /// The status of the process.
    Status(Box<ProcessStatus>),
    /// Everything that is known.
    View(Box<ProcessView>),
    /// The status of the upgrade.
    Upgrade(Box<UpgradeStatus>),
    /// The request is done, or will be.
    Done(bool),
    /// The job or the plugin does not allow the request. For people to read.
    Refused(String),
    /// The error message.
    Error(String),
}

/// Returns the message without secrets, since the client does not know which values are hidden.
fn public_message(error: &Error) -> String {
    millstream_base::secrets::hide(&error.message).into_owned()
}

impl ControlResponse {
    fn from_upgrade(upgrade: Result<UpgradeStatus>) -> ControlResponse {
        match upgrade {
            Ok(status) => ControlResponse::Upgrade(Box::new(status)),
            Err(error) if error.kind == Kind::Environment => ControlResponse::Error(public_message(&error)),
            Err(error) => ControlResponse::Refused(public_message(&error)),
        }
    }
}

/// The control socket of this process, until it is dropped.
pub struct Control {
    /// Dropping it stops the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The job of a control socket.
struct ControlledJob {
    job: Stopper,
    file: PathBuf,
    since: BatchTime,
    /// Held while a plugin is loaded: one at a time.
    loading: Arc<Semaphore>,
}

impl Control {
    /// Serves requests about a started job with this file. Logs a warning if that is not possible.
    pub fn listen(file: &Path, job: Stopper) -> Control {
        let (stop, stopped) = oneshot::channel();
        let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
        let served = ControlledJob { job, file, since: time::now(), loading: Arc::new(Semaphore::new(1)) };
        let failure = served.job.running.failure.clone();
        let failed = move |error| failure.set(error);
        let thread =
            threads::start("millstream-control", "the thread that handles status requests", failed, move || {
                if let Err(error) = listen_until(stopped, served) {
                    tracing::warn!("`millstream status` does not find this run: {error}");
                }
            });
        match thread {
            Ok(thread) => Control { stop: Some(stop), thread: Some(thread) },
            Err(error) => {
                tracing::warn!("`millstream status` does not find this run: cannot start its thread: {error}");
                Control { stop: None, thread: None }
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread has already reported its panic.
            let _ = thread.join();
        }
    }
}

fn listen_until(stopped: oneshot::Receiver<()>, served: ControlledJob) -> Result<()> {
    let process = served.job.running.options.process_and_count().0;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::environment(format!("it cannot listen: {error}")))?;
    let served = Arc::new(served);
    let (queried, failure) = (served.clone(), served.job.running.failure.clone());
    let listeners = served.job.others.listen(
        runtime.handle(),
        move |question| forward_question(question, &queried),
        move |error| failure.set(error),
    );
    runtime.block_on(async {
        let mut stopped = stopped;
        tokio::select! {
            ended = listen(process, served.clone()) => ended.unwrap_or_else(|error| {
                tracing::warn!("`millstream status` does not find this run: {error}");
            }),
            _ = &mut stopped => return,
        }
        // Other processes may still send requests.
        let _ = stopped.await;
    });
    // Do not wait for a plugin that is being loaded.
    runtime.shutdown_background();
    served.job.others.close();
    for thread in listeners {
        // The thread has already reported its panic.
        let _ = thread.join();
    }
    Ok(())
}

/// Returns the response to a request of another process. Only read-only requests and messages to the supervisor are
/// accepted.
fn forward_question(question: &[u8], served: &ControlledJob) -> Vec<u8> {
    let response = match serde_json::from_slice::<ControlQuestion>(question) {
        Ok(ControlQuestion::Supervisor(word)) => pass_to_supervisor(word, &served.job),
        Ok(question) => status_response(&question, served)
            .unwrap_or_else(|| ControlResponse::Error("another process may only request the job status".into())),
        Err(error) => ControlResponse::Error(format!("it does not support the request: {error}")),
    };
    serde_json::to_vec(&response).unwrap_or_default()
}

/// Passes a message to the supervisor of this process.
fn pass_to_supervisor(word: HandoverMessage, job: &Stopper) -> ControlResponse {
    if !job.running.options.supervised {
        return ControlResponse::Error("it runs without a supervisor".into());
    }
    match word {
        HandoverMessage::Prepare(_) => job.running.is_followed(),
        // Process 0 stops the job after all processes have received this.
        HandoverMessage::HandOver => {
            job.hand_over();
            return ControlResponse::Done(true);
        }
        HandoverMessage::GiveUp(_) | HandoverMessage::Failed(_) => {}
    }
    match job.running.requests.handover.receive(word) {
        true => ControlResponse::Done(true),
        false => ControlResponse::Error("its supervisor does not listen".into()),
    }
}

/// Returns the status of this process, if the request is one for it.
fn status_response(question: &ControlQuestion, served: &ControlledJob) -> Option<ControlResponse> {
    let running = &served.job.running;
    match question {
        ControlQuestion::Status => {
            Some(ControlResponse::Status(Box::new(ProcessStatus::new(running, &served.file, served.since))))
        }
        ControlQuestion::View(known) => {
            Some(ControlResponse::View(Box::new(ProcessView::new(running, &served.file, served.since, *known))))
        }
        _ => None,
    }
}

/// Forwards a request to another process and returns its response.
async fn forward(process: usize, question: &ControlQuestion, served: &ControlledJob) -> ControlResponse {
    let Ok(question) = serde_json::to_vec(question) else {
        return ControlResponse::Error("it cannot be queried".into());
    };
    match served.job.others.send_question(process, question).await {
        Ok(response) => serde_json::from_slice(&response).unwrap_or_else(|error| {
            ControlResponse::Error(format!("it replies in the format of another version: {error}"))
        }),
        Err(message) => ControlResponse::Error(message),
    }
}

async fn listen(process: usize, served: Arc<ControlledJob>) -> Result<()> {
    let socket = ListeningSocket::bind(&served.file, &process.to_string()).await?;
    let permits = Arc::new(Semaphore::new(CLIENTS_MAX));
    while let Ok(permit) = permits.clone().acquire_owned().await {
        match socket.listener.accept().await {
            Ok((client, _)) if is_allowed(&client) => {
                let served = served.clone();
                let failure = served.job.running.failure.clone();
                let serving = tokio::spawn(async move {
                    fault::thread("millstream-answer");
                    // A client that disconnects or is too slow gets no response.
                    let _ = serve(client, served).await;
                    drop(permit);
                });
                tokio::spawn(async move {
                    if let Some(panic) = serving.await.err().and_then(|error| error.try_into_panic().ok()) {
                        failure.set(threads::panicked("the response to a request", &*panic));
                    }
                });
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
    Ok(())
}

/// Returns whether the client may send requests: only the owner of the job and root may.
fn is_allowed(client: &UnixStream) -> bool {
    client.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == private::user())
}

async fn serve(mut client: UnixStream, served: Arc<ControlledJob>) -> io::Result<()> {
    let (reading, mut writing) = client.split();
    let mut question = Vec::new();
    let mut reading = BufReader::new(reading.take(QUESTION_BYTES_MAX));
    tokio::time::timeout(CLIENT_TIME_MAX, reading.read_until(b'\n', &mut question)).await??;
    let mut line = serde_json::to_vec(&response(&question, served).await).map_err(io::Error::other)?;
    line.push(b'\n');
    tokio::time::timeout(CLIENT_TIME_MAX, writing.write_all(&line)).await?
}

async fn response(question: &[u8], served: Arc<ControlledJob>) -> ControlResponse {
    if !question.ends_with(b"\n") {
        return ControlResponse::Error(format!("a request is one line of at most {QUESTION_BYTES_MAX} bytes"));
    }
    let question = match serde_json::from_slice::<ControlQuestion>(question) {
        Ok(question) => question,
        Err(error) => return ControlResponse::Error(format!("write a request as {{\"ask\":\"status\"}}: {error}")),
    };
    let running = &served.job.running;
    match question {
        ControlQuestion::Status | ControlQuestion::View(_) => status_response(&question, &served)
            .unwrap_or_else(|| ControlResponse::Error("its status is unknown".into())),
        ControlQuestion::Elsewhere { process, question } => forward(process, &question, &served).await,
        ControlQuestion::Prepare(wanted) => prepare(wanted, &served).await,
        ControlQuestion::Upgrade { id } => {
            let committed = running.metrics.batches_committed().last.map(|(batch, _)| batch);
            ControlResponse::from_upgrade(running.plugins.upgrades.status(id, committed))
        }
        ControlQuestion::Shadow { id, batches } => ControlResponse::from_upgrade(upgrade::shadow(running, id, batches)),
        ControlQuestion::Commit { id } => ControlResponse::from_upgrade(upgrade::commit(running, id)),
        ControlQuestion::Drop { id, why } => ControlResponse::from_upgrade(running.plugins.upgrades.give_up(id, &why)),
        ControlQuestion::Supervisor(_) => {
            ControlResponse::Error("only another process of the job may send this".into())
        }
        ControlQuestion::Stop => {
            served.job.stop(Stop::Graceful);
            ControlResponse::Done(true)
        }
        ControlQuestion::Restart { replay_from } => match served.job.go_back(replay_from) {
            Ok(()) => ControlResponse::Done(true),
            Err(error) => ControlResponse::Refused(public_message(&error)),
        },
    }
}

/// Compiles on a separate thread, since that takes time.
async fn prepare(wanted: PrepareRequest, served: &ControlledJob) -> ControlResponse {
    let Ok(loading) = served.loading.clone().try_acquire_owned() else {
        return ControlResponse::Error("another plugin is being loaded for this job; retry".into());
    };
    let job = served.job.clone();
    let prepared = tokio::task::spawn_blocking(move || {
        let prepared = upgrade::prepare(&job.running, &wanted);
        drop(loading);
        prepared
    });
    match prepared.await {
        Ok(prepared) => ControlResponse::from_upgrade(prepared),
        Err(error) => ControlResponse::Error(format!("the plugin could not be loaded: {error}")),
    }
}
