//! Every key that a job file may hold: what it is for and what it takes. Unknown keys are found, and the JSON Schema
//! for editors is made, from these same tables.

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
    /// `"10s"`, or a number of batches.
    Every,
    /// `"64MiB"`, or a number of bytes.
    Size,
    /// One of some words.
    Word(&'static [&'static str]),
    /// A number from 0 to 1.
    Share,
    /// `"10s"`, or from and to, as `["-5s", "10s"]`.
    Within,
    /// Text or a list of texts.
    Texts,
    /// Anything.
    Any,
    /// Columns: name = type, or a table with `type` and `path`.
    Columns,
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
/// Keys of a stage of versions to come.
pub(super) const STAGE_KEYS_LATER: &[&str] =
    &["sort", "branch", "rename", "drop", "cast", "max_rejected", "shadow", "migrate", "require"];
/// The keys that give a stage its operator; `cogroup` goes with `plugin`, of the others a stage has one at most.
pub(super) const OPERATORS: [&str; 12] = [
    "plugin",
    "aggregate",
    "sql",
    "join",
    "cogroup",
    "enrich",
    "top",
    "distinct",
    "deduplicate",
    "sample",
    "split",
    "repartition",
];
/// Keys of a stage that mean something to plugins only.
pub(super) const PLUGIN_KEYS: [&str; 8] =
    ["config", "on", "timeout", "initial", "instance", "limits", "grant", "on_error"];
/// What `emit` says of a plugin of world `update`; the other words are for windows.
pub(super) const PLUGIN_EMITS: [&str; 3] = ["rows", "changes", "state"];
/// Keys of a source of versions to come.
pub(super) const SOURCE_KEYS_LATER: &[&str] = &["compression", "tls", "topic", "brokers"];
/// Keys of a sink of versions to come.
pub(super) const SINK_KEYS_LATER: &[&str] = &["topic", "brokers", "partition"];
/// Keys of `[checkpoint]` of versions to come.
pub(super) const CHECKPOINT_KEYS_LATER: &[&str] = &["keep", "compression"];
/// Grants of versions to come.
pub(super) const GRANTS_LATER: &[&str] = &["network", "http", "env"];
/// Limits of versions to come.
pub(super) const LIMITS_LATER: &[&str] = &["stack", "rows", "log", "counters", "fuel", "tables"];

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
         inside a JSON record. Types: bool, int64, float64, text, binary, timestamp.",
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
    key("poll", Shape::Time, "How often the folder is looked at for new files.").of(&["directory"]),
    key("rows_per_batch_max", Shape::Whole(1, i64::MAX as u64), "Most rows that one batch takes from this source.")
        .of(CUT),
    key("bytes_per_batch_max", Shape::Size, "Most bytes, as received, that one batch takes from this source.").of(CUT),
    key("record_bytes_max", Shape::Size, "A longer record is a rejected row.").of(RECORDS),
];

