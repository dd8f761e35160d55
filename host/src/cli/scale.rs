//! `millstream scale`: changes the number of workers of a running job.

use crate::cli::run::processes::hosts_of;
use crate::cli::show;
use clap::Args;
use millstream_base::error::{Error, Result};
use millstream_base::limits::WORKERS_MAX;
use millstream_runtime::control::{
    RunningMark, ScaleQuestion, ScaleResponse, ScaleStatus, ScaleStep, query_status, query_supervisor,
};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How often the progress is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How long to wait for a supervisor that is starting, and for processes that have none.
const START_MAX: Duration = Duration::from_secs(5);
const UNSUPERVISED_MAX: Duration = Duration::from_millis(500);

/// The arguments of `millstream scale`.
#[derive(Args)]
#[command(
    after_help = "New processes start next to the old ones and load the newest checkpoint. The old ones write a last checkpoint and \
                  exit, and the new ones continue from it. The next `millstream run` uses its own options or the job file again. \
                  The exit code is 1 if the job continues unchanged."
)]
pub struct ScaleArguments {
    /// Path of the job file
    job: PathBuf,
    /// Worker threads of each process
    #[arg(long, required_unless_present_any = ["processes", "hosts"])]
    workers: Option<usize>,
    /// Number of processes that run the job together on this machine
    #[arg(long)]
    processes: Option<usize>,
    /// Address of each process: `host:port,host:port`, or `@FILE`
    ///
    /// For a job on several machines. The file has one address per line. Run the command where process 0 is; it must stay
    /// the first.
    #[arg(long, value_delimiter = ',', conflicts_with = "processes")]
    hosts: Vec<String>,
}

/// Sends the request to the supervisor of the job, and shows its progress.
pub fn scale(arguments: &ScaleArguments) -> Result<()> {
    let ScaleArguments { job, workers, processes, hosts } = arguments;
    if let Some(workers) = workers.filter(|workers| *workers == 0 || *workers as u64 > WORKERS_MAX) {
        return Err(Error::job(format!("--workers is {workers}; it must be from 1 to {WORKERS_MAX}")));
    }
    let hosts = hosts_of(hosts.clone())?;
    let question = ScaleQuestion::Scale { workers: *workers, processes: *processes, hosts };
    let mut status = begin(job, &question)?;
    let shown = job.display();
    let mut last_line = String::new();
    loop {
        let line = describe(&status.step);
        if line != last_line {
            show(&format!("{shown}: {line}\n"))?;
            last_line = line;
        }
        match status.step {
            ScaleStep::Done { .. } => return Ok(()),
            ScaleStep::Failed(why) => {
                return Err(Error::environment(format!("{shown}: rescaling failed, the workers are unchanged: {why}")));
            }
            _ => {}
        }
        thread::sleep(POLL_INTERVAL);
        let ended = || Error::environment(format!("the job {shown} has ended or restarted in the meantime"));
        status = request(job, &ScaleQuestion::Scaling { id: status.id })?.ok_or_else(ended)?;
    }
}

fn request(job: &Path, question: &ScaleQuestion) -> Result<Option<ScaleStatus>> {
    match query_supervisor(job, question)? {
        Some(ScaleResponse::Scaling(status)) => Ok(Some(status)),
        Some(ScaleResponse::Refused(why)) => Err(Error::job(why)),
        // This is another supervisor than before.
        Some(ScaleResponse::Unknown) | None => Ok(None),
    }
}

/// Sends the request to the supervisor of the job, which may still be starting. Returns the first status.
fn begin(job: &Path, question: &ScaleQuestion) -> Result<ScaleStatus> {
    let (began, shown) = (Instant::now(), job.display());
    loop {
        if let Some(status) = request(job, question)? {
            return Ok(status);
        }
        let is_supervised = RunningMark::is_held(job)?;
        let last_line = query_status(job)?;
        if !is_supervised && last_line.responded.is_empty() && last_line.unresponsive.is_empty() {
            return Err(Error::environment(format!(
                "the job {shown} is not running (no process of yours responds); start it with `millstream run {shown} --workers N`"
            )));
        }
        // Worker processes run a moment longer than their supervisor.
        if !is_supervised && began.elapsed() >= UNSUPERVISED_MAX {
            return Err(Error::job(format!(
                "the job {shown} has no supervisor, as it keeps no checkpoints; add [checkpoint] with a `dir` and restart it, or stop \
                 it (`millstream stop {shown}`) and start it with other --workers"
            )));
        }
        if began.elapsed() >= START_MAX {
            return Err(Error::environment(format!("the supervisor of the job {shown} does not respond")));
        }
        thread::sleep(POLL_INTERVAL);
    }
}

fn describe(step: &ScaleStep) -> String {
    match step {
        ScaleStep::Waiting => "the job is starting; the new workers start as soon as it runs".into(),
        ScaleStep::Loading => "new workers start next to the old ones and load the newest checkpoint".into(),
        ScaleStep::Following { batch } => format!("the new workers have loaded the checkpoint after batch {batch}"),
        ScaleStep::Ending => "the old workers commit the received rows and write their last checkpoint".into(),
        ScaleStep::TakingOver => "the new workers take over".into(),
        ScaleStep::Done { pause_us: Some(us) } => {
            format!("batches continue after a pause of {:.2} s", *us as f64 / 1e6)
        }
        ScaleStep::Done { pause_us: None } => "batches continue".into(),
        ScaleStep::Failed(_) => "rescaling failed".into(),
    }
}
