//! The keys of sinks of kind `clickhouse`.

use super::{KeyShape, TLS, TableKey, key};

const CLICKHOUSE: &[&str] = &["clickhouse"];

/// They.
pub(super) const SINK: &[TableKey] = &[
    key("url", KeyShape::Text, "The server's HTTP interface, as \"https://host:8443\".").of(CLICKHOUSE).needed(CLICKHOUSE),
    key("table", KeyShape::Text, "The table, as \"counts\" or \"database.counts\".").of(CLICKHOUSE).needed(CLICKHOUSE),
    key("user", KeyShape::Text, "Who the job is to the server; by default the server's own default user.").of(CLICKHOUSE),
    key("password", KeyShape::Text, "The user's password, as \"${CLICKHOUSE_PASSWORD}\".").of(CLICKHOUSE),
    key(
        "exactly_once",
        KeyShape::Flag,
        "Whether the job refuses a table that does not know insertions again, true by default; with false rows may come again after a \
         crash.",
    )
    .of(CLICKHOUSE),
    key("tls", KeyShape::Either(&[KeyShape::Flag, KeyShape::Table(TLS)]), "How a server with https is spoken to: { ca = \"issuer.pem\", cert = \"own.pem\", key = \"own.key\" }.")
        .of(CLICKHOUSE),
    key("rows_per_request_max", KeyShape::Whole(1, i64::MAX as u64), "Most rows of one insertion, 10000 by default.").of(CLICKHOUSE),
    key("request_bytes_max", KeyShape::Size, "Most bytes of rows of one insertion, 4MiB by default; one row at least.").of(CLICKHOUSE),
    key("timeout", KeyShape::Time, "How long an answer may take, 30s by default.").of(CLICKHOUSE),
    key("wait", KeyShape::Time, "How long the job waits for the server where it is away or hangs; 1h by default.").of(CLICKHOUSE),
];
