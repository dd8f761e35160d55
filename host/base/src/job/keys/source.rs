//! The keys of a source.

use super::*;
use crate::job::spec::BinaryEncoding;
use crate::limits;

const PLUGIN: &[&str] = &["plugin"];
/// Kinds of connectors: each lists which of these keys it has.
const SHARED: &[&str] = &["declared"];

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
        "Plugin of world `source`: a component or plugin directory, relative to the job file, or a package pinned by \
         millstream.lock: name@version.",
    )
    .for_kinds(PLUGIN)
    .needed(PLUGIN),
    key("config", KeyShape::Any, "Settings passed to the plugin.").for_kinds(PLUGIN),
    key("limits", KeyShape::Table(LIMITS), "Limits of the plugin.").for_kinds(PLUGIN),
    key("grant", KeyShape::Table(GRANT), "Permissions of the plugin: files, environment variables and servers.").for_kinds(PLUGIN),
    key(
        "tls",
        KeyShape::Either(&[KeyShape::Flag, KeyShape::Table(TLS)]),
        "TLS with the server: true, or { ca = \"ca.pem\", cert = \"own.pem\", key = \"own.key\", name = \
         \"feed.example.org\" }. The server's certificate is checked. `kafka` has no `name`, because each broker \
         has its own. For `http` with `listen`: the server certificate, { cert = \"own.pem\", key = \"own.key\" }.",
    )
    .for_kinds(SHARED),
    key("path", KeyShape::Text, "File or directory, relative to the job file.").for_kinds(SHARED).needed(SHARED),
    key(
        "format",
        KeyShape::Word(FORMATS),
        "Format of the records: `text` (the default; a line is one column), `json`, `csv`, `binary` (fixed-length records; the \
         default of `raw-socket`), `avro` or `protobuf`. A `queue` is json.",
    )
    .for_kinds(SHARED),
    key(
        "schema",
        KeyShape::Columns,
        "Columns, in order: name = \"type\", or name = { type = \"int64\", path = \"user.id\" } for a value inside a JSON \
         record. Types: bool, int64, float64, text, binary, timestamp (RFC 3339 text), timestamp(s), (ms), (us) and (ns) for \
         numbers since 1970, or a pattern: timestamp(%d/%b/%Y:%H:%M:%S %z).",
    )
    .for_kinds(SHARED)
    .needed(&["queue"]),
    key(
        "header",
        KeyShape::Flag,
        "Format csv: whether the first record of each file or connection names the columns. By default true for files \
         and false for sockets.",
    )
    .for_kinds(SHARED),
    key("separator", KeyShape::Text, "Format csv: separator between cells, \",\" by default.").for_kinds(SHARED),
    key(
        "record_bytes",
        KeyShape::Integer(1, limits::RECORD_BYTES_MAX_MAX),
        "Format binary: bytes per record. Not needed if the widths of the columns determine it, nor for `http`, where each body \
         is then a record.",
    )
    .for_kinds(SHARED),
    key(
        "registry",
        KeyShape::Either(&[KeyShape::Text, KeyShape::Table(REGISTRY)]),
        "Format avro: schema registry of the ids with which records begin, for example \"http://127.0.0.1:8081\", or { url = \
         \"https://…\", user = \"reader\", password = \"${PASSWORD}\" }.",
    )
    .for_kinds(SHARED),
    key(
        "schema_file",
        KeyShape::Text,
        "Format avro: file with the schema (JSON) of all records, if no registry has it.",
    )
    .for_kinds(SHARED),
    key(
        "descriptor",
        KeyShape::Text,
        "Format protobuf: the file that `protoc --include_imports --descriptor_set_out` wrote, relative to the job file.",
    )
    .for_kinds(SHARED),
    key("message", KeyShape::Text, "Format protobuf: full name of the records' message, for example \"shop.Order\".")
        .for_kinds(SHARED),
    key(
        "confluent",
        KeyShape::Flag,
        "Format protobuf: whether records begin with a schema registry id, which is skipped; false by default.",
    )
    .for_kinds(SHARED),
    key(
        "poll",
        KeyShape::Time,
        "Time between checks of the directory (500ms by default), the bucket (5s) or the log (100ms), or of the cluster for new \
         topics and partitions (30s).",
    )
    .for_kinds(SHARED),
    key(
        "settle",
        KeyShape::Time,
        "How long the length and time of a file must be unchanged before a file of a directory is read, and before a rotated log \
         counts as complete; 1s by default. \"0s\" does not wait.",
    )
    .for_kinds(SHARED),
    key(
        "pattern",
        KeyShape::Text,
        "Files of the directory to read: a pattern for names such as \"*.jsonl\", or, with a `/`, for paths within the directory \
         such as \"**/*.jsonl\". It may also be part of `path`: \"logs/**/*.jsonl\". Or topics to read: a pattern such as \
         \"orders-*\".",
    )
    .for_kinds(SHARED),
    key(
        "away_max",
        KeyShape::Time,
        "How long to wait for a file or directory that existed and is now unreadable, or for the server of a bucket, 5m by \
         default; then the job fails.",
    )
    .for_kinds(SHARED),
    key("rows_per_batch_max", KeyShape::Integer(1, i64::MAX as u64), "Maximum rows that one batch takes from this source, 1000000 by default.")
        .for_kinds(PLUGIN),
    key("bytes_per_batch_max", KeyShape::Size, "Maximum bytes, as received, that one batch takes from this source, 64MiB by default.").for_kinds(PLUGIN),
    key("record_bytes_max", KeyShape::Size, "Maximum size of a record, 16MiB by default. A longer record is rejected.").for_kinds(SHARED),
    key(
        "rejected_bytes_max",
        KeyShape::Size,
        "How many bytes of a record that cannot be decoded its rejected row holds, 1KiB by default. If it is cut, `reason` says \
         so.",
    )
    .for_kinds(SHARED),
    key(
        "max_rejected",
        KeyShape::RowsOrShare,
        "Maximum rejected records of a batch; if there are more, the job stops before anything of the batch is committed. A number of \
         rows, or a share of the records of the batch: \"10%\" or 0.1. Unlimited by default.",
    )
    .for_kinds(PLUGIN),
];

