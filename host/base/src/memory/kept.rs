//! State that stays in memory where the job says how much its state may take: what cannot lie in files has to fit.

use super::holders;
use crate::error::{Error, Result};
use crate::units::mib;
use std::sync::atomic::{AtomicU64, Ordering};

/// What all state may take; `u64::MAX`: nobody says.
static MAX: AtomicU64 = AtomicU64::new(u64::MAX);
static SUM: AtomicU64 = AtomicU64::new(0);

/// Some state that stays in memory. There is none any more when it is dropped.
#[derive(Debug, Default)]
pub struct KeptState(u64);

impl KeptState {
    /// It takes so much now.
    pub fn set(&mut self, bytes: u64) {
        let before = std::mem::replace(&mut self.0, bytes);
        // A difference below zero wraps, and so does the sum, to what is right.
        SUM.fetch_add(bytes.wrapping_sub(before), Ordering::Relaxed);
    }
}

impl Drop for KeptState {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// From now on all state of this process may take so much.
pub fn limit(bytes_max: Option<u64>) {
    MAX.store(bytes_max.unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// How much state stays in memory.
pub fn bytes() -> u64 {
    SUM.load(Ordering::Relaxed)
}

/// An error where that is more than all state may take.
#[inline]
pub(super) fn check() -> Result<()> {
    if bytes() > MAX.load(Ordering::Relaxed) { Err(Error::memory(story())) } else { Ok(()) }
}

fn story() -> String {
    let largest = match holders::largest() {
        none if none.is_empty() => "No stage keeps much of it by itself.".to_owned(),
        largest => format!("What is kept from batch to batch:{largest}"),
    };
    format!(
        "state that stays in memory takes {}, which is more than `state.memory`: {}\n  {largest}\n  Most of what stages keep may \
         lie in files. States of stages with `on = \"all\"` or `emit = \"state\"`, and patterns and `top` without a key have to \
         stay in memory (docs/how-to/bound-memory-and-state.md). Raise `state.memory`, or let them keep less: shorter windows, \
         `lateness`, `within` and `timeout`, or more processes.",
        mib(bytes()),
        mib(MAX.load(Ordering::Relaxed)),
    )
}
