//! Declaration of the `postgres` sink: its keys in job files.

use super::settings::PostgresWrites;
use arrow::datatypes::SchemaRef;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_base::ids::BatchId;
use millstream_job::connector::{PARTS_SHAPE, SinkDeclaration, TABLE, WAIT};
use millstream_job::keys::{KeyShape, key};
use millstream_job::spec::{PartWriter, SinkConfig, SinkStart, TableMode};
use millstream_job::table::Reader;
use millstream_job::{PartErrors, database};
use millstream_rows::batch::sink::Sink;

const KIND: &str = "postgres";

/// Sinks of kind `postgres`.
pub const SINK: SinkDeclaration = SinkDeclaration {
    kind: KIND,
    doc: "a PostgreSQL table",
    keys: &[
        key(
            "url",
            KeyShape::Text,
            "Database, for example \"postgres://user:${PGPASSWORD}@host/database\". ${NAME} is replaced by that environment \
             variable, which keeps the password out of the file.",
        )
        .required(),
        key(
            "table",
            KeyShape::Text,
            "Table, for example \"counts\" or \"schema.counts\". It is created if it does not exist.",
        )
        .required(),
        key(
            "parts",
            PARTS_SHAPE,
            "Transactions of a batch: one, with its rows in order (`batch`), or one per worker that has rows (`worker`). With \
             `worker`, workers write at the same time, each with its own marker. `batch` by default.",
        ),
    ],
    shared: &[TABLE, WAIT],
    read: |r| PostgresWrites::read(r).into(),
};

impl PostgresWrites {
    fn read(r: &Reader<'_>) -> PostgresWrites {
        let url = r.needed_text("url", "url = \"postgres://user:${PGPASSWORD}@127.0.0.1/database\"");
        let table = r.needed_text("table", "table = \"counts\"");
        let mut writes = PostgresWrites::new(url, table, r.table_mode());
        writes.wait = r.time("wait").unwrap_or(writes.wait);
        writes.parts = r.parts_by();
        writes
    }
}

impl SinkConfig for PostgresWrites {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, part: &PartErrors<'_>) {
        if let Err(message) = database::check_url(&self.url) {
            part.wrong("url", message);
        }
        if let Err(message) = database::table(&self.table) {
            part.wrong("table", message);
        }
        part.table_mode(&self.mode);
        if matches!(self.mode, TableMode::Upsert { op: Some(_), .. }) && self.by_worker() {
            part.wrong(
                "parts",
                "`op` needs the order of all rows, but with parts = \"worker\" workers do not wait for each other; \
                 remove one of them",
            );
        }
    }

    fn table_mode(&self) -> Option<&TableMode> {
        Some(&self.mode)
    }

    fn by_worker(&self) -> bool {
        self.parts == PartWriter::Worker
    }

    fn check_start(&self, start: SinkStart<'_>, schema: &SchemaRef, _keeps_checkpoints: bool) -> Result<()> {
        super::check(self, start, schema)
    }

    fn open(&self, start: SinkStart<'_>, schema: &SchemaRef, failure: &Failure) -> Result<Box<dyn Sink>> {
        super::open(self, start, schema, start.owner, failure)
    }

    fn committed(&self, start: SinkStart<'_>, job_id: &str) -> Result<Option<BatchId>> {
        super::committed(self, start, job_id)
    }
}
