//! Records of one partition on their way into a chunk.

use crate::kafka::consumer::Record;
use bytes::Bytes;
use millstream_base::limits::{PART_BYTES_MAX, PART_ROWS_MAX};
use millstream_job::spec::SourceSpec;
use millstream_rows::batch::chunk::{Chunk, RejectedRecord};
use millstream_rows::batch::envelope::{self, EnvelopeColumns, RecordMetadata};
use millstream_rows::batch::position::Extent;

/// Records that follow each other in a partition.
pub struct Records {
    wanted: EnvelopeColumns,
    record_bytes_max: usize,
    rejected_bytes_max: usize,
    bytes: Vec<u8>,
    ends: Vec<u32>,
    rejected: Vec<RejectedRecord>,
    /// The offset after the previous chunk.
    start: u64,
    /// The offset after the last record, and after all offsets known to have none.
    end: u64,
}

impl Records {
    /// Starts without records; the first has this offset or a later one.
    pub fn new(source: &SourceSpec, start: u64) -> Records {
        let limit = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Records {
            wanted: EnvelopeColumns::for_columns(source.schema.iter().map(|column| &column.from)),
            record_bytes_max: limit(source.record_bytes_max),
            rejected_bytes_max: limit(source.rejected_bytes_max),
            bytes: Vec::new(),
            ends: Vec::new(),
            rejected: Vec::new(),
            start,
            end: start,
        }
    }

    /// The offset after the previous chunk, if nothing was added since.
    pub fn next(&self) -> u64 {
        if self.ends.is_empty() { self.end } else { self.start }
    }

    /// The offset that comes next.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Bytes that are held.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Number of records.
    pub fn rows(&self) -> usize {
        self.ends.len()
    }

    /// Whether they fill a chunk.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= PART_BYTES_MAX || self.ends.len() >= PART_ROWS_MAX
    }

    /// Adds a record. `false`: its offset was read already.
    pub fn add(&mut self, record: &Record<'_>) -> bool {
        let offset = record.offset();
        if offset < self.end {
            return false;
        }
        let headers = if self.wanted.headers { record.headers() } else { Vec::new() };
        let metadata = RecordMetadata {
            offset,
            time_ms: record.time_ms(),
            key: record.key().filter(|_| self.wanted.key),
            headers: &headers,
            null: record.value().is_none(),
        };
        let value = record.value().unwrap_or_default();
        let of_headers = headers.iter().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len)).sum::<usize>();
        let record_bytes = value.len() + metadata.key.map_or(0, <[u8]>::len) + of_headers;
        let start = self.bytes.len();
        let fits = record_bytes <= self.record_bytes_max && envelope::put(&mut self.bytes, &metadata).is_some();
        if fits {
            self.bytes.extend_from_slice(value);
        } else {
            self.bytes.truncate(start);
            // Without key and headers, it is still recognized as too long.
            let _ = envelope::put(&mut self.bytes, &RecordMetadata { key: None, headers: &[], ..metadata });
            let kept = value.get(..self.rejected_bytes_max).unwrap_or(value);
            self.bytes.extend_from_slice(kept);
            let reason = format!("{record_bytes} bytes, record_bytes_max is {}", self.record_bytes_max);
            let dropped = (value.len() - kept.len()) as u64;
            self.rejected.push(RejectedRecord { row: self.ends.len() as u32, reason, dropped });
        }
        // A chunk is passed on when it is full, so it holds one record more than that at most.
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
        self.end = offset.saturating_add(1);
        true
    }

    /// Notes that there are no further records before this offset.
    pub fn skip_to(&mut self, offset: u64) {
        self.end = self.end.max(offset);
    }

    /// Takes the added records as a chunk of this partition. If only the offset has moved, returns the new offset instead.
    pub fn take(&mut self, name: &str) -> (Option<Chunk>, Option<u64>) {
        let (start, end) = (self.start, self.end);
        self.start = end;
        if self.ends.is_empty() {
            return (None, (start < end).then_some(end));
        }
        let extent = Extent { file: name.to_owned(), start, bytes: end - start, row: 0 };
        let chunk = Chunk {
            bytes: Bytes::from(std::mem::take(&mut self.bytes)),
            ends: std::mem::take(&mut self.ends),
            header: Bytes::new(),
            rejected: std::mem::take(&mut self.rejected),
            ready: None,
            extent,
        };
        (Some(chunk), None)
    }
}
