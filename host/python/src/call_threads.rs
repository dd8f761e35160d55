//! Runs plugin calls without the interpreter's lock. A call runs on Python's own thread if its stack is large enough
//! and Ctrl-C can interrupt the call there. That saves a switch to another thread and back, which takes longer than a
//! call of a fast plugin. Otherwise it runs on a thread with a larger stack, while Python's thread waits and checks for
//! Ctrl-C.

use millstream_base::error::{Error, Result};
use millstream_base::limits::{THREAD_STACK_BYTES, THREAD_STACK_BYTES_COMPACT, THREAD_STACK_BYTES_RESERVED};
use millstream_base::memory::addresses;
use millstream_hosting::CancelCheck;
use millstream_plugins::plugin::interrupt;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often Ctrl-C is checked.
const SIGNAL_CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// Maximum number of idle threads that are kept for later calls.
const IDLE_MAX: usize = 16;

type Work = Box<dyn FnOnce() + Send>;

/// The call threads of a process.
#[derive(Clone, Default)]
pub struct Threads {
    idle: Arc<Mutex<Vec<Sender<Work>>>>,
}

/// Why a call from Python has no result.
pub enum PythonCallError {
    /// An error of Millstream.
    Error(Error),
    /// A Python exception, for example after Ctrl-C.
    Python(PyErr),
}

impl From<Error> for PythonCallError {
    fn from(error: Error) -> PythonCallError {
        PythonCallError::Error(error)
    }
}

/// Runs `work` on this thread, whose stack is large enough. Ctrl-C interrupts a plugin in it.
pub fn on_this_thread<T>(
    py: Python<'_>,
    work: impl FnOnce(&CancelCheck) -> Result<T> + Send,
) -> Result<T, PythonCallError>
where
    T: Send,
{
    let raised = Arc::new(Mutex::new(None));
    let looks = raised.clone();
    let is_wanted = move || {
        let raised = || looks.lock().unwrap_or_else(PoisonError::into_inner);
        if raised().is_some() {
            return false;
        }
        let looked = Python::attach(|py| py.check_signals());
        looked.map_err(|error| *raised() = Some(error)).is_ok()
    };
    let (between, looked) = (is_wanted.clone(), Mutex::new(Instant::now()));
    // Checked between calls, of which there may be many.
    let wanted = CancelCheck::new(move || {
        let mut looked = looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.elapsed() < SIGNAL_CHECK_INTERVAL {
            return true;
        }
        *looked = Instant::now();
        drop(looked);
        between()
    });
    let done = py.detach(move || interrupt::while_wanted(is_wanted, || work(&wanted)));
    match raised.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(error) => Err(PythonCallError::Python(error)),
        None => done.map_err(PythonCallError::Error),
    }
}

impl Threads {
    /// Runs `work`, which needs a plugin stack of `stack_bytes`. If the wait is interrupted, `work` is notified between
    /// calls of the plugin. A single call continues up to the plugin's limits.
    pub fn run<T: Send + 'static>(
        &self,
        py: Python<'_>,
        stack_bytes: u64,
        work: impl FnOnce(&CancelCheck) -> Result<T> + Send + 'static,
    ) -> Result<T, PythonCallError> {
        let (sender, result) = sync_channel(1);
        let interrupted = Arc::new(AtomicBool::new(false));
        let looked = interrupted.clone();
        let wanted = CancelCheck::new(move || !looked.load(Ordering::Relaxed));
        py.detach(move || {
            self.start(stack_bytes, move || work(&wanted), sender)?;
            wait(&result).inspect_err(|_| interrupted.store(true, Ordering::Relaxed))
        })
    }

    fn start<T: Send + 'static>(
        &self,
        stack_bytes: u64,
        work: impl FnOnce() -> Result<T> + Send + 'static,
        result: SyncSender<Result<T>>,
    ) -> Result<()> {
        let work: Work = Box::new(move || {
            // There is no receiver if the wait was interrupted.
            drop(result.send(work()));
        });
        let needed = stack_bytes.saturating_add(2 * THREAD_STACK_BYTES_RESERVED);
        let usual = if addresses::limit().is_some() { THREAD_STACK_BYTES_COMPACT } else { THREAD_STACK_BYTES };
        if needed > usual {
            return spawn(needed, work);
        }
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let work = match idle {
            Some(thread) => match thread.send(work) {
                Ok(()) => return Ok(()),
                Err(unsent) => unsent.0,
            },
            None => work,
        };
        let (own, next) = channel::<Work>();
        let idle = self.idle.clone();
        spawn(usual, move || serve(work, &own, &next, &idle))
    }
}

/// Runs one work item after the other, while there are not too many idle threads.
fn serve(first: Work, own: &Sender<Work>, next: &Receiver<Work>, idle: &Mutex<Vec<Sender<Work>>>) {
    first();
    loop {
        {
            let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() >= IDLE_MAX {
                return;
            }
            idle.push(own.clone());
        }
        let Ok(work) = next.recv() else { return };
        work();
    }
}

fn spawn(stack_bytes: u64, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let bytes = usize::try_from(stack_bytes).unwrap_or(usize::MAX);
    let thread = std::thread::Builder::new().name("millstream-calls".into()).stack_size(bytes).spawn(work);
    let failed = |error| Error::environment(format!("cannot start a thread: {error}{}", addresses::advice()));
    thread.map(drop).map_err(failed)
}

fn wait<T>(result: &Receiver<Result<T>>) -> Result<T, PythonCallError> {
    loop {
        match result.recv_timeout(SIGNAL_CHECK_INTERVAL) {
            Ok(result) => return result.map_err(PythonCallError::Error),
            Err(RecvTimeoutError::Timeout) => {
                Python::attach(|py| py.check_signals()).map_err(PythonCallError::Python)?;
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::bug("a call of a plugin ended without a result").into());
            }
        }
    }
}
