//! The keys of a job file, except those of a single connector: their descriptions and values. Unknown keys are found with these tables, and the JSON
//! Schema for editors is generated from them.

mod sink;
mod source;

pub use sink::*;
pub use source::*;

/// A key of a table.
#[derive(Clone, Copy)]
pub struct TableKey {
    /// The key's name.
    pub name: &'static str,
    /// The kind of source or sink that has it; `None`: all. Each kind may have its own key of a name.
    pub kind: Option<&'static str>,
    /// Whether its table requires it.
    pub is_required: bool,
    /// The shape of its values.
    pub shape: KeyShape,
    /// Description of the key.
    pub doc: &'static str,
}

/// The shape of a key's values.
#[derive(Clone, Copy)]
pub enum KeyShape {
    /// Text.
    Text,
    /// A name of a job, source, stage or sink.
    Name,
    /// `host:port`
    Address,
    /// `host:port`, or a list of them.
    Addresses,
    /// `true` or `false`
    Flag,
    /// An integer within these limits.
    Integer(u64, u64),
    /// `"10s"`
    Time,
    /// `"10s"`, or `"-10s"`.
    SignedTime,
    /// `"10s"`, or a number of batches.
    Every,
    /// `"64MiB"`, or a number of bytes.
    Size,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A number from 0 to 1.
    Share,
    /// A number of rows, or a share of them: `0.1` or `"10%"`.
    RowsOrShare,
    /// `"10s"`, or from and to, for example `["-5s", "10s"]`.
    Within,
    /// A string or a list of strings.
    TextList,
    /// Anything.
    Any,
    /// Columns: name = type, or a table with `type`, `path`, `zone` and so on. The names are those of the parts of a record, other than its value,
    /// that a column may hold.
    Columns(&'static [&'static str]),
    /// The type of a column.
    Type,
    /// Values of one shape by free names.
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
    /// Returns whether this kind has it.
    pub fn fits(&self, kind: &str) -> bool {
        self.kind.is_none_or(|own| own == kind)
    }

    /// Makes the key required.
    pub const fn required(mut self) -> TableKey {
        self.is_required = true;
        self
    }
}

/// Creates an optional key of any kind.
pub const fn key(name: &'static str, shape: KeyShape, doc: &'static str) -> TableKey {
    TableKey { name, kind: None, is_required: false, shape, doc }
}

/// Returns the names of the kinds, in the order of their list. Only the keys of sources, and of sinks, have kinds.
pub(super) fn kinds(keys: &[TableKey]) -> &'static [&'static str] {
    match keys.iter().find(|key| key.name == "kind").map(|key| key.shape) {
        Some(KeyShape::Word(kinds)) => kinds,
        _ => &[],
    }
}

/// Description of the key `kind` of a source.
pub(super) const SOURCE_KIND_DOC: &str = "Origin of the records";
/// Kinds of sources of later versions.
pub(super) const SOURCE_KINDS_LATER: &[&str] = &["s3"];
/// The formats of sources.
pub(super) const FORMATS: &[&str] = &["text", "json", "csv", "binary", "parquet", "avro", "protobuf"];
/// Formats of sources of later versions.
pub(super) const FORMATS_LATER: &[&str] = &["arrow", "orc"];
/// Description of the key `kind` of a sink.
pub(super) const SINK_KIND_DOC: &str = "Destination of the rows";
/// Kinds of sinks of later versions.
pub(super) const SINK_KINDS_LATER: &[&str] = &["s3"];
/// Compression methods of records in sinks, and of pages of Parquet.
pub(super) const COMPRESSIONS: &[&str] = &["none", "gzip", "snappy", "lz4", "zstd"];
/// Keys of a source of later versions.
pub(super) const SOURCE_KEYS_LATER: &[&str] = &["compression"];
/// Keys of a sink of later versions.
pub(super) const SINK_KEYS_LATER: &[&str] = &["partition", "headers"];
/// Keys of `[checkpoint]` of later versions.
pub(super) const CHECKPOINT_KEYS_LATER: &[&str] = &["keep", "compression"];
/// Keys of event time, on a stage or in its window.
pub(super) const EVENT_TIME_KEYS: [&str; 4] = ["time", "lateness", "idle", "ahead_max"];
/// `state`
pub(super) const STATE: &[TableKey] = &[
    key(
        "memory",
        KeyShape::Size,
        "Memory for the state of all stages in each process of the job, for example \"2GiB\".",
    )
    .required(),
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
    .required(),
    key(
        "every",
        KeyShape::Every,
        "Time between checkpoints, 10s by default, or a number of batches.",
    ),
];

/// Keys that are not allowed in a part, but in a table in it, or in another part: section (or `functions`), key, and where it belongs.
const ELSEWHERE: &[(&str, &[&str], &str)] = &[
    ("sources", &EVENT_TIME_KEYS, "is for the stage that has the window; write it there"),
    ("stages", &["size", "slide", "gap", "length_max"], "belongs inside `window`; write window = { size = \"30s\" }"),
    ("stages", &["with"], "belongs inside `join`; write join = { with = \"orders\", on = \"user\" }"),
    ("stages", &["type"], "belongs inside `join` or `enrich`; write it there, for example type = \"left\""),
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

/// Returns the section to which a key belongs that is not allowed in a part of this section, or in a function of `sql`.
pub(super) fn elsewhere(section: &str, key: &str) -> Option<&'static str> {
    ELSEWHERE.iter().find(|(of, keys, _)| *of == section && keys.contains(&key)).map(|(_, _, section)| *section)
}
