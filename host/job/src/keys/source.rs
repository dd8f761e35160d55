//! The keys that sources share, and the tables in them.

use super::*;
use millstream_rows::batch::binary_text::BinaryEncoding;

/// Format of the records.
pub const FORMAT: TableKey =
    key("format", RECORD_FORMATS, "Format of the records. With `text`, each record is one column. `text` by default.");
/// The formats of records that are messages or frames.
pub const RECORD_FORMATS: KeyShape = KeyShape::Word(&["text", "json", "csv", "binary", "avro", "protobuf"]);
/// The format of records that are always JSON.
pub const JSON_FORMAT: KeyShape = KeyShape::Word(&["json"]);
/// Separator of CSV.
pub const SEPARATOR: TableKey =
    key("separator", KeyShape::Text, "Format csv: separator between cells, \",\" by default.");
/// Registry with the schemas of records.
pub const REGISTRY: TableKey = key(
    "registry",
    KeyShape::Either(&[KeyShape::Text, KeyShape::Table(REGISTRY_KEYS)]),
    "Format avro: schema registry for the schema IDs at the beginning of records, for example \"http://127.0.0.1:8081\", or { url = \
     \"https://…\", user = \"reader\", password = \"${PASSWORD}\" }. `schema_file` names one schema instead.",
);
/// Schema of all records.
pub const SCHEMA_FILE: TableKey = key(
    "schema_file",
    KeyShape::Text,
    "Format avro: JSON file with the schema of all records, relative to the job file.",
);
/// Schemas of Protobuf.
pub const DESCRIPTOR: TableKey = key(
    "descriptor",
    KeyShape::Text,
    "Format protobuf: the file that `protoc --include_imports --descriptor_set_out` wrote, relative to the job file.",
);
/// The message of Protobuf.
pub const MESSAGE: TableKey =
    key("message", KeyShape::Text, "Format protobuf: full name of the records' message, for example \"shop.Order\".");
/// Whether Protobuf records have a header.
pub const CONFLUENT: TableKey = key(
    "confluent",
    KeyShape::Flag,
    "Format protobuf: whether each record begins with a schema registry ID, which is skipped. false by default.",
);
/// Rows of a batch.
pub const ROWS_PER_BATCH_MAX: TableKey = key(
    "rows_per_batch_max",
    KeyShape::Integer(1, i64::MAX as u64),
    "Maximum rows that one batch takes from this source, 1000000 by default.",
);
/// Bytes of a batch.
pub const BYTES_PER_BATCH_MAX: TableKey = key(
    "bytes_per_batch_max",
    KeyShape::Size,
    "Maximum bytes, as received, that one batch takes from this source, 64MiB by default.",
);
/// Bytes of a record.
pub const RECORD_BYTES_MAX: TableKey =
    key("record_bytes_max", KeyShape::Size, "Maximum size of a record, 16MiB by default. A longer record is rejected.");
/// Bytes of a rejected record.
pub const REJECTED_BYTES_MAX: TableKey = key(
    "rejected_bytes_max",
    KeyShape::Size,
    "Maximum bytes of a record in its rejected row, 1KiB by default. If the record is cut, `reason` says so.",
);
/// Rejected records of a batch.
pub const MAX_REJECTED: TableKey = key(
    "max_rejected",
    KeyShape::RowsOrShare,
    "Maximum rejected records of a batch, as a number or as a share of its records: 100, \"10%\" or 0.1. If there are more, the job \
     stops before anything of the batch is committed. Unlimited by default.",
);

/// The key `schema` of a source whose columns may hold these parts of a record, in addition to its value.
pub const fn columns(parts: &'static [&'static str]) -> TableKey {
    key(
        "schema",
        KeyShape::Columns(parts),
        "Columns, in order: name = \"type\", or a table such as name = { type = \"int64\", path = \"user.id\" }. Types: bool, int64, \
         float64, text, binary, timestamp (RFC 3339 text), timestamp(s), (ms), (us) and (ns) for numbers since 1970, or a pattern: \
         timestamp(%d/%b/%Y:%H:%M:%S %z).",
    )
}

/// `tls` with the server of `url`, as a table.
pub const TLS_KEYS: &[TableKey] = &[
    TRUSTED_CA,
    CLIENT_CERTIFICATE,
    PRIVATE_KEY,
    key("name", KeyShape::Text, "Name in the server's certificate, by default the host of `url`."),
];
/// Trusted certificates, wherever there is TLS.
pub const TRUSTED_CA: TableKey =
    key("ca", KeyShape::Text, "CA certificates (PEM) that are trusted, by default those of the system.");
/// The job's certificate.
pub const CLIENT_CERTIFICATE: TableKey =
    key("cert", KeyShape::Text, "Client certificate (PEM), for servers that require one.");
/// The key of a certificate.
pub const PRIVATE_KEY: TableKey = key("key", KeyShape::Text, "Private key of the certificate in `cert` (PEM).");
/// The certificate of a source or sink that listens.
pub const SERVER_CERTIFICATE: TableKey = key("cert", KeyShape::Text, "Server certificate (PEM).").required();

// What registries have in common.
const REGISTRY_URL: TableKey =
    key("url", KeyShape::Text, "URL of the registry, for example \"https://registry.example.org:8081\".").required();
const REGISTRY_USER: TableKey = key("user", KeyShape::Text, "User name.");
const REGISTRY_PASSWORD: TableKey = key("password", KeyShape::Text, "Password of `user`, for example \"${PASSWORD}\".");
const REGISTRY_TOKEN: TableKey =
    key("token", KeyShape::Text, "Token, for example \"${TOKEN}\", instead of `user` and `password`.");

/// `registry` of a source, as a table.
pub(crate) const REGISTRY_KEYS: &[TableKey] = &[
    REGISTRY_URL,
    REGISTRY_USER,
    REGISTRY_PASSWORD,
    REGISTRY_TOKEN,
    TRUSTED_CA,
    key(
        "wait",
        KeyShape::Time,
        "How long the source waits for a registry that is unreachable or rejects the credentials, 1h by default.",
    ),
];

/// `registry` of a sink, as a table.
pub(crate) const SUBJECT: &[TableKey] = &[
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

const COLUMN_TYPE: TableKey =
    key("type", KeyShape::Type, "Type of the column; the short form `name = \"type\"` sets only this.").required();
const COLUMN_PATH: TableKey = key(
    "path",
    KeyShape::TextList,
    "Path of the value in the record: \"user.id\", or [\"user\", \"id\"]. A number is an index of an array, from 0: \"items.0.sku\".",
);
const COLUMN_ZONE: TableKey = key(
    "zone",
    KeyShape::Text,
    "Type timestamp: time zone of times without an offset, for example \"Europe/Berlin\"; UTC by default.",
);
const COLUMN_ENCODING: TableKey = key(
    "encoding",
    KeyShape::Word(&BinaryEncoding::NAMES),
    "Type binary in json, csv and text: encoding of the bytes, \"utf8\", \"hex\" or \"base64\"; \"utf8\" by default.",
);

/// A column of a source, as a table.
pub(crate) const COLUMN: &[TableKey] = &[
    COLUMN_TYPE,
    COLUMN_PATH,
    key("from", KeyShape::Text, "Part of the record that holds the column, if that is not the value."),
    COLUMN_ZONE,
    COLUMN_ENCODING,
];
/// A column of a lookup table, as a table.
pub(crate) const LOOKUP_COLUMN: &[TableKey] = &[COLUMN_TYPE, COLUMN_PATH, COLUMN_ZONE, COLUMN_ENCODING];
