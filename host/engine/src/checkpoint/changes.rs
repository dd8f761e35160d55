//! Rows to be written to a checkpoint.

use arrow::array::RecordBatch;

/// One file of rows of a table for a checkpoint.
#[derive(Clone, Debug)]
pub struct TableChanges {
    /// The table's index in [`crate::checkpoint::loaded::LoadedCheckpoint::tables`].
    pub table: usize,
    /// The number of the file among those that this worker writes of the table for this checkpoint, from 0.
    pub number: u32,
    /// The key groups whose rows it holds, among those that this worker owns: the first, and the one after the last.
    pub groups: (u32, u32),
    /// It holds all rows of these groups, not only the changes.
    pub base: bool,
    /// Set if the table may be larger than memory: rows are ordered by the hashes of this many columns.
    pub indexed_by: Option<usize>,
    /// Slices in the format of [`crate::checkpoint::state_file`]; at least one.
    pub rows: Vec<RecordBatch>,
}

impl TableChanges {
    /// Creates the only file of a small table: all rows, or the changes.
    pub fn small(table: usize, groups: (u32, u32), base: bool, rows: RecordBatch) -> TableChanges {
        TableChanges { table, number: 0, groups, base, indexed_by: None, rows: vec![rows] }
    }

    /// Returns the number of rows.
    pub fn num_rows(&self) -> u64 {
        self.rows.iter().map(|rows| rows.num_rows() as u64).sum()
    }

    /// Returns the memory that they take.
    pub fn bytes(&self) -> u64 {
        self.rows.iter().map(|rows| rows.get_array_memory_size() as u64).sum()
    }
}
