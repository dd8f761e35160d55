//! A worker process as its supervisor sees it.

use super::decide::WorkerExit;
use super::report::{self, VARIABLE, WorkerOrder, WorkerReport};
use crate::cli::run::signals;
use crate::program_limits::{HEARTBEAT_SILENCE_MS_MAX, HEARTBEAT_STARVED_MS_MAX};
use millstream_base::error::Kind;
use millstream_base::ids::BatchId;
use millstream_base::threads;
use millstream_plugins::child::limits::die_with;
use millstream_runtime::ClusterKey;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{self, Command, ExitStatus};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a process that has closed its end may take to be gone.
const GOING_MAX: Duration = Duration::from_secs(1);
const GOING_LOOK_EVERY: Duration = Duration::from_millis(2);
/// What tests plant, see [`millstream_base::fault`].
const FAULT: &str = "MILLSTREAM_TEST_FAULT";

/// A worker process. Dropping it kills it.
pub struct WorkerProcess {
    process: process::Child,
    /// The end that the child waits on: it dies when this closes.
    lifeline: UnixStream,
    /// Since it last said something.
    quiet: Duration,
    ended: Option<Option<Kind>>,
    back: Option<BatchId>,
    hung: bool,
    followed: bool,
    gone: bool,
    running: bool,
}

impl WorkerProcess {
    /// Starts the program with these arguments. It gets `key` over the socket that only it has. `say` is called with all that the process says, and with `None` when it
    /// has closed its end.
    pub fn start(
        program: &Path,
        arguments: Vec<OsString>,
        again: bool,
        key: Option<&ClusterKey>,
        say: impl Fn(Option<WorkerReport>) + Send + Sync + 'static,
    ) -> io::Result<WorkerProcess> {
        let (own, others) = UnixStream::pair()?;
        let supervisor = process::id();
        let mut command = Command::new(program);
        command.args(arguments).env(VARIABLE, supervisor.to_string()).stdin(OwnedFd::from(others));
        // In a group of its own it does not get the terminal's Ctrl-C: the supervisor passes it on.
        command.process_group(0);
        if let (true, Ok(faults)) = (again, std::env::var(FAULT)) {
            let once = ["kill@", "stop@", "panic@"];
            let is_lasting = |fault: &&str| !once.iter().any(|kind| fault.starts_with(kind));
            let lasting: Vec<&str> = faults.split(',').filter(is_lasting).collect();
            command.env(FAULT, lasting.join(","));
        }
        // SAFETY: between fork and exec only system calls are made, and no memory is allocated.
        unsafe { command.pre_exec(move || die_with(supervisor).and_then(|()| signals::block())) };
        let (reader, ending) = (BufReader::new(own.try_clone()?), own.try_clone()?);
        let say = Arc::new(say);
        let failing = say.clone();
        let process = command.spawn()?;
        // The command holds the child's end of the socket.
        drop(command);
        // Few bytes, for which a new socket has room. A child that is gone already is noticed below.
        let _ = (&own).write_all(&report::passed(key));
        let child = WorkerProcess {
            process,
            lifeline: own,
            quiet: Duration::ZERO,
            ended: None,
            back: None,
            hung: false,
            followed: false,
            gone: false,
            running: false,
        };
        let listen = move || {
            let lines = reader.lines().map_while(Result::ok);
            lines.filter_map(|line| WorkerReport::read(&line)).for_each(|report| say(Some(report)));
            say(None);
        };
        // Nobody would hear of the process any more: it ends, as it does without a supervisor, and another one is started.
        let failed = move |error| {
            tracing::error!("{error}");
            let _ = ending.shutdown(Shutdown::Both);
            failing(None);
        };
        let listening =
            threads::start("millstream-child", "the thread that listens to a worker process", failed, listen);
        listening.map_err(io::Error::other)?;
        Ok(child)
    }

