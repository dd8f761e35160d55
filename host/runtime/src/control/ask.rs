//! Asking the processes of a running job.

use super::{ControlAnswer, ControlQuestion, JobStatus, KnownNumbers, ProcessStatus, may_ask, socket};
use millstream_base::error::{Error, Result};
use serde::de::DeserializeOwned;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// How long a process may take to answer; it answers at once unless it is stopped or the machine has no time for it.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a process may take to load a plugin, which may have to be compiled first. Compiling has a limit of its own.
const PREPARE_TIME_MAX: Duration = Duration::from_secs(600);
/// Processes of a job that are asked, whatever one of them says.
const PROCESSES_MAX: usize = 1_000;
/// An answer.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// What the processes of a job said of how they stand.
#[derive(Debug, Default)]
pub struct StatusAnswers {
    /// How those stand that answered, by their numbers.
    pub answered: Vec<ProcessStatus>,
    /// Numbers of processes that are there and did not answer, each with the reason.
    pub silent: Vec<(usize, String)>,
}

/// What one process of a job said.
#[derive(Debug)]
pub struct ProcessAnswer {
    /// Its number, from 0.
    pub process: usize,
    /// Its answer, or why there is none.
    pub answer: Result<ControlAnswer, String>,
}

/// Asks all processes on this machine that run the job of this file how they stand. Those that are dead are passed over.
pub fn ask(file: &Path) -> Result<StatusAnswers> {
    put(file, &ControlQuestion::Status, |_| true).map(statuses)
}

/// The same of all processes of the job, wherever they are, as long as one of them is on this machine.
pub fn ask_everywhere(file: &Path) -> Result<StatusAnswers> {
    put_everywhere(file, |_| ControlQuestion::Status).map(statuses)
}

fn statuses(said: Vec<ProcessAnswer>) -> StatusAnswers {
    let mut answers = StatusAnswers::default();
    for ProcessAnswer { process, answer } in said {
        match answer {
            Ok(ControlAnswer::Status(status)) => answers.answered.push(*status),
            Ok(ControlAnswer::Error(words) | ControlAnswer::Refused(words)) | Err(words) => {
                answers.silent.push((process, words))
            }
            Ok(ControlAnswer::View(_) | ControlAnswer::Upgrade(_) | ControlAnswer::Done(_)) => {
                answers.silent.push((process, "it sent an unexpected reply".into()))
            }
        }
    }
    answers
}

/// Puts a question to the processes on this machine that run the job of this file, of these numbers, all at once. Those that
/// are dead are passed over.
pub fn put(file: &Path, question: &ControlQuestion, whom: impl Fn(usize) -> bool) -> Result<Vec<ProcessAnswer>> {
    put_to_each(socket::sockets(file)?, |process| whom(process).then(|| question.clone()))
}

/// Asks all processes that run the job of this file for all that is not known of each, as long as one of them is on this machine.
pub fn view(file: &Path, known: impl Fn(usize) -> KnownNumbers) -> Result<Vec<ProcessAnswer>> {
    put_everywhere(file, |process| ControlQuestion::View(known(process)))
}

/// Puts to each process of the job the question that is for it: those on this machine are asked, and one of them asks the others.
fn put_everywhere(file: &Path, question: impl Fn(usize) -> ControlQuestion) -> Result<Vec<ProcessAnswer>> {
    let sockets = socket::sockets(file)?;
    let mut said = put_to_each(sockets.clone(), |process| Some(question(process)))?;
    let told = said.iter().find_map(|said| Some((said.process, processes(said.answer.as_ref().ok()?)?)));
    let Some((asked, processes)) = told else { return Ok(said) };
    let elsewhere =
        (0..processes.min(PROCESSES_MAX)).filter(|process| !said.iter().any(|said| said.process == *process));
    let through = |process| sockets.iter().filter(|(of, _)| *of == asked).map(move |(_, path)| (process, path.clone()));
    let sockets = elsewhere.flat_map(through).collect();
    let asking = |process| Some(ControlQuestion::Elsewhere { process, question: Box::new(question(process)) });
    said.extend(put_to_each(sockets, asking)?);
    said.sort_by_key(|said| said.process);
    Ok(said)
}

