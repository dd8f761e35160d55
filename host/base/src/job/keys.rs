//! Every key that a job file may hold: what it is for and what it takes. Unknown keys are found, and the JSON Schema
//! for editors is made, from these same tables.

mod stage;

pub(super) use stage::*;

use crate::limits;

/// A key of a table.
pub(super) struct TableKey {
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
pub(super) enum KeyShape {
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
    ByName(&'static KeyShape),
    /// Any of these shapes.
    Either(&'static [KeyShape]),
    /// Built-in aggregates by output column.
    Aggregates,
    /// A table with these keys.
    Table(&'static [TableKey]),
    /// Tables with these keys, by name.
    Parts(&'static [TableKey]),
}

impl TableKey {
    /// Whether it is for this kind.
    pub fn fits(&self, kind: &str) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }
}

/// Whether a source, stage, sink or `[checkpoint]` may have this key.
pub(super) fn known(name: &str) -> bool {
    [SOURCE, STAGE, SINK, CHECKPOINT].iter().any(|keys| keys.iter().any(|key| key.name == name))
}

const fn key(name: &'static str, shape: KeyShape, doc: &'static str) -> TableKey {
    TableKey { name, kinds: &[], needed: &[], shape, doc }
}

impl TableKey {
    const fn of(mut self, kinds: &'static [&'static str]) -> TableKey {
        self.kinds = kinds;
        self
    }
    const fn needed(mut self, kinds: &'static [&'static str]) -> TableKey {
        self.needed = kinds;
        self
    }
}

/// The kinds of sources.
pub(super) const SOURCE_KINDS: &[&str] =
    &["socket", "raw-socket", "http", "directory", "file", "kafka", "plugin", "rate", "queue"];
/// The kinds of sources of versions to come.
pub(super) const SOURCE_KINDS_LATER: &[&str] = &["postgres", "s3", "mqtt", "nats", "kinesis"];
/// The formats of sources.
pub(super) const FORMATS: &[&str] = &["text", "json", "csv", "binary", "parquet", "avro", "protobuf"];
/// The formats of sources of versions to come.
pub(super) const FORMATS_LATER: &[&str] = &["arrow", "orc"];
/// The kinds of sinks.
pub(super) const SINK_KINDS: &[&str] =
    &["print", "files", "queue", "postgres", "kafka", "http", "websocket", "plugin", "nothing"];
/// The kinds of sinks of versions to come.
pub(super) const SINK_KINDS_LATER: &[&str] = &["sqlite", "s3", "mqtt", "nats"];
/// The formats of a `files` sink, and of the records of a `kafka` sink.
pub(super) const SINK_FORMATS: &[&str] = &["text", "json", "csv", "parquet", "avro", "binary"];
/// The ways in which sinks compress records, and pages of Parquet.
pub(super) const COMPRESSIONS: &[&str] = &["none", "gzip", "snappy", "lz4", "zstd"];
/// Keys of a source of versions to come.
pub(super) const SOURCE_KEYS_LATER: &[&str] = &["compression"];
/// Keys of a sink of versions to come.
pub(super) const SINK_KEYS_LATER: &[&str] = &["partition", "headers"];
/// Keys of `[checkpoint]` of versions to come.
pub(super) const CHECKPOINT_KEYS_LATER: &[&str] = &["keep", "compression"];
const WIRE: &[&str] = &["socket", "raw-socket"];
const KAFKA: &[&str] = &["kafka"];
const PLUGIN: &[&str] = &["plugin"];
const OVER_HTTP: &[&str] = &["http"];
const TLS_SPEAKERS: &[&str] = &["socket", "raw-socket", "http", "kafka"];
const FILES: &[&str] = &["directory", "file", "queue"];
const LINES: &[&str] = &["socket", "raw-socket", "http", "directory", "file"];
const CELLS: &[&str] = &["socket", "raw-socket", "http", "directory", "file", "kafka"];
const RECORDS: &[&str] = &["socket", "raw-socket", "http", "directory", "file", "kafka", "queue"];
/// Kinds whose records are frames by themselves.
const RECORD_FRAMES: &[&str] = &["raw-socket", "kafka"];
const SINGLE_RECORDS: &[&str] = &["raw-socket", "kafka", "http"];
const MESSAGES: &[&str] = &["raw-socket", "kafka", "http", "directory", "file"];
const TABLES: &[&str] = &["postgres"];
const WEBSOCKET: &[&str] = &["websocket"];
const WITH_TOKEN: &[&str] = &["http", "websocket"];
const SINKS_WITH_TLS: &[&str] = &["http", "websocket", "kafka"];
const CUT: &[&str] = &["socket", "raw-socket", "http", "directory", "file", "kafka", "plugin", "rate"];
const SERVERS: &[&str] = &["postgres", "kafka", "http"];
const WAITING: &[&str] = &["postgres", "kafka", "http", "plugin"];
const REFUSING: &[&str] = &["http", "plugin"];

/// The whole file.
pub(super) const JOB: &[TableKey] = &[
    key("name", KeyShape::Name, "The job's name; by default that of the file."),
    key("batch", KeyShape::Time, "The batch interval, 1s by default. \"0s\": a batch as soon as data waits anywhere."),
    key("workers", KeyShape::Whole(1, limits::WORKERS_MAX), "Worker threads of each process; by default one a core."),
    key(
        "clock",
        KeyShape::Word(&["wall", "manual"]),
        "What gives batches their times: the machine's clock, or (\"manual\", with `queue` sources) a virtual one that \
         runs batches back to back until the queues are empty.",
    ),
    key(
        "in_flight_max",
        KeyShape::Whole(1, limits::IN_FLIGHT_MAX_MAX),
        "Batches that may be begun and not yet committed, 4 by default. A slow sink or plugin then slows the sources.",
    ),
    key(
        "memory",
        KeyShape::Size,
        "Memory of the job on this machine, 75 % of the machine's by default, or of its control group's. Above most of it the \
         job takes in less; above all of it the job ends and says what holds it.",
    ),
    key(
        "at_end",
        KeyShape::Word(&["flush", "keep"]),
        "What becomes of event time when no source will send anything more: it ends, and open windows, sessions, rows \
         without a partner and timers come out (`flush`, the default); or it stands still, and they stay in the checkpoint \
         for a job that goes on later (`keep`).",
    ),
    key(
        "ui",
        KeyShape::Flag,
        "Whether `millstream run` serves a page about the job to this machine, as it does by default.",
    ),
    key(
        "checkpoint",
        KeyShape::Table(CHECKPOINT),
        "Where the job keeps what it needs to go on after a crash. Absent: a job that is started again begins afresh.",
    ),
    key("sources", KeyShape::Parts(SOURCE), "The inputs of the job, by name.").needed(&[""]),
    key("stages", KeyShape::Parts(STAGE), "The operators of the job, by name, in any order."),
    key("sinks", KeyShape::Parts(SINK), "The outputs of the job, by name.").needed(&[""]),
];

/// `checkpoint`
pub(super) const CHECKPOINT: &[TableKey] = &[
    key(
        "dir",
        KeyShape::Text,
        "A folder, relative to the job file, s3://bucket/prefix, or hdfs://namenode:8020/folder. One job, one folder.",
    )
    .needed(&[""]),
    key(
        "every",
        KeyShape::Every,
        "How often a checkpoint is written: a time (10s by default), or a number of batches.",
    ),
];

/// A source.
pub(super) const SOURCE: &[TableKey] = &[
    key(
        "kind",
        KeyShape::Word(SOURCE_KINDS),
        "Where the records come from: lines of a TCP server (`socket`), its length-prefixed frames (`raw-socket`), \
         what others POST, or what a server answers or streams (`http`), the files of a folder and every new one (`directory`), one file (`file`), topics of a Kafka \
         cluster (`kafka`), whatever a plugin of yours reads (`plugin`), rows made here (`rate`), or a file of test batches (`queue`).",
    )
    .needed(&[""]),
    key(
        "plugin",
        KeyShape::Text,
        "The plugin, of world `source`: a component or plugin folder, relative to the job file, or a package that millstream.lock \
         pins: name@version.",
    )
    .of(PLUGIN)
    .needed(PLUGIN),
    key("config", KeyShape::Any, "What the plugin is told.").of(PLUGIN),
    key("limits", KeyShape::Table(LIMITS), "What the plugin may use up.").of(PLUGIN),
    key("grant", KeyShape::Table(GRANT), "What the plugin may use: files, variables, and whom it may talk to.").of(PLUGIN),
    key("address", KeyShape::Address, "The TCP server to read from, as \"127.0.0.1:9999\".").of(WIRE).needed(WIRE),
    key(
        "tls",
        KeyShape::Either(&[KeyShape::Flag, KeyShape::Table(TLS)]),
        "TLS with the server: true, or { ca = \"issuer.pem\", cert = \"own.pem\", key = \"own.key\", name = \"feed.example.org\" }. \
         The server's certificate is checked. Brokers have names of their own, so `kafka` has no `name`. Of kind `http`: the \
         certificate that senders see, { cert = \"own.pem\", key = \"own.key\" }.",
    )
    .of(TLS_SPEAKERS),
    key("brokers", KeyShape::Texts, "Some brokers of the cluster, which tell all others, as \"127.0.0.1:9092\" or a list.")
        .of(KAFKA)
        .needed(KAFKA),
    key("sasl", KeyShape::Table(SASL), "Who the job is to the cluster: { mechanism = \"SCRAM-SHA-512\", user = \"job\", password = \"${KAFKA_PASSWORD}\" }.")
        .of(KAFKA),
    key("topic", KeyShape::Texts, "The topic to read, or a list of topics. Instead, `pattern` may say which.").of(KAFKA),
    key(
        "start",
        KeyShape::Text,
        "Where a job begins to read topics that it has not read yet: \"earliest\" (the default), \"latest\", or a time as \
         \"2026-11-21T12:00:00Z\".",
    )
    .of(KAFKA),
    key(
        "group",
        KeyShape::Text,
        "The consumer group that is told how far the job's checkpoints have come, so that tools show how far behind it is.",
    )
    .of(KAFKA),
    key(
        "wait",
        KeyShape::Time,
        "How long the job waits where no broker answers, at its start and later; 1h by default.",
    )
    .of(KAFKA),
    key("listen", KeyShape::Address, "Where senders POST rows to, as \"127.0.0.1:8080\". Instead, `url` may say what to read.")
        .of(OVER_HTTP),
    key(
        "url",
        KeyShape::Text,
        "The server to read from, as \"https://host/path\", with `every` or `stream`, or as \"wss://host/path\".",
    )
    .of(OVER_HTTP),
    key("every", KeyShape::Time, "With `url`: how often it is asked.").of(OVER_HTTP),
    key(
        "stream",
        KeyShape::Word(&["lines", "sse", "websocket"]),
        "With `url`: the answer never ends, and is lines (`lines`) or events (`sse`, text/event-stream). A URL with ws:// or wss:// is \
         a WebSocket without a word of it.",
    )
    .of(OVER_HTTP),
    key(
        "cursor",
        KeyShape::Table(CURSOR),
        "With `every`: how the next request tells what came already: { parameter = \"since\", field = \"id\" }.",
    )
    .of(OVER_HTTP),
    key(
        "rows",
        KeyShape::Text,
        "With `every`: where the rows are within an answer, an array of JSON: \"items\" or \"data.items\". Without it the answer is \
         the rows.",
    )
    .of(OVER_HTTP),
    key(
        "pages",
        KeyShape::Word(&["link"]),
        "With `every`: an answer that is not all says where its next page is, in a header `Link: <…>; rel=\"next\"` (`link`).",
    )
    .of(OVER_HTTP),
    key(
        "token",
        KeyShape::Text,
        "What each request must bring as `Authorization: Bearer …`, or, with `url`, brings; write \"${NAME}\", so that it does not \
         stand in the file.",
    )
    .of(OVER_HTTP),
    key(
        "headers",
        KeyShape::ByName(&KeyShape::Text),
        "With `url`: other headers of each request, as { X-Key = \"${NAME}\" }.",
    )
    .of(OVER_HTTP),
    key("send", KeyShape::Texts, "What is said on a new WebSocket: a message, or a list of messages.").of(OVER_HTTP),
    key(
        "stall",
        KeyShape::Time,
        "How long a stream may be silent, 30s by default; then the source connects again.",
    )
    .of(OVER_HTTP),
    key(
        "timeout",
        KeyShape::Time,
        "With `url`: how long an answer may take, of a stream its head; 30s by default.",
    )
    .of(OVER_HTTP),
    key(
        "answer_bytes_max",
        KeyShape::Size,
        "With `url`: the longest answer, event or message that is read, unpacked; 8MiB by default.",
    )
    .of(OVER_HTTP),
    key("request_bytes_max", KeyShape::Size, "A larger request is refused, 8MiB by default.").of(OVER_HTTP),
    key("request_time_max", KeyShape::Time, "How long a request may take to come in, 30s by default.").of(OVER_HTTP),
    key(
        "connections_max",
        KeyShape::Whole(1, limits::HTTP_CONNECTIONS_MAX_MAX),
        "Connections that are open at a time, 1000 by default; more wait.",
    )
    .of(OVER_HTTP),
    key(
        "producers_max",
        KeyShape::Whole(1, limits::HTTP_PRODUCERS_MAX_MAX),
        "Producers whose last sequence is remembered, 10000 by default; then the one that was silent for longest is forgotten.",
    )
    .of(OVER_HTTP),
    key("path", KeyShape::Text, "The file or folder, relative to the job file.").of(FILES).needed(FILES),
    key(
        "format",
        KeyShape::Word(FORMATS),
        "How records become rows: `text` (the default; a line is one column), `json`, `csv`, `binary` (fixed-length \
         records; the default of `raw-socket`), `avro` or `protobuf`. A `queue` is json.",
    )
    .of(RECORDS),
    key(
        "schema",
        KeyShape::Columns,
        "The columns, in order: name = \"type\", or name = { type = \"int64\", path = \"user.id\" } for a value \
         inside a JSON record. Types: bool, int64, float64, text, binary, timestamp (text as RFC 3339 says), \
         timestamp(s), (ms), (us) and (ns) for numbers since 1970, or a pattern: timestamp(%d/%b/%Y:%H:%M:%S %z).",
    )
    .of(RECORDS)
    .needed(&["queue"]),
    key(
        "header",
        KeyShape::Flag,
        "Format csv: whether the first record of each file or connection names the columns. By default true for files \
         and false for sockets.",
    )
    .of(LINES),
    key("separator", KeyShape::Text, "Format csv: the character between cells, \",\" by default.").of(CELLS),
    key(
        "record_bytes",
        KeyShape::Whole(1, limits::RECORD_BYTES_MAX_MAX),
        "Format binary: bytes of a record. Not needed where the widths of the columns say it, nor of `http`, where a body is a record \
         then.",
    )
    .of(&["http", "directory", "file"]),
    key(
        "registry",
        KeyShape::Either(&[KeyShape::Text, KeyShape::Table(REGISTRY)]),
        "Format avro: the schema registry whose ids records begin with, as \"http://127.0.0.1:8081\", or { url = \"https://…\", \
         user = \"reader\", password = \"${PASSWORD}\" }.",
    )
    .of(RECORD_FRAMES),
    key(
        "schema_file",
        KeyShape::Text,
        "Format avro: a file with the schema (JSON) that all records were written with, where no registry has it.",
    )
    .of(SINGLE_RECORDS),
    key(
        "descriptor",
        KeyShape::Text,
        "Format protobuf: the file that `protoc --include_imports --descriptor_set_out` wrote, relative to the job file.",
    )
    .of(MESSAGES),
    key("message", KeyShape::Text, "Format protobuf: the full name of the message that each record is, as \"shop.Order\".")
        .of(MESSAGES),
    key(
        "confluent",
        KeyShape::Flag,
        "Format protobuf: whether records begin with the id of a schema registry, which is passed over; false by default.",
    )
    .of(SINGLE_RECORDS),
    key("rows_per_second", KeyShape::Whole(1, limits::RATE_ROWS_PER_SECOND_MAX), "Rows that are made each second.")
        .of(&["rate"])
        .needed(&["rate"]),
    key("rows_max", KeyShape::Whole(1, i64::MAX as u64), "Rows to make in all; by default without end.").of(&["rate"]),
    key(
        "follow",
        KeyShape::Flag,
        "Whether the file is a log that grows: it is read for ever, through its rotations, and its rotated files beside it \
         (`app.log.1`, `app.log-20261121`) before it.",
    )
    .of(&["file"]),
    key(
        "poll",
        KeyShape::Time,
        "How often the folder (500ms by default), the bucket (5s) or the log (100ms) is looked at, or the cluster for new topics and \
         partitions (30s).",
    )
    .of(&["directory", "file", "kafka"]),
    key(
        "settle",
        KeyShape::Time,
        "How long a file's length and time must have stood still, 1s by default: before a file of a folder is read, and \
         before a rotated log is at its end. \"0s\": at once.",
    )
    .of(&["directory", "file"]),
    key(
        "pattern",
        KeyShape::Text,
        "Which files of the folder are read: those with names like \"*.jsonl\", or, with a `/` in it, with such paths from the \
         folder on, as \"**/*.jsonl\". It may stand in `path`, too: \"logs/**/*.jsonl\". Or which topics are read: those with \
         names like \"orders-*\".",
    )
    .of(&["directory", "kafka"]),
    key("subfolders", KeyShape::Flag, "Whether files of the folders in the folder are read, too; false by default.")
        .of(&["directory"]),
    key(
        "away_max",
        KeyShape::Time,
        "How long to wait for a file or folder that was there and cannot be read now, or for the server of a bucket, 5m by \
         default; then the job fails.",
    )
    .of(FILES),
    key("rows_per_batch_max", KeyShape::Whole(1, i64::MAX as u64), "Most rows that one batch takes from this source.")
        .of(CUT),
    key("bytes_per_batch_max", KeyShape::Size, "Most bytes, as received, that one batch takes from this source.").of(CUT),
    key("record_bytes_max", KeyShape::Size, "A longer record is a rejected row.").of(RECORDS),
    key(
        "rejected_bytes_max",
        KeyShape::Size,
        "How much of a record that does not decode its rejected row holds, 1KiB by default. Where it is cut, `reason` says so.",
    )
    .of(RECORDS),
];

/// `cursor` of a source that asks a server.
pub(super) const CURSOR: &[TableKey] = &[
    key("parameter", KeyShape::Text, "The parameter of the URL that tells it, as \"since\".").needed(&[""]),
    key("field", KeyShape::Text, "The field of the last row that holds it, as \"id\" or \"user.id\"."),
    key("header", KeyShape::Text, "The header of the answer that holds it, as \"X-Next\"."),
];

/// `tls` of a source, where it is a table.
pub(super) const TLS: &[TableKey] = &[
    TRUSTED_CA,
    key("cert", KeyShape::Text, "The job's own certificate (PEM), for servers that want one."),
    key("key", KeyShape::Text, "The key of that certificate (PEM)."),
    key("name", KeyShape::Text, "The name that the server's certificate is for; by default the host of `address`."),
];

/// `roll` of a `files` sink.
pub(super) const ROLL: &[TableKey] = &[
    key("size", KeyShape::Size, "The bytes from which on a file is complete, 128MiB by default."),
    key("time", KeyShape::Time, "How long after its first batch a file is complete, 5m by default."),
];

// Whose certificates are trusted, wherever there is TLS.
const TRUSTED_CA: TableKey = key(
    "ca",
    KeyShape::Text,
    "Certificates of the issuers that are trusted (PEM); by default those that the system trusts.",
);

// What registries have in common.
const REGISTRY_URL: TableKey =
    key("url", KeyShape::Text, "Its address, as \"https://registry.example.org:8081\".").needed(&[""]);
const REGISTRY_USER: TableKey = key("user", KeyShape::Text, "The name to log in with.");
const REGISTRY_PASSWORD: TableKey = key("password", KeyShape::Text, "The password of `user`, as \"${PASSWORD}\".");
const REGISTRY_TOKEN: TableKey =
    key("token", KeyShape::Text, "A token in place of `user` and `password`, as \"${TOKEN}\".");

/// `registry` of a source, where it is a table.
pub(super) const REGISTRY: &[TableKey] = &[
    REGISTRY_URL,
    REGISTRY_USER,
    REGISTRY_PASSWORD,
    REGISTRY_TOKEN,
    TRUSTED_CA,
    key("wait", KeyShape::Time, "How long the source waits for it where it is away; 1h by default."),
];

/// The same of a sink.
pub(super) const SUBJECT: &[TableKey] = &[
    REGISTRY_URL,
    REGISTRY_USER,
    REGISTRY_PASSWORD,
    REGISTRY_TOKEN,
    TRUSTED_CA,
    key("wait", KeyShape::Time, "How long a start waits for it where it is away; 1h by default."),
    key(
        "subject",
        KeyShape::Text,
        "Under which name it has the schema; by default that of the topic, and `-value` behind it.",
    ),
    key("record", KeyShape::Text, "The full name of the record in the schema, as \"shop.Order\"; \"Row\" by default."),
    key(
        "register",
        KeyShape::Flag,
        "Whether the schema is registered where it is not there, true by default; else it has to be there.",
    ),
];

/// `tls` of a Kafka cluster, where it is a table: each broker has a name of its own.
pub(super) const KAFKA_TLS: &[TableKey] = &[
    TRUSTED_CA,
    key("cert", KeyShape::Text, "The job's own certificate (PEM), for clusters that want one."),
    key("key", KeyShape::Text, "The key of that certificate (PEM)."),
];

/// `sasl` of a Kafka cluster.
pub(super) const SASL: &[TableKey] = &[
    key(
        "mechanism",
        KeyShape::Word(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]),
        "How the password is proved. PLAIN sends it as it is, so it wants `tls`.",
    )
    .needed(&[""]),
    key("user", KeyShape::Text, "The user.").needed(&[""]),
    key("password", KeyShape::Text, "The user's password, as \"${KAFKA_PASSWORD}\".").needed(&[""]),
];

/// A column of a source, where it is a table.
pub(super) const COLUMN: &[TableKey] = &[
    key("type", KeyShape::Type, "The column's type, as in the short form.").needed(&[""]),
    key(
        "path",
        KeyShape::Texts,
        "Where the value is in a record of json, avro or protobuf: \"user.id\", or [\"user\", \"id\"]; a number is a place in an array, from 0: \
         \"items.0.sku\".",
    ),
    key(
        "from",
        KeyShape::Text,
        "Kind kafka: which part of a record holds it, where that is not its value: \"key\", \"timestamp\", \"offset\", \
         \"partition\", \"topic\", \"headers\" (all, as a JSON object), or \"header.NAME\". Kind http with stream = \"sse\": \"event\" \
         or \"id\".",
    ),
    key(
        "zone",
        KeyShape::Text,
        "Type timestamp: the zone whose clocks showed times without an offset, as \"Europe/Berlin\"; UTC by default.",
    ),
];

/// A sink.
pub(super) const SINK: &[TableKey] = &[
    key(
        "from",
        KeyShape::Texts,
        "The streams to take: names of sources and stages, or `<name>.rejected`, `<name>.late` or `<name>.<branch>`.",
    )
    .needed(&[""]),
    key(
        "kind",
        KeyShape::Word(SINK_KINDS),
        "Where the rows go: standard output (`print`), a folder or bucket with files (`files`), a table of a PostgreSQL \
         database (`postgres`), a topic of a Kafka cluster (`kafka`), a server over HTTP (`http`), pages that follow them \
         (`websocket`), wherever a plugin of yours takes them (`plugin`), a file with a line a batch, for tests (`queue`), or nowhere, for trials (`nothing`).",
    )
    .needed(&[""]),
    key(
        "plugin",
        KeyShape::Text,
        "The plugin, of world `sink`: a component or plugin folder, relative to the job file, or a package that millstream.lock pins: \
         name@version.",
    )
    .of(PLUGIN)
    .needed(PLUGIN),
    key("config", KeyShape::Any, "What the plugin is told.").of(PLUGIN),
    key("limits", KeyShape::Table(LIMITS), "What the plugin may use up.").of(PLUGIN),
    key("grant", KeyShape::Table(GRANT), "What the plugin may use: files, variables, and whom it may talk to.").of(PLUGIN),
    key("rows", KeyShape::Whole(0, limits::PRINT_ROWS_MAX), "How many rows of a batch are shown, 10 by default.")
        .of(&["print"]),
    key("path", KeyShape::Text, "The file or folder, relative to the job file; of `files` also \"s3://bucket/prefix\", gs://, az:// or hdfs://.")
        .of(&["files", "queue"])
        .needed(&["files", "queue"]),
    key(
        "format",
        KeyShape::Word(SINK_FORMATS),
        "What is in the files, or in the value of a record, json by default. Only files have parquet, only records binary.",
    )
    .of(&["files", "kafka"]),
    key(
        "parts",
        KeyShape::Word(&["batch", "worker"]),
        "One file a batch, or transaction of `kafka`, with its rows in order (`batch`, the default), or one of each worker that has \
         rows (`worker`): all workers then encode and write at once, each under a marker of its own.",
    )
    .of(&["files", "kafka"]),
    key(
        "partition_by",
        KeyShape::Texts,
        "Columns by whose values rows lie in folders, as Hive has them (`day=2026-11-21/part-….parquet`); the files do not hold these \
         columns.",
    )
    .of(&["files"]),
    key(
        "roll",
        KeyShape::Table(ROLL),
        "Files grow over many batches, until they have this size or this age: { size = \"128MiB\", time = \"5m\" }. Without it \
         each batch makes files of its own.",
    )
    .of(&["files"]),
    key(
        "open_parts_max",
        KeyShape::Whole(1, limits::OPEN_PARTS_MAX),
        "Files that grow at a time, 100 by default; with more, the one that has been without new rows for the longest time is \
         completed.",
    )
    .of(&["files"]),
    key(
        "url",
        KeyShape::Text,
        "The database, as \"postgres://user:${PGPASSWORD}@host/database\", or where requests go, as \"https://host/path\"; ${NAME} \
         is replaced by the environment variable of that name, so that no password stands in the file.",
    )
    .of(SERVERS)
    .needed(SERVERS),
    key(
        "method",
        KeyShape::Word(&["POST", "PUT"]),
        "The method of requests, POST by default.",
    )
    .of(OVER_HTTP),
    key(
        "body",
        KeyShape::Word(&["lines", "array", "bulk"]),
        "What a request holds: a JSON object a line (`lines`, the default), a JSON array of them (`array`), or what `_bulk` of \
         OpenSearch takes (`bulk`).",
    )
    .of(OVER_HTTP),
    key("index", KeyShape::Text, "Body bulk: the index, where the URL does not name it.").of(OVER_HTTP),
    key(
        "token",
        KeyShape::Text,
        "Sent with each request as `Authorization: Bearer …`, or what each client of a `websocket` must bring; write \"${NAME}\", so that \
         it does not stand in the file.",
    )
    .of(WITH_TOKEN),
    key("listen", KeyShape::Address, "Where clients connect to, as \"127.0.0.1:8090\".").of(WEBSOCKET).needed(WEBSOCKET),
    key(
        "origins",
        KeyShape::Texts,
        "Sites whose pages may listen, as \"https://dashboard.example.org\"; \"*\" for all. Pages of this machine may.",
    )
    .of(WEBSOCKET),
    key("clients_max", KeyShape::Whole(1, limits::HTTP_CONNECTIONS_MAX_MAX), "Clients at a time, 100 by default; more wait.")
        .of(WEBSOCKET),
    key(
        "rows_per_message_max",
        KeyShape::Whole(1, i64::MAX as u64),
        "Most rows of one message, 1000 by default; a batch with more is several messages.",
    )
    .of(WEBSOCKET),
    key(
        "headers",
        KeyShape::ByName(&KeyShape::Text),
        "Headers of each request, by name. `{key}` stands for the key of the request, `{sequence}` for a number that grows, `{sender}` for whose number it is.",
    )
    .of(OVER_HTTP),
    key(
        "tls",
        KeyShape::Either(&[KeyShape::Flag, KeyShape::Table(TLS)]),
        "How a server with https, or a broker, is spoken to: { ca = \"issuer.pem\", cert = \"own.pem\", key = \"own.key\" }, or true \
         of `kafka`. Its certificate is checked. Of kind `websocket`: the certificate that clients see, { cert = \"own.pem\", key = \
         \"own.key\" }.",
    )
    .of(SINKS_WITH_TLS),
    key(
        "rows_per_request_max",
        KeyShape::Whole(1, i64::MAX as u64),
        "Most rows of one request, 10000 by default.",
    )
    .of(OVER_HTTP),
    key("request_bytes_max", KeyShape::Size, "Most bytes of rows of one request, 4MiB by default; one row at least.").of(OVER_HTTP),
    key("timeout", KeyShape::Time, "How long an answer may take, 30s by default.").of(OVER_HTTP),
    key(
        "on_error",
        KeyShape::Word(&["stop", "reject"]),
        "Body bulk, or a plugin: what becomes of a row that the server, or the plugin, refuses: the job stops (`stop`, the default), or \
         it is told in the log and left out (`reject`).",
    )
    .of(REFUSING),
    key("table", KeyShape::Text, "The table, as \"counts\" or \"schema.counts\". It is made where it is not there.")
        .of(TABLES)
        .needed(TABLES),
    key(
        "mode",
        KeyShape::Word(&["append", "upsert"]),
        "What a row does: it is added (`append`, the default), or replaces the row of the same key (`upsert`).",
    )
    .of(TABLES),
    key(
        "key",
        KeyShape::Texts,
        "Mode upsert: the columns of which a row of the table has no two alike. Kind kafka: the column that is the key of \
         records, which decides about their partition as Java's client does.",
    )
    .of(SERVERS),
    key("brokers", KeyShape::Texts, "Brokers to ask for all others, as \"127.0.0.1:9092\" or a list of such.")
        .of(KAFKA)
        .needed(KAFKA),
    key("topic", KeyShape::Text, "The topic. It is made where it is not there.").of(KAFKA).needed(KAFKA),
    key(
        "tombstones",
        KeyShape::Text,
        "The column of type bool that says which rows are tombstones: a record with the key and without a value, by which a \
         compacted topic forgets the key. The column itself is not written.",
    )
    .of(KAFKA),
    key(
        "registry",
        KeyShape::Either(&[KeyShape::Text, KeyShape::Table(SUBJECT)]),
        "Format avro: the schema registry that has the schema of the records, as \"http://127.0.0.1:8081\", or { url = \"https://…\", \
         user = \"writer\", password = \"${PASSWORD}\", subject = \"orders-value\" }.",
    )
    .of(KAFKA),
    key(
        "compression",
        KeyShape::Word(COMPRESSIONS),
        "How records of `kafka` are compressed, none by default, or the pages in files of format parquet, snappy by default.",
    )
    .of(&["files", "kafka"]),
    key(
        "transaction",
        KeyShape::Time,
        "How long the transaction of a batch may take until the cluster gives it up, and the job begins it anew; 1m by \
         default. Longer than `transaction.max.timeout.ms` of the brokers is not allowed.",
    )
    .of(KAFKA),
    key(
        "markers",
        KeyShape::Text,
        "The compacted topic where the job keeps which batches are committed, \"millstream-markers\" by default. It is made \
         where it is not there.",
    )
    .of(KAFKA),
    key("sasl", KeyShape::Table(SASL), "Who the job is to the cluster: `mechanism`, `user` and `password`.").of(KAFKA),
    key(
        "wait",
        KeyShape::Time,
        "How long the job waits for the server where it is away or hangs, at its start and later; 1h by default.",
    )
    .of(WAITING),
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
