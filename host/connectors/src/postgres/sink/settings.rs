//! Settings of `postgres` sinks.

use millstream_base::limits;
use millstream_job::spec::{PartWriter, TableMode, Url};
use std::time::Duration;

/// Settings of a sink: what it writes, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct PostgresWrites {
    /// `postgres://user:password@host/database`; `${NAME}` stands for an environment variable.
    pub url: Url,
    /// `table` or `schema.table`
    pub table: String,
    /// What a row does to the table.
    pub mode: TableMode,
    /// Which processes write rows.
    pub parts: PartWriter,
    /// How long the job waits for an unreachable server, at startup and later.
    pub wait: Duration,
}

impl PostgresWrites {
    /// Returns settings that write to this table of the database at this URL.
    pub fn new(url: impl Into<String>, table: impl Into<String>, mode: TableMode) -> PostgresWrites {
        let wait = Duration::from_millis(limits::SERVER_WAIT_MS);
        PostgresWrites { url: Url(url.into()), table: table.into(), mode, parts: PartWriter::default(), wait }
    }
}
