//! `millstream status`: how a running job stands.

pub(super) mod words;

use clap::Args;
use millstream_base::error::{Error, Result};
use millstream_runtime::control::{JobStatus, RunningMark, StatusAnswers, ask_everywhere};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How long a job is waited for of which no process answers though it runs, and how often it is asked then.
const STARTING_MAX: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(20);

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

/// The output of the command. An error where the job does not run.
pub fn status(arguments: &StatusArguments) -> Result<String> {
    let status = of(&arguments.job)?;
    match arguments.json {
        true => serde_json::to_string(&status).map(|json| json + "\n").map_err(Error::bug),
        false => Ok(words::of(&status)),
    }
}

/// How the job of this file stands. An error where it does not run.
pub fn of(file: &Path) -> Result<JobStatus> {
    let answers = answers(file)?;
    let job = file.display();
    let silent = answers.silent.iter().map(|(process, words)| format!("process {process} does not respond: {words}"));
    let silent: Vec<String> = silent.collect();
    let Some(status) = sum(answers) else {
        return Err(Error::environment(match silent.is_empty() {
            true => format!(
                "the job {job} is not running (no process of yours responds); start it with `millstream run {job}`"
            ),
            false => format!("the job {job} is running but does not respond\n  {}", silent.join("\n  ")),
        }));
    };
    silent.iter().for_each(|words| tracing::warn!("{words}"));
    Ok(status)
}

/// What the processes of the job say. One that is just being started again, or taken over by others, is waited for a while.
fn answers(file: &Path) -> Result<StatusAnswers> {
    let began = Instant::now();
    loop {
        let answers = ask_everywhere(file)?;
        let nobody = answers.answered.is_empty() && answers.silent.is_empty();
        if !nobody || began.elapsed() >= STARTING_MAX || !RunningMark::is_held(file)? {
            return Ok(answers);
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn sum(answers: StatusAnswers) -> Option<JobStatus> {
    let told = answers.answered.into_iter().map(|process| process.status);
    told.reduce(|mut sum, more| {
        sum.add(more);
        sum
    })
}
