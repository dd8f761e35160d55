//! State that stays in memory in a job with a limit for state memory: state that cannot be in files must fit.

use super::holders;
use crate::error::{Error, Result};
use crate::units::mib;
use std::sync::atomic::{AtomicU64, Ordering};

/// Maximum of all state; `u64::MAX`: no limit.
static MAX: AtomicU64 = AtomicU64::new(u64::MAX);
static SUM: AtomicU64 = AtomicU64::new(0);

/// Some state that stays in memory. It stops counting when it is dropped.
#[derive(Debug, Default)]
pub struct UnspillableState(u64);

impl UnspillableState {
    /// Sets its bytes.
    pub fn set(&mut self, bytes: u64) {
        let before = std::mem::replace(&mut self.0, bytes);
        // A negative difference wraps, and so does the sum, to the correct value.
        SUM.fetch_add(bytes.wrapping_sub(before), Ordering::Relaxed);
    }
}

impl Drop for UnspillableState {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Sets the limit of all state of this process.
pub fn limit(bytes_max: Option<u64>) {
    MAX.store(bytes_max.unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// Returns how much state stays in memory.
pub fn bytes() -> u64 {
    SUM.load(Ordering::Relaxed)
}

/// Returns an error if that exceeds the limit.
#[inline]
pub(super) fn check() -> Result<()> {
    if bytes() > MAX.load(Ordering::Relaxed) { Err(Error::memory(over_budget_message())) } else { Ok(()) }
}

fn over_budget_message() -> String {
    let largest = match holders::describe_largest() {
        none if none.is_empty() => "No single stage keeps much of it.".to_owned(),
        largest => format!("State kept between batches:{largest}"),
    };
    format!(
        "state that stays in memory takes {}, which is more than `state.memory`: {}\n  {largest}\n  Most state can \
         be in files. The state of stages with `on = \"all\"` or `emit = \"state\"`, and patterns and `top` without \
         a key has to stay in memory (docs/how-to/bound-memory-and-state.md). Raise `state.memory`, or keep less \
         state: shorter windows, `lateness`, `within` and `timeout`, or more processes.",
        mib(bytes()),
        mib(MAX.load(Ordering::Relaxed)),
    )
}
