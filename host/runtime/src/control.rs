//! A socket on which the process of a running job tells how it stands and is told what to do, for its owner only.
//!
//! Each process of a job has a Unix socket of its own. Whoever connects writes one line of JSON, a [`ControlQuestion`] as
//! `{"ask":"status"}`, and gets one line back, an [`ControlAnswer`] as `{"status":{…}}` or `{"error":"…"}`. Then the connection is
//! closed.
//!
//! A process is also asked what another one would say (`others`), which may be on another machine; of that it passes on no more than how
//! the job stands.
//!
//! A job that cannot listen runs as well as any other, and whoever asks can neither slow nor stop it: one thread serves
//! all, a few at a time, each for a limited time.

mod ask;

mod facts;
pub(super) mod machines;
pub(super) mod others;
mod partitions;
mod socket;
mod supervisor;
mod view;

pub use ask::{ProcessAnswer, StatusAnswers, ask, ask_everywhere, jobs, put, view};
pub use facts::{JobStatus, PartStatus, ProcessStatus, WorkerBusy};
pub use partitions::{PartitionStatus, PartitionsStatus};
pub use socket::{RunningMark, job_id};
pub use supervisor::{ScaleAnswer, ScaleQuestion, ScaleStatus, ScaleStep, SupervisorControl, ask_supervisor};
pub use view::{GraphPart, JobGraph, KnownNumbers, PartFacts, ProcessView};

use super::stopper::{Stop, Stopper};
use millstream_base::error::{Error, Kind, Result};
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::threads;
use millstream_base::{private, time};
use millstream_engine::running::handover::HandoverWord;
use millstream_engine::running::upgrade;
use millstream_engine::running::upgrade::{Prepare, UpgradeStatus};
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

/// A question, with its end of line.
const QUESTION_BYTES_MAX: u64 = 16 << 10;
/// How many are served at a time; more wait.
const CLIENTS_MAX: usize = 8;
/// How long one of them may take to ask and to read the answer.
const CLIENT_TIME_MAX: Duration = Duration::from_secs(1);
/// How long to wait where a client cannot be taken: no more files can be opened.
const PAUSE: Duration = Duration::from_millis(100);

/// What a job can be asked. Questions about upgrades are for all of its processes, but for `commit`: see [`upgrade`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum ControlQuestion {
    /// How it stands.
    Status,
    /// How it stands, in all that is known and was not told before.
    View(KnownNumbers),
    /// What another process says to one of the questions above.
    Elsewhere {
        /// Which.
        process: usize,
        /// The question.
        question: Box<ControlQuestion>,
    },
    /// Load and check the next plugin of a stage.
    Prepare(Prepare),
    /// How an upgrade stands.
    Upgrade {
        /// Which.
        id: u64,
    },
    /// Run a prepared plugin beside the old one; process 0 is asked.
    Shadow {
        /// Which upgrade.
        id: u64,
        /// For how many batches.
        batches: u64,
    },
    /// Put a prepared plugin in its place; process 0 is asked.
    Commit {
        /// Which upgrade.
        id: u64,
    },
    /// Give an upgrade up.
    Drop {
        /// Which.
        id: u64,
        /// Why, for whoever asks how it stands.
        why: String,
    },
    /// Only of another process: pass it to the supervisor of this one.
    Supervisor(HandoverWord),
    /// Stop: what was received is worked on and committed first.
    Stop,
    /// Stop in the same way, to be started again with `--replay-from` this batch.
    Restart {
        /// The last batch that stays as it is.
        replay_from: BatchId,
    },
}

/// The answer to a question.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlAnswer {
    /// How the process stands.
    Status(Box<ProcessStatus>),
    /// All that is known.
    View(Box<ProcessView>),
    /// How the upgrade stands.
    Upgrade(Box<UpgradeStatus>),
    /// It is done, or will be.
    Done(bool),
    /// What was asked cannot be done as the job or the plugin is; for a person to read.
    Refused(String),
    /// What went wrong.
    Error(String),
}

/// Whoever asks does not know which values are hidden.
fn told(error: &Error) -> String {
    millstream_base::secrets::hide(&error.message).into_owned()
}

impl ControlAnswer {
    fn of(upgrade: Result<UpgradeStatus>) -> ControlAnswer {
        match upgrade {
            Ok(status) => ControlAnswer::Upgrade(Box::new(status)),
            Err(error) if error.kind == Kind::Environment => ControlAnswer::Error(told(&error)),
            Err(error) => ControlAnswer::Refused(told(&error)),
        }
    }
}