/// How many processes the job has, where that was told.
fn processes(answer: &ControlAnswer) -> Option<usize> {
    match answer {
        ControlAnswer::Status(status) => Some(status.status.processes),
        ControlAnswer::View(view) => Some(view.status().processes),
        _ => None,
    }
}

/// How the jobs of this user on this machine stand, as one process of each says.
pub fn jobs() -> Result<Vec<JobStatus>> {
    let sockets = socket::listed().into_iter().enumerate().collect();
    let answers = put_to_each(sockets, |_| Some(ControlQuestion::Status))?;
    let told = answers.into_iter().filter_map(|said| match said.answer {
        Ok(ControlAnswer::Status(status)) => Some(status.status),
        _ => None,
    });
    Ok(told.collect())
}

/// Puts to each process the question that is for it.
fn put_to_each(
    sockets: Vec<(usize, PathBuf)>,
    question: impl Fn(usize) -> Option<ControlQuestion>,
) -> Result<Vec<ProcessAnswer>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::environment(format!("cannot query the processes: {error}")))?;
    let mut asked = Vec::new();
    for (process, path) in sockets {
        let Some(question) = question(process) else { continue };
        let mut line = serde_json::to_vec(&question).map_err(Error::bug)?;
        line.push(b'\n');
        let time_max = if matches!(question, ControlQuestion::Prepare(_)) { PREPARE_TIME_MAX } else { ANSWER_TIME_MAX };
        asked.push((process, path, line, time_max));
    }
    let mut said: Vec<ProcessAnswer> = Vec::new();
    runtime.block_on(async {
        let asking = asked
            .into_iter()
            .map(|(process, path, line, time_max)| (process, tokio::spawn(ask_in_time(path, line, time_max))));
        // All are asked before the first is waited for.
        for (process, asking) in asking.collect::<Vec<_>>() {
            let answer = asking.await.unwrap_or_else(|error| Err(io::Error::other(error))).transpose();
            // Another run of the job may listen in another folder.
            if let Some(answer) = answer.filter(|_| !said.iter().any(|said| said.process == process)) {
                said.push(ProcessAnswer { process, answer: answer.map_err(|error| error.to_string()) });
            }
        }
    });
    Ok(said)
}

async fn ask_in_time(path: PathBuf, question: Vec<u8>, time_max: Duration) -> io::Result<Option<ControlAnswer>> {
    let late = || io::Error::other(format!("it has not responded in {time_max:?}; it may be stopped"));
    tokio::time::timeout(time_max, ask_one(&path, &question)).await.unwrap_or_else(|_| Err(late()))
}

/// The answer of the process that listens there; `None` where none does, or it ends while it is asked.
pub(super) async fn ask_one<A: DeserializeOwned>(path: &Path, question: &[u8]) -> io::Result<Option<A>> {
    let gone = |kind| matches!(kind, ErrorKind::ConnectionRefused | ErrorKind::NotFound);
    let mut stream = match UnixStream::connect(path).await {
        Err(error) if gone(error.kind()) => return Ok(None),
        connected => connected?,
    };
    if !may_ask(&stream) {
        return Err(io::Error::other("another user listens there"));
    }
    let (mut answer, broken) = (Vec::new(), |kind| matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset));
    let asked = async {
        stream.write_all(question).await?;
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await
    };
    match asked.await {
        Ok(0) => return Ok(None),
        Err(error) if broken(error.kind()) => return Ok(None),
        asked => asked?,
    };
    let foreign = |error| io::Error::other(format!("it replies in the format of another version: {error}"));
    serde_json::from_slice(&answer).map(Some).map_err(foreign)
}
