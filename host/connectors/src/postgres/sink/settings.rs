//! Settings of sinks of kind `postgres`.

use millstream_base::job::spec::{PartsBy, TableMode, Url};
use millstream_base::limits;
use std::time::Duration;

/// What is written.
#[derive(Clone, Debug, PartialEq)]
pub struct PostgresWrites {
    /// `postgres://user:password@host/database`; `${NAME}` stands for an environment variable.
    pub url: Url,
    /// `table` or `schema.table`
    pub table: String,
    /// What a row does to the table.
    pub mode: TableMode,
    /// Who writes them.
    pub parts: PartsBy,
    /// How long the job waits for the server where it is away, at its start and later.
    pub wait: Duration,
}

impl PostgresWrites {
    /// Into this table of the database at this URL.
    pub fn new(url: impl Into<String>, table: impl Into<String>, mode: TableMode) -> PostgresWrites {
        let wait = Duration::from_millis(limits::SERVER_WAIT_MS);
        PostgresWrites { url: Url(url.into()), table: table.into(), mode, parts: PartsBy::default(), wait }
    }
}