/// The socket of this process, until it is dropped.
pub struct Control {
    /// Tells the thread to end, by being dropped.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The job that questions and commands of the control socket are about.
struct ControlledJob {
    job: Stopper,
    file: PathBuf,
    since: BatchTime,
    /// Held while a plugin is loaded: one at a time.
    loading: Arc<Semaphore>,
}

impl Control {
    /// Answers questions about the job of this file that was started. Where that is not possible, the log says so.
    pub fn listen(file: &Path, job: Stopper) -> Control {
        let (stop, stopped) = oneshot::channel();
        let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
        let served = ControlledJob { job, file, since: time::now(), loading: Arc::new(Semaphore::new(1)) };
        let failure = served.job.running.failure.clone();
        let failed = move |error| failure.set(error);
        let thread = threads::start("millstream-control", "the thread that answers questions", failed, move || {
            if let Err(error) = listen_until(stopped, served) {
                tracing::warn!("`millstream status` does not find this run: {error}");
            }
        });
        match thread {
            Ok(thread) => Control { stop: Some(stop), thread: Some(thread) },
            Err(error) => {
                tracing::warn!("`millstream status` does not find this run: no thread for it: {error}");
                Control { stop: None, thread: None }
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been told by the thread itself.
            let _ = thread.join();
        }
    }
}

fn listen_until(stopped: oneshot::Receiver<()>, served: ControlledJob) -> Result<()> {
    let process = served.job.running.options.place().0;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::environment(format!("it cannot listen: {error}")))?;
    let served = Arc::new(served);
    let (told, failure) = (served.clone(), served.job.running.failure.clone());
    let hearing = served.job.others.hear(
        runtime.handle(),
        move |question| answer_elsewhere(question, &told),
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
        // The other processes may ask all the same.
        let _ = stopped.await;
    });
    // A plugin that is being loaded is no reason to wait.
    runtime.shutdown_background();
    served.job.others.close();
    for thread in hearing {
        // A panic there has been told by the thread itself.
        let _ = thread.join();
    }
    Ok(())
}

/// The answer to a question of another process, of which only those are answered that change nothing here, and what is for the supervisor.
fn answer_elsewhere(question: &[u8], served: &ControlledJob) -> Vec<u8> {
    let answer = match serde_json::from_slice::<ControlQuestion>(question) {
        Ok(ControlQuestion::Supervisor(word)) => pass_on(word, &served.job),
        Ok(question) => stands(&question, served)
            .unwrap_or_else(|| ControlAnswer::Error("another process may only request the job status".into())),
        Err(error) => ControlAnswer::Error(format!("it does not support the request: {error}")),
    };
    serde_json::to_vec(&answer).unwrap_or_default()
}

/// Something for the supervisor of this process.
fn pass_on(word: HandoverWord, job: &Stopper) -> ControlAnswer {
    if !job.running.options.supervised {
        return ControlAnswer::Error("it runs without a supervisor".into());
    }
    match word {
        HandoverWord::Prepare(_) => job.running.is_followed(),
        // Process 0 stops the job when all have heard it.
        HandoverWord::HandOver => {
            job.hand_over();
            return ControlAnswer::Done(true);
        }
        HandoverWord::GiveUp(_) | HandoverWord::Failed(_) => {}
    }
    match job.running.requests.handover.hear(word) {
        true => ControlAnswer::Done(true),
        false => ControlAnswer::Error("its supervisor does not listen".into()),
    }
}

/// How this process stands, where that is the question.
fn stands(question: &ControlQuestion, served: &ControlledJob) -> Option<ControlAnswer> {
    let running = &served.job.running;
    match question {
        ControlQuestion::Status => {
            Some(ControlAnswer::Status(Box::new(ProcessStatus::of(running, &served.file, served.since))))
        }
        ControlQuestion::View(known) => {
            Some(ControlAnswer::View(Box::new(ProcessView::of(running, &served.file, served.since, *known))))
        }
        _ => None,
    }
}

/// What another process says.
async fn ask_elsewhere(process: usize, question: &ControlQuestion, served: &ControlledJob) -> ControlAnswer {
    let Ok(question) = serde_json::to_vec(question) else { return ControlAnswer::Error("it cannot be queried".into()) };
    match served.job.others.ask(process, question).await {
        Ok(answer) => serde_json::from_slice(&answer).unwrap_or_else(|error| {
            ControlAnswer::Error(format!("it replies in the format of another version: {error}"))
        }),
        Err(words) => ControlAnswer::Error(words),
    }
}

