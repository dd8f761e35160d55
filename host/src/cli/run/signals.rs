//! SIGINT and SIGTERM. They are blocked at startup and then received one by one by a thread, so that none is lost at
//! startup.

use millstream_base::error::{Error, Result};
use millstream_base::threads;
use millstream_runtime::{Stop, Stopper};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A signal so soon after another one is the same request: `timeout` of coreutils signals its child, and then its process
/// group with the child.
const SAME_REQUEST_MAX: Duration = Duration::from_millis(100);
/// How long a job may take to stop immediately.
const STOP_TIME_MAX: Duration = Duration::from_secs(1);
/// A job that has not started this long after it was stopped (it waits for other processes) is not waited for.
const STARTING_MAX: Duration = Duration::from_secs(2);

fn signals() -> libc::sigset_t {
    // SAFETY: a zeroed `sigset_t` is valid, and the calls write only to it.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGINT);
        libc::sigaddset(&mut set, libc::SIGTERM);
        set
    }
}

/// Blocks signals until [`watch`] receives them. Threads started by this one inherit that, so call it first. Safe
/// between `fork` and `exec`.
pub fn block() -> io::Result<()> {
    mask(libc::SIG_BLOCK)
}

/// Reverts [`block`] for this thread, while it waits for a person.
pub fn unblock() -> io::Result<()> {
    mask(libc::SIG_UNBLOCK)
}

fn mask(how: libc::c_int) -> io::Result<()> {
    // SAFETY: the set is valid, and the old one is not requested.
    match unsafe { libc::pthread_sigmask(how, &signals(), std::ptr::null_mut()) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Calls `on_signal` for each request since [`block`], from its own thread, until it returns `false`. `failed` is called
/// if signals can no longer be received.
pub fn watch(
    failed: impl FnOnce(Error) + Send + 'static,
    mut on_signal: impl FnMut() -> bool + Send + 'static,
) -> Result<()> {
    let wait = move || {
        let (set, mut number) = (signals(), 0);
        let mut last: Option<Instant> = None;
        loop {
            // SAFETY: both pointers are valid for the call.
            let failed = unsafe { libc::sigwait(&set, &mut number) } != 0;
            if failed || last.replace(Instant::now()).is_some_and(|last| last.elapsed() < SAME_REQUEST_MAX) {
                continue;
            }
            if !on_signal() {
                return;
            }
        }
    };
    threads::start("millstream-signals", "the thread that waits for signals", failed, wait).map(drop)
}

/// Exits a process that could no longer be stopped by signals.
pub fn exit_unstoppable(error: Error) {
    tracing::error!("{error}");
    std::process::exit(1);
}

/// Stops the job of this process on signals: the first one gracefully, the second one immediately.
#[derive(Clone, Default)]
pub struct StopOnSignals(Arc<StopShared>);

#[derive(Default)]
struct StopShared {
    at_once: AtomicBool,
    state: Mutex<StopState>,
}

#[derive(Default)]
struct StopState {
    requested: Option<Stop>,
    job: Option<Stopper>,
    /// Signals can no longer be received.
    failed: Option<Error>,
}

impl StopOnSignals {
    /// Begins to listen.
    pub fn listen() -> Result<StopOnSignals> {
        let (sender, signals) = channel();
        let stop = StopOnSignals::default();
        let failing = stop.clone();
        watch(move |error| failing.fail(error), move || sender.send(()).is_ok())?;
        let listening = stop.clone();
        let failing = stop.clone();
        let failed = move |error| failing.fail(error);
        threads::start("millstream-stop", "the thread that stops the job", failed, move || listening.follow(&signals))?;
        Ok(stop)
    }

    /// Records that the job has started. An earlier signal stops it now.
    pub fn started(&self, job: Stopper) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(how) = state.requested {
            job.stop(how);
        }
        if let Some(error) = state.failed.take() {
            job.fail(error);
        }
        state.job = Some(job);
    }

    /// Returns whether a stop was requested.
    pub fn requested(&self) -> bool {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).requested.is_some()
    }

    /// Returns whether the job was stopped immediately.
    pub fn is_immediate(&self) -> bool {
        self.0.at_once.load(Ordering::Acquire)
    }

    /// Fails a job that could no longer be stopped by signals.
    fn fail(&self, error: Error) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &state.job {
            Some(job) => job.fail(error),
            None => state.failed = Some(error),
        }
    }

    fn follow(&self, signals: &Receiver<()>) {
        if signals.recv().is_err() {
            return;
        }
        tracing::info!("stopping; finishing batches in flight (again: stop immediately)");
        let second = match self.request_stop(Stop::Graceful) {
            true => signals.recv().is_ok(),
            false => match signals.recv_timeout(STARTING_MAX) {
                Err(RecvTimeoutError::Timeout) if self.request_stop(Stop::Graceful) => signals.recv().is_ok(),
                Err(_) => {
                    tracing::info!("stopped before the job was started");
                    std::process::exit(0);
                }
                Ok(()) => true,
            },
        };
        if second {
            self.0.at_once.store(true, Ordering::Release);
            tracing::warn!("stopping immediately");
            self.request_stop(Stop::Now);
            // A job that does not stop even immediately (a plugin or sink does not respond) must not block the
            // terminal.
            thread::sleep(STOP_TIME_MAX);
            std::process::exit(1);
        }
    }

    /// Requests a stop. Returns whether the job has started. If not, it stops when it does.
    fn request_stop(&self, how: Stop) -> bool {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.requested = Some(how);
        state.job.iter().for_each(|job| job.stop(how));
        state.job.is_some()
    }
}
