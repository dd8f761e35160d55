//! Millstream: a stream processor whose user code is WebAssembly.
//!
//! A program that runs jobs itself needs [`run`]. If it builds them, it also needs [`job`]. The other modules are in the
//! crates below `host/`, which `host/ARCHITECTURE.md` describes.
//!
//! A job from a file:
//!
//! ```no_run
//! use millstream::run::{Job, Options, Stop};
//! # fn main() -> millstream::error::Result<()> {
//! let mut job = Job::load("word-count.toml".as_ref(), Options::default())?;
//! job.start()?;
//! if !job.await_termination(Some(std::time::Duration::from_secs(60)))? {
//!     job.stop(Stop::Graceful)?;
//!     job.await_termination(None)?;
//! }
//! # Ok(()) }
//! ```
//!
//! A job built by a program:
//!
//! ```
//! use millstream::connectors::files::settings::FileWrites;
//! use millstream::connectors::print::settings::PrintWrites;
//! use millstream::connectors::socket::settings::SocketReads;
//! use millstream::job::spec::{
//!     FileFormat, JobSpec, OnError, PluginLimits, PluginSpec, RejectedMax, SinkSpec, SourceSpec, StageSpec, WindowSpec,
//! };
//! use serde_json::json;
//! use std::time::Duration;
//!
//! let limits = PluginLimits { time_max: Duration::from_secs(2), ..PluginLimits::default() };
//! let split = PluginSpec::new("plugins/split-words").config(json!({ "separator": " " })).limits(limits);
//! let split = split.on_error(OnError::Reject).rejected_max(RejectedMax::Share(0.01)).env("LANG", "en");
//! let window = WindowSpec::sliding(Duration::from_secs(30), Duration::from_secs(10));
//! let counts = StageSpec::aggregate("counts", ["words"], &[("n", "count(*)")])?.key(["word"]).window(window).inverse();
//! let job = JobSpec::new("word-count")
//!     .source(SourceSpec::from_config("lines", SocketReads::lines("127.0.0.1:9999")))
//!     .stage(StageSpec::plugin("words", ["lines"], split))
//!     .stage(counts.filter("n > 0"))
//!     .stage(StageSpec::sql("longest", ["counts"], "select word, n from counts order by length(word) desc limit 10"))
//!     .sink(SinkSpec::new("screen", ["counts", "longest"], PrintWrites::default()))
//!     .sink(SinkSpec::new("refused", ["words.rejected"], FileWrites::new("refused", FileFormat::Json)));
//! millstream::job::check(&job)?;
//! # Ok::<(), millstream::error::Error>(())
//! ```

#[doc(hidden)]
pub mod author;
pub mod cli;

mod page;
mod pipe;
mod program_limits;
mod serve;

pub use millstream_base::{error, ids, limits, memory};
/// The connectors. What a source reads and a sink writes is defined by the settings in its module, which are the kind
/// of a [`SourceSpec`](millstream_job::spec::SourceSpec) or [`SinkSpec`](millstream_job::spec::SinkSpec).
pub use millstream_connectors as connectors;
pub use millstream_runtime as run;

/// The job file, and the typed job.
pub mod job {
    pub use millstream_base::suggest;
    pub use millstream_job::*;

    /// The typed job, with the columns and formats of its sources and sinks.
    pub mod spec {
        pub use millstream_job::spec::*;
        pub use millstream_rows::batch::binary_text::BinaryEncoding;
        pub use millstream_rows::batch::column::{ColumnSource, ColumnSpec, TimeForm, TimeUnit};
        pub use millstream_rows::decode::spec::{MakeRows, RecordBounds};
        pub use millstream_rows::formats::*;
    }
}

/// Internals, for Millstream's own tests and benchmarks. They change between versions without notice.
#[doc(hidden)]
pub mod internals {
    pub use crate::author;
    pub use crate::cli::supervise::handover::steps as handover_steps;
    pub use crate::job;
    pub use millstream_base::*;
    pub use millstream_connect::*;
    pub use millstream_connectors::*;
    pub use millstream_engine::*;
    pub use millstream_hosting as hosting;
    pub use millstream_metrics as metrics;
    pub use millstream_packages::*;
    pub use millstream_plugins::*;
    pub use millstream_rows::*;
    pub use millstream_runtime as run;
    pub use millstream_sql as sql;
}
