//! How the rows of tables are kept whose changes a source reads.

/// The key by which a sink or stage keeps the rows of tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangesKey {
    /// As ``sink `copy` ``.
    pub who: String,
    /// Columns of the tables.
    pub columns: Vec<String>,
}