/// A stage.
pub(super) const STAGE: &[Key] = &[
    key(
        "from",
        Shape::Texts,
        "The streams to read: names of sources and stages, `<name>.rejected`, `<name>.late` of a stage with `time`, or \
         `<name>.<branch>` of one with `split`. Several are a union; for `sql`, `join` and `cogroup` they are inputs \
         side by side.",
    )
    .needed(&[""]),
    key("key", Shape::Texts, "The columns by which the rows are partitioned."),
    key(
        "window",
        Shape::Table(WINDOW),
        "The rows that the operator works on, where these are not those of one batch: { size = \"30s\", slide = \
         \"10s\" }, or { gap = \"30s\" } for sessions.",
    ),
    TIME,
    LATENESS,
    IDLE,
    AHEAD_MAX,
    key(
        "emit",
        Shape::Word(&["rows", "changes", "state", "close", "update"]),
        "World update: what the stage's rows are: what the plugin returns (`rows`, the default), the new states of the \
         keys called (`changes`), or the whole state table (`state`). Windows of event time: results once, when a \
         window is complete (`close`, the default), or with every batch that changes them (`update`).",
    ),
    key("plugin", Shape::Text, "A component or plugin folder, relative to the job file."),
    key("config", Shape::Any, "What the plugin is told."),
    key(
        "aggregate",
        Shape::Aggregates,
        "Built-in aggregates per batch or window, and key, by output column: { n = \"count(*)\", total = \
         \"sum(price)\" }.",
    ),
    key(
        "inverse",
        Shape::Flag,
        "Sliding windows take out what leaves them instead of adding up anew, and keys without rows stay until `filter` \
         removes them. For `count` and `sum` of int64; a plugin that has an inverse uses it unless this is false.",
    ),
    key(
        "sql",
        Shape::Text,
        "A query over each batch or window, with the inputs as tables: \"select word, count(*) as n from words group \
         by word\".",
    ),
    key(
        "functions",
        Shape::ByName(&Shape::Either(&[Shape::Text, Shape::Table(FUNCTION)])),
        "Plugins of world transform that `sql` calls as functions, by name: { sentiment = \"plugins/sentiment\" }.",
    ),
    key(
        "join",
        Shape::Table(JOIN),
        "Pairs of rows of two inputs, in each batch, each window, or within a time: { with = \"orders\", on = \
         \"user\" }.",
    ),
    key(
        "cogroup",
        Shape::Either(&[Shape::Flag, Shape::Texts]),
        "More inputs, beside that in `from`, for a plugin of world cogroup, which gets the rows of a key of all inputs \
         in one call; true: the inputs are those in `from`.",
    ),
    key(
        "enrich",
        Shape::Table(ENRICH),
        "A table from outside beside each row, read again when it changes: { file = \"inventory.csv\", on = \
         \"sku\" }.",
    ),
    key(
        "top",
        Shape::Table(TOP),
        "The first rows in an order, of each key where there is one: { n = 10, by = \"total\" }.",
    ),
    key(
        "distinct",
        Shape::Either(&[Shape::Flag, Shape::Texts]),
        "Of rows that are equal in these columns (true: in all) the first.",
    ),
    key(
        "deduplicate",
        Shape::Table(DEDUPLICATE),
        "Drops rows whose key came within a time before, over batches: { within = \"10m\" }.",
    ),
    key("sample", Shape::Share, "The share of the rows to keep, from 0 to 1. A replay keeps the same ones."),
    key(
        "split",
        Shape::ByName(&Shape::Text),
        "Streams `<stage>.<branch>` of the rows that fulfil an SQL expression, the first that holds: { errors = \
         \"level = 'ERROR'\" }. The other rows are the stage's own.",
    ),
    key(
        "repartition",
        Shape::Table(REPARTITION),
        "Spreads the rows anew over the workers, by `key` where there is one, else in turn.",
    ),
    key("filter", Shape::Text, "An SQL expression that the operator's rows must fulfil to leave the stage: \"n > 0\"."),
    key(
        "select",
        Shape::Text,
        "The columns of the rows that leave the stage, as after `select` in SQL: \"word, n * 2 as double\".",
    ),
    key(
        "on",
        Shape::Word(&["touched", "all"]),
        "World update: which keys are called in a batch: those with rows (`touched`, the default), or every key \
         (`all`).",
    ),
    key("timeout", Shape::Time, "World update: a key without rows for so long gets one last call and is removed."),
    key("initial", Shape::Text, "World update: initial state, a csv file with a header or JSON lines."),
    INSTANCE,
    LIMITS_KEY,
    GRANT_KEY,
    key("on_error", Shape::Word(&["fail"]), "What a failing plugin call does: it stops the job."),
];

const TIME: Key = key(
    "time",
    Shape::Texts,
    "Event time: a timestamp column, or an SQL expression that makes a timestamp. For stages with inputs side by side \
     one for all, or a list of one for each.",
);
const LATENESS: Key = key(
    "lateness",
    Shape::Time,
    "Event time: how much older than the newest row of its source a row may be, \"0s\" by default. Rows that come \
     later go to `<stage>.late`.",
);
const IDLE: Key = key(
    "idle",
    Shape::Time,
    "Event time: a source without rows for so long does not hold up results; by default it always does.",
);
const AHEAD_MAX: Key = key(
    "ahead_max",
    Shape::Time,
    "Event time: a row whose time lies further than this ahead of the batch time is rejected; 24h by default, and no \
     bound with clock = \"manual\".",
);
const INSTANCE: Key = key(
    "instance",
    Shape::Word(&["batch", "worker"]),
    "How long a plugin instance lives: for one call (`batch`, the default), or as long as the worker.",
);
const LIMITS_KEY: Key = key("limits", Shape::Table(LIMITS), "Limits of one plugin call.");
const GRANT_KEY: Key = key("grant", Shape::Table(GRANT), "What the plugin may use beyond its input.");

/// Keys of event time, on a stage or in its window.
pub(super) const EVENT_TIME_KEYS: [&str; 4] = ["time", "lateness", "idle", "ahead_max"];

/// `window` of a stage or join.
pub(super) const WINDOW: &[Key] = &[
    key(
        "size",
        Shape::Time,
        "Length of a window. In processing time (without `time`) a multiple of the batch interval.",
    ),
    key(
        "slide",
        Shape::Time,
        "From one window to the next. By default the batch interval in processing time, and `size` in event time. \
         Longer than `size`: rows between windows are dropped.",
    ),
    key("gap", Shape::Time, "Sessions: rows of a key with less than this time between them. Needs `time`."),
    key("length_max", Shape::Time, "Sessions: one that would get longer is closed and another begins; 24h by default."),
    TIME,
    LATENESS,
    IDLE,
    AHEAD_MAX,
    key(
        "emit",
        Shape::Word(&["close", "update"]),
        "Event time: results once, when a window is complete (`close`, the default), or with every batch that changes \
         them (`update`).",
    ),
];

/// `on` of a join or enrichment.
const ON: Shape = Shape::Either(&[Shape::Texts, Shape::ByName(&Shape::Text)]);

