//! Rows counted per key.

use millstream_sdk::{KeyedOut, Row, Rows, update};

/// How many rows a key has had, as state and as output.
#[derive(Row)]
pub struct Count {
    count: i64,
}

/// Counts the rows of each key since the job began, and emits the key with its new count. Works with any key and any
/// columns.
#[update]
pub fn running_count(rows: Rows, state: Option<Count>, out: &mut KeyedOut<Count>) -> Count {
    let count = state.map_or(0, |state| state.count) + rows.len() as i64;
    out.push(Count { count });
    Count { count }
}
