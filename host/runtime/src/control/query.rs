//! Sends requests to the processes of a running job.

use super::{ControlQuestion, ControlResponse, JobStatus, KnownNumbers, ProcessStatus, is_allowed, socket};
use millstream_base::error::{Error, Result};
use serde::de::DeserializeOwned;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// How long a process may take to respond. It responds immediately unless it is suspended or the machine is overloaded.
const RESPONSE_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a process may take to load a plugin, which may have to be compiled first. Compilation has its own limit.
const PREPARE_TIME_MAX: Duration = Duration::from_secs(600);
/// Maximum number of processes of a job that are queried, whatever one of them reports.
const PROCESSES_MAX: usize = 1_000;
/// Maximum size of a response.
const RESPONSE_BYTES_MAX: u64 = 64 << 20;

/// The status reported by the processes of a job.
#[derive(Debug, Default)]
pub struct StatusResponses {
    /// The status of the processes that responded, by number.
    pub responded: Vec<ProcessStatus>,
    /// The numbers of running processes that did not respond, each with the reason.
    pub unresponsive: Vec<(usize, String)>,
}

/// The response of one process of a job.
#[derive(Debug)]
pub struct ProcessResponse {
    /// The number of the process, from 0.
    pub process: usize,
    /// The response, or why there is none.
    pub response: Result<ControlResponse, String>,
}

/// Requests the status of all processes on this machine that run the job of this file. Dead ones are skipped.
pub fn query_status(file: &Path) -> Result<StatusResponses> {
    send_question(file, &ControlQuestion::Status, |_| true).map(statuses)
}

/// Requests the status of all processes of the job, wherever they are. One of them must be on this machine.
pub fn query_all(file: &Path) -> Result<StatusResponses> {
    send_everywhere(file, |_| ControlQuestion::Status).map(statuses)
}

fn statuses(responses: Vec<ProcessResponse>) -> StatusResponses {
    let mut statuses = StatusResponses::default();
    for ProcessResponse { process, response } in responses {
        match response {
            Ok(ControlResponse::Status(status)) => statuses.responded.push(*status),
            Ok(ControlResponse::Error(message) | ControlResponse::Refused(message)) | Err(message) => {
                statuses.unresponsive.push((process, message))
            }
            Ok(ControlResponse::View(_) | ControlResponse::Upgrade(_) | ControlResponse::Done(_)) => {
                statuses.unresponsive.push((process, "it sent an unexpected reply".into()))
            }
        }
    }
    statuses
}

/// Sends a request to the processes with these numbers on this machine that run the job of this file, concurrently.
/// Dead ones are skipped.
pub fn send_question(
    file: &Path,
    question: &ControlQuestion,
    whom: impl Fn(usize) -> bool,
) -> Result<Vec<ProcessResponse>> {
    send_to_each(socket::sockets(file)?, |process| whom(process).then(|| question.clone()))
}

/// Requests everything that is not yet known from each process of the job of this file. One of them must be on this
/// machine.
pub fn view(file: &Path, known: impl Fn(usize) -> KnownNumbers) -> Result<Vec<ProcessResponse>> {
    send_everywhere(file, |process| ControlQuestion::View(known(process)))
}

/// Sends each process of the job its request: directly on this machine, and through one of these to other machines.
fn send_everywhere(file: &Path, question: impl Fn(usize) -> ControlQuestion) -> Result<Vec<ProcessResponse>> {
    let sockets = socket::sockets(file)?;
    let mut responses = send_to_each(sockets.clone(), |process| Some(question(process)))?;
    let reported = responses.iter().find_map(|own| Some((own.process, processes(own.response.as_ref().ok()?)?)));
    let Some((requested, processes)) = reported else { return Ok(responses) };
    let elsewhere =
        (0..processes.min(PROCESSES_MAX)).filter(|process| !responses.iter().any(|own| own.process == *process));
    let through =
        |process| sockets.iter().filter(|(of, _)| *of == requested).map(move |(_, path)| (process, path.clone()));
    let sockets = elsewhere.flat_map(through).collect();
    let requests = |process| Some(ControlQuestion::Elsewhere { process, question: Box::new(question(process)) });
    responses.extend(send_to_each(sockets, requests)?);
    responses.sort_by_key(|own| own.process);
    Ok(responses)
}

