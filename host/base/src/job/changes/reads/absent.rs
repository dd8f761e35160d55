//! What is known of conditions, lists and queries in a build that does not parse them: nothing.

use super::{Projection, Reads, RowQuery};

/// What a condition reads.
pub fn condition(_text: &str) -> Option<Reads> {
    None
}

/// A function in a condition with another value in each batch.
pub fn volatile_call(_condition: &str) -> Option<String> {
    None
}

/// The columns of a `select`.
pub fn projection(_text: &str) -> Option<Projection> {
    None
}

/// A query of `sql`.
pub fn row_query(_text: &str) -> Option<Result<RowQuery, String>> {
    None
}
