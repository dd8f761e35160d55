//! The first failure of a job, of which all its threads are notified.

use crate::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;

/// The first failure of a job, and the threads to notify of it. Cheap to clone.
#[derive(Clone, Default)]
pub struct Failure(Arc<FailureInner>);

#[derive(Default)]
struct FailureInner {
    happened: AtomicBool,
    error: Mutex<Option<Error>>,
    workers: Mutex<Vec<Thread>>,
}

impl Failure {
    /// Returns whether the job failed or must stop immediately.
    pub fn happened(&self) -> bool {
        self.0.happened.load(Ordering::Acquire)
    }

    /// Fails the job with this error, unless another came first.
    pub fn set(&self, error: Error) {
        self.end(Some(error));
    }

    /// Ends the job: with an error, or because it must stop immediately.
    pub fn end(&self, error: Option<Error>) {
        let mut first = self.0.error.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.0.happened.swap(true, Ordering::AcqRel) {
            *first = error;
        }
        drop(first);
        self.wake();
    }

    /// Returns the error that ended the job.
    pub fn error(&self) -> Option<Error> {
        self.0.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Wakes all workers of this process.
    pub fn wake(&self) {
        self.0.workers.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(Thread::unpark);
    }

    /// Registers the current thread as a worker to notify of failures.
    pub fn register_worker(&self) {
        self.0.workers.lock().unwrap_or_else(PoisonError::into_inner).push(std::thread::current());
    }
}
