//! Aggregates of a batch, by key or as a whole: built-in functions or a plugin. Each part is aggregated by itself
//! before the exchange; the worker that owns a key puts the partial results together, in the order of arrival.

pub mod builtin;
pub mod check;
pub mod functions;
pub mod run;
pub mod windowed;
