//! The keys of a source.

use super::*;
use crate::job::spec::BinaryEncoding;
use crate::limits;

const KAFKA: &[&str] = &["kafka"];
const PLUGIN: &[&str] = &["plugin"];
const TLS_SPEAKERS: &[&str] = &["kafka"];
const FILES: &[&str] = &["directory", "file"];
const LINES: &[&str] = &["directory", "file"];
const CELLS: &[&str] = &["directory", "file", "kafka"];
const RECORDS: &[&str] = &["directory", "file", "kafka"];
/// Kinds whose records may be rejected.
const REJECTING: &[&str] = &["directory", "file", "kafka", "plugin"];
/// Kinds whose records are frames by themselves.
const RECORD_FRAMES: &[&str] = &["kafka"];
const SINGLE_RECORDS: &[&str] = &["kafka"];
const MESSAGES: &[&str] = &["kafka", "directory", "file"];
const CUT: &[&str] = &["directory", "file", "kafka", "plugin"];

/// A source.
pub(in crate::job) const SOURCE: &[TableKey] = &[
    key(
        "kind",
        KeyShape::Word(&[]),
        "",
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
    .of(&["directory", "file"]),
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
        "spread",
        KeyShape::Flag,
        "Whether the files are spread over all processes of the job, each with a clock of its own; false by default, where one process \
         reads them one after the other.",
    )
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
    key(
        "max_rejected",
        KeyShape::RowsOrShare,
        "Maximum rejected records of a batch; if there are more, the job stops before anything of the batch is committed. A number of \
         rows, or a share of the records of the batch: \"10%\" or 0.1. Unlimited by default.",
    )
    .of(REJECTING),
];

/// `tls` of a source, where it is a table.
pub(in crate::job) const TLS: &[TableKey] = &[
    TRUSTED_CA,
    key("cert", KeyShape::Text, "The job's own certificate (PEM), for servers that want one."),
    key("key", KeyShape::Text, "The key of that certificate (PEM)."),
    key("name", KeyShape::Text, "The name that the server's certificate is for; by default the host of `address`."),
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
pub(in crate::job) const REGISTRY: &[TableKey] = &[
    REGISTRY_URL,
    REGISTRY_USER,
    REGISTRY_PASSWORD,
    REGISTRY_TOKEN,
    TRUSTED_CA,
    key("wait", KeyShape::Time, "How long the source waits for it where it is away; 1h by default."),
];

/// The same of a sink.
pub(in crate::job) const SUBJECT: &[TableKey] = &[
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
pub(in crate::job) const KAFKA_TLS: &[TableKey] = &[
    TRUSTED_CA,
    key("cert", KeyShape::Text, "The job's own certificate (PEM), for clusters that want one."),
    key("key", KeyShape::Text, "The key of that certificate (PEM)."),
];

/// `sasl` of a Kafka cluster.
pub(in crate::job) const SASL: &[TableKey] = &[
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
pub(in crate::job) const COLUMN: &[TableKey] = &[
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
        "Which part of a record holds it, where that is not its value: \"key\", \"timestamp\", \"offset\", \"partition\", \"topic\", \
         \"headers\" (all, as a JSON object), \"header.NAME\", \"id\", \"event\", \"op\" or \"table\". Each kind of source has some of them.",
    ),
    key(
        "zone",
        KeyShape::Text,
        "Type timestamp: the zone whose clocks showed times without an offset, as \"Europe/Berlin\"; UTC by default.",
    ),
    key(
        "encoding",
        KeyShape::Word(&BinaryEncoding::WORDS),
        "Type binary in json, csv and text: how the text stands for bytes: \"utf8\", \"hex\" or \"base64\"; \"utf8\" by default.",
    ),
];
