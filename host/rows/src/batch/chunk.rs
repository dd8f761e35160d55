//! Records as received, before decoding.

use crate::batch::position::Extent;
use crate::batch::ready::ReadyRows;
use crate::batch::{envelope, topic};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Length of the prefix of a raw socket's frame, which holds the frame's length; it stays with the record.
pub const FRAME_PREFIX_BYTES: usize = 4;

/// Reason for rejecting a line with an opening quote that is never closed. A chunk ends after such a line, so that a replay sees the line alone.
pub const UNCLOSED: &str = "a quote opens here and is not closed before the end or within record_bytes_max; reading \
                            continues after this line";

/// First byte of the header of chunks for which [`Chunk::needs_plan_copy`] is true. No text begins with it.
pub const KEPT: u8 = 1;

/// Complete records, not decoded, or rows that need no decoding. A receiver produces chunks; they are exchanged to a worker and decoded there. At
/// most [`millstream_base::limits::PART_ROWS_MAX`] records and, unless a single record is larger, [`millstream_base::limits::PART_BYTES_MAX`] bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// The records, concatenated, with their delimiters (a line's `\n` or `\r\n`, the length before a frame).
    pub bytes: Bytes,
    /// End offset of each record in `bytes`, delimiter included. Record 0 begins at 0.
    pub ends: Vec<u32>,
    /// The header record with the column names (csv), without its delimiter; empty if the format has no header.
    pub header: Bytes,
    /// Records that the receiver rejected, in row order. `bytes` holds the first bytes of each, up to the source's `rejected_bytes_max`.
    pub rejected: Vec<RejectedRecord>,
    /// Rows that arrived as columns. Then the chunk has no records and no rejected ones.
    pub ready: Option<ReadyRows>,
    /// Where the records come from. Cutting and joining maintain it.
    pub extent: Extent,
}

/// A record that could not be received or decoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedRecord {
    /// Index of the record in its chunk.
    pub row: u32,
    /// Why, for people.
    pub reason: String,
    /// Bytes of the record that were dropped because the record was too long.
    pub dropped: u64,
}

/// What an [`Extent`] counts; it depends on the kind of source.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum ExtentUnit {
    /// The bytes of the records: `file`, `directory`.
    Bytes,
    /// The line that contains the records, and rows within it: `queue`.
    Line,
    /// Complete blocks, and records counted from the first block: Avro files.
    Blocks,
    /// Rows since the job's first startup: `rate`, sockets.
    Rows,
    /// Offsets of a partition, which may have gaps: `kafka`.
    Offsets,
}

impl Chunk {
    /// Creates a chunk of rows that arrived as columns.
    pub fn of_ready(rows: ReadyRows) -> Chunk {
        Chunk { ready: Some(rows), ..Chunk::default() }
    }

    /// Returns the number of records.
    pub fn rows(&self) -> usize {
        self.ready.as_ref().map_or(self.ends.len(), |ready| ready.rows().num_rows())
    }

    /// Returns the size of the records in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.len() + self.ready.as_ref().map_or(0, ReadyRows::bytes)
    }

    /// Returns how many of the first records fit into `bytes`.
    pub fn rows_within(&self, bytes: u64) -> usize {
        match &self.ready {
            Some(ready) => ready.rows_within(bytes),
            None => self.ends.partition_point(|end| u64::from(*end) <= bytes),
        }
    }

    /// Returns the bytes of record `row`, delimiter included; empty if there is no such record.
    pub fn record(&self, row: usize) -> &[u8] {
        let start = row.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end as usize);
        let end = self.ends.get(row).map_or(start, |end| *end as usize);
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// Removes and returns the first `rows` records. The bytes are shared, not copied.
    #[must_use]
    pub fn cut_front(&mut self, rows: usize) -> Chunk {
        if rows >= self.rows() {
            return std::mem::replace(self, Chunk { header: self.header.clone(), ..Chunk::default() });
        }
        if let Some(ready) = &mut self.ready {
            // Such rows have no position in a file or a topic.
            let front = Chunk { extent: self.extent.clone(), ..Chunk::of_ready(ready.cut_front(rows)) };
            self.extent.row = self.extent.row.saturating_add(rows as u64);
            return front;
        }
        let counted = self.counted();
        let rest = self.ends.split_off(rows);
        let ends = std::mem::replace(&mut self.ends, rest);
        let cut = ends.last().copied().unwrap_or(0);
        self.ends.iter_mut().for_each(|end| *end = end.saturating_sub(cut));
        let bytes = self.bytes.split_to((cut as usize).min(self.bytes.len()));
        let later = self.rejected.partition_point(|rejection| (rejection.row as usize) < rows);
        let rest = self.rejected.split_off(later);
        let rejected = std::mem::replace(&mut self.rejected, rest);
        self.rejected.iter_mut().for_each(|rejection| rejection.row = rejection.row.saturating_sub(rows as u32));
        let (header, extent) = (self.header.clone(), self.extent.clone());
        let mut front = Chunk { bytes, ends, header, rejected, ready: None, extent };
        let taken = match counted {
            ExtentUnit::Bytes => Some(front.source_bytes()),
            // A gap between two records belongs to the second.
            ExtentUnit::Offsets => {
                let last = envelope::read(front.record(rows.saturating_sub(1))).map_or(0, |last| last.offset);
                Some(last.saturating_add(1).saturating_sub(front.extent.start).min(front.extent.bytes))
            }
            ExtentUnit::Line | ExtentUnit::Blocks | ExtentUnit::Rows => None,
        };
        if let Some(taken) = taken {
            front.extent.bytes = taken;
            self.extent.start = self.extent.start.saturating_add(front.extent.bytes);
            self.extent.bytes = self.extent.bytes.saturating_sub(front.extent.bytes);
        } else {
            self.extent.row = self.extent.row.saturating_add(rows as u64);
        }
        front
    }

    /// Returns whether a plan must hold the chunk itself even if its source can be read again. True if a server's response decided about the
    /// records, as that may differ the next time.
    pub fn needs_plan_copy(&self) -> bool {
        self.header.first() == Some(&KEPT)
    }

    /// Returns the number of bytes of the records in their source.
    pub fn source_bytes(&self) -> u64 {
        let dropped = self.rejected.iter().fold(0_u64, |sum, rejection| sum.saturating_add(rejection.dropped));
        dropped.saturating_add(self.bytes.len() as u64)
    }

    /// No record of a file, frame or line is empty, and a line of a queue has brackets around its rows.
    pub(super) fn counted(&self) -> ExtentUnit {
        match self.extent.bytes {
            _ if topic::is_name(&self.extent.file) => ExtentUnit::Offsets,
            0 => ExtentUnit::Rows,
            _ if self.extent.is_of_blocks() => ExtentUnit::Blocks,
            bytes if bytes == self.source_bytes() => ExtentUnit::Bytes,
            _ => ExtentUnit::Line,
        }
    }

    /// Returns the approximate memory of the chunk, for bounds; empty records count too.
    pub fn memory_bytes(&self) -> u64 {
        let reasons: usize = self.rejected.iter().map(|rejection| rejection.reason.len() + 32).sum();
        let ready = self.ready.as_ref().map_or(0, ReadyRows::bytes);
        (self.bytes.len() + 4 * self.ends.len() + reasons + ready) as u64
    }
}

/// A chunk of a planned batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedChunk {
    /// Where the records come from.
    pub extent: Extent,
    /// Number of records.
    pub rows: u32,
    /// The chunk itself, if its source cannot be read again.
    pub kept: Option<Chunk>,
}
