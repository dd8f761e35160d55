//! The socket on which the supervisor of a job receives scale requests, in addition to the sockets of its processes.

use super::query::query_one;
use super::socket::{self, ListeningSocket};
use super::{CLIENT_TIME_MAX, PAUSE, QUESTION_BYTES_MAX, is_allowed};
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

/// How long a supervisor may take to respond.
const RESPONSE_TIME_MAX: Duration = Duration::from_secs(5);

/// A request to a supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum ScaleQuestion {
    /// Run the job with other workers, in this many processes on this machine.
    Scale {
        /// Workers per process. `None` keeps the current number.
        workers: Option<usize>,
        /// `None` keeps the current number.
        processes: Option<usize>,
        /// The machines of the next processes, one on each, if no single supervisor runs all of them.
        #[serde(default)]
        hosts: Vec<String>,
    },
    /// Return the status of a rescaling.
    Scaling {
        /// The ID of the rescaling.
        id: u64,
    },
}

/// A response of a supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleResponse {
    /// The status of the rescaling.
    Scaling(ScaleStatus),
    /// The request is rejected. For people to read.
    Refused(String),
    /// This supervisor does not know the rescaling.
    Unknown,
}

/// The status of a rescaling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScaleStatus {
    /// The ID of the rescaling.
    pub id: u64,
    /// The current or last step.
    pub step: ScaleStep,
}

/// The steps of a rescaling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleStep {
    /// The job does not run yet. The new processes start when it does.
    Waiting,
    /// The new processes have started, and load the newest checkpoint.
    Loading,
    /// They have loaded it, and follow newer ones.
    Following {
        /// The last batch that they have loaded.
        batch: BatchId,
    },
    /// The old processes process what they have received, and make their last checkpoint.
    Ending,
    /// The new processes take the job over.
    TakingOver,
    /// Batches begin again.
    Done {
        /// How long no batch began, in microseconds, if the old processes reported when they began their last one.
        pause_us: Option<i64>,
    },
    /// The new processes have failed, or the job has ended meanwhile. For people to read.
    Failed(String),
}

impl ScaleStep {
    /// Returns whether this is the last step.
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
    /// Serves requests about the job of this file. `number`: of the process, if this supervisor runs one of several. If
    /// the socket is not available, because another supervisor has it, this one still runs the job.
    pub fn listen(
        file: &Path,
        number: usize,
        respond: impl Fn(ScaleQuestion) -> ScaleResponse + Send + Sync + 'static,
    ) -> SupervisorControl {
        let (stop, stopped) = oneshot::channel();
        let file = file.to_owned();
        let failed = |error| tracing::warn!("`millstream scale` no longer finds this run: {error}");
        let thread =
            threads::start("millstream-scale", "the thread that receives rescaling requests", failed, move || {
                if let Err(error) = listen_until(stopped, &file, number, Arc::new(respond)) {
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

type ScaleHandler = Arc<dyn Fn(ScaleQuestion) -> ScaleResponse + Send + Sync>;

fn listen_until(stopped: oneshot::Receiver<()>, file: &Path, number: usize, respond: ScaleHandler) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::environment(format!("it cannot listen: {error}")))?;
    runtime.block_on(async {
        tokio::select! {
            ended = listen(file, number, &respond) => ended,
            _ = stopped => Ok(()),
        }
    })
}

/// Serves one client at a time, since requests are rare.
async fn listen(file: &Path, number: usize, respond: &ScaleHandler) -> Result<()> {
    let socket = ListeningSocket::bind(file, &socket::supervisor_of(number)).await?;
    loop {
        match socket.listener.accept().await {
            // A client that disconnects or is too slow gets no response.
            Ok((client, _)) if is_allowed(&client) => {
                drop(tokio::time::timeout(CLIENT_TIME_MAX, serve(client, respond)).await);
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn serve(mut client: UnixStream, respond: &ScaleHandler) -> io::Result<()> {
    let (reading, mut writing) = client.split();
    let mut question = Vec::new();
    BufReader::new(reading.take(QUESTION_BYTES_MAX)).read_until(b'\n', &mut question).await?;
    let response = match serde_json::from_slice::<ScaleQuestion>(&question) {
        Ok(question) => respond(question),
        Err(error) => ScaleResponse::Refused(format!("invalid request: {error}")),
    };
    let mut line = serde_json::to_vec(&response).map_err(io::Error::other)?;
    line.push(b'\n');
    writing.write_all(&line).await
}

/// Sends a request to the supervisor on this machine that runs the job of this file. `None` if there is none.
pub fn query_supervisor(file: &Path, question: &ScaleQuestion) -> Result<Option<ScaleResponse>> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::environment(format!("the supervisor of the job {} does not respond: {error}", file.display()))
    };
    let mut line = serde_json::to_vec(question).map_err(Error::bug)?;
    line.push(b'\n');
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| failed(&error))?;
    for path in socket::supervisor_sockets(file)? {
        let response = async { tokio::time::timeout(RESPONSE_TIME_MAX, query_one(&path, &line)).await };
        let respond = runtime.block_on(response).map_err(|_| failed(&"it may be stopped"))?;
        if let Some(respond) = respond.map_err(|error| failed(&error))? {
            return Ok(Some(respond));
        }
    }
    Ok(None)
}
