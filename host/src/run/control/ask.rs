//! Asking the processes of a running job how they stand.

use super::{Answer, ProcessStatus, Question, may_ask, place};
use crate::error::{Error, Result};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// How long a process may take to answer; it answers at once unless it is stopped or the machine has no time for it.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// An answer.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// What the processes of a job said.
#[derive(Debug, Default)]
pub struct Answers {
    /// How those stand that answered, by their numbers.
    pub told: Vec<ProcessStatus>,
    /// Numbers of processes that are there and did not answer, each with the reason.
    pub silent: Vec<(usize, String)>,
}

/// Asks all processes on this machine that run the job of this file. Those that are dead are passed over.
pub fn ask(file: &Path) -> Result<Answers> {
    let sockets = place::sockets(file)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::environment(format!("no process can be asked: {error}")))?;
    let mut answers = Answers::default();
    runtime.block_on(async {
        let asking = sockets.into_iter().map(|(process, path)| (process, tokio::spawn(ask_in_time(path))));
        // All are asked before the first is waited for.
        for (process, asking) in asking.collect::<Vec<_>>() {
            match asking.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
                // Another run of the job that listens in another folder.
                Ok(Some(Answer::Status(other))) if answers.told.iter().any(|told| told.process == other.process) => {}
                Ok(Some(Answer::Status(status))) => answers.told.push(*status),
                Ok(Some(Answer::Error(words))) => answers.silent.push((process, words)),
                Ok(None) => {}
                Err(error) => answers.silent.push((process, error.to_string())),
            }
        }
    });
    Ok(answers)
}

async fn ask_in_time(path: PathBuf) -> io::Result<Option<Answer>> {
    let late = || io::Error::other(format!("it has not answered in {ANSWER_TIME_MAX:?}; it may be stopped"));
    tokio::time::timeout(ANSWER_TIME_MAX, ask_one(&path)).await.unwrap_or_else(|_| Err(late()))
}

/// The answer of the process that listens there; `None` where none does, or it ends while it is asked.
async fn ask_one(path: &Path) -> io::Result<Option<Answer>> {
    let gone = |kind| matches!(kind, ErrorKind::ConnectionRefused | ErrorKind::NotFound);
    let mut stream = match UnixStream::connect(path).await {
        Err(error) if gone(error.kind()) => return Ok(None),
        connected => connected?,
    };
    if !may_ask(&stream) {
        return Err(io::Error::other("another user listens there"));
    }
    let mut question = serde_json::to_vec(&Question { ask: "status".into() })?;
    question.push(b'\n');
    let (mut answer, broken) = (Vec::new(), |kind| matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset));
    let asked = async {
        stream.write_all(&question).await?;
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await
    };
    match asked.await {
        Ok(0) => return Ok(None),
        Err(error) if broken(error.kind()) => return Ok(None),
        asked => asked?,
    };
    let foreign = |error| io::Error::other(format!("it answers in words of another version: {error}"));
    serde_json::from_slice(&answer).map(Some).map_err(foreign)
}
