//! Every key that a job file may hold: what it is for and what it takes. Unknown keys are found, and the JSON Schema
//! for editors is made, from these same tables.

mod sink;
mod source;
mod stage;

pub(super) use sink::*;
pub(super) use source::*;
pub(super) use stage::*;

use crate::limits;

/// A key of a table.
#[derive(Clone, Copy)]
pub struct TableKey {
    /// Its name.
    pub name: &'static str,
    /// The kinds of sources or sinks that it is for; none named: all.
    pub kinds: &'static [&'static str],
    /// The kinds (or, without kinds, the table itself, as `""`) that cannot do without it.
    pub needed: &'static [&'static str],
    /// What it takes.
    pub shape: KeyShape,
    /// What it is for.
    pub doc: &'static str,
}

/// What a key takes.
#[derive(Clone, Copy)]
pub enum KeyShape {
    /// Text.
    Text,
    /// A name of a job, source, stage or sink.
    Name,
    /// `host:port`
    Address,
    /// `host:port`, or a list of such.
    Addresses,
    /// `true` or `false`
    Flag,
    /// A whole number within these bounds.
    Whole(u64, u64),
    /// `"10s"`
    Time,
    /// `"10s"`, or `"-10s"`.
    SignedTime,
    /// `"10s"`, or a number of batches.
    Every,
    /// `"64MiB"`, or a number of bytes.
    Size,
    /// One of some words.
    Word(&'static [&'static str]),
    /// A number from 0 to 1.
    Share,
    /// A number of rows, or a share of them: `0.1` or `"10%"`.
    RowsOrShare,
    /// `"10s"`, or from and to, as `["-5s", "10s"]`.
    Within,
    /// Text or a list of texts.
    Texts,
    /// Anything.
    Any,
    /// Columns: name = type, or a table with `type`, `path` and `zone`.
    Columns,
    /// The type of a column.
    Type,
    /// Values of one shape by names that are free.
    ByName(&'static KeyShape),
    /// Any of these shapes.
    Either(&'static [KeyShape]),
    /// Built-in aggregates by output column.
    Aggregates,
    /// A table with these keys.
    Table(&'static [TableKey]),
    /// Tables with these keys, by name.
    Parts(&'static [TableKey]),
    /// Tables with the keys of sources, by name.
    Sources,
    /// Tables with the keys of sinks, by name.
    Sinks,
}

impl TableKey {
    /// Whether it is for this kind.
    pub fn fits(&self, kind: &str) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }
}

/// A key that any kind may have and none needs.
pub const fn key(name: &'static str, shape: KeyShape, doc: &'static str) -> TableKey {
    TableKey { name, kinds: &[], needed: &[], shape, doc }
}

impl TableKey {
    const fn of(mut self, kinds: &'static [&'static str]) -> TableKey {
        self.kinds = kinds;
        self
    }
    /// One of a declaration that its kind cannot do without.
    pub const fn required(self) -> TableKey {
        self.needed(&[""])
    }
    const fn needed(mut self, kinds: &'static [&'static str]) -> TableKey {
        self.needed = kinds;
        self
    }
}

