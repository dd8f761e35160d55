//! Keeps the last log lines of this process for status requests. They are stored as shown: sanitized, and without hidden values.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Maximum lines that are kept.
const KEPT_MAX: usize = 1_000;
/// Maximum bytes of a line that are kept.
const LINE_BYTES_MAX: usize = 2_000;

static LINES: Mutex<(u64, VecDeque<LogLine>)> = Mutex::new((0, VecDeque::new()));

/// A line of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Its number among all lines of the process, from 1.
    pub number: u64,
    /// Its time.
    pub at_us: i64,
    /// `ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`.
    pub level: String,
    /// The message.
    pub text: String,
}

/// Keeps a line.
pub fn add(at_us: i64, level: &str, mut text: String) {
    if text.len() > LINE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(LINE_BYTES_MAX));
        text.push('…');
    }
    let mut state = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let (count, lines) = &mut *state;
    *count += 1;
    lines.push_back(LogLine { number: *count, at_us, level: level.to_owned(), text });
    if lines.len() > KEPT_MAX {
        lines.pop_front();
    }
}

/// Returns the lines after the one with this number.
pub fn after(number: u64) -> Vec<LogLine> {
    let state = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    state.1.iter().filter(|line| line.number > number).cloned().collect()
}
