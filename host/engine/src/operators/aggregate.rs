//! Aggregates of a batch, by key or over all rows: built-in functions or a plugin. Each part is aggregated alone before the exchange. The worker that
//! owns a key merges the partial results in the order of arrival.

pub mod builtin;
pub mod check;
pub mod functions;
pub mod run;
pub mod windowed;
