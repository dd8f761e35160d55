//! Declaration of the `sqlite` sink: its keys in job files.

use super::settings::SqliteWrites;
use super::sink;
use arrow::datatypes::SchemaRef;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_base::ids::BatchId;
use millstream_base::limits::SERVER_WAIT_MS;
use millstream_job::connector::{SinkDeclaration, TABLE};
use millstream_job::keys::{KeyShape, key};
use millstream_job::spec::TableMode;
use millstream_job::spec::{SinkConfig, SinkStart};
use millstream_job::table::Reader;
use millstream_job::{PartErrors, parts};
use millstream_rows::batch::sink::Sink;
use std::time::Duration;

const KIND: &str = "sqlite";

/// Sinks of kind `sqlite`.
pub const SINK: SinkDeclaration = SinkDeclaration {
    kind: KIND,
    doc: "a table in a SQLite file",
    keys: &[
        key(
            "path",
            KeyShape::Text,
            "Database file, relative to the job file. It is created if it does not exist; its directory must exist.",
        )
        .required(),
        key("table", KeyShape::Text, "Table, for example \"counts\". It is created if it does not exist.").required(),
        key(
            "wait",
            KeyShape::Time,
            "How long the job waits while another program uses the file or the disk is full, 1h by default.",
        ),
    ],
    shared: &[TABLE],
    read: |r| SqliteWrites::read(r).into(),
};

impl SqliteWrites {
    fn read(r: &Reader<'_>) -> SqliteWrites {
        let path = "path = \"shop.db\"";
        r.need("path", path);
        SqliteWrites {
            path: r.path("path", path).unwrap_or_default(),
            table: r.needed_text("table", "table = \"counts\""),
            mode: r.table_mode(),
            wait: r.time("wait").unwrap_or(Duration::from_millis(SERVER_WAIT_MS)),
        }
    }
}

impl SinkConfig for SqliteWrites {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, part: &PartErrors<'_>) {
        parts::file_path("path", &self.path, part);
        if self.table.is_empty() || self.table.contains('\0') {
            part.wrong("table", "`table` is empty or contains NUL; write a name, for example \"counts\"");
        } else if let Some(of) = table_owner(&self.table) {
            let table = self.table.escape_debug();
            part.wrong("table", format!("`{table}` is a name reserved for {of}; write another one"));
        }
        part.table_mode(&self.mode);
    }

    fn promises(&self) -> Vec<String> {
        vec!["exactly once, with [checkpoint]: each transaction contains its batch ID".into()]
    }

    /// Binary columns are blobs.
    fn is_text(&self) -> bool {
        false
    }

    fn table_mode(&self) -> Option<&TableMode> {
        Some(&self.mode)
    }

    fn check_start(&self, start: SinkStart<'_>, schema: &SchemaRef, _keeps_checkpoints: bool) -> Result<()> {
        sink::check(self, start, schema)
    }

    fn open(&self, start: SinkStart<'_>, schema: &SchemaRef, failure: &Failure) -> Result<Box<dyn Sink>> {
        sink::open(self, start, schema, start.owner, failure)
    }

    fn committed(&self, start: SinkStart<'_>, job_id: &str) -> Result<Option<BatchId>> {
        sink::committed(self, start, job_id)
    }
}

/// Returns the owner of a table name that no job may use. Names in SQLite are compared in lowercase.
fn table_owner(table: &str) -> Option<&'static str> {
    let table = table.to_ascii_lowercase();
    match table.as_str() {
        sink::MARKERS => Some("Millstream"),
        _ => table.starts_with("sqlite_").then_some("SQLite"),
    }
}
