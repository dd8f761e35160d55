//! The engine: what becomes of the rows of a batch between its sources and its sinks, and what survives a crash.

// What the crate `millstream` shows must have documentation; the rest has it where it helps.

#[allow(missing_docs)]
pub mod aggregate;
#[allow(missing_docs)]
pub mod checkpoint;
#[allow(missing_docs)]
pub mod dataflow;
#[allow(missing_docs)]
pub mod event_time;
#[allow(missing_docs)]
pub mod exchange;
#[allow(missing_docs)]
pub mod graph;
#[allow(missing_docs)]
pub mod join;
pub mod run;
#[allow(missing_docs)]
pub mod running;
#[allow(missing_docs)]
pub mod state;
#[allow(missing_docs)]
pub mod timely_ext;
#[allow(missing_docs)]
pub mod window;
#[allow(missing_docs)]
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
