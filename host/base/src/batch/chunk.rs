//! Records as a receiver took them in, before decoding.

use crate::batch::position::Extent;
use crate::batch::ready::ReadyRows;
use crate::batch::{envelope, topic};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The bytes before a frame of a raw socket that tell its length; they stay with the record.
pub const FRAME_PREFIX_BYTES: usize = 4;

/// Why a line is refused in which a quote opens that nothing closes. A chunk ends behind such a line: read again, it is seen
/// by itself.
pub const UNCLOSED: &str = "a quote opens here and nothing closes it before the end or within record_bytes_max; reading \
                            goes on behind this line";

/// How a header begins of which [`Chunk::must_be_kept`] holds. No text begins so.
pub const KEPT: u8 = 1;

/// Whole records, undecoded, or rows that need not be: what a receiver hands over, what is exchanged to a worker and decoded there.
/// At most [`crate::limits::PART_ROWS_MAX`] records and, unless a single record is larger,
/// [`crate::limits::PART_BYTES_MAX`] bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// The records, one behind the other, with whatever delimits them (a line's `\n` or `\r\n`, the length
    /// before a frame).
    pub bytes: Bytes,
    /// Where each record ends in `bytes`, its delimiter included. Record 0 begins at 0.
    pub ends: Vec<u32>,
    /// The record that names the columns (csv with a header), without its delimiter; empty where there is none.
    pub header: Bytes,
    /// Records that the receiver refused, in the order of their rows; `bytes` holds the first
    /// bytes of each, as many as the source's `rejected_bytes_max`.
    pub refused: Vec<RefusedRecord>,
    /// Rows that came as columns, instead of records: then there are none of these, and nothing that is refused.
    pub ready: Option<ReadyRows>,
    /// Where the records come from. Cutting and joining keep it true.
    pub extent: Extent,
}

/// A record that could not be taken in or decoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedRecord {
    /// Index of the record in its chunk.
    pub row: u32,
    /// Why, for a person to read.
    pub reason: String,
    /// Bytes of the record that the source had and the chunk does not hold, because the record was too long.
    pub dropped: u64,
}

/// What an [`Extent`] counts, which depends on the kind of source.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum ExtentUnit {
    /// The very bytes of the records: `file`, `directory`.
    Bytes,
    /// The line that the records stand in, and rows within it: `queue`.
    Line,
    /// Whole blocks, and records from the first of them on: files of Avro.
    Blocks,
    /// Rows since the job's first start: `rate`, sockets.
    Rows,
    /// Offsets of a partition, which have gaps: `kafka`.
    Offsets,
}

impl Chunk {
    /// Rows that came as columns.
    pub fn of_ready(rows: ReadyRows) -> Chunk {
        Chunk { ready: Some(rows), ..Chunk::default() }
    }

    /// How many records it holds.
    pub fn rows(&self) -> usize {
        self.ready.as_ref().map_or(self.ends.len(), |ready| ready.rows().num_rows())
    }

    /// How many bytes these have.
    pub fn bytes(&self) -> usize {
        self.bytes.len() + self.ready.as_ref().map_or(0, ReadyRows::bytes)
    }

    /// How many of the first records have no more than so many bytes.
    pub fn rows_within(&self, bytes: u64) -> usize {
        match &self.ready {
            Some(ready) => ready.rows_within(bytes),
            None => self.ends.partition_point(|end| u64::from(*end) <= bytes),
        }
    }

    /// The bytes of record `row`, delimiter included; empty where there is no such record.
    pub fn record(&self, row: usize) -> &[u8] {
        let start = row.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end as usize);
        let end = self.ends.get(row).map_or(start, |end| *end as usize);
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// Takes the first `rows` records out. The bytes are shared, not copied.
    #[must_use]
    pub fn cut_front(&mut self, rows: usize) -> Chunk {
        if rows >= self.rows() {
            return std::mem::replace(self, Chunk { header: self.header.clone(), ..Chunk::default() });
        }
        if let Some(ready) = &mut self.ready {
            // They have no places in a file or a topic.
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
        let later = self.refused.partition_point(|refusal| (refusal.row as usize) < rows);
        let rest = self.refused.split_off(later);
        let refused = std::mem::replace(&mut self.refused, rest);
        self.refused.iter_mut().for_each(|refusal| refusal.row = refusal.row.saturating_sub(rows as u32));
        let (header, extent) = (self.header.clone(), self.extent.clone());
        let mut front = Chunk { bytes, ends, header, refused, ready: None, extent };
        let taken = match counted {
            ExtentUnit::Bytes => Some(front.source_bytes()),
            // What stands between two records belongs to the second.
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

    /// Whether a plan has to hold the chunk itself, also where its source can be read again: the answer of a server decided
    /// about its records, and may be another one then.
    pub fn must_be_kept(&self) -> bool {
        self.header.first() == Some(&KEPT)
    }

    /// Bytes that its records took in their source.
    pub fn source_bytes(&self) -> u64 {
        let dropped = self.refused.iter().fold(0_u64, |sum, refusal| sum.saturating_add(refusal.dropped));
        dropped.saturating_add(self.bytes.len() as u64)
    }

    /// No record of a file, frame or line is of no bytes, and a line of a queue has brackets around its rows.
    pub(super) fn counted(&self) -> ExtentUnit {
        match self.extent.bytes {
            _ if topic::is_name(&self.extent.file) => ExtentUnit::Offsets,
            0 => ExtentUnit::Rows,
            _ if self.extent.is_of_blocks() => ExtentUnit::Blocks,
            bytes if bytes == self.source_bytes() => ExtentUnit::Bytes,
            _ => ExtentUnit::Line,
        }
    }

    /// About how many bytes of memory it takes, for bounds: records of no bytes count too.
    pub fn memory_bytes(&self) -> u64 {
        let reasons: usize = self.refused.iter().map(|refusal| refusal.reason.len() + 32).sum();
        let ready = self.ready.as_ref().map_or(0, ReadyRows::bytes);
        (self.bytes.len() + 4 * self.ends.len() + reasons + ready) as u64
    }
}

/// A chunk of a planned batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedChunk {
    /// Where its records come from.
    pub extent: Extent,
    /// How many there are.
    pub rows: u32,
    /// The chunk itself, where its source cannot be read again.
    pub kept: Option<Chunk>,
}
