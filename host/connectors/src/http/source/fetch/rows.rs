//! Puts the rows that a server sent into the inbox.

use super::position::FetchPosition;
use bytes::Bytes;
use millstream_connect::receiver::bodies;
use millstream_connect::receiver::framing::{trim_csv_line_end, trim_line_end};
use millstream_job::spec::SourceSpec;
use millstream_rows::batch::chunk::{Chunk, RejectedRecord};
use millstream_rows::batch::envelope::{self, EVENT, ID, RecordMetadata};
use millstream_rows::batch::position::{Extent, Positions};
use millstream_rows::formats::Format;
use millstream_rows::inbox::Inbox;

/// Maximum bytes of metadata before the rows of one event. An event that needs more becomes one record, which does not decode.
const ENVELOPES_BYTES_MAX: usize = 64 << 20;

/// Numbers the rows, and tracks the position of the source.
pub struct Rows<'a> {
    source: &'a SourceSpec,
    inbox: &'a Inbox,
    /// Number of rows since the job's first start.
    count: u64,
    /// Maximum rows of one batch.
    rows_max: u64,
    /// See [`FetchPosition`].
    pub position: FetchPosition,
    has_metadata: bool,
}

/// A message that a server pushed: an event or a WebSocket message.
#[derive(Clone, Copy, Debug, Default)]
pub struct PushedMessage<'a> {
    /// The content, or its beginning.
    pub data: &'a [u8],
    /// Bytes that were dropped because it is too long.
    pub dropped: u64,
    /// Type of an event.
    pub event: &'a str,
    /// ID of an event.
    pub id: &'a str,
}

impl<'a> Rows<'a> {
    /// Restores the state from saved positions.
    pub fn new(source: &'a SourceSpec, from: &Positions, inbox: &'a Inbox) -> Rows<'a> {
        let rows_max = source.rows_per_take_max();
        let count = from.get("").map_or(0, |position| position.offset);
        Rows {
            source,
            inbox,
            count,
            rows_max,
            position: FetchPosition::restore(from),
            has_metadata: source.in_envelopes(),
        }
    }

    /// Returns the number of rows so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the maximum rows of one batch.
    pub fn rows_max(&self) -> u64 {
        self.rows_max
    }

    /// Puts a numbered chunk into the inbox. Returns false if the inbox is closed.
    pub async fn put(&mut self, chunk: Chunk) -> bool {
        self.count = self.count.saturating_add(chunk.rows() as u64);
        self.inbox.put(chunk).await
    }

    /// Puts chunks into one batch, together with the current position. Chunks that exceed one batch are split among several, and the position goes
    /// with the last one.
    pub async fn put_together(&mut self, mut chunks: Vec<Chunk>) -> bool {
        let mut rows: u64 = chunks.iter().map(|chunk| chunk.rows() as u64).sum();
        if rows == 0 {
            return true;
        }
        // Each message numbers its rows from 0, but a restart needs continuous numbers.
        for chunk in &mut chunks {
            chunk.extent.row = self.count;
            self.count = self.count.saturating_add(chunk.rows() as u64);
        }
        while rows > self.rows_max {
            let Some(first) = chunks.first_mut() else { break };
            let front_rows = usize::try_from(rows - self.rows_max).unwrap_or(usize::MAX);
            let front = first.cut_front(front_rows);
            if first.rows() == 0 {
                chunks.remove(0);
            }
            rows -= front.rows() as u64;
            if !self.inbox.put(front).await {
                return false;
            }
        }
        let changes = self.position.changes();
        self.inbox.put_atomic(chunks, changes, self.rows_max).await
    }

    /// Splits a message into records, like the body of a request. If that fails, it is one record, which does not decode.
    pub fn to_chunks(&self, message: PushedMessage<'_>) -> Vec<Chunk> {
        let chunks = match message.dropped {
            0 => bodies::cut(self.source, message.data, u64::MAX)
                .map_or_else(|_| vec![single_record(message.data)], |cut| cut.chunks),
            dropped => vec![self.too_long(message.data, dropped)],
        };
        if !self.has_metadata {
            return chunks;
        }
        let rows: usize = chunks.iter().map(Chunk::rows).sum();
        // Type and ID precede each row, which must not multiply a small message.
        let chunks = match rows.saturating_mul(message.event.len() + message.id.len()) > ENVELOPES_BYTES_MAX {
            true => vec![single_record(message.data)],
            false => chunks,
        };
        let trim = match self.source.format {
            Format::Csv { .. } => trim_csv_line_end,
            _ => trim_line_end,
        };
        chunks.into_iter().map(|chunk| add_metadata(chunk, trim, message)).collect()
    }

    fn too_long(&self, data: &[u8], dropped: u64) -> Chunk {
        let kept = usize::try_from(self.source.rejected_bytes_max).unwrap_or(usize::MAX).min(data.len());
        let bytes = data.len() as u64 + dropped;
        let reason = format!("{bytes} bytes, answer_bytes_max is {}", data.len());
        let mut chunk = single_record(data.get(..kept).unwrap_or_default());
        chunk.rejected = vec![RejectedRecord { row: 0, reason, dropped: bytes - kept as u64 }];
        chunk
    }
}

/// Returns a chunk of one record.
fn single_record(data: &[u8]) -> Chunk {
    let bytes = Bytes::from([data, b"\n"].concat());
    let ends = vec![u32::try_from(bytes.len()).unwrap_or(u32::MAX)];
    Chunk { bytes, ends, extent: Extent::default(), ..Chunk::default() }
}

/// Puts metadata before each record.
fn add_metadata(chunk: Chunk, trim: fn(&[u8]) -> &[u8], message: PushedMessage<'_>) -> Chunk {
    let headers = [(EVENT, Some(message.event.as_bytes())), (ID, Some(message.id.as_bytes()))];
    let headers = if message.id.is_empty() { &headers[..1] } else { &headers[..] };
    let mut bytes = Vec::with_capacity(chunk.bytes.len() + chunk.rows() * 64);
    let mut ends = Vec::with_capacity(chunk.rows());
    for row in 0..chunk.rows() {
        let _ = envelope::put(&mut bytes, &RecordMetadata { headers, ..RecordMetadata::default() });
        bytes.extend_from_slice(trim(chunk.record(row)));
        ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    }
    Chunk { bytes: bytes.into(), ends, ..chunk }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_base::ids::BatchId;
    use millstream_rows::batch::position::Position;
    use millstream_rows::inbox::TakeLimits;

    #[tokio::test]
    async fn rows_of_all_pieces_are_counted_through() {
        let source = SourceSpec::from_config("in", crate::http::source::settings::ClientReads::new("http://h/"))
            .format(Format::Text);
        let inbox = Inbox::new(1 << 20, Box::new(|| {}));
        let from = Positions::from([(String::new(), Position { offset: 7, mark: 0 })]);
        let mut rows = Rows::new(&source, &from, &inbox);
        for _ in 0..2 {
            let pieces =
                ["a", "b\nc", "d"].map(|data| PushedMessage { data: data.as_bytes(), ..PushedMessage::default() });
            let chunks = pieces.into_iter().flat_map(|message| rows.to_chunks(message)).collect();
            assert!(rows.put_together(chunks).await);
        }
        let taken = inbox.take(BatchId(1), TakeLimits::new(u64::MAX, u64::MAX));
        assert_eq!(taken.moved, [(String::new(), Position { offset: 15, mark: 0 })]);
        let firsts: Vec<(u64, usize)> = taken.chunks.iter().map(|chunk| (chunk.extent.row, chunk.rows())).collect();
        assert_eq!(firsts, [(7, 8)]);
    }
}
