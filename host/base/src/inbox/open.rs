//! Small chunks joined into one, so that a record that comes alone costs a copy of its bytes and no more.

use crate::batch::chunk::UNCLOSED;
use crate::batch::chunk::{Chunk, RefusedRecord};
use crate::batch::position::Extent;
use crate::batch::ready::ReadyRows;
use crate::limits::{PART_BYTES_MAX, PART_ROWS_MAX};
use bytes::{Bytes, BytesMut};

/// So many pieces of columns are joined at once: what each takes beside its rows may be more than these.
const PIECES_MAX: usize = 64;

/// A chunk that still grows.
#[derive(Default)]
pub struct GrowingChunk {
    bytes: BytesMut,
    ends: Vec<u32>,
    header: Bytes,
    refused: Vec<RefusedRecord>,
    /// Instead of records, where rows came as columns.
    ready: Vec<ReadyRows>,
    ready_rows: usize,
    /// Those that were not joined yet.
    ready_pieces: usize,
    ready_bytes: usize,
    extent: Extent,
}

impl GrowingChunk {
    /// Whether it holds no records.
    pub fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    /// How many records it holds.
    pub fn rows(&self) -> usize {
        self.ends.len() + self.ready_rows
    }

    /// Where its records come from.
    pub fn extent(&self) -> &Extent {
        &self.extent
    }

    /// Whether it and this chunk are a part together, from one stretch of their source.
    pub fn fits(&self, chunk: &Chunk) -> bool {
        self.is_empty()
            || (!self.ends_unclosed()
                && self.bytes.len() + self.ready_bytes + chunk.bytes() <= PART_BYTES_MAX
                && self.rows() + chunk.rows() <= PART_ROWS_MAX
                && self.is_like(chunk)
                && self.goes_on(chunk))
    }

    /// Whether both are records, or columns of the same types.
    fn is_like(&self, chunk: &Chunk) -> bool {
        match (self.ready.first(), &chunk.ready) {
            (None, None) => true,
            (Some(ready), Some(more)) => ready.are_like(more),
            _ => false,
        }
    }

    /// Whether its last record must stay the last.
    fn ends_unclosed(&self) -> bool {
        let last = self.refused.last().filter(|last| last.row as usize + 1 == self.ends.len());
        last.is_some_and(|last| last.reason == UNCLOSED)
    }

    /// Whether this chunk comes right behind it in the source.
    fn goes_on(&self, chunk: &Chunk) -> bool {
        let (before, next) = (&self.extent, &chunk.extent);
        // Files do not count rows: theirs is what the file is known by. No two chunks that count begin at the same row.
        let rows_go_on = next.row == before.row.saturating_add(self.rows() as u64) || next.row == before.row;
        rows_go_on
            && before.start.saturating_add(before.bytes) == next.start
            && before.file == next.file
            && self.header == chunk.header
    }

    /// Adds the records of a chunk behind its own. The caller keeps both together below 4 GiB.
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
        let refused = chunk.refused.into_iter();
        self.refused.extend(refused.map(|refusal| RefusedRecord { row: rows_before + refusal.row, ..refusal }));
    }

    /// What was added, as one chunk.
    pub fn into_chunk(self) -> Chunk {
        let GrowingChunk { bytes, ends, header, refused, ready, extent, .. } = self;
        Chunk { bytes: bytes.freeze(), ends, header, refused, ready: ReadyRows::joined(ready), extent }
    }
}
