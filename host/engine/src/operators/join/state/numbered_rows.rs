//! The rows of one side that may still find partners, in the order of arrival: in columns, many per chunk.

use super::joined::RowPosition;
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, interleave_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use millstream_base::limits::PART_ROWS_MAX;
use millstream_rows::batch::slices::RowBytes;

/// Small chunks are merged up to this size.
const CHUNK_BYTES_MAX: usize = 4 << 20;

/// Rows by their numbers: 0, 1, 2 … in the order of arrival.
pub struct NumberedRows {
    schema: SchemaRef,
    chunks: Vec<RowChunk>,
    /// Number of the next row.
    next: u64,
    live: usize,
}

struct RowChunk {
    /// Number of each row, ascending.
    numbers: Vec<u64>,
    rows: RecordBatch,
    /// Whether each row is free.
    freed: Vec<bool>,
    /// Whether each row has found a partner.
    matched: Vec<bool>,
    live: usize,
}

impl NumberedRows {
    /// Creates an empty list of rows.
    pub fn new(schema: SchemaRef) -> NumberedRows {
        NumberedRows { schema, chunks: Vec::new(), next: 0, live: 0 }
    }

    /// Returns the columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Returns the number of the next row.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Returns the number of stored rows.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Returns the memory of the rows.
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| (chunk.rows.get_array_memory_size() + chunk.numbers.len() * 10) as u64).sum()
    }

    /// Adds rows without partners.
    pub fn add(&mut self, rows: RecordBatch) {
        let count = rows.num_rows();
        if count == 0 {
            return;
        }
        let numbers = (self.next..self.next + count as u64).collect();
        let (freed, matched) = (vec![false; count], vec![false; count]);
        self.chunks.push(RowChunk { numbers, rows, freed, matched, live: count });
        self.next += count as u64;
        self.live += count;
    }

    fn find(&self, number: u64) -> Option<(usize, usize)> {
        let later = self.chunks.partition_point(|chunk| chunk.numbers.first().is_some_and(|first| *first <= number));
        let index = later.checked_sub(1)?;
        Some((index, self.chunks.get(index)?.row(number)?))
    }

    /// Marks a row as matched. Returns whether it had no partner before.
    pub fn set_matched(&mut self, number: u64) -> bool {
        let Some((chunk, row)) = self.find(number) else { return false };
        !std::mem::replace(&mut self.chunks[chunk].matched[row], true)
    }

    /// Returns whether a row has found a partner.
    pub fn is_matched(&self, number: u64) -> bool {
        self.find(number).is_some_and(|(chunk, row)| self.chunks[chunk].matched[row])
    }

    /// Returns whether a row is still stored.
    pub fn is_kept(&self, number: u64) -> bool {
        self.find(number).is_some_and(|(chunk, row)| !self.chunks[chunk].freed[row])
    }

    /// Returns the numbers of the stored rows, from this one on.
    pub fn numbers_from(&self, first: u64) -> impl Iterator<Item = u64> + '_ {
        let begin = self.chunks.partition_point(|chunk| chunk.numbers.last().is_some_and(|last| *last < first));
        let live = |chunk: &RowChunk| {
            let rows = chunk.numbers.iter().zip(&chunk.freed).filter(|(_, freed)| !**freed);
            rows.map(|(number, _)| *number).collect::<Vec<_>>()
        };
        self.chunks[begin..].iter().flat_map(live).filter(move |number| *number >= first)
    }

    /// Returns the positions of rows, among the chunks that contain any of them.
    pub fn positions(
        &self,
        numbers: impl Iterator<Item = Option<u64>>,
    ) -> Result<(Vec<&RecordBatch>, Vec<Option<RowPosition>>), ArrowError> {
        const UNUSED: u32 = u32::MAX;
        let mut used = vec![UNUSED; self.chunks.len()];
        let mut chunks = Vec::new();
        let mut index = |number: Option<u64>| {
            let Some(number) = number else { return Ok(None) };
            let missing = || ArrowError::ComputeError(format!("row {number} of a join is no longer kept"));
            let (chunk, row) = self.find(number).ok_or_else(missing)?;
            if used[chunk] == UNUSED {
                used[chunk] = chunks.len() as u32;
                chunks.push(&self.chunks[chunk].rows);
            }
            Ok(Some(RowPosition { chunk: used[chunk], row: row as u32 }))
        };
        let indexes = numbers.map(&mut index).collect::<Result<_, ArrowError>>()?;
        Ok((chunks, indexes))
    }

    /// Returns the bytes of a row.
    pub fn bytes_of(&self, number: u64) -> usize {
        let Some((chunk, row)) = self.find(number) else { return 0 };
        self.chunks.get(chunk).map_or(0, |chunk| RowBytes::measure([&chunk.rows]).of_range(&(row..row + 1)))
    }

    /// Returns rows by their numbers, in this order.
    pub fn rows(&self, numbers: &[u64]) -> Result<RecordBatch, ArrowError> {
        let (chunks, indexes) = self.positions(numbers.iter().map(|number| Some(*number)))?;
        if indexes.is_empty() {
            return Ok(RecordBatch::new_empty(self.schema.clone()));
        }
        let indexes: Vec<(usize, usize)> =
            indexes.into_iter().flatten().map(|at| (at.chunk as usize, at.row as usize)).collect();
        interleave_record_batch(&chunks, &indexes)
    }

    /// Frees rows.
    pub fn free(&mut self, numbers: &[u64]) {
        for number in numbers {
            let Some((chunk, row)) = self.find(*number) else { continue };
            let chunk = &mut self.chunks[chunk];
            if !std::mem::replace(&mut chunk.freed[row], true) {
                chunk.live -= 1;
                self.live -= 1;
            }
        }
    }

    /// Releases the memory of freed rows once they are more than half of their chunk, and merges small chunks. Each row is copied a few times at
    /// most.
    pub fn tidy(&mut self) -> Result<(), ArrowError> {
        self.chunks.retain(|chunk| chunk.live > 0);
        for chunk in self.chunks.iter_mut().filter(|chunk| chunk.live * 2 < chunk.numbers.len()) {
            chunk.shrink()?;
        }
        while let [.., before, last] = self.chunks.as_slice() {
            let rows = before.numbers.len() + last.numbers.len();
            let bytes = before.rows.get_array_memory_size() + last.rows.get_array_memory_size();
            if before.numbers.len() > last.numbers.len() * 2 || rows > PART_ROWS_MAX || bytes > CHUNK_BYTES_MAX {
                break;
            }
            let rows = concat_batches(&self.schema, [&before.rows, &last.rows])?;
            if let Some(last) = self.chunks.pop()
                && let Some(before) = self.chunks.last_mut()
            {
                before.numbers.extend(last.numbers);
                before.freed.extend(last.freed);
                before.matched.extend(last.matched);
                before.live += last.live;
                before.rows = rows;
            }
        }
        Ok(())
    }
}

impl RowChunk {
    fn row(&self, number: u64) -> Option<usize> {
        let dense = number.checked_sub(*self.numbers.first()?)? as usize;
        if self.numbers.get(dense) == Some(&number) {
            return Some(dense);
        }
        self.numbers.binary_search(&number).ok()
    }

    fn shrink(&mut self) -> Result<(), ArrowError> {
        let live: Vec<u32> = (0u32..).zip(&self.freed).filter(|(_, freed)| !**freed).map(|(row, _)| row).collect();
        self.numbers = live.iter().map(|row| self.numbers[*row as usize]).collect();
        self.matched = live.iter().map(|row| self.matched[*row as usize]).collect();
        self.freed = vec![false; live.len()];
        self.rows = take_record_batch(&self.rows, &UInt32Array::from(live))?;
        Ok(())
    }
}