/// Returns how many processes the job has, if the response contains that.
fn processes(response: &ControlResponse) -> Option<usize> {
    match response {
        ControlResponse::Status(status) => Some(status.status.processes),
        ControlResponse::View(view) => Some(view.status().processes),
        _ => None,
    }
}

/// Returns the status of this user's jobs on this machine, as reported by one process of each.
pub fn jobs() -> Result<Vec<JobStatus>> {
    let sockets = socket::first_sockets().into_iter().enumerate().collect();
    let responses = send_to_each(sockets, |_| Some(ControlQuestion::Status))?;
    let reported = responses.into_iter().filter_map(|own| match own.response {
        Ok(ControlResponse::Status(status)) => Some(status.status),
        _ => None,
    });
    Ok(reported.collect())
}

/// Sends each process its request.
fn send_to_each(
    sockets: Vec<(usize, PathBuf)>,
    question: impl Fn(usize) -> Option<ControlQuestion>,
) -> Result<Vec<ProcessResponse>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::environment(format!("cannot query the processes: {error}")))?;
    let mut requested = Vec::new();
    for (process, path) in sockets {
        let Some(question) = question(process) else { continue };
        let mut line = serde_json::to_vec(&question).map_err(Error::bug)?;
        line.push(b'\n');
        let time_max =
            if matches!(question, ControlQuestion::Prepare(_)) { PREPARE_TIME_MAX } else { RESPONSE_TIME_MAX };
        requested.push((process, path, line, time_max));
    }
    let mut responses: Vec<ProcessResponse> = Vec::new();
    runtime.block_on(async {
        let requests = requested
            .into_iter()
            .map(|(process, path, line, time_max)| (process, tokio::spawn(query_with_timeout(path, line, time_max))));
        // All requests are sent before the first response is awaited.
        for (process, request) in requests.collect::<Vec<_>>() {
            let response = request.await.unwrap_or_else(|error| Err(io::Error::other(error))).transpose();
            // Another run of the job may listen in another directory.
            if let Some(response) = response.filter(|_| !responses.iter().any(|own| own.process == process)) {
                responses.push(ProcessResponse { process, response: response.map_err(|error| error.to_string()) });
            }
        }
    });
    Ok(responses)
}

async fn query_with_timeout(
    path: PathBuf,
    question: Vec<u8>,
    time_max: Duration,
) -> io::Result<Option<ControlResponse>> {
    let late = || io::Error::other(format!("it has not responded in {time_max:?}; it may be stopped"));
    tokio::time::timeout(time_max, query_one(&path, &question)).await.unwrap_or_else(|_| Err(late()))
}

/// Returns the response of the process that listens there, or `None` if none does, or it ends during the request.
pub(super) async fn query_one<A: DeserializeOwned>(path: &Path, question: &[u8]) -> io::Result<Option<A>> {
    let is_missing = |kind| matches!(kind, ErrorKind::ConnectionRefused | ErrorKind::NotFound);
    let mut stream = match UnixStream::connect(path).await {
        Err(error) if is_missing(error.kind()) => return Ok(None),
        connected => connected?,
    };
    if !is_allowed(&stream) {
        return Err(io::Error::other("another user listens there"));
    }
    let (mut response, broken) =
        (Vec::new(), |kind| matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset));
    let requested = async {
        stream.write_all(question).await?;
        stream.take(RESPONSE_BYTES_MAX).read_to_end(&mut response).await
    };
    match requested.await {
        Ok(0) => return Ok(None),
        Err(error) if broken(error.kind()) => return Ok(None),
        requested => requested?,
    };
    let foreign = |error| io::Error::other(format!("it replies in the format of another version: {error}"));
    serde_json::from_slice(&response).map(Some).map_err(foreign)
}