/// `join` of a stage.
pub(super) const JOIN: &[Key] = &[
    key("with", Shape::Text, "The second input, where `from` has only the first."),
    key(
        "on",
        ON,
        "The columns that must be equal: \"user\", [\"user\", \"day\"], or { user = \"user_id\" } where the second \
         input has another name for it.",
    )
    .needed(&[""]),
    key(
        "type",
        Shape::Word(&["inner", "left", "right", "full"]),
        "Which rows without a partner are kept: none (`inner`, the default), those of the first input, of the second, \
         or of both.",
    ),
    key(
        "within",
        Shape::Within,
        "Event time: how far apart the times of partners may be, \"10s\"; or how much later than the first the second \
         may be, from and to: [\"-5s\", \"10s\"]. Without it partners are in the same batch or window.",
    ),
    key("window", Shape::Table(WINDOW), "The same as `window` of the stage."),
];

/// `enrich` of a stage.
pub(super) const ENRICH: &[Key] = &[
    key("file", Shape::Text, "The table: a csv file with a header, JSON lines or parquet, relative to the job file."),
    key("url", Shape::Text, "The PostgreSQL database of the table, as of a `postgres` sink."),
    key("query", Shape::Text, "With `url`: the query whose rows are the table."),
    key(
        "on",
        ON,
        "The columns that must be equal: \"sku\", [\"sku\", \"store\"], or { sku = \"article\" } where the table has \
         another name for it.",
    )
    .needed(&[""]),
    key(
        "type",
        Shape::Word(&["left", "inner"]),
        "Whether rows that the table knows nothing about are kept (`left`, the default) or not (`inner`).",
    ),
    key("format", Shape::Word(&["csv", "json", "parquet"]), "With `file`: what is in it; by default as its name ends."),
    key(
        "schema",
        Shape::ByName(&Shape::Word(&crate::batch::types::ColumnType::NAMES)),
        "The table's columns, name = \"type\"; by default as the file or query tells them.",
    ),
    key(
        "poll",
        Shape::Time,
        "How often the table is looked at for changes: 1s by default for a file, 30s for a query.",
    ),
];

/// `top` of a stage.
pub(super) const TOP: &[Key] = &[
    key("n", Shape::Whole(1, i64::MAX as u64), "How many rows.").needed(&[""]),
    key("by", Shape::Text, "The column that orders them.").needed(&[""]),
    key("order", Shape::Word(&["desc", "asc"]), "Largest first (`desc`, the default), or smallest first."),
    key("key", Shape::Texts, "The same as `key` of the stage."),
];

/// `deduplicate` of a stage.
pub(super) const DEDUPLICATE: &[Key] = &[key("within", Shape::Time, "How long a key is remembered.").needed(&[""])];

/// `repartition` of a stage.
pub(super) const REPARTITION: &[Key] = &[key(
    "partitions",
    Shape::Whole(1, limits::PARTITIONS_MAX),
    "Into how many parts; by default as many as there are workers.",
)];

/// A function of `sql`, where it is a table.
pub(super) const FUNCTION: &[Key] = &[
    key("plugin", Shape::Text, "A component or plugin folder, relative to the job file.").needed(&[""]),
    key("config", Shape::Any, "What the plugin is told."),
    INSTANCE,
    LIMITS_KEY,
    GRANT_KEY,
];

/// Keys that a part may not have but a table in it, or another part: section, key, and where it belongs.
const ELSEWHERE: &[(&str, &[&str], &str)] = &[
    ("sources", &EVENT_TIME_KEYS, "is for the stage that has the window; write it there"),
    ("stages", &["size", "slide", "gap", "length_max"], "stands inside `window`; write window = { size = \"30s\" }"),
    ("stages", &["with", "type"], "stands inside `join`; write join = { with = \"orders\", on = \"user\" }"),
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
        &["file", "url", "query", "poll"],
        "stands inside `enrich`; write enrich = { file = \"inventory.csv\", on = \"sku\" }",
    ),
];

/// Where a key belongs that a part of this section cannot have.
pub(super) fn elsewhere(section: &str, key: &str) -> Option<&'static str> {
    ELSEWHERE.iter().find(|(of, keys, _)| *of == section && keys.contains(&key)).map(|(_, _, place)| *place)
}

/// `limits` of a stage.
pub(super) const LIMITS: &[Key] = &[
    key("memory", Shape::Size, "Memory of a plugin instance."),
    key("time", Shape::Time, "Time of one call; \"0s\": no limit."),
    key("output", Shape::Size, "Bytes that one call may return."),
];

/// `grant` of a stage.
pub(super) const GRANT: &[Key] =
    &[key("files", Shape::ByName(&Shape::Text), "Files that the plugin may read, by the name that it knows them by.")];

/// A column of a source, where it is a table.
pub(super) const COLUMN: &[Key] = &[
    key("type", Shape::Word(&crate::batch::types::ColumnType::NAMES), "The column's type.").needed(&[""]),
    key("path", Shape::Texts, "Where the value is in a JSON record: \"user.id\", or [\"user\", \"id\"]."),
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
];
