//! Patterns: sequences of rows of a key, in the order of their event times.
//!
//! `plan` is what a match is, `matcher` finds the matches of one key and `taken` is what a match has so far: these three know rows as
//! numbers only. `rows` keeps the rows of all keys in a table, `value` computes conditions and measures over them, `asleep`
//! knows of keys whose rows may lie in files, and `search` brings the parts together. What checkpoints hold are rows: the partial matches of a key are made anew from the rows that it keeps.

mod asleep;
mod layout;
mod matcher;
mod plan;
mod rows;
mod search;
mod sleeping;
mod taken;
mod value;

pub use layout::Layout;
pub use plan::{Condition, ForbiddenRows, Plan, Skip, Step};
pub use rows::{saved_fields, saved_schema};
pub use search::{PatternNode, PatternState};
pub use value::Value;

#[cfg(test)]
mod tests;
