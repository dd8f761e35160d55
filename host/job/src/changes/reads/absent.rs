//! The same functions in a build without the SQL parser: nothing is known.

use super::{Projection, Reads, RowQuery};

/// Returns what a condition reads.
pub fn condition(_text: &str) -> Option<Reads> {
    None
}

/// Returns a function in a condition whose value differs in each batch.
pub fn volatile_call(_condition: &str) -> Option<String> {
    None
}

/// Returns the columns of a `select`.
pub fn projection(_text: &str) -> Option<Projection> {
    None
}

/// Returns a query of `sql`.
pub fn row_query(_text: &str) -> Option<Result<RowQuery, String>> {
    None
}
