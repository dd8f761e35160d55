//! The engine: what becomes of the rows of a batch between its sources and its sinks, and what survives a crash.

// What the crate `millstream` shows to users must have documentation (`warn` below); the rest has it where it helps.
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
