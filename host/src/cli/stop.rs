//! `millstream stop`: ends a running job as Ctrl-C does.

use clap::Args;
use millstream_base::error::{Error, Result};
use millstream_base::units;
use millstream_runtime::control::{ControlAnswer, ControlQuestion, RunningMark, put};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// How often it is looked whether the job has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A job of which no process answers for so long fails each time before one can: its supervisor is told instead.
const SILENT_MAX: Duration = Duration::from_secs(2);

/// The arguments of `millstream stop`.
#[derive(Args)]
#[command(
    after_help = "The job first processes and commits what it has received. The exit code is 1 if the job is not running, or has not \
                  ended within `--timeout`."
)]
pub struct StopArguments {
    /// Path of the job file
    job: PathBuf,
    /// Maximum time to wait for its end, for example `30s`
    ///
    /// The job stops anyway.
    #[arg(long, default_value = "5m", value_parser = millstream_base::units::time)]
    timeout: Duration,
}

/// Stops the job, and waits for its end.
pub fn stop(arguments: &StopArguments) -> Result<String> {
    let job = arguments.job.display();
    let deadline = Instant::now().checked_add(arguments.timeout);
    let mut supervisors = Supervisors::default();
    let mut heard = false;
    loop {
        // Again and again: should it fail on its way out, its supervisor starts it again.
        let said = put(&arguments.job, &ControlQuestion::Stop, |_| true)?;
        let hears = said.iter().any(|said| matches!(said.answer, Ok(ControlAnswer::Done(_))));
        heard |= hears;
        let holders = RunningMark::holders(&arguments.job)?;
        match (said.is_empty(), heard) {
            // Its supervisor starts it again, and what is asked now would be heard by nobody.
            (true, _) if !holders.is_empty() => {}
            (true, true) => return Ok(format!("{job}: stopped\n")),
            // One that fails again and again, and that nobody but its supervisor heard.
            (true, false) if supervisors.told => return Ok(format!("{job}: stopped\n")),
            (true, false) => {
                let words = format!("the job {job} is not running (no process of yours responds)");
                return Err(Error::environment(words));
            }
            (false, false) => {
                let silent = said.iter().filter_map(|said| Some((said.process, said.answer.as_ref().err()?)));
                let silent: String = silent.map(|(process, words)| format!("\n  process {process}: {words}")).collect();
                return Err(Error::environment(format!("the job {job} is running but does not respond{silent}")));
            }
            (false, true) => {}
        }
        supervisors.look(hears, &holders);
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            let words = format!(
                "the job {job} is still stopping after {}; see `millstream status`, or wait longer with `--timeout`",
                units::show_time(arguments.timeout)
            );
            return Err(Error::environment(words));
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// The supervisors of the job. A job that fails again and again is started again by them, whatever its own processes heard.
#[derive(Default)]
struct Supervisors {
    told: bool,
    /// Since when no process of the job answers.
    silent: Option<Instant>,
    /// A process of the job heard that it is to stop, and is gone.
    gone: bool,
    heard: bool,
}

impl Supervisors {
    /// `hears`: a process of the job hears now. Tells the supervisors, once, where that is not enough.
    fn look(&mut self, hears: bool, holders: &[u32]) {
        let came_back = hears && self.gone;
        self.gone |= self.heard && !hears;
        self.heard |= hears;
        let silent = if hears { None } else { Some(self.silent.unwrap_or_else(Instant::now)) };
        self.silent = silent;
        if !self.told && (came_back || silent.is_some_and(|since| since.elapsed() >= SILENT_MAX)) {
            for process in holders.iter().filter_map(|process| i32::try_from(*process).ok()) {
                // SAFETY: the call touches no memory. It is a process of this user, as the folder of marks is.
                unsafe { libc::kill(process, libc::SIGTERM) };
            }
            self.told = !holders.is_empty();
        }
    }
}
