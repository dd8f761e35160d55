//! `millstream stop`: stops a running job as Ctrl-C does.

use clap::Args;
use millstream_base::error::{Error, Result};
use millstream_base::units;
use millstream_runtime::control::{ControlQuestion, ControlResponse, RunningMark, send_question};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// How often the end of the job is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// If no process of a job responds for this long, the job fails each time before one can. Then its supervisor is
/// stopped.
const UNRESPONSIVE_MAX: Duration = Duration::from_secs(2);

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
    let mut is_received = false;
    loop {
        // Sent repeatedly: if the job fails while it stops, its supervisor restarts it.
        let responses = send_question(&arguments.job, &ControlQuestion::Stop, |_| true)?;
        let responds = responses.iter().any(|responses| matches!(responses.response, Ok(ControlResponse::Done(_))));
        is_received |= responds;
        let holders = RunningMark::holders(&arguments.job)?;
        match (responses.is_empty(), is_received) {
            // Its supervisor restarts it, and no process would receive a request now.
            (true, _) if !holders.is_empty() => {}
            (true, true) => return Ok(format!("{job}: stopped\n")),
            // The job fails repeatedly, and only its supervisor received the request.
            (true, false) if supervisors.is_signaled => return Ok(format!("{job}: stopped\n")),
            (true, false) => {
                let message = format!("the job {job} is not running (no process of yours responds)");
                return Err(Error::environment(message));
            }
            (false, false) => {
                let unresponsive_since = responses
                    .iter()
                    .filter_map(|responses| Some((responses.process, responses.response.as_ref().err()?)));
                let causes: String =
                    unresponsive_since.map(|(process, message)| format!("\n  process {process}: {message}")).collect();
                return Err(Error::environment(format!("the job {job} is running but does not respond{causes}")));
            }
            (false, true) => {}
        }
        supervisors.look(responds, &holders);
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            let message = format!(
                "the job {job} is still stopping after {}; see `millstream status`, or wait longer with `--timeout`",
                units::show_time(arguments.timeout)
            );
            return Err(Error::environment(message));
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// The supervisors of the job. They restart a job that fails repeatedly, although its processes were stopped.
#[derive(Default)]
struct Supervisors {
    is_signaled: bool,
    /// Since when no process of the job responds.
    unresponsive_since: Option<Instant>,
    /// Whether a process of the job received the request, and has exited.
    has_exited: bool,
    is_received: bool,
}

impl Supervisors {
    /// Stops the supervisors, once, if requests to the processes do not suffice. `responds`: whether a process of the job
    /// responds now.
    fn look(&mut self, responds: bool, holders: &[u32]) {
        let came_back = responds && self.has_exited;
        self.has_exited |= self.is_received && !responds;
        self.is_received |= responds;
        let unresponsive_since =
            if responds { None } else { Some(self.unresponsive_since.unwrap_or_else(Instant::now)) };
        self.unresponsive_since = unresponsive_since;
        if !self.is_signaled
            && (came_back || unresponsive_since.is_some_and(|since| since.elapsed() >= UNRESPONSIVE_MAX))
        {
            for process in holders.iter().filter_map(|process| i32::try_from(*process).ok()) {
                // SAFETY: the call touches no memory. It is a process of this user, as the directory of marks is.
                unsafe { libc::kill(process, libc::SIGTERM) };
            }
            self.is_signaled = !holders.is_empty();
        }
    }
}
