//! Joins small chunks, so that a record that comes alone costs only a copy of its bytes.

use crate::batch::chunk::UNCLOSED;
use crate::batch::chunk::{Chunk, RejectedRecord};
use crate::batch::position::Extent;
use crate::batch::ready::ReadyRows;
use bytes::{Bytes, BytesMut};
use millstream_base::limits::{PART_BYTES_MAX, PART_ROWS_MAX};

/// Number of pieces of columns that are joined together: the overhead of a piece may exceed the size of its rows.
const PIECES_MAX: usize = 64;

/// A chunk that is still growing.
#[derive(Default)]
pub struct GrowingChunk {
    bytes: BytesMut,
    ends: Vec<u32>,
    header: Bytes,
    rejected: Vec<RejectedRecord>,
    /// Instead of records, if rows arrived as columns.
    ready: Vec<ReadyRows>,
    ready_rows: usize,
    /// Pieces that were not joined yet.
    ready_pieces: usize,
    ready_bytes: usize,
    extent: Extent,
}

impl GrowingChunk {
    /// Returns whether it holds no records.
    pub fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    /// Returns the number of records.
    pub fn rows(&self) -> usize {
        self.ends.len() + self.ready_rows
    }

    /// Returns where its records come from.
    pub fn extent(&self) -> &Extent {
        &self.extent
    }

    /// Returns whether it and this chunk fit into one part and are contiguous in their source.
    pub fn fits(&self, chunk: &Chunk) -> bool {
        self.is_empty()
            || (!self.ends_unclosed()
                && self.bytes.len() + self.ready_bytes + chunk.bytes() <= PART_BYTES_MAX
                && self.rows() + chunk.rows() <= PART_ROWS_MAX
                && self.is_like(chunk)
                && self.follows(chunk))
    }

    /// Returns whether both are records, or columns of the same types.
    fn is_like(&self, chunk: &Chunk) -> bool {
        match (self.ready.first(), &chunk.ready) {
            (None, None) => true,
            (Some(ready), Some(more)) => ready.are_like(more),
            _ => false,
        }
    }

    /// Returns whether its last record must stay the last.
    fn ends_unclosed(&self) -> bool {
        let last = self.rejected.last().filter(|last| last.row as usize + 1 == self.ends.len());
        last.is_some_and(|last| last.reason == UNCLOSED)
    }

    /// Returns whether this chunk directly follows it in the source.
    fn follows(&self, chunk: &Chunk) -> bool {
        let (before, next) = (&self.extent, &chunk.extent);
        // Files do not count rows: this field holds the file's identity. No two chunks that count rows begin at the same row.
        let rows_go_on = next.row == before.row.saturating_add(self.rows() as u64) || next.row == before.row;
        rows_go_on
            && before.start.saturating_add(before.bytes) == next.start
            && before.file == next.file
            && self.header == chunk.header
    }

    /// Appends the records of a chunk. The caller keeps both together below 4 GiB.
    pub fn add(&mut self, chunk: Chunk) {
        let (bytes_before, rows_before) = (self.bytes.len() as u32, self.ends.len() as u32);
        let bytes = self.extent.bytes.saturating_add(chunk.extent.bytes);
        if self.is_empty() {
            self.header = chunk.header;
            self.extent = chunk.extent;
        }
        self.extent.bytes = bytes;
        if let Some(ready) = chunk.ready {
            self.ready_rows += ready.rows().num_rows();
            self.ready_bytes += ready.bytes();
            self.ready.push(ready);
            self.ready_pieces += 1;
            if self.ready_pieces == PIECES_MAX {
                let pieces = self.ready.split_off(self.ready.len() - PIECES_MAX);
                self.ready.extend(ReadyRows::joined(pieces));
                self.ready_pieces = 0;
            }
            return;
        }
        self.bytes.extend_from_slice(&chunk.bytes);
        self.ends.extend(chunk.ends.iter().map(|end| bytes_before + end));
        let rejected = chunk.rejected.into_iter();
        self.rejected.extend(rejected.map(|rejected| RejectedRecord { row: rows_before + rejected.row, ..rejected }));
    }

    /// Returns all that was added as one chunk.
    pub fn into_chunk(self) -> Chunk {
        let GrowingChunk { bytes, ends, header, rejected, ready, extent, .. } = self;
        Chunk { bytes: bytes.freeze(), ends, header, rejected, ready: ReadyRows::joined(ready), extent }
    }
}
