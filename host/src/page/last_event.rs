//! Caches the last serialized event for other clients that have received the same events before.

use bytes::Bytes;
use std::sync::{Mutex, PoisonError};

/// The last numbers of batches, log lines and rejected rows that a client of events has been sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentNumbers {
    pub batches: u64,
    pub log: u64,
    pub refused: u64,
}

/// The last serialized event: the poll and the numbers for which it was created, and the numbers after it.
#[derive(Default)]
pub struct Shared(Mutex<Option<LastEvent>>);

struct LastEvent {
    polls: u64,
    before: SentNumbers,
    text: Bytes,
    after: SentNumbers,
}

impl Shared {
    /// Returns the event for clients that have received this much, and their numbers after it. It is the cached event
    /// if that matches, or else created now.
    pub fn event(
        &self,
        polls: u64,
        before: SentNumbers,
        put_into_words: impl FnOnce() -> Option<(Bytes, SentNumbers)>,
    ) -> Option<(Bytes, SentNumbers)> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last.as_ref().filter(|last| (last.polls, last.before) == (polls, before)) {
            return Some((last.text.clone(), last.after));
        }
        let (text, after) = put_into_words()?;
        *last = Some(LastEvent { polls, before, text: text.clone(), after });
        Some((text, after))
    }
}