async fn listen(process: usize, served: Arc<ControlledJob>) -> Result<()> {
    let socket = ListeningSocket::bind(&served.file, &process.to_string()).await?;
    let places = Arc::new(Semaphore::new(CLIENTS_MAX));
    while let Ok(place) = places.clone().acquire_owned().await {
        match socket.listener.accept().await {
            Ok((client, _)) if may_ask(&client) => {
                let served = served.clone();
                let failure = served.job.running.failure.clone();
                let serving = tokio::spawn(async move {
                    fault::thread("millstream-answer");
                    // Whoever goes away or is too slow has no answer.
                    let _ = serve(client, served).await;
                    drop(place);
                });
                tokio::spawn(async move {
                    if let Some(panic) = serving.await.err().and_then(|error| error.try_into_panic().ok()) {
                        failure.set(threads::panicked("the answer to a question", &*panic));
                    }
                });
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
    Ok(())
}

/// The owner of the job and root may ask.
fn may_ask(client: &UnixStream) -> bool {
    client.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == private::user())
}

async fn serve(mut client: UnixStream, served: Arc<ControlledJob>) -> io::Result<()> {
    let (reading, mut writing) = client.split();
    let mut question = Vec::new();
    let mut reading = BufReader::new(reading.take(QUESTION_BYTES_MAX));
    tokio::time::timeout(CLIENT_TIME_MAX, reading.read_until(b'\n', &mut question)).await??;
    let mut line = serde_json::to_vec(&answer(&question, served).await).map_err(io::Error::other)?;
    line.push(b'\n');
    tokio::time::timeout(CLIENT_TIME_MAX, writing.write_all(&line)).await?
}

async fn answer(question: &[u8], served: Arc<ControlledJob>) -> ControlAnswer {
    if !question.ends_with(b"\n") {
        return ControlAnswer::Error(format!("a request is one line of at most {QUESTION_BYTES_MAX} bytes"));
    }
    let question = match serde_json::from_slice::<ControlQuestion>(question) {
        Ok(question) => question,
        Err(error) => return ControlAnswer::Error(format!("write a request as {{\"ask\":\"status\"}}: {error}")),
    };
    let running = &served.job.running;
    match question {
        ControlQuestion::Status | ControlQuestion::View(_) => {
            stands(&question, &served).unwrap_or_else(|| ControlAnswer::Error("its status is unknown".into()))
        }
        ControlQuestion::Elsewhere { process, question } => ask_elsewhere(process, &question, &served).await,
        ControlQuestion::Prepare(wanted) => prepare(wanted, &served).await,
        ControlQuestion::Upgrade { id } => {
            let committed = running.metrics.batches_committed().last.map(|(batch, _)| batch);
            ControlAnswer::of(running.plugins.upgrades.status(id, committed))
        }
        ControlQuestion::Shadow { id, batches } => ControlAnswer::of(upgrade::shadow(running, id, batches)),
        ControlQuestion::Commit { id } => ControlAnswer::of(upgrade::commit(running, id)),
        ControlQuestion::Drop { id, why } => ControlAnswer::of(running.plugins.upgrades.give_up(id, &why)),
        ControlQuestion::Supervisor(_) => ControlAnswer::Error("only another process of the job may send this".into()),
        ControlQuestion::Stop => {
            served.job.stop(Stop::Graceful);
            ControlAnswer::Done(true)
        }
        ControlQuestion::Restart { replay_from } => match served.job.go_back(replay_from) {
            Ok(()) => ControlAnswer::Done(true),
            Err(error) => ControlAnswer::Refused(told(&error)),
        },
    }
}

/// Compiling takes its time, so it is done on a thread of its own.
async fn prepare(wanted: Prepare, served: &ControlledJob) -> ControlAnswer {
    let Ok(loading) = served.loading.clone().try_acquire_owned() else {
        return ControlAnswer::Error("another plugin is being loaded for this job; try again".into());
    };
    let job = served.job.clone();
    let prepared = tokio::task::spawn_blocking(move || {
        let prepared = upgrade::prepare(&job.running, &wanted);
        drop(loading);
        prepared
    });
    match prepared.await {
        Ok(prepared) => ControlAnswer::of(prepared),
        Err(error) => ControlAnswer::Error(format!("the plugin could not be loaded: {error}")),
    }
}
