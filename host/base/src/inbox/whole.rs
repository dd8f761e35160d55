//! Requests and answers that one batch takes as a whole: what a sender repeats because it was not answered, or what a server
//! gives again because it was asked for it, must not be there in part.

use super::open::GrowingChunk;
use super::{END_BYTES, InboxContents, QueuedItem};
use crate::batch::chunk::Chunk;
use crate::batch::position::Position;
use crate::limits::{PART_BYTES_MAX, PART_ROWS_MAX};

/// Bytes of memory of a request beside its records.
const REQUEST_BYTES: u64 = 4 * END_BYTES;

/// The records of a request or an answer, and the positions that they move.
pub(super) struct WholeRequest {
    pub chunks: Vec<Chunk>,
    pub moves: Vec<(String, Position)>,
    pub rows: u64,
    /// As received.
    pub bytes: u64,
    memory_bytes: u64,
    /// Whether what comes behind it may be taken with it: how many rows they may have together.
    joined_rows_max: u64,
}

impl WholeRequest {
    pub fn new(chunks: Vec<Chunk>, moves: Vec<(String, Position)>) -> WholeRequest {
        let rows = chunks.iter().map(|chunk| chunk.rows() as u64).sum();
        let bytes = chunks.iter().map(|chunk| chunk.bytes() as u64).sum();
        let names: u64 = moves.iter().map(|(name, _)| name.len() as u64).sum();
        let memory_bytes = REQUEST_BYTES + names + chunks.iter().map(Chunk::memory_bytes).sum::<u64>();
        WholeRequest { chunks, moves, rows, bytes, memory_bytes, joined_rows_max: 0 }
    }

    /// The same, which may be joined with what comes right before and behind it, to so many rows.
    pub fn joined(self, rows_max: u64) -> WholeRequest {
        WholeRequest { joined_rows_max: rows_max.min(PART_ROWS_MAX as u64), ..self }
    }

    fn fits(&self, next: &WholeRequest) -> bool {
        self.rows + next.rows <= self.joined_rows_max.min(next.joined_rows_max)
            && self.bytes + next.bytes <= PART_BYTES_MAX as u64
    }

    /// Adds what comes right behind it. A name that only it had given is forgotten as if it had never been.
    fn add(&mut self, next: WholeRequest) {
        self.chunks.extend(next.chunks);
        self.rows += next.rows;
        self.bytes += next.bytes;
        self.memory_bytes += next.memory_bytes;
        for (name, position) in next.moves {
            let before = self.moves.iter().position(|(known, _)| *known == name).map(|at| self.moves.remove(at));
            let made_here = before.is_some_and(|(_, before)| before != Position::GONE);
            if position != Position::GONE || !made_here {
                self.moves.push((name, position));
            }
        }
    }
}

impl InboxContents {
    /// Adds a request behind all that waits.
    pub(super) fn push_whole(&mut self, whole: WholeRequest) {
        self.seal();
        self.rows += whole.rows;
        self.added += whole.rows;
        self.bytes += whole.memory_bytes;
        match self.waiting.back_mut() {
            Some(QueuedItem::Whole(last)) if last.fits(&whole) => last.add(whole),
            _ => self.waiting.push_back(QueuedItem::Whole(whole)),
        }
    }

    /// Takes the request that comes first.
    pub(super) fn pop_whole(&mut self) -> Option<WholeRequest> {
        match self.waiting.pop_front()? {
            QueuedItem::Whole(whole) => {
                self.rows = self.rows.saturating_sub(whole.rows);
                self.bytes = self.bytes.saturating_sub(whole.memory_bytes);
                Some(whole)
            }
            other => {
                self.waiting.push_front(other);
                None
            }
        }
    }
}

/// The chunks that a batch takes. Small requests that follow each other are joined, as a part for each would cost more than its
/// rows.
pub(super) struct TakenChunks {
    chunks: Vec<Chunk>,
    joined: GrowingChunk,
    /// Rows of a chunk.
    rows_max: usize,
}

impl TakenChunks {
    /// None yet, of at most so many rows.
    pub fn new(rows_max: u64) -> TakenChunks {
        let rows_max = usize::try_from(rows_max).unwrap_or(usize::MAX).max(1);
        TakenChunks { chunks: Vec::new(), joined: GrowingChunk::default(), rows_max }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.joined.is_empty()
    }

    /// Adds a chunk as it is.
    pub fn push(&mut self, chunk: Chunk) {
        self.flush();
        self.chunks.push(chunk);
    }

    /// Adds a chunk, joined to the one before where both are small, and cut where it is too large.
    pub fn join(&mut self, mut chunk: Chunk) {
        while chunk.rows() > self.rows_max {
            let front = chunk.cut_front(self.rows_max);
            self.push(front);
        }
        if !self.joined.fits(&chunk) || self.joined.rows() + chunk.rows() > self.rows_max {
            self.flush();
        }
        // Two of these are no part together, and joining copies.
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

    /// All of them, in order.
    pub fn into_chunks(mut self) -> Vec<Chunk> {
        self.flush();
        self.chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::BatchId;
    use crate::inbox::{Inbox, TakeLimits};
    use bytes::Bytes;

    fn rows(count: u32) -> Vec<Chunk> {
        let bytes = Bytes::from("a\n".repeat(count as usize));
        vec![Chunk { bytes, ends: (1..=count).map(|row| 2 * row).collect(), ..Chunk::default() }]
    }

    fn at(name: &str, offset: u64) -> (String, Position) {
        (name.to_owned(), Position { offset, mark: -1 })
    }

    fn gone(name: &str) -> (String, Position) {
        (name.to_owned(), Position::GONE)
    }

    #[tokio::test]
    async fn what_follows_each_other_is_joined_and_only_the_last_place_stays() {
        let inbox = Inbox::new(1 << 20, Box::new(|| {}));
        assert!(inbox.put_whole(rows(2), vec![gone("x"), at("y", 1)], 8).await);
        assert!(inbox.put_whole(rows(3), vec![gone("y"), at("z", 2)], 8).await);
        assert!(inbox.put_whole(rows(4), vec![gone("z"), at("x", 3)], 8).await);
        let taken = |batch| inbox.take(BatchId(batch), TakeLimits::of(1, u64::MAX));
        let first = taken(1);
        assert_eq!(first.chunks.iter().map(Chunk::rows).sum::<usize>(), 5, "nine would be too many");
        let moved = |taken: &super::super::TakenRecords| {
            taken.moved.iter().filter(|(name, _)| !name.is_empty()).cloned().collect::<Vec<_>>()
        };
        assert_eq!(moved(&first), [gone("x"), at("z", 2)], "y never matters to anything");
        assert_eq!(moved(&taken(2)), [at("x", 3), gone("z")]);
        assert!(!inbox.state().ready);
    }
}
