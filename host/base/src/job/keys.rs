//! Every key that a job file may hold: what it is for and what it takes. Unknown keys are found, and the JSON Schema
//! for editors is made, from these same tables.

mod stage;

pub(super) use stage::*;

use crate::limits;

/// A key of a table.
pub(super) struct Key {
    /// Its name.
    pub name: &'static str,
    /// The kinds of sources or sinks that it is for; none named: all.
    pub kinds: &'static [&'static str],
    /// The kinds (or, without kinds, the table itself, as `""`) that cannot do without it.
    pub needed: &'static [&'static str],
    /// What it takes.
    pub shape: Shape,
    /// What it is for.
    pub doc: &'static str,
}

/// What a key takes.
pub(super) enum Shape {
    /// Text.
    Text,
    /// A name of a job, source, stage or sink.
    Name,
    /// `host:port`
    Address,
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
    ByName(&'static Shape),
    /// Any of these shapes.
    Either(&'static [Shape]),
    /// Built-in aggregates by output column.
    Aggregates,
    /// A table with these keys.
    Table(&'static [Key]),
    /// Tables with these keys, by name.
    Parts(&'static [Key]),
}

impl Key {
    /// Whether it is for this kind.
    pub fn fits(&self, kind: &str) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }
}

/// Whether a source, stage, sink or `[checkpoint]` may have this key.
pub(super) fn known(name: &str) -> bool {
    [SOURCE, STAGE, SINK, CHECKPOINT].iter().any(|keys| keys.iter().any(|key| key.name == name))
}

const fn key(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key { name, kinds: &[], needed: &[], shape, doc }
}

impl Key {
    const fn of(mut self, kinds: &'static [&'static str]) -> Key {
        self.kinds = kinds;
        self
    }
    const fn needed(mut self, kinds: &'static [&'static str]) -> Key {
        self.needed = kinds;
        self
    }
}

/// The kinds of sources.
pub(super) const SOURCE_KINDS: &[&str] = &["socket", "raw-socket", "directory", "file", "rate", "queue"];
/// The kinds of sources of versions to come.
pub(super) const SOURCE_KINDS_LATER: &[&str] = &["kafka", "http", "postgres", "s3", "mqtt", "nats", "kinesis"];
/// The formats of sources.
pub(super) const FORMATS: &[&str] = &["text", "json", "csv", "binary"];
/// The formats of sources of versions to come.
pub(super) const FORMATS_LATER: &[&str] = &["parquet", "avro", "protobuf", "arrow"];
/// The kinds of sinks.
pub(super) const SINK_KINDS: &[&str] = &["print", "files", "queue", "postgres"];
/// The kinds of sinks of versions to come.
pub(super) const SINK_KINDS_LATER: &[&str] = &["kafka", "http", "sqlite", "s3", "mqtt", "nats", "webhook"];
/// The formats of a `files` sink.
pub(super) const FILE_FORMATS: &[&str] = &["text", "json", "csv", "parquet"];
/// Keys of a source of versions to come.
pub(super) const SOURCE_KEYS_LATER: &[&str] = &["compression", "tls", "topic", "brokers"];
/// Keys of a sink of versions to come.
pub(super) const SINK_KEYS_LATER: &[&str] = &["topic", "brokers", "partition"];
/// Keys of `[checkpoint]` of versions to come.
pub(super) const CHECKPOINT_KEYS_LATER: &[&str] = &["keep", "compression"];
const WIRE: &[&str] = &["socket", "raw-socket"];
const FILES: &[&str] = &["directory", "file", "queue"];
const LINES: &[&str] = &["socket", "raw-socket", "directory", "file"];
const RECORDS: &[&str] = &["socket", "raw-socket", "directory", "file", "queue"];
const TABLES: &[&str] = &["postgres"];
const CUT: &[&str] = &["socket", "raw-socket", "directory", "file", "rate"];

/// The whole file.
pub(super) const JOB: &[Key] = &[
    key("name", Shape::Name, "The job's name; by default that of the file."),
    key("batch", Shape::Time, "The batch interval, 1s by default. \"0s\": a batch as soon as data waits anywhere."),
    key("workers", Shape::Whole(1, limits::WORKERS_MAX), "Worker threads of each process; by default one a core."),
    key(
        "clock",
        Shape::Word(&["wall", "manual"]),
        "What gives batches their times: the machine's clock, or (\"manual\", with `queue` sources) a virtual one that \
         runs batches back to back until the queues are empty.",
    ),
    key(
        "in_flight_max",
        Shape::Whole(1, limits::IN_FLIGHT_MAX_MAX),
        "Batches that may be begun and not yet committed, 4 by default. A slow sink or plugin then slows the sources.",
    ),
    key(
        "memory",
        Shape::Size,
        "Memory of the job on this machine, 75 % of the machine's by default, or of its control group's. Above most of it the \
         job takes in less; above all of it the job ends and says what holds it.",
    ),
    key(
        "at_end",
        Shape::Word(&["flush", "keep"]),
        "What becomes of event time when no source will send anything more: it ends, and open windows, sessions, rows \
         without a partner and timers come out (`flush`, the default); or it stands still, and they stay in the checkpoint \
         for a job that goes on later (`keep`).",
    ),
    key(
        "checkpoint",
        Shape::Table(CHECKPOINT),
        "Where the job keeps what it needs to go on after a crash. Absent: a job that is started again begins afresh.",
    ),
    key("sources", Shape::Parts(SOURCE), "The inputs of the job, by name.").needed(&[""]),
    key("stages", Shape::Parts(STAGE), "The operators of the job, by name, in any order."),
    key("sinks", Shape::Parts(SINK), "The outputs of the job, by name.").needed(&[""]),
];

/// `checkpoint`
pub(super) const CHECKPOINT: &[Key] = &[
    key("dir", Shape::Text, "A folder, relative to the job file, or s3://bucket/prefix. One job, one folder.")
        .needed(&[""]),
    key("every", Shape::Every, "How often a checkpoint is written: a time (10s by default), or a number of batches."),
];

/// A source.
pub(super) const SOURCE: &[Key] = &[
    key(
        "kind",
        Shape::Word(SOURCE_KINDS),
        "Where the records come from: lines of a TCP server (`socket`), its length-prefixed frames (`raw-socket`), the \
         files of a folder and every new one (`directory`), one file (`file`), rows made here (`rate`), or a file of \
         test batches (`queue`).",
    )
    .needed(&[""]),
    key("address", Shape::Address, "The TCP server to read from, as \"127.0.0.1:9999\".").of(WIRE).needed(WIRE),
    key("path", Shape::Text, "The file or folder, relative to the job file.").of(FILES).needed(FILES),
    key(
        "format",
        Shape::Word(FORMATS),
        "How records become rows: `text` (the default; a line is one column), `json`, `csv` or `binary` (fixed-length \
         records; the default of `raw-socket`). A `queue` is json.",
    )
    .of(RECORDS),
    key(
        "schema",
        Shape::Columns,
        "The columns, in order: name = \"type\", or name = { type = \"int64\", path = \"user.id\" } for a value \
         inside a JSON record. Types: bool, int64, float64, text, binary, timestamp (text as RFC 3339 says), \
         timestamp(s), (ms), (us) and (ns) for numbers since 1970, or a pattern: timestamp(%d/%b/%Y:%H:%M:%S %z).",
    )
    .of(RECORDS)
    .needed(&["queue"]),
    key(
        "header",
        Shape::Flag,
        "Format csv: whether the first record of each file or connection names the columns. By default true for files \
         and false for sockets.",
    )
    .of(LINES),
    key("separator", Shape::Text, "Format csv: the character between cells, \",\" by default.").of(LINES),
    key(
        "record_bytes",
        Shape::Whole(1, limits::RECORD_BYTES_MAX_MAX),
        "Format binary: bytes of a record. Not needed where the widths of the columns say it.",
    )
    .of(&["directory", "file"]),
    key("rows_per_second", Shape::Whole(1, limits::RATE_ROWS_PER_SECOND_MAX), "Rows that are made each second.")
        .of(&["rate"])
        .needed(&["rate"]),
    key("rows_max", Shape::Whole(1, i64::MAX as u64), "Rows to make in all; by default without end.").of(&["rate"]),
    key(
        "follow",
        Shape::Flag,
        "Whether the file is a log that grows: it is read for ever, through its rotations, and its rotated files beside it \
         (`app.log.1`, `app.log-20261121`) before it.",
    )
    .of(&["file"]),
    key("poll", Shape::Time, "How often the folder (500ms by default) or the log (100ms) is looked at.")
        .of(&["directory", "file"]),
    key(
        "settle",
        Shape::Time,
        "How long a file's length and time must have stood still, 1s by default: before a file of a folder is read, and \
         before a rotated log is at its end. \"0s\": at once.",
    )
    .of(&["directory", "file"]),
    key(
        "away_max",
        Shape::Time,
        "How long to wait for a file or folder that was there and cannot be read now, 5m by default; then the job fails.",
    )
    .of(FILES),
    key("rows_per_batch_max", Shape::Whole(1, i64::MAX as u64), "Most rows that one batch takes from this source.")
        .of(CUT),
    key("bytes_per_batch_max", Shape::Size, "Most bytes, as received, that one batch takes from this source.").of(CUT),
    key("record_bytes_max", Shape::Size, "A longer record is a rejected row.").of(RECORDS),
    key(
        "rejected_bytes_max",
        Shape::Size,
        "How much of a record that does not decode its rejected row holds, 1KiB by default. Where it is cut, `reason` says so.",
    )
    .of(RECORDS),
];

/// A column of a source, where it is a table.
pub(super) const COLUMN: &[Key] = &[
    key("type", Shape::Type, "The column's type, as in the short form.").needed(&[""]),
    key(
        "path",
        Shape::Texts,
        "Where the value is in a JSON record: \"user.id\", or [\"user\", \"id\"]; a number is a place in an array, from 0: \
         \"items.0.sku\".",
    ),
    key(
        "zone",
        Shape::Text,
        "Type timestamp: the zone whose clocks showed times without an offset, as \"Europe/Berlin\"; UTC by default.",
    ),
];

/// A sink.
pub(super) const SINK: &[Key] = &[
    key(
        "from",
        Shape::Texts,
        "The streams to take: names of sources and stages, or `<name>.rejected`, `<name>.late` or `<name>.<branch>`.",
    )
    .needed(&[""]),
    key(
        "kind",
        Shape::Word(SINK_KINDS),
        "Where the rows go: standard output (`print`), a folder with a file a batch (`files`), a table of a PostgreSQL \
         database (`postgres`), or a file with a line a batch, for tests (`queue`).",
    )
    .needed(&[""]),
    key("rows", Shape::Whole(0, limits::PRINT_ROWS_MAX), "How many rows of a batch are shown, 10 by default.")
        .of(&["print"]),
    key("path", Shape::Text, "The file or folder, relative to the job file.")
        .of(&["files", "queue"])
        .needed(&["files", "queue"]),
    key("format", Shape::Word(FILE_FORMATS), "What is in the files, json by default.").of(&["files"]),
    key(
        "url",
        Shape::Text,
        "The database, as \"postgres://user:${PGPASSWORD}@host/database\"; ${NAME} is replaced by the environment \
         variable of that name, so that no password stands in the file.",
    )
    .of(TABLES)
    .needed(TABLES),
    key("table", Shape::Text, "The table, as \"counts\" or \"schema.counts\". It is made where it is not there.")
        .of(TABLES)
        .needed(TABLES),
    key(
        "mode",
        Shape::Word(&["append", "upsert"]),
        "What a row does: it is added (`append`, the default), or replaces the row of the same key (`upsert`).",
    )
    .of(TABLES),
    key("key", Shape::Texts, "Mode upsert: the columns of which a row of the table has no two alike.").of(TABLES),
    key(
        "wait",
        Shape::Time,
        "How long the job waits for the server where it is away or hangs, at its start and later; 1h by default.",
    )
    .of(TABLES),
];

/// Keys that a part may not have but a table in it, or another part: section (or `functions`), key, and where it belongs.
const ELSEWHERE: &[(&str, &[&str], &str)] = &[
    ("sources", &EVENT_TIME_KEYS, "is for the stage that has the window; write it there"),
    ("stages", &["size", "slide", "gap", "length_max"], "stands inside `window`; write window = { size = \"30s\" }"),
    ("stages", &["with"], "stands inside `join`; write join = { with = \"orders\", on = \"user\" }"),
    ("stages", &["type"], "stands inside `join` or `enrich`; write it there, as type = \"left\""),
    (
        "stages",
        &["within"],
        "stands inside `join` or `deduplicate`; write join = { with = \"orders\", on = \"user\", within = \"10s\" }, or \
         deduplicate = { within = \"10m\" }",
    ),
    ("stages", &["by", "n", "order"], "stands inside `top`; write top = { n = 10, by = \"total\" }"),
    ("stages", &["partitions"], "stands inside `repartition`; write repartition = { partitions = 4 }"),
    (
        "stages",
        &["file", "url", "query", "poll", "format", "schema"],
        "stands inside `enrich`; write enrich = { file = \"inventory.csv\", on = \"sku\" }",
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
