//! Limits the bytes waiting to be written.

use crate::limits::{STATE_FILE_BYTES_MAX, STATE_FILE_BYTES_MIN, STATE_FILE_SHARE};
use millstream_base::failure::Failure;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How often a waiting worker checks whether the job has failed.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Bytes that were handed over ahead and are not written yet.
pub struct UnwrittenBytes {
    bytes: Mutex<u64>,
    fewer: Condvar,
    bytes_max: AtomicU64,
}

impl Default for UnwrittenBytes {
    fn default() -> UnwrittenBytes {
        let bytes_max = AtomicU64::new(STATE_FILE_BYTES_MAX);
        UnwrittenBytes { bytes: Mutex::default(), fewer: Condvar::new(), bytes_max }
    }
}

impl UnwrittenBytes {
    /// Sets the memory for state. Bytes waiting to be written are limited to a small part of it.
    pub fn limit(&self, state_bytes_max: u64) {
        let share = (state_bytes_max / STATE_FILE_SHARE).clamp(STATE_FILE_BYTES_MIN, STATE_FILE_BYTES_MAX);
        self.bytes_max.store(share, Ordering::Relaxed);
    }

    /// Returns the limit of waiting bytes, which is also the size of one file.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max.load(Ordering::Relaxed)
    }

    /// Waits until few bytes are unwritten, and adds some. If the job fails meanwhile, it returns, as nothing more is written.
    pub fn add(&self, more: u64, failure: &Failure) {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        while *bytes > 0 && bytes.saturating_add(more) > self.bytes_max() && !failure.happened() {
            let waited = self.fewer.wait_timeout(bytes, LOOK_EVERY);
            bytes = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *bytes = bytes.saturating_add(more);
    }

    /// Subtracts written bytes.
    pub fn written(&self, fewer: u64) {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        *bytes = bytes.saturating_sub(fewer);
        self.fewer.notify_all();
    }
}
