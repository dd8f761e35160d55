//! How the rows of tables whose changes a job reads are kept.

use super::TableMode;

/// The key by which a sink or stage keeps the rows of tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangesKey {
    /// For example ``sink `copy` ``.
    pub who: String,
    /// Columns of the tables.
    pub columns: Vec<String>,
}

/// How a sink handles changes of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkChanges<'a> {
    /// Like any other rows.
    Rows,
    /// Like any other rows; its readers interpret them as changes.
    PassedOn,
    /// It applies them.
    Followed {
        /// The columns by which it keeps rows; empty: all columns.
        key: &'a [String],
        /// The column with the operation of a change.
        op: &'a str,
        /// The column is true for rows that delete, instead of naming the operation.
        is_flag: bool,
    },
    /// It keeps rows and ignores their operation.
    Unknown {
        /// The key that is missing or wrong.
        key: &'static str,
        /// What to write.
        help: &'static str,
        /// Whether each row is a new one.
        appends: bool,
    },
}

impl SinkChanges<'_> {
    /// Returns whether it applies the operation in a column of its rows.
    pub fn are_followed(self) -> bool {
        matches!(self, SinkChanges::Followed { .. })
    }
}

impl TableMode {
    /// Returns how the table handles changes of another one.
    pub fn changes(&self) -> SinkChanges<'_> {
        let unknown = |help, appends| SinkChanges::Unknown { key: "mode", help, appends };
        match self {
            TableMode::Append => unknown("write mode = \"upsert\" with the table's `key` and op = \"OP\"", true),
            TableMode::Upsert { key, op: Some(op) } => SinkChanges::Followed { key, op, is_flag: false },
            TableMode::Upsert { op: None, .. } => unknown("write op = \"OP\"", false),
        }
    }
}
