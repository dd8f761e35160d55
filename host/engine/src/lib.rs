//! The engine: what becomes of the rows of a batch between its sources and its sinks, and what survives a crash.

// What the crate `millstream` shows to users must have documentation (`warn` below); the rest has it where it helps.
#![allow(missing_docs)]

pub mod aggregate;
pub mod checkpoint;
pub mod dataflow;
pub mod event_time;
pub mod exchange;
pub mod graph;
pub mod join;
pub mod pattern;
#[warn(missing_docs)]
pub mod run;
pub mod running;
pub mod state;
pub mod timely_ext;
pub mod window;
pub mod worker;

use millstream_base::{
    batch, context, decode, digest, durable, error, failure, fault, hex, ids, job, limits, log_lines, memory, owner,
    patience, private, progress, regular, secrets, shown, threads, time, units,
};

use millstream_plugins::{lock, metrics, plugin, trust};

use millstream_connectors::{http, objects, postgres, receiver, sink, tls};

use millstream_sql::sql;

#[cfg(test)]
use millstream_base::{random, zone};
