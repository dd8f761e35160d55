//! How the rows of tables are kept whose changes a job reads.

use super::TableMode;

/// The key by which a sink or stage keeps the rows of tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangesKey {
    /// As ``sink `copy` ``.
    pub who: String,
    /// Columns of the tables.
    pub columns: Vec<String>,
}

/// How a sink takes changes of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkChanges<'a> {
    /// As any other rows.
    Rows,
    /// As any other rows, and whoever reads them takes them for changes.
    Told,
    /// It does what they say.
    Followed {
        /// The columns by which it keeps rows; empty: all columns.
        key: &'a [String],
        /// The column that says what a change does.
        op: &'a str,
        /// The column is true of rows that delete, instead of naming what they do.
        is_flag: bool,
    },
    /// It keeps rows and does not know what they do.
    Unknown {
        /// The key that is missing or wrong.
        key: &'static str,
        /// What to write.
        help: &'static str,
        /// Whether each row is one more.
        appends: bool,
    },
}

impl SinkChanges<'_> {
    /// Whether it does what a column of its rows says.
    pub fn are_followed(self) -> bool {
        matches!(self, SinkChanges::Followed { .. })
    }
}

impl TableMode {
    /// How the table takes changes of another one.
    pub fn changes(&self) -> SinkChanges<'_> {
        let unknown = |help, appends| SinkChanges::Unknown { key: "mode", help, appends };
        match self {
            TableMode::Append => unknown("write mode = \"upsert\" with the table's `key` and op = \"OP\"", true),
            TableMode::Upsert { key, op: Some(op) } => SinkChanges::Followed { key, op, is_flag: false },
            TableMode::Upsert { op: None, .. } => unknown("write op = \"OP\"", false),
        }
    }
}
