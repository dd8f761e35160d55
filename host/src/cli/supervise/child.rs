//! A worker process as seen by its supervisor.

use super::decide::WorkerExit;
use super::report::{self, SUPERVISOR_VARIABLE, WorkerOrder, WorkerReport};
use crate::cli::run::signals;
use crate::program_limits::{HEARTBEAT_STARVED_MS_MAX, HEARTBEAT_TIMEOUT_MS};
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

/// How long a process that has closed its end may take to exit.
const EXIT_TIME_MAX: Duration = Duration::from_secs(1);
const EXIT_POLL_INTERVAL: Duration = Duration::from_millis(2);
/// The faults that tests inject, see [`millstream_base::fault`].
const FAULT: &str = "MILLSTREAM_TEST_FAULT";

/// A worker process. Dropping it kills it.
pub struct WorkerProcess {
    process: process::Child,
    /// The parent's end of the socket. The child exits when it closes.
    lifeline: UnixStream,
    /// The time since its last report.
    quiet: Duration,
    ended: Option<Option<Kind>>,
    back: Option<BatchId>,
    hung: bool,
    followed: bool,
    has_exited: bool,
    running: bool,
}

impl WorkerProcess {
    /// Starts the program with these arguments. `key` is sent over the private socket, so it never appears in
    /// arguments. `say` is called with each report of the process, and with `None` when the process has closed its end.
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
        command.args(arguments).env(SUPERVISOR_VARIABLE, supervisor.to_string()).stdin(OwnedFd::from(others));
        // In its own process group it does not receive the terminal's Ctrl-C. The supervisor forwards that.
        command.process_group(0);
        if let (true, Ok(faults)) = (again, std::env::var(FAULT)) {
            let once = ["kill@", "stop@", "panic@"];
            let is_repeated = |fault: &&str| !once.iter().any(|kind| fault.starts_with(kind));
            let repeated: Vec<&str> = faults.split(',').filter(is_repeated).collect();
            command.env(FAULT, repeated.join(","));
        }
        // SAFETY: between fork and exec only system calls are made, and no memory is allocated.
        unsafe { command.pre_exec(move || die_with(supervisor).and_then(|()| signals::block())) };
        let (reader, ending) = (BufReader::new(own.try_clone()?), own.try_clone()?);
        let say = Arc::new(say);
        let failing = say.clone();
        let process = command.spawn()?;
        // The command holds the child's end of the socket.
        drop(command);
        // A new socket has room for these few bytes. The exit of a child that has already died is detected below.
        let _ = (&own).write_all(&report::encode_key(key));
        let child = WorkerProcess {
            process,
            lifeline: own,
            quiet: Duration::ZERO,
            ended: None,
            back: None,
            hung: false,
            followed: false,
            has_exited: false,
            running: false,
        };
        let listen = move || {
            let lines = reader.lines().map_while(Result::ok);
            lines.filter_map(|line| WorkerReport::read(&line)).for_each(|report| say(Some(report)));
            say(None);
        };
        // Without this thread no report of the process would be read. The process exits, as it does without a
        // supervisor, and is restarted.
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

    /// Records a report of the process.
    pub fn handle_report(&mut self, report: &WorkerReport) {
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
            | WorkerReport::Received(_)
            | WorkerReport::Saved(_)
            | WorkerReport::Begins(_)
            | WorkerReport::Handed(_)
            | WorkerReport::Paused(_) => {}
        }
    }

    /// Returns whether its job runs, so that it obeys orders about it.
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// Checks the process after `passed` time. Kills a process that was silent for too long.
    pub fn check(&mut self, passed: Duration) {
        self.quiet += passed;
        let quiet_for = |ms| self.quiet > Duration::from_millis(ms);
        if self.has_exited || self.hung || !quiet_for(HEARTBEAT_TIMEOUT_MS) {
            return;
        }
        if quiet_for(HEARTBEAT_STARVED_MS_MAX) || !waits_for_processor(self.process.id()) {
            self.hung = true;
            self.kill();
        }
    }

    /// Kills the process because another one has exited.
    pub fn follow(&mut self) {
        if !self.has_exited && !self.followed {
            self.followed = true;
            self.kill();
        }
    }

    /// Sends an order. If the process has exited, the order is lost; the supervisor handles the exit.
    pub fn order(&self, order: &WorkerOrder) {
        let _ = (&self.lifeline).write_all(order.line().as_bytes());
    }

    /// Requests the process to stop.
    pub fn terminate(&self) {
        if let (false, Ok(id)) = (self.has_exited, libc::pid_t::try_from(self.process.id())) {
            // SAFETY: `kill` takes two numbers. The process is not waited for yet, so the ID cannot have been reused.
            unsafe { libc::kill(id, libc::SIGTERM) };
        }
    }

    /// Kills the process.
    pub fn kill(&mut self) {
        // It may already have exited.
        let _ = self.process.kill();
    }

    /// Waits for the exit of a process that has closed its end or was killed. Returns how it exited.
    pub fn wait(&mut self) -> WorkerExit {
        let deadline = Instant::now() + EXIT_TIME_MAX;
        let status = loop {
            match self.process.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if Instant::now() < deadline => thread::sleep(EXIT_POLL_INTERVAL),
                Ok(None) => {
                    self.kill();
                    break self.process.wait().ok();
                }
                // The process was already waited for elsewhere, so it has exited.
                Err(_) => break None,
            }
        };
        self.has_exited = true;
        self.exit_of(status)
    }

    fn exit_of(&self, status: Option<ExitStatus>) -> WorkerExit {
        let signal = status.and_then(|status| status.signal());
        let code = status.and_then(|status| status.code()).and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
        if let (Some(batch), Some(None) | None) = (self.back, self.ended) {
            // All its work is done, however it exited afterwards.
            return WorkerExit::Back(batch);
        }
        match (signal, self.ended) {
            // An earlier report takes precedence, even if the process was killed while exiting.
            (_, Some(Some(kind))) => WorkerExit::Failed(kind, if signal.is_some() { 1 } else { code }),
            (Some(_), _) if self.hung => WorkerExit::Hung,
            (Some(_), _) if self.followed => WorkerExit::Followed,
            (Some(_), Some(None)) => WorkerExit::Done(0),
            (Some(signal), None) => WorkerExit::Died(signal),
            (None, Some(None)) => WorkerExit::Done(code),
            (None, None) if code == 0 => WorkerExit::Done(0),
            (None, None) => WorkerExit::Unreported(code),
        }
    }
}

/// Returns whether the thread that reports for a process is ready to run but other threads have the processors. Such a
/// process is late, not stuck. The process's main thread counts as long as it has no such thread.
fn waits_for_processor(process: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    // The name in brackets may contain any character. The state follows it.
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    let states = stats.filter_map(|stat| {
        let (head, state) = stat.rsplit_once(") ")?;
        Some((head.ends_with(report::BEAT_THREAD), state.starts_with('R')))
    });
    states.max().is_some_and(|(_, is_ready)| is_ready)
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        if !self.has_exited {
            self.kill();
            let _ = self.process.wait();
        }
    }
}
