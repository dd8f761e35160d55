//! Millstream: a stream processor whose user code is WebAssembly.
//!
//! A program that runs jobs itself needs [`run`], and [`job`] where it puts them together; everything else stands in the
//! crates below `host/`, which `host/ARCHITECTURE.md` tells of.

pub mod author;
pub mod cli;

pub use millstream_base::{error, ids, job, limits, memory};
pub use millstream_engine::run;

use millstream_base::{batch, decode, digest, package_name, panics, private, regular, shown, threads, time, units};
use millstream_connectors::sink;
use millstream_engine::{checkpoint, graph, running, state};
use millstream_plugins::{child, lock, metrics, package, plugin, registry, sections, trust};
use millstream_sql::sql;

/// The insides, for Millstream's own tests and benchmarks: these change from version to version, without notice.
#[doc(hidden)]
pub mod internals {
    pub use crate::author;
    pub use millstream_base::*;
    pub use millstream_connectors::*;
    pub use millstream_engine::*;
    pub use millstream_plugins::*;
    pub use millstream_sql::*;
}
