//! Settings of sources of kind `postgres-changes`.

use millstream_base::job::spec::Url;
use millstream_base::job::spec::{ChangesKey, ServerStart};

/// Which tables are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangesReads {
    /// Where the database is, and the credentials.
    pub url: Url,
    /// The tables, as `table` or `schema.table`.
    pub tables: Vec<String>,
    /// The publication that has them; `None`: the job makes one.
    pub publication: Option<String>,
    /// Whether the rows that are there come before the changes.
    pub start: ServerStart,
    /// By which columns of the tables the job keeps rows: they have to come with a delete. Not from the job file.
    pub keys: Vec<ChangesKey>,
}
