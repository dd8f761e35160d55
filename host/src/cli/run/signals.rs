//! SIGINT and SIGTERM. They are blocked before anything else happens and then taken one by one by a thread, so that none
//! comes too early to be heard.

use millstream_base::error::{Error, Result};
use millstream_base::threads;
use millstream_runtime::{Stop, Stopper};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What a job that was told to stop at once has to do it.
const AT_ONCE: Duration = Duration::from_secs(1);
/// A job that is still not started so long after it was told to stop (it waits for other processes) is not waited for.
const STARTING_MAX: Duration = Duration::from_secs(2);

fn signals() -> libc::sigset_t {
    // SAFETY: all bytes zero are a valid `sigset_t`, and the calls write to it alone.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGINT);
        libc::sigaddset(&mut set, libc::SIGTERM);
        set
    }
}

/// From now on signals wait until [`watch`] takes them: for threads that this one starts too, so call it first thing.
/// Safe between `fork` and `exec`.
pub fn block() -> io::Result<()> {
    mask(libc::SIG_BLOCK)
}

/// Undoes [`block`] for this thread, while it waits for a person.
pub fn unblock() -> io::Result<()> {
    mask(libc::SIG_UNBLOCK)
}

fn mask(how: libc::c_int) -> io::Result<()> {
    // SAFETY: the set is valid, and the old one is not asked for.
    match unsafe { libc::pthread_sigmask(how, &signals(), std::ptr::null_mut()) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Calls `on_signal` for each signal that came since [`block`] and will come, from a thread of its own, until it
/// returns `false`. `failed` is called where no signal is heard any more.
pub fn watch(
    failed: impl FnOnce(Error) + Send + 'static,
    mut on_signal: impl FnMut() -> bool + Send + 'static,
) -> Result<()> {
    let wait = move || {
        let (set, mut number) = (signals(), 0);
        // SAFETY: both are valid for the call.
        while unsafe { libc::sigwait(&set, &mut number) } != 0 || on_signal() {}
    };
    threads::start("millstream-signals", "the thread that waits for signals", failed, wait).map(drop)
}

/// Ends a process that nobody could stop any more.
pub fn end_unheard(error: Error) {
    tracing::error!("{error}");
    std::process::exit(1);
}

/// Stops the job of this process when signals come: the first gracefully, the second at once.
#[derive(Clone, Default)]
pub struct StopOnSignals(Arc<StopShared>);

#[derive(Default)]
struct StopShared {
    at_once: AtomicBool,
    state: Mutex<StopState>,
}

#[derive(Default)]
struct StopState {
    asked: Option<Stop>,
    job: Option<Stopper>,
    /// No signal is heard any more.
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

    /// The job is started. A signal that came before stops it now.
    pub fn started(&self, job: Stopper) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(how) = state.asked {
            job.stop(how);
        }
        if let Some(error) = state.failed.take() {
            job.fail(error);
        }
        state.job = Some(job);
    }

    /// Whether somebody wants it to stop.
    pub fn asked(&self) -> bool {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).asked.is_some()
    }

    /// Whether the job was stopped at once.
    pub fn at_once(&self) -> bool {
        self.0.at_once.load(Ordering::Acquire)
    }

    /// A job that nobody can stop any more ends.
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
        let second = match self.ask(Stop::Graceful) {
            true => signals.recv().is_ok(),
            false => match signals.recv_timeout(STARTING_MAX) {
                Err(RecvTimeoutError::Timeout) if self.ask(Stop::Graceful) => signals.recv().is_ok(),
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
            self.ask(Stop::Now);
            // A job that does not even stop at once (a plugin or sink that hangs) must not hold the terminal.
            thread::sleep(AT_ONCE);
            std::process::exit(1);
        }
    }

    /// Whether the job is started; where it is not, it will hear of it then.
    fn ask(&self, how: Stop) -> bool {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked = Some(how);
        state.job.iter().for_each(|job| job.stop(how));
        state.job.is_some()
    }
}
