//! Requests and responses that one batch takes atomically. A sender repeats a request without a response, and a server may repeat a response that is
//! requested again; neither may be stored in part.

use super::open::GrowingChunk;
use super::{END_BYTES, InboxContents, QueuedItem};
use crate::batch::chunk::Chunk;
use crate::batch::position::Position;
use millstream_base::limits::{PART_BYTES_MAX, PART_ROWS_MAX};

/// Memory of a request in addition to its records.
const REQUEST_BYTES: u64 = 4 * END_BYTES;

/// The records of a request or a response, and the positions that they move.
pub(super) struct AtomicRequest {
    pub chunks: Vec<Chunk>,
    pub moves: Vec<(String, Position)>,
    pub rows: u64,
    /// Bytes as received.
    pub bytes: u64,
    memory_bytes: u64,
    /// Maximum rows together with the following items that may be joined to it.
    joined_rows_max: u64,
}

impl AtomicRequest {
    pub fn new(chunks: Vec<Chunk>, moves: Vec<(String, Position)>) -> AtomicRequest {
        let rows = chunks.iter().map(|chunk| chunk.rows() as u64).sum();
        let bytes = chunks.iter().map(|chunk| chunk.bytes() as u64).sum();
        let names: u64 = moves.iter().map(|(name, _)| name.len() as u64).sum();
        let memory_bytes = REQUEST_BYTES + names + chunks.iter().map(Chunk::memory_bytes).sum::<u64>();
        AtomicRequest { chunks, moves, rows, bytes, memory_bytes, joined_rows_max: 0 }
    }

    /// Allows joining with the items before and after it, up to `rows_max` rows.
    pub fn joined(self, rows_max: u64) -> AtomicRequest {
        AtomicRequest { joined_rows_max: rows_max.min(PART_ROWS_MAX as u64), ..self }
    }

    fn fits(&self, next: &AtomicRequest) -> bool {
        self.rows + next.rows <= self.joined_rows_max.min(next.joined_rows_max)
            && self.bytes + next.bytes <= PART_BYTES_MAX as u64
    }

    /// Appends the next item. A name that only the first had added, and the next removes, is dropped completely.
    fn add(&mut self, next: AtomicRequest) {
        self.chunks.extend(next.chunks);
        self.rows += next.rows;
        self.bytes += next.bytes;
        self.memory_bytes += next.memory_bytes;
        for (name, position) in next.moves {
            let before = self.moves.iter().position(|(known, _)| *known == name).map(|at| self.moves.remove(at));
            let first_here = before.is_some_and(|(_, before)| before != Position::GONE);
            if position != Position::GONE || !first_here {
                self.moves.push((name, position));
            }
        }
    }
}

impl InboxContents {
    /// Adds a request after all that waits.
    pub(super) fn push_request(&mut self, request: AtomicRequest) {
        self.seal();
        self.rows += request.rows;
        self.added += request.rows;
        self.bytes += request.memory_bytes;
        match self.waiting.back_mut() {
            Some(QueuedItem::Request(last)) if last.fits(&request) => last.add(request),
            _ => self.waiting.push_back(QueuedItem::Request(request)),
        }
    }

    /// Takes the first request.
    pub(super) fn pop_request(&mut self) -> Option<AtomicRequest> {
        match self.waiting.pop_front()? {
            QueuedItem::Request(request) => {
                self.rows = self.rows.saturating_sub(request.rows);
                self.bytes = self.bytes.saturating_sub(request.memory_bytes);
                Some(request)
            }
            other => {
                self.waiting.push_front(other);
                None
            }
        }
    }
}

/// The chunks that a batch takes. Small contiguous requests are joined, as a part for each would cost more than its rows.
pub(super) struct TakenChunks {
    chunks: Vec<Chunk>,
    joined: GrowingChunk,
    /// Rows per chunk.
    rows_max: usize,
}

impl TakenChunks {
    /// Creates an empty list, with at most `rows_max` rows per chunk.
    pub fn new(rows_max: u64) -> TakenChunks {
        let rows_max = usize::try_from(rows_max).unwrap_or(usize::MAX).max(1);
        TakenChunks { chunks: Vec::new(), joined: GrowingChunk::default(), rows_max }
    }

    /// Returns whether there are no chunks.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.joined.is_empty()
    }

    /// Adds a chunk unchanged.
    pub fn push(&mut self, chunk: Chunk) {
        self.flush();
        self.chunks.push(chunk);
    }

    /// Adds a chunk: joined to the previous one if both are small, and cut if it is too large.
    pub fn join(&mut self, mut chunk: Chunk) {
        while chunk.rows() > self.rows_max {
            let front = chunk.cut_front(self.rows_max);
            self.push(front);
        }
        if !self.joined.fits(&chunk) || self.joined.rows() + chunk.rows() > self.rows_max {
            self.flush();
        }
        // Two of these exceed a part, and joining copies.
        match chunk.bytes() > PART_BYTES_MAX / 2 && self.joined.is_empty() {
            true => self.chunks.push(chunk),
            false => self.joined.add(chunk),
        }
    }

    fn flush(&mut self) {
        let joined = std::mem::take(&mut self.joined);
        if !joined.is_empty() {
            self.chunks.push(joined.into_chunk());
        }
    }

    /// Returns all chunks, in order.
    pub fn into_chunks(mut self) -> Vec<Chunk> {
        self.flush();
        self.chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::{Inbox, TakeLimits};
    use bytes::Bytes;
    use millstream_base::ids::BatchId;

    fn rows(count: u32) -> Vec<Chunk> {
        let bytes = Bytes::from("a\n".repeat(count as usize));
        vec![Chunk { bytes, ends: (1..=count).map(|row| 2 * row).collect(), ..Chunk::default() }]
    }

    fn at(name: &str, offset: u64) -> (String, Position) {
        (name.to_owned(), Position { offset, mark: -1 })
    }

    fn removed(name: &str) -> (String, Position) {
        (name.to_owned(), Position::GONE)
    }

    #[tokio::test]
    async fn what_follows_each_other_is_joined_and_only_the_last_place_stays() {
        let inbox = Inbox::new(1 << 20, Box::new(|| {}));
        assert!(inbox.put_atomic(rows(2), vec![removed("x"), at("y", 1)], 8).await);
        assert!(inbox.put_atomic(rows(3), vec![removed("y"), at("z", 2)], 8).await);
        assert!(inbox.put_atomic(rows(4), vec![removed("z"), at("x", 3)], 8).await);
        let taken = |batch| inbox.take(BatchId(batch), TakeLimits::new(1, u64::MAX));
        let first = taken(1);
        assert_eq!(first.chunks.iter().map(Chunk::rows).sum::<usize>(), 5, "nine would be too many");
        let moved = |taken: &super::super::TakenRecords| {
            taken.moved.iter().filter(|(name, _)| !name.is_empty()).cloned().collect::<Vec<_>>()
        };
        assert_eq!(moved(&first), [removed("x"), at("z", 2)], "y never matters to anything");
        assert_eq!(moved(&taken(2)), [at("x", 3), removed("z")]);
        assert!(!inbox.state().ready);
    }
}
