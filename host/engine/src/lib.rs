//! The engine: processes the rows of a batch between its sources and its sinks, and stores what survives a crash.

// The crate `millstream` is documented for users (`warn` below); the rest is documented if it helps.
#![allow(missing_docs)]

pub mod checkpoint;
pub mod dataflow;
pub mod event_time;
pub mod exchange;
pub mod graph;
mod limits;
pub mod operators;
pub mod running;
pub mod state;
pub mod timely_ext;
pub mod worker;
