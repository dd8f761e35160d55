//! The engine: what becomes of the rows of a batch between its sources and its sinks, and what survives a crash.

// What users see has its documentation, in the crate `millstream`; these are its insides.
#![allow(missing_docs)]

pub mod aggregate;
pub mod checkpoint;
pub mod dataflow;
pub mod event_time;
pub mod exchange;
pub mod graph;
pub mod join;
pub mod run;
pub mod running;
pub mod state;
pub mod timely_ext;
pub mod window;
pub mod worker;

use millstream_base::{
    batch, context, decode, digest, error, failure, fault, ids, job, limits, memory, owner, patience, private, regular,
    shown, threads, time, units,
};

use millstream_plugins::{lock, metrics, plugin, trust};

use millstream_connectors::{receiver, sink};

use millstream_sql::sql;

#[cfg(test)]
use millstream_base::{random, zone};
