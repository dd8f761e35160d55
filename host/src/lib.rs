//! Millstream: a stream processor whose user code is WebAssembly.
//!
//! The modules stand in the order in which a batch meets them: a [`job`] is read and checked, [`run`] starts its
//! workers, receivers hand chunks to the [`dataflow`], plugins and built-in stages work on them, sinks commit.

pub mod job;
pub mod graph;
pub mod run;
mod running;
mod worker;
mod dataflow;
pub mod receiver;
pub mod batch;
pub mod decode;
mod exchange;
pub mod plugin;
mod aggregate;
mod event_time;
mod window;
mod join;
mod sql;
pub mod state;
mod sink;
pub mod checkpoint;
pub mod digest;
pub mod package;
pub mod package_name;
mod postgres;
pub mod registry;
pub mod trust;
pub mod lock;
pub mod author;
mod child;
pub mod cli;
pub mod context;
pub mod error;
pub mod failure;
pub mod fault;
pub mod ids;
pub mod limits;
mod private;
mod shown;
mod regular;
pub mod memory;
mod metrics;
mod panics;
pub mod threads;
pub mod time;
pub mod units;
pub mod zone;
mod timely_ext;
#[cfg(test)]
mod random;
