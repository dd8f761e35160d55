//! Rows on their way into a checkpoint.

use arrow::array::RecordBatch;

/// Rows of a table that a checkpoint has to hold: one file of them.
#[derive(Clone, Debug)]
pub struct TableChanges {
    /// The table's place in [`crate::checkpoint::loaded::LoadedCheckpoint::tables`].
    pub table: usize,
    /// Which file it is of those that this worker writes of the table for this checkpoint, from 0.
    pub number: u32,
    /// The key groups whose rows it holds, of those that this worker owns: the first, and one behind the last.
    pub groups: (u32, u32),
    /// All rows of these groups, instead of those that changed.
    pub base: bool,
    /// Where they are of a table that may be larger than memory: of how many columns the hashes are in whose order they are.
    pub indexed_by: Option<usize>,
    /// As in a file of [`crate::checkpoint::state_file`], in slices; at least one.
    pub rows: Vec<RecordBatch>,
}

impl TableChanges {
    /// A small table that one worker has: all of it, or what changed.
    pub fn small(table: usize, groups: (u32, u32), base: bool, rows: RecordBatch) -> TableChanges {
        TableChanges { table, number: 0, groups, base, indexed_by: None, rows: vec![rows] }
    }

    /// How many rows there are.
    pub fn num_rows(&self) -> u64 {
        self.rows.iter().map(|rows| rows.num_rows() as u64).sum()
    }

    /// The memory that they take.
    pub fn bytes(&self) -> u64 {
        self.rows.iter().map(|rows| rows.get_array_memory_size() as u64).sum()
    }
}