    /// The process said this.
    pub fn said(&mut self, report: &WorkerReport) {
        self.quiet = Duration::ZERO;
        match report {
            WorkerReport::Ended(kind) => self.ended = Some(*kind),
            WorkerReport::Back(batch) => self.back = Some(*batch),
            WorkerReport::Running => self.running = true,
            WorkerReport::Beat
            | WorkerReport::Progress(_)
            | WorkerReport::Loaded(_)
            | WorkerReport::Waiting(_)
            | WorkerReport::Elsewhere(_)
            | WorkerReport::Heard(_)
            | WorkerReport::Saved(_)
            | WorkerReport::Begins(_)
            | WorkerReport::Handed(_)
            | WorkerReport::Paused(_) => {}
        }
    }

    /// Whether its job runs, so that it does what it is told of it.
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// So much time has passed since the last look. A process that was silent for too long is killed.
    pub fn look(&mut self, passed: Duration) {
        self.quiet += passed;
        let silent = |ms| self.quiet > Duration::from_millis(ms);
        if self.gone || self.hung || !silent(HEARTBEAT_SILENCE_MS_MAX) {
            return;
        }
        if silent(HEARTBEAT_STARVED_MS_MAX) || !waits_for_processor(self.process.id()) {
            self.hung = true;
            self.kill();
        }
    }

    /// Kills it because another one has ended.
    pub fn follow(&mut self) {
        if !self.gone && !self.followed {
            self.followed = true;
            self.kill();
        }
    }

    /// Tells it to do something. One that is gone hears nothing, which its end tells.
    pub fn order(&self, order: &WorkerOrder) {
        let _ = (&self.lifeline).write_all(order.line().as_bytes());
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        if let (false, Ok(id)) = (self.gone, libc::pid_t::try_from(self.process.id())) {
            // SAFETY: `kill` takes two numbers. The process is not waited for yet, so that the id is still its own.
            unsafe { libc::kill(id, libc::SIGTERM) };
        }
    }

    /// Kills it.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
    }

    /// Waits until it is gone, and says how it went; it has closed its end or was killed.
    pub fn wait(&mut self) -> WorkerExit {
        let deadline = Instant::now() + GOING_MAX;
        let status = loop {
            match self.process.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if Instant::now() < deadline => thread::sleep(GOING_LOOK_EVERY),
                Ok(None) => {
                    self.kill();
                    break self.process.wait().ok();
                }
                // Somebody else waited for it: it is gone.
                Err(_) => break None,
            }
        };
        self.gone = true;
        self.how(status)
    }

    fn how(&self, status: Option<ExitStatus>) -> WorkerExit {
        let signal = status.and_then(|status| status.signal());
        let code = status.and_then(|status| status.code()).and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
        if let (Some(batch), Some(None) | None) = (self.back, self.ended) {
            // All that it was to do is done, however it went from there.
            return WorkerExit::Back(batch);
        }
        match (signal, self.ended) {
            // What it said before counts, also where it was killed on its way out.
            (_, Some(Some(kind))) => WorkerExit::Failed(kind, if signal.is_some() { 1 } else { code }),
            (Some(_), _) if self.hung => WorkerExit::Hung,
            (Some(_), _) if self.followed => WorkerExit::Followed,
            (Some(_), Some(None)) => WorkerExit::Done(0),
            (Some(signal), None) => WorkerExit::Died(signal),
            (None, Some(None)) => WorkerExit::Done(code),
            (None, None) if code == 0 => WorkerExit::Done(0),
            (None, None) => WorkerExit::Silent(code),
        }
    }
}

/// Whether the thread that speaks for a process, or the process as long as it has none, could run and does not, as others have the
/// processors: it is late, and not stuck.
fn waits_for_processor(process: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    // The name in brackets may hold anything; its state stands behind it.
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    let states = stats.filter_map(|stat| {
        let (head, state) = stat.rsplit_once(") ")?;
        Some((head.ends_with(report::BEATING), state.starts_with('R')))
    });
    states.max().is_some_and(|(_, is_ready)| is_ready)
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        if !self.gone {
            self.kill();
            let _ = self.process.wait();
        }
    }
}
