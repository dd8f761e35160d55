//! Declaration of the `clickhouse` sink: its keys in job files.

use super::settings::ClickhouseWrites;
use super::sink;
use arrow::datatypes::SchemaRef;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_job::PartErrors;
use millstream_job::connector::{SinkDeclaration, TLS_OF_HOST, WAIT};
use millstream_job::keys::{KeyShape, key};
use millstream_job::spec::{SinkConfig, SinkStart};
use millstream_job::table::Reader;
use millstream_rows::batch::json;
use millstream_rows::batch::sink::{EncodeRows, Sink};
use std::sync::Arc;

const KIND: &str = "clickhouse";

/// Sinks of kind `clickhouse`.
pub const SINK: SinkDeclaration = SinkDeclaration {
    kind: KIND,
    doc: "a ClickHouse table",
    keys: &[
        key("url", KeyShape::Text, "HTTP interface of the ClickHouse server, for example \"https://host:8443\".")
            .required(),
        key("table", KeyShape::Text, "Table, for example \"counts\" or \"database.counts\".").required(),
        key("user", KeyShape::Text, "ClickHouse user, by default the server's default user."),
        key("password", KeyShape::Text, "Password of `user`, for example \"${CLICKHOUSE_PASSWORD}\"."),
        key(
            "exactly_once",
            KeyShape::Flag,
            "Require a table that deduplicates inserts. If false, rows may be duplicated after a crash. true by default.",
        ),
        key(
            "rows_per_request_max",
            KeyShape::Integer(1, i64::MAX as u64),
            "Maximum rows per insert, 10000 by default.",
        ),
        key(
            "request_bytes_max",
            KeyShape::Size,
            "Maximum bytes of rows per insert, 4MiB by default; at least one row is sent.",
        ),
        key("timeout", KeyShape::Time, "Timeout for a response, 30s by default."),
    ],
    shared: &[TLS_OF_HOST, WAIT],
    read: |r| ClickhouseWrites::read(r).into(),
};

impl ClickhouseWrites {
    fn read(r: &Reader<'_>) -> ClickhouseWrites {
        let url = r.needed_text("url", "url = \"https://host:8443\"");
        let mut writes = ClickhouseWrites::new(url, r.needed_text("table", "table = \"counts\""));
        writes.user = r.text("user", "user = \"writer\"").map(str::to_owned);
        writes.password = r.text("password", "password = \"${NAME}\"").map(str::to_owned);
        writes.exactly_once = r.flag("exactly_once").unwrap_or(true);
        writes.requests.read_requests(r);
        writes
    }
}

impl SinkConfig for ClickhouseWrites {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, part: &PartErrors<'_>) {
        if self.requests.url.contains('?') {
            part.wrong("url", "`url` must have only the server's address; write it as \"https://host:8443\"");
            return;
        }
        self.requests.check(part);
        let is_name = |name: &str| !name.is_empty() && !name.contains(['`', '\'', '"', '\\', '\0']);
        let names: Vec<&str> = self.table.split('.').collect();
        if names.len() > 2 || !names.iter().all(|name| is_name(name)) {
            let table = self.table.escape_debug();
            part.wrong(
                "table",
                format!("`table = \"{table}\"` is not a table; write it as \"counts\" or \"database.counts\""),
            );
        }
        if self.password.is_some() && self.user.is_none() {
            part.wrong("password", "`password` needs `user`; write user = \"…\"");
        }
    }

    fn promises(&self) -> Vec<String> {
        let promise = match self.exactly_once {
            true => "exactly once, with [checkpoint], within the table's deduplication window",
            false => "at least once",
        };
        vec![promise.into()]
    }

    fn passes_over_repeated_rows(&self) -> bool {
        true
    }

    fn check_start(&self, start: SinkStart<'_>, schema: &SchemaRef, keeps_checkpoints: bool) -> Result<()> {
        sink::check(self, start, schema, keeps_checkpoints)
    }

    fn open(&self, start: SinkStart<'_>, _schema: &SchemaRef, failure: &Failure) -> Result<Box<dyn Sink>> {
        sink::open(self, start, start.owner, failure)
    }

    fn encoder(&self, _start: SinkStart<'_>, _schema: &SchemaRef) -> Result<Option<EncodeRows>> {
        Ok(Some(Arc::new(json::encode)))
    }
}
