//! A socket on which the supervisor of a job is told to run it with other workers, beside those of the processes that run it.

use super::ask::ask_one;
use super::socket::{self, ListeningSocket};
use super::{CLIENT_TIME_MAX, PAUSE, QUESTION_BYTES_MAX, may_ask};
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use millstream_base::threads;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::oneshot;

/// How long a supervisor may take to answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// What a supervisor can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum ScaleQuestion {
    /// Run the job with other workers, in this many processes on this machine.
    Scale {
        /// Workers of each process; `None`: as many as now.
        workers: Option<usize>,
        /// `None`: as many as now.
        processes: Option<usize>,
        /// The machines of the next processes, one on each, where it is not one supervisor that runs all of them.
        #[serde(default)]
        hosts: Vec<String>,
    },
    /// How far that has come.
    Scaling {
        /// Which time.
        id: u64,
    },
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleAnswer {
    /// How far it has come.
    Scaling(ScaleStatus),
    /// It cannot be; for a person to read.
    Refused(String),
    /// Nobody asked this supervisor for that.
    Unknown,
}

/// How far a job has come on its way to other workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScaleStatus {
    /// Which time.
    pub id: u64,
    /// What is done, or was done last.
    pub step: ScaleStep,
}

/// The steps of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleStep {
    /// The job does not run yet; the new processes start as soon as it does.
    Waiting,
    /// The new processes are started, and load the newest checkpoint.
    Loading,
    /// They have loaded it, and follow those that come.
    Following {
        /// The last batch that they have loaded.
        batch: BatchId,
    },
    /// The old processes work on what they have received, and make their last checkpoint.
    Ending,
    /// The new ones take the job over.
    TakingOver,
    /// Batches begin again.
    Done {
        /// For how long none began, in microseconds, where the old processes told when they began their last one.
        pause_us: Option<i64>,
    },
    /// The new ones have failed, or the job was ended meanwhile; for a person to read.
    Failed(String),
}

impl ScaleStep {
    /// Whether nothing follows.
    pub fn is_over(&self) -> bool {
        matches!(self, ScaleStep::Done { .. } | ScaleStep::Failed(_))
    }
}

/// The socket of a supervisor, until it is dropped.
pub struct SupervisorControl {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl SupervisorControl {
    /// Answers questions about the job of this file; `number`: of the process where this runs one of several. Where that is not possible, as another supervisor of it does, this one runs it all
    /// the same.
    pub fn listen(
        file: &Path,
        number: usize,
        answer: impl Fn(ScaleQuestion) -> ScaleAnswer + Send + Sync + 'static,
    ) -> SupervisorControl {
        let (stop, stopped) = oneshot::channel();
        let file = file.to_owned();
        let failed = |error| tracing::warn!("`millstream scale` no longer finds this run: {error}");
        let thread = threads::start("millstream-scale", "the thread that hears of other workers", failed, move || {
            if let Err(error) = listen_until(stopped, &file, number, Arc::new(answer)) {
                tracing::debug!("`millstream scale` does not find this run: {error}");
            }
        });
        SupervisorControl { stop: Some(stop), thread: thread.ok() }
    }
}

impl Drop for SupervisorControl {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type ScaleAnswers = Arc<dyn Fn(ScaleQuestion) -> ScaleAnswer + Send + Sync>;

fn listen_until(stopped: oneshot::Receiver<()>, file: &Path, number: usize, answer: ScaleAnswers) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::environment(format!("it cannot listen: {error}")))?;
    runtime.block_on(async {
        tokio::select! {
            ended = listen(file, number, &answer) => ended,
            _ = stopped => Ok(()),
        }
    })
}

/// One at a time: hardly anybody asks.
async fn listen(file: &Path, number: usize, answer: &ScaleAnswers) -> Result<()> {
    let socket = ListeningSocket::bind(file, &socket::supervisor_of(number)).await?;
    loop {
        match socket.listener.accept().await {
            // Whoever goes away or is too slow has no answer.
            Ok((client, _)) if may_ask(&client) => {
                drop(tokio::time::timeout(CLIENT_TIME_MAX, serve(client, answer)).await);
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn serve(mut client: UnixStream, answer: &ScaleAnswers) -> io::Result<()> {
    let (reading, mut writing) = client.split();
    let mut question = Vec::new();
    BufReader::new(reading.take(QUESTION_BYTES_MAX)).read_until(b'\n', &mut question).await?;
    let said = match serde_json::from_slice::<ScaleQuestion>(&question) {
        Ok(question) => answer(question),
        Err(error) => ScaleAnswer::Refused(format!("invalid request: {error}")),
    };
    let mut line = serde_json::to_vec(&said).map_err(io::Error::other)?;
    line.push(b'\n');
    writing.write_all(&line).await
}

/// Asks the supervisor on this machine that runs the job of this file; `None`: none does.
pub fn ask_supervisor(file: &Path, question: &ScaleQuestion) -> Result<Option<ScaleAnswer>> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::environment(format!("the supervisor of the job {} does not respond: {error}", file.display()))
    };
    let mut line = serde_json::to_vec(question).map_err(Error::bug)?;
    line.push(b'\n');
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| failed(&error))?;
    for path in socket::of_supervisor(file)? {
        let asked = async { tokio::time::timeout(ANSWER_TIME_MAX, ask_one(&path, &line)).await };
        let answer = runtime.block_on(asked).map_err(|_| failed(&"it may be stopped"))?;
        if let Some(answer) = answer.map_err(|error| failed(&error))? {
            return Ok(Some(answer));
        }
    }
    Ok(None)
}
