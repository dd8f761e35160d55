//! Patterns: sequences of rows of a key, in the order of their event times.
//!
//! `plan` defines a match, `matcher` finds the matches of one key and `matched_row` holds the rows of a partial match. These three know rows as
//! numbers only. `rows` stores the rows of all keys in a table, and `value` computes conditions and measures over them. `spilling` manages keys whose
//! rows may be in files, and `search` combines the parts. Checkpoints hold rows: the partial matches of a key are recomputed from its stored rows.

mod spilling;
mod layout;
mod matcher;
mod plan;
mod rows;
mod search;
mod spilled_keys;
mod matched_row;
mod value;

pub use layout::Layout;
pub use plan::{Condition, ForbiddenRows, Plan, Skip, Step};
pub use rows::{saved_fields, saved_schema};
pub use search::{PatternNode, PatternState};
pub use value::Value;

#[cfg(test)]
mod tests;
