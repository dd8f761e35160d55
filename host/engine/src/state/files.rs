//! Divides the rows of a table into slices, and these into files, both of bounded size, so that even a huge table is never copied completely.

use crate::checkpoint::changes::TableChanges;
use arrow::array::RecordBatch;

/// Some rows of a table in file format.
pub struct TableSlice {
    /// The rows.
    pub rows: RecordBatch,
    /// The key groups of the first row and of the last one, if all slices together are in the order of key groups.
    pub groups: Option<(u32, u32)>,
}

/// Receives the slices of a table one after the other, at least one.
pub type SliceSink<'a> = dyn FnMut(TableSlice) + 'a;

/// Groups slices into files. A file ends when it is large and the next slice begins with another key group. So each file has its own key groups, as
/// if it were of another worker.
pub struct Files<'a> {
    table: usize,
    base: bool,
    bytes_max: usize,
    /// The first key group of the file, and the one after the last of all files.
    groups: (u32, u32),
    number: u32,
    /// See [`Files::index_by`].
    indexed_by: Option<usize>,
    slices: Vec<RecordBatch>,
    bytes: usize,
    last: Option<u32>,
    full: &'a mut dyn FnMut(TableChanges),
}

impl<'a> Files<'a> {
    /// Creates the files of the table at this index, for these key groups. `full` receives each file but the last.
    pub fn new(
        table: usize,
        groups: (u32, u32),
        base: bool,
        bytes_max: usize,
        full: &'a mut dyn FnMut(TableChanges),
    ) -> Files<'a> {
        let (number, indexed_by, slices, bytes, last) = (0, None, Vec::new(), 0, None);
        Files { table, base, bytes_max, groups, number, indexed_by, slices, bytes, last, full }
    }

    /// Gives files an index by the hashes of this many columns, see [`TableChanges::indexed_by`].
    pub fn index_by(&mut self, columns: Option<usize>) {
        self.indexed_by = columns;
    }

    /// Sets how many files the table has already.
    #[must_use]
    pub fn starting_at(mut self, files: u32) -> Files<'a> {
        self.number = files;
        self
    }

    /// Adds the next rows.
    pub fn add(&mut self, slice: TableSlice) {
        let bytes = slice.rows.get_array_memory_size();
        let is_full = self.bytes > 0 && self.bytes.saturating_add(bytes) > self.bytes_max;
        if let (true, Some((first, _)), Some(last)) = (is_full, slice.groups, self.last)
            && first > last
        {
            let file = self.close(first);
            (self.full)(file);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.last = slice.groups.map(|(_, last)| last);
        self.slices.push(slice.rows);
    }

    /// Returns the last file.
    pub fn end(mut self) -> TableChanges {
        self.close(self.groups.1)
    }

    fn close(&mut self, end: u32) -> TableChanges {
        let groups = (std::mem::replace(&mut self.groups.0, end), end);
        let number = self.number;
        self.number += 1;
        self.bytes = 0;
        let (table, base, indexed_by) = (self.table, self.base, self.indexed_by);
        TableChanges { table, number, groups, base, indexed_by, rows: std::mem::take(&mut self.slices) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};
    use std::sync::Arc;

    fn slice(rows: i64, groups: (u32, u32)) -> TableSlice {
        let rows: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        TableSlice { rows: RecordBatch::try_from_iter([("n", rows)]).unwrap(), groups: Some(groups) }
    }

    /// Returns the key groups and the number of slices of each file.
    fn files(slices: &[(i64, (u32, u32))]) -> Vec<((u32, u32), usize)> {
        let mut all: Vec<TableChanges> = Vec::new();
        let mut full = |file| all.push(file);
        let mut files = Files::new(3, (10, 100), true, 1000, &mut full);
        slices.iter().for_each(|(rows, groups)| files.add(slice(*rows, *groups)));
        let last = files.end();
        all.push(last);
        assert!(all.iter().enumerate().all(|(number, file)| file.number as usize == number && file.base));
        all.into_iter().map(|file| (file.groups, file.rows.len())).collect()
    }

    #[test]
    fn files_have_key_groups_of_their_own() {
        assert_eq!(files(&[(5, (10, 10))]), [((10, 100), 1)]);
        assert_eq!(
            files(&[(60, (12, 20)), (60, (21, 40)), (60, (50, 50))]),
            [((10, 21), 1), ((21, 50), 1), ((50, 100), 1)]
        );
        // A key group is in one file, however large it is.
        assert_eq!(
            files(&[(60, (12, 20)), (600, (20, 20)), (600, (20, 20)), (1, (21, 21))]),
            [((10, 21), 3), ((21, 100), 1)]
        );
        assert_eq!(files(&[(5, (10, 11)), (5, (12, 13))]), [((10, 100), 2)]);
    }
}
