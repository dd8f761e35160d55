//! `millstream status`: shows the status of a running job.

pub(super) mod text;

use clap::Args;
use millstream_base::error::{Error, Result};
use millstream_runtime::control::{JobStatus, RunningMark, StatusResponses, query_all};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How long to wait for a running job of which no process responds, and how often it is queried.
const STARTING_MAX: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The arguments of `millstream status`.
#[derive(Args)]
#[command(after_help = "The exit code is 1 if the job is not running.")]
pub struct StatusArguments {
    /// Path of the job file
    job: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Returns the output of the command. Fails if the job is not running.
pub fn status(arguments: &StatusArguments) -> Result<String> {
    let status = query(&arguments.job)?;
    match arguments.json {
        true => serde_json::to_string(&status).map(|json| json + "\n").map_err(Error::bug),
        false => Ok(text::render(&status)),
    }
}

/// Returns the status of the job of this file. Fails if the job is not running.
pub fn query(file: &Path) -> Result<JobStatus> {
    let responses = responses(file)?;
    let job = file.display();
    let unresponsive = responses
        .unresponsive
        .iter()
        .map(|(process, message)| format!("process {process} does not respond: {message}"));
    let unresponsive: Vec<String> = unresponsive.collect();
    let Some(status) = sum(responses) else {
        return Err(Error::environment(match unresponsive.is_empty() {
            true => format!(
                "the job {job} is not running (no process of yours responds); start it with `millstream run {job}`"
            ),
            false => format!("the job {job} is running but does not respond\n  {}", unresponsive.join("\n  ")),
        }));
    };
    unresponsive.iter().for_each(|message| tracing::warn!("{message}"));
    Ok(status)
}

/// Returns the responses of the job's processes. Waits some time for a job that is restarting or being taken over.
fn responses(file: &Path) -> Result<StatusResponses> {
    let began = Instant::now();
    loop {
        let responses = query_all(file)?;
        let is_unresponsive = responses.responded.is_empty() && responses.unresponsive.is_empty();
        if !is_unresponsive || began.elapsed() >= STARTING_MAX || !RunningMark::is_held(file)? {
            return Ok(responses);
        }
        thread::sleep(POLL_INTERVAL);
    }
}

fn sum(responses: StatusResponses) -> Option<JobStatus> {
    let statuses = responses.responded.into_iter().map(|process| process.status);
    statuses.reduce(|mut sum, more| {
        sum.add(more);
        sum
    })
}
