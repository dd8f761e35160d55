//! How much waits to be written.

use crate::failure::Failure;
use crate::limits::STATE_WAITING_BYTES_MAX;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How often a worker that waits looks whether the job has failed.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The bytes that were handed over ahead and are not written yet.
#[derive(Default)]
pub struct UnwrittenBytes {
    bytes: Mutex<u64>,
    fewer: Condvar,
}

impl UnwrittenBytes {
    /// Adds some without waiting, for who must not wait.
    pub fn add_at_once(&self, more: u64) {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        *bytes = bytes.saturating_add(more);
    }

    /// Waits until there are few, and adds some. Where the job fails meanwhile nothing is written any more.
    pub fn add(&self, more: u64, failure: &Failure) {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        while *bytes > 0 && bytes.saturating_add(more) > STATE_WAITING_BYTES_MAX && !failure.happened() {
            let waited = self.fewer.wait_timeout(bytes, LOOK_EVERY);
            bytes = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *bytes = bytes.saturating_add(more);
    }

    /// So many are written.
    pub fn written(&self, fewer: u64) {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        *bytes = bytes.saturating_sub(fewer);
        self.fewer.notify_all();
    }
}
