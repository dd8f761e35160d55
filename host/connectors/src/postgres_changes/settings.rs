//! Settings of `postgres-changes` sources.

use millstream_job::spec::Url;
use millstream_job::spec::{ChangesKey, ServerStart};

/// Settings of a source: the tables to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangesReads {
    /// The URL of the database, with credentials.
    pub url: Url,
    /// The tables, as `table` or `schema.table`.
    pub tables: Vec<String>,
    /// The publication of the tables; `None`: the job creates one.
    pub publication: Option<String>,
    /// Whether the existing rows are read before the changes.
    pub start: ServerStart,
    /// The table columns by which the job keeps rows, which deletes must contain. Not from the job file.
    pub keys: Vec<ChangesKey>,
}
