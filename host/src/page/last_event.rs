//! The last event that was put into words, for others who have heard the same before.

use bytes::Bytes;
use std::sync::{Mutex, PoisonError};

/// The last numbers of batches, log lines and refused rows that a reader of events has been sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeardNumbers {
    pub batches: u64,
    pub log: u64,
    pub refused: u64,
}

/// The last event that was put into words: after which answer of the job and for whom, and what those have heard who read it.
#[derive(Default)]
pub struct Shared(Mutex<Option<LastEvent>>);

struct LastEvent {
    polls: u64,
    before: HeardNumbers,
    text: Bytes,
    after: HeardNumbers,
}

impl Shared {
    /// The event for those who have heard this much, and what they have heard then: the last one, or else what is put into words
    /// now.
    pub fn event(
        &self,
        polls: u64,
        before: HeardNumbers,
        put_into_words: impl FnOnce() -> Option<(Bytes, HeardNumbers)>,
    ) -> Option<(Bytes, HeardNumbers)> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last.as_ref().filter(|last| (last.polls, last.before) == (polls, before)) {
            return Some((last.text.clone(), last.after));
        }
        let (text, after) = put_into_words()?;
        *last = Some(LastEvent { polls, before, text: text.clone(), after });
        Some((text, after))
    }
}