/// The kinds of sources that the language has itself, and where their records come from.
pub(super) const SOURCE_KINDS: &[(&str, &str)] = &[
    ("directory", "the files of a directory, and new ones as they arrive"),
    ("file", "one file"),
    ("plugin", "what your plugin reads"),
];
/// What the key `kind` of a source says.
pub(super) const SOURCE_KIND_DOC: &str = "Where the records come from";
/// The kinds of sources of versions to come.
pub(super) const SOURCE_KINDS_LATER: &[&str] = &["s3"];
/// The formats of sources.
pub(super) const FORMATS: &[&str] = &["text", "json", "csv", "binary", "parquet", "avro", "protobuf"];
/// The formats of sources of versions to come.
pub(super) const FORMATS_LATER: &[&str] = &["arrow", "orc"];
/// The kinds of sinks that the language has itself, and where rows go.
pub(super) const SINK_KINDS: &[(&str, &str)] = &[("plugin", "where your plugin writes them")];
/// What the key `kind` of a sink says.
pub(super) const SINK_KIND_DOC: &str = "Where the rows go";
/// The kinds of sinks of versions to come.
pub(super) const SINK_KINDS_LATER: &[&str] = &["s3"];
/// The ways in which sinks compress records, and pages of Parquet.
pub(super) const COMPRESSIONS: &[&str] = &["none", "gzip", "snappy", "lz4", "zstd"];
/// Keys of a source of versions to come.
pub(super) const SOURCE_KEYS_LATER: &[&str] = &["compression"];
/// Keys of a sink of versions to come.
pub(super) const SINK_KEYS_LATER: &[&str] = &["partition", "headers"];
/// Keys of `[checkpoint]` of versions to come.
pub(super) const CHECKPOINT_KEYS_LATER: &[&str] = &["keep", "compression"];
/// The whole file.
pub(super) const JOB: &[TableKey] = &[
    key("name", KeyShape::Name, "The job's name, by default that of the file."),
    key("batch", KeyShape::Time, "Batch interval, 1s by default. \"0s\" starts a batch as soon as data is waiting."),
    key("workers", KeyShape::Whole(1, limits::WORKERS_MAX), "Worker threads per process, by default one per core."),
    key(
        "clock",
        KeyShape::Word(&["wall", "manual"]),
        "Clock of the batch times: `wall` is the machine's clock; `manual`, with `queue` sources, is a virtual clock that runs \
         batches back to back until the queues are empty. `wall` by default.",
    ),
    key(
        "in_flight_max",
        KeyShape::Whole(1, limits::IN_FLIGHT_MAX_MAX),
        "Maximum batches in flight (begun but not committed), 4 by default. At the maximum, a slow sink or plugin slows the \
         sources down.",
    ),
    key(
        "memory",
        KeyShape::Size,
        "Memory of the job on this machine, by default 75 % of the machine's or its control group's. Near the limit the job \
         reads less; above it the job stops and reports what uses the memory.",
    ),
    key(
        "state",
        KeyShape::Table(STATE),
        "Memory limit for the state of stages; state that is rarely used moves to files. Without it, all state is in memory.",
    ),
    key(
        "at_end",
        KeyShape::Word(&["flush", "keep"]),
        "What happens to event time when all sources have ended: `flush` completes it and emits open windows, sessions, rows \
         without a partner and timers; `keep` stops it and keeps them in the checkpoint, for a job that continues later. `flush` \
         by default.",
    ),
    key(
        "ui",
        KeyShape::Flag,
        "Serve a page about the job to clients on this machine while `millstream run` runs; true by default.",
    ),
    key(
        "checkpoint",
        KeyShape::Table(CHECKPOINT),
        "Where the job stores what it needs to resume after a crash. Without it, a restarted job starts from scratch.",
    ),
    key("sources", KeyShape::Sources, "Inputs of the job, by name.").needed(&[""]),
    key("stages", KeyShape::Parts(STAGE), "Operators of the job, by name, in any order."),
    key("sinks", KeyShape::Sinks, "Outputs of the job, by name.").needed(&[""]),
];

/// `state`
pub(super) const STATE: &[TableKey] = &[
    key(
        "memory",
        KeyShape::Size,
        "Memory for the state of all stages in each process of the job, for example \"2GiB\".",
    )
    .needed(&[""]),
    key(
        "folder",
        KeyShape::Text,
        "Directory for state that does not fit in memory, relative to the job file; by default that of the environment variable \
         TMPDIR, or /var/tmp.",
    ),
];

/// `checkpoint`
pub(super) const CHECKPOINT: &[TableKey] = &[
    key(
        "dir",
        KeyShape::Text,
        "Directory of the checkpoint: a path relative to the job file, s3://bucket/prefix, or hdfs://namenode:8020/dir. Use one \
         per job.",
    )
    .needed(&[""]),
    key(
        "every",
        KeyShape::Every,
        "Time between checkpoints, 10s by default, or a number of batches.",
    ),
];

/// Keys that a part may not have but a table in it, or another part: section (or `functions`), key, and where it belongs.
const ELSEWHERE: &[(&str, &[&str], &str)] = &[
    ("sources", &EVENT_TIME_KEYS, "is for the stage that has the window; write it there"),
    ("stages", &["size", "slide", "gap", "length_max"], "belongs inside `window`; write window = { size = \"30s\" }"),
    ("stages", &["with"], "belongs inside `join`; write join = { with = \"orders\", on = \"user\" }"),
    ("stages", &["type"], "belongs inside `join` or `enrich`; write it there, as type = \"left\""),
    (
        "stages",
        &["within"],
        "belongs inside `join`, `deduplicate` or `pattern`; write join = { with = \"orders\", on = \"user\", within = \"10s\" }, or \
         deduplicate = { within = \"10m\" }",
    ),
    ("stages", &["by", "n", "order"], "belongs inside `top`; write top = { n = 10, by = \"total\" }"),
    (
        "stages",
        &["steps", "define", "measures"],
        "belongs inside `pattern`; write pattern = { steps = \"a next b\", define = { a = \"n > 0\" } }",
    ),
    ("stages", &["partitions"], "belongs inside `repartition`; write repartition = { partitions = 4 }"),
    (
        "stages",
        &["file", "url", "query", "poll", "format", "schema"],
        "belongs inside `enrich`; write enrich = { file = \"inventory.csv\", on = \"sku\" }",
    ),
    (
        "functions",
        &["on_error", "max_rejected", "replayable"],
        "is for stages with a plugin; a call of a function that fails stops the job. Remove it, or call the plugin in a \
         stage of its own, with plugin = \"…\"",
    ),
];

/// Where a key belongs that a part of this section, or a function of `sql`, cannot have.
pub(super) fn elsewhere(section: &str, key: &str) -> Option<&'static str> {
    ELSEWHERE.iter().find(|(of, keys, _)| *of == section && keys.contains(&key)).map(|(_, _, place)| *place)
}
