//! What a server sent, on its way into the inbox.

use super::position::FetchPosition;
use crate::receiver::bodies;
use crate::receiver::framing::{trim_csv_line_end, trim_line_end};
use bytes::Bytes;
use millstream_base::batch::chunk::{Chunk, RefusedRecord};
use millstream_base::batch::envelope::{self, EVENT, ID, RecordMetadata};
use millstream_base::batch::position::{Extent, Positions};
use millstream_base::inbox::Inbox;
use millstream_base::job::spec::{Format, SourceSpec};

/// Bytes that may stand before the rows of one event together; one that needs more is one record, which does not decode.
const ENVELOPES_BYTES_MAX: usize = 64 << 20;

/// Counts rows on, and knows where the source goes on.
pub struct Rows<'a> {
    source: &'a SourceSpec,
    inbox: &'a Inbox,
    /// Rows since the job's first start.
    count: u64,
    /// Rows that one batch takes together.
    rows_max: u64,
    /// See [`FetchPosition`].
    pub place: FetchPosition,
    in_envelopes: bool,
}

/// A piece that a server sent by itself: an event or a message.
#[derive(Clone, Copy, Debug, Default)]
pub struct PushedMessage<'a> {
    /// What it holds, or its beginning.
    pub data: &'a [u8],
    /// Bytes that are missing, as it was too long.
    pub dropped: u64,
    /// Type and id of an event.
    pub event: &'a str,
    /// See above.
    pub id: &'a str,
}

impl<'a> Rows<'a> {
    /// Where positions say.
    pub fn new(source: &'a SourceSpec, from: &Positions, inbox: &'a Inbox) -> Rows<'a> {
        let rows_max = source.rows_together_max();
        let count = from.get("").map_or(0, |position| position.offset);
        Rows { source, inbox, count, rows_max, place: FetchPosition::of(from), in_envelopes: source.in_envelopes() }
    }

    /// How many there were so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many one batch may take together.
    pub fn rows_max(&self) -> u64 {
        self.rows_max
    }

    /// Takes in a chunk that is numbered already. `false`: the job wants no more.
    pub async fn put(&mut self, chunk: Chunk) -> bool {
        self.count = self.count.saturating_add(chunk.rows() as u64);
        self.inbox.put(chunk).await
    }

    /// Takes in what one batch takes together, with the place that it leads to. What is too much for one batch goes to several, and
    /// the place with the last of it.
    pub async fn put_together(&mut self, mut chunks: Vec<Chunk>) -> bool {
        let mut rows: u64 = chunks.iter().map(|chunk| chunk.rows() as u64).sum();
        if rows == 0 {
            return true;
        }
        // Each piece counts from 0, and a start goes by rows that are counted through.
        for chunk in &mut chunks {
            chunk.extent.row = self.count;
            self.count = self.count.saturating_add(chunk.rows() as u64);
        }
        while rows > self.rows_max {
            let Some(first) = chunks.first_mut() else { break };
            let most = usize::try_from(rows - self.rows_max).unwrap_or(usize::MAX);
            let front = first.cut_front(most);
            if first.rows() == 0 {
                chunks.remove(0);
            }
            rows -= front.rows() as u64;
            if !self.inbox.put(front).await {
                return false;
            }
        }
        let moves = self.place.moves();
        self.inbox.put_whole(chunks, moves, self.rows_max).await
    }

    /// The records of a piece: as those of a request that others POST. What cannot be taken apart is one record, which does not
    /// decode.
    pub fn of_piece(&self, piece: PushedMessage<'_>) -> Vec<Chunk> {
        let chunks = match piece.dropped {
            0 => {
                bodies::cut(self.source, piece.data, u64::MAX).map_or_else(|_| vec![one(piece.data)], |cut| cut.chunks)
            }
            dropped => vec![self.too_long(piece.data, dropped)],
        };
        if !self.in_envelopes {
            return chunks;
        }
        let rows: usize = chunks.iter().map(Chunk::rows).sum();
        // Type and id stand before each row: they are no way to make much of little.
        let chunks = match rows.saturating_mul(piece.event.len() + piece.id.len()) > ENVELOPES_BYTES_MAX {
            true => vec![one(piece.data)],
            false => chunks,
        };
        let trim = match self.source.format {
            Format::Csv { .. } => trim_csv_line_end,
            _ => trim_line_end,
        };
        chunks.into_iter().map(|chunk| in_envelopes(chunk, trim, piece)).collect()
    }

    fn too_long(&self, data: &[u8], dropped: u64) -> Chunk {
        let kept = usize::try_from(self.source.rejected_bytes_max).unwrap_or(usize::MAX).min(data.len());
        let bytes = data.len() as u64 + dropped;
        let reason = format!("{bytes} bytes, answer_bytes_max is {}", data.len());
        let mut chunk = one(data.get(..kept).unwrap_or_default());
        chunk.refused = vec![RefusedRecord { row: 0, reason, dropped: bytes - kept as u64 }];
        chunk
    }
}

/// A chunk of one record.
fn one(data: &[u8]) -> Chunk {
    let bytes = Bytes::from([data, b"\n"].concat());
    let ends = vec![u32::try_from(bytes.len()).unwrap_or(u32::MAX)];
    Chunk { bytes, ends, extent: Extent::default(), ..Chunk::default() }
}

/// The same records with what came beside them in front of each.
fn in_envelopes(chunk: Chunk, trim: fn(&[u8]) -> &[u8], piece: PushedMessage<'_>) -> Chunk {
    let headers = [(EVENT, Some(piece.event.as_bytes())), (ID, Some(piece.id.as_bytes()))];
    let headers = if piece.id.is_empty() { &headers[..1] } else { &headers[..] };
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
    use millstream_base::batch::position::Position;
    use millstream_base::ids::BatchId;
    use millstream_base::inbox::TakeLimits;

    #[tokio::test]
    async fn rows_of_all_pieces_are_counted_through() {
        let source =
            SourceSpec::of("in", crate::http_source::settings::ClientReads::new("http://h/")).format(Format::Text);
        let inbox = Inbox::new(1 << 20, Box::new(|| {}));
        let from = Positions::from([(String::new(), Position { offset: 7, mark: 0 })]);
        let mut rows = Rows::new(&source, &from, &inbox);
        for _ in 0..2 {
            let pieces =
                ["a", "b\nc", "d"].map(|data| PushedMessage { data: data.as_bytes(), ..PushedMessage::default() });
            let chunks = pieces.into_iter().flat_map(|piece| rows.of_piece(piece)).collect();
            assert!(rows.put_together(chunks).await);
        }
        let taken = inbox.take(BatchId(1), TakeLimits::of(u64::MAX, u64::MAX));
        assert_eq!(taken.moved, [(String::new(), Position { offset: 15, mark: 0 })]);
        let firsts: Vec<(u64, usize)> = taken.chunks.iter().map(|chunk| (chunk.extent.row, chunk.rows())).collect();
        assert_eq!(firsts, [(7, 8)]);
    }
}