/// `tls` of a source, as a table.
pub(in crate::job) const TLS: &[TableKey] = &[
    TRUSTED_CA,
    key("cert", KeyShape::Text, "Client certificate (PEM), for servers that require one."),
    key("key", KeyShape::Text, "Private key of that certificate (PEM)."),
    key("name", KeyShape::Text, "Name in the server's certificate, by default the host of `address`."),
];

// Whose certificates are trusted, wherever there is TLS.
pub(in crate::job) const TRUSTED_CA: TableKey =
    key("ca", KeyShape::Text, "CA certificates (PEM) that are trusted, by default those of the system.");

// What registries have in common.
const REGISTRY_URL: TableKey =
    key("url", KeyShape::Text, "URL of the registry, for example \"https://registry.example.org:8081\".").needed(&[""]);
const REGISTRY_USER: TableKey = key("user", KeyShape::Text, "User name.");
const REGISTRY_PASSWORD: TableKey = key("password", KeyShape::Text, "Password of `user`, for example \"${PASSWORD}\".");
const REGISTRY_TOKEN: TableKey =
    key("token", KeyShape::Text, "Token, for example \"${TOKEN}\", instead of `user` and `password`.");

/// `registry` of a source, as a table.
pub(in crate::job) const REGISTRY: &[TableKey] = &[
    REGISTRY_URL,
    REGISTRY_USER,
    REGISTRY_PASSWORD,
    REGISTRY_TOKEN,
    TRUSTED_CA,
    key("wait", KeyShape::Time, "How long the source waits for an unreachable registry, 1h by default."),
];

/// `registry` of a sink, as a table.
pub(in crate::job) const SUBJECT: &[TableKey] = &[
    REGISTRY_URL,
    REGISTRY_USER,
    REGISTRY_PASSWORD,
    REGISTRY_TOKEN,
    TRUSTED_CA,
    key("wait", KeyShape::Time, "How long the job waits at startup for an unreachable registry, 1h by default."),
    key("subject", KeyShape::Text, "Subject of the schema in the registry, by default the topic followed by `-value`."),
    key(
        "record",
        KeyShape::Text,
        "Full name of the record in the schema, for example \"shop.Order\"; \"Row\" by default.",
    ),
    key(
        "register",
        KeyShape::Flag,
        "Register the schema if the registry does not have it. If false, the schema must exist. true by default.",
    ),
];

/// A column of a source, as a table.
pub(in crate::job) const COLUMN: &[TableKey] = &[
    key("type", KeyShape::Type, "Type of the column, as in the short form.").needed(&[""]),
    key(
        "path",
        KeyShape::Texts,
        "Path of the value in a json, avro or protobuf record: \"user.id\", or [\"user\", \"id\"]; a number is an \
         index of an array, from 0: \"items.0.sku\".",
    ),
    key(
        "from",
        KeyShape::Text,
        "Part of the record that holds the column, if it is not in the value: \"key\", \"timestamp\", \"offset\", \"partition\", \
         \"topic\", \"headers\" (all, as a JSON object), \"header.NAME\", \"id\", \"event\", \"op\" or \"table\". Each kind of \
         source has some of these.",
    ),
    key(
        "zone",
        KeyShape::Text,
        "Type timestamp: time zone of times without an offset, for example \"Europe/Berlin\"; UTC by default.",
    ),
    key(
        "encoding",
        KeyShape::Word(&BinaryEncoding::WORDS),
        "Type binary in json, csv and text: encoding of the bytes, \"utf8\", \"hex\" or \"base64\"; \"utf8\" by default.",
    ),
];
