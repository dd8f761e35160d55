//! A socket on which the process of a running job tells how it stands, for its owner only.
//!
//! Each process of a job has a Unix socket of its own. Whoever connects writes one line of JSON, as `{"ask":"status"}`, and
//! gets one line back: `{"status":{…}}`, see [`ProcessStatus`], or `{"error":"…"}`. Then the connection is closed.
//!
//! A job that cannot listen runs as well as any other, and whoever asks can neither slow nor stop it: one thread serves
//! all, a few at a time, each for a limited time.

mod ask;
mod facts;
mod place;

pub use ask::{Answers, ask};
pub use facts::{JobStatus, PartStatus, ProcessStatus};

use super::Stopper;
use crate::error::{Error, Result};
use crate::ids::BatchTime;
use crate::time;
use place::Taken;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use std::{fs, io};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, oneshot};

/// A question, with its end of line.
const QUESTION_BYTES_MAX: u64 = 4096;
/// How many are served at a time; more wait.
const CLIENTS_MAX: usize = 8;
/// How long one of them may take to ask and to read the answer.
const CLIENT_TIME_MAX: Duration = Duration::from_secs(1);
/// How long to wait where a client cannot be taken: no more files can be opened.
const PAUSE: Duration = Duration::from_millis(100);

/// A question.
#[derive(Debug, Serialize, Deserialize)]
struct Question {
    ask: String,
}

/// The answer to a question.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Status(Box<ProcessStatus>),
    Error(String),
}

/// The socket of this process, until it is dropped.
pub struct Control {
    /// Tells the thread to end, by being dropped.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What is asked about.
struct Served {
    job: Stopper,
    file: PathBuf,
    since: BatchTime,
}

impl Control {
    /// Answers for the started job of this file. Where that is not possible, the log says so.
    pub fn listen(file: &Path, job: Stopper) -> Control {
        let (stop, stopped) = oneshot::channel();
        let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
        let served = Served { job, file, since: time::now() };
        let thread = std::thread::Builder::new().name("millstream-control".into()).spawn(move || {
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

fn listen_until(stopped: oneshot::Receiver<()>, served: Served) -> Result<()> {
    let process = served.job.running.options.place().0;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::environment(format!("it cannot listen: {error}")))?;
    runtime.block_on(async {
        tokio::select! {
            ended = listen(process, Arc::new(served)) => ended,
            _ = stopped => Ok(()),
        }
    })
}

async fn listen(process: usize, served: Arc<Served>) -> Result<()> {
    let socket = Taken::take(&served.file, process).await?;
    let places = Arc::new(Semaphore::new(CLIENTS_MAX));
    while let Ok(place) = places.clone().acquire_owned().await {
        match socket.listener.accept().await {
            Ok((client, _)) if may_ask(&client) => {
                let served = served.clone();
                tokio::spawn(async move {
                    // Whoever goes away or is too slow has no answer.
                    let _ = tokio::time::timeout(CLIENT_TIME_MAX, serve(client, &served)).await;
                    drop(place);
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
    client.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == place::user())
}

async fn serve(mut client: UnixStream, served: &Served) -> io::Result<()> {
    let (reading, mut writing) = client.split();
    let mut question = Vec::new();
    BufReader::new(reading.take(QUESTION_BYTES_MAX)).read_until(b'\n', &mut question).await?;
    let mut line = serde_json::to_vec(&answer(&question, served)).map_err(io::Error::other)?;
    line.push(b'\n');
    writing.write_all(&line).await
}

fn answer(question: &[u8], served: &Served) -> Answer {
    if !question.ends_with(b"\n") {
        return Answer::Error(format!("a question is one line of at most {QUESTION_BYTES_MAX} bytes"));
    }
    match serde_json::from_slice::<Question>(question) {
        Ok(Question { ask }) if ask == "status" => {
            Answer::Status(Box::new(ProcessStatus::of(&served.job.running, &served.file, served.since)))
        }
        Ok(Question { .. }) => Answer::Error("this version of Millstream can be asked for `status` only".into()),
        Err(error) => Answer::Error(format!("a question is written as {{\"ask\":\"status\"}}: {error}")),
    }
}
