//! The rows of one side that may still find partners, as they arrived: in columns, many to a chunk.

use super::joined::RowPlace;
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, interleave_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use millstream_base::batch::slices::RowBytes;
use millstream_base::limits::PART_ROWS_MAX;

/// Small chunks become one up to this size.
const CHUNK_BYTES_MAX: usize = 4 << 20;

/// Rows by their numbers: 0, 1, 2 … as they arrived.
pub struct KeptRows {
    schema: SchemaRef,
    chunks: Vec<RowChunk>,
    /// The number of the next row.
    next: u64,
    live: usize,
}

struct RowChunk {
    /// The number of each row, ascending.
    numbers: Vec<u64>,
    rows: RecordBatch,
    /// Which rows are free.
    freed: Vec<bool>,
    /// Which rows have found a partner.
    matched: Vec<bool>,
    live: usize,
}

impl KeptRows {
    /// Keeps no rows yet.
    pub fn new(schema: SchemaRef) -> KeptRows {
        KeptRows { schema, chunks: Vec::new(), next: 0, live: 0 }
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The number that the next row will have.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// How many rows are kept.
    pub fn len(&self) -> usize {
        self.live
    }

    /// The memory that they take.
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| (chunk.rows.get_array_memory_size() + chunk.numbers.len() * 10) as u64).sum()
    }

    /// Keeps rows. They have found no partner yet.
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
        let behind = self.chunks.partition_point(|chunk| chunk.numbers.first().is_some_and(|first| *first <= number));
        let place = behind.checked_sub(1)?;
        Some((place, self.chunks.get(place)?.row(number)?))
    }

    /// Notes that a row has found a partner; whether it had none before.
    pub fn set_matched(&mut self, number: u64) -> bool {
        let Some((chunk, row)) = self.find(number) else { return false };
        !std::mem::replace(&mut self.chunks[chunk].matched[row], true)
    }

    /// Whether a row has found a partner.
    pub fn is_matched(&self, number: u64) -> bool {
        self.find(number).is_some_and(|(chunk, row)| self.chunks[chunk].matched[row])
    }

    /// Whether a row is still kept.
    pub fn is_kept(&self, number: u64) -> bool {
        self.find(number).is_some_and(|(chunk, row)| !self.chunks[chunk].freed[row])
    }

    /// The numbers of the rows that are kept, from this one on.
    pub fn numbers_from(&self, first: u64) -> impl Iterator<Item = u64> + '_ {
        let begin = self.chunks.partition_point(|chunk| chunk.numbers.last().is_some_and(|last| *last < first));
        let live = |chunk: &RowChunk| {
            let rows = chunk.numbers.iter().zip(&chunk.freed).filter(|(_, freed)| !**freed);
            rows.map(|(number, _)| *number).collect::<Vec<_>>()
        };
        self.chunks[begin..].iter().flat_map(live).filter(move |number| *number >= first)
    }

    /// Where rows are, among the chunks that hold some of them.
    pub fn places(
        &self,
        numbers: impl Iterator<Item = Option<u64>>,
    ) -> Result<(Vec<&RecordBatch>, Vec<Option<RowPlace>>), ArrowError> {
        const UNUSED: u32 = u32::MAX;
        let mut used = vec![UNUSED; self.chunks.len()];
        let mut chunks = Vec::new();
        let mut place = |number: Option<u64>| {
            let Some(number) = number else { return Ok(None) };
            let missing = || ArrowError::ComputeError(format!("row {number} of a join is not kept any more"));
            let (chunk, row) = self.find(number).ok_or_else(missing)?;
            if used[chunk] == UNUSED {
                used[chunk] = chunks.len() as u32;
                chunks.push(&self.chunks[chunk].rows);
            }
            Ok(Some(RowPlace { chunk: used[chunk], row: row as u32 }))
        };
        let places = numbers.map(&mut place).collect::<Result<_, ArrowError>>()?;
        Ok((chunks, places))
    }

    /// The bytes of a row.
    pub fn bytes_of(&self, number: u64) -> usize {
        let Some((chunk, row)) = self.find(number) else { return 0 };
        self.chunks.get(chunk).map_or(0, |chunk| RowBytes::of([&chunk.rows]).of_range(&(row..row + 1)))
    }

    /// Rows by their numbers, in this order.
    pub fn rows(&self, numbers: &[u64]) -> Result<RecordBatch, ArrowError> {
        let (chunks, places) = self.places(numbers.iter().map(|number| Some(*number)))?;
        if places.is_empty() {
            return Ok(RecordBatch::new_empty(self.schema.clone()));
        }
        let places: Vec<(usize, usize)> =
            places.into_iter().flatten().map(|at| (at.chunk as usize, at.row as usize)).collect();
        interleave_record_batch(&chunks, &places)
    }

    /// Gives rows up.
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

    /// Gives back the memory of freed rows, once they are more than half of their chunk, and makes one of small chunks: each
    /// row is copied a few times at most.
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
