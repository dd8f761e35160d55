//! `millstream stop`: ends a running job as Ctrl-C does.

use crate::error::{Error, Result};
use crate::run::control::{ControlAnswer, ControlQuestion, RunningMark, put};
use clap::Args;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// How often it is looked whether the job has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The arguments of `millstream stop`.
#[derive(Args)]
#[command(
    after_help = "What the job has received is worked on and committed first. The exit code is 1 where it does not run."
)]
pub struct StopArguments {
    /// The job file
    job: PathBuf,
    /// Wait no longer than this for its end, as `30s`; it ends all the same
    #[arg(long, value_parser = crate::units::time)]
    timeout: Option<Duration>,
}

/// Stops the job, and waits for its end.
pub fn stop(arguments: &StopArguments) -> Result<String> {
    let job = arguments.job.display();
    let deadline = arguments.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut heard = false;
    loop {
        // Again and again: should it fail on its way out, its supervisor starts it again.
        let said = put(&arguments.job, &ControlQuestion::Stop, |_| true)?;
        let hears = said.iter().any(|said| matches!(said.answer, Ok(ControlAnswer::Done(_))));
        heard |= hears;
        match (said.is_empty(), heard) {
            // Its supervisor starts it again, and what is asked now would be heard by nobody.
            (true, _) if RunningMark::is_held(&arguments.job)? => {}
            (true, true) => return Ok(format!("{job}: stopped\n")),
            (true, false) => {
                let words = format!("the job {job} is not running (no process of yours answers)");
                return Err(Error::environment(words));
            }
            (false, false) => {
                let silent = said.iter().filter_map(|said| Some((said.process, said.answer.as_ref().err()?)));
                let silent: String = silent.map(|(process, words)| format!("\n  process {process}: {words}")).collect();
                return Err(Error::environment(format!("the job {job} runs, but does not hear{silent}")));
            }
            (false, true) => {}
        }
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            let words = format!("the job {job} is still about to stop; `millstream status` tells more");
            return Err(Error::environment(words));
        }
        thread::sleep(LOOK_EVERY);
    }
}
