//! Where a receiver puts chunks and a worker takes them: bounded, so that a slow job slows the receiver.

use crate::batch::chunk::{Chunk, Refusal};
use crate::error::Error;
use crate::ids::BatchId;
use crate::limits::{PART_BYTES_MAX, PART_ROWS_MAX};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;

/// What the end of a batch counts as, so that batches without rows are bounded too.
const BATCH_END_BYTES: u64 = 64;

/// Chunks of one source that wait for a batch.
pub struct Inbox {
    held: Mutex<Held>,
    /// Told when there may be room again, and when the inbox is closed.
    room: Notify,
    bytes_max: u64,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// What a worker needs to know to decide about the next batch.
#[derive(Clone, Debug, Default)]
pub struct InboxState {
    /// Rows that wait.
    pub rows: u64,
    /// Whether a batch can be cut: rows wait or, for a queue, a line that may have no rows.
    pub ready: bool,
    /// Nothing more will come (what waits may still be taken).
    pub finished: bool,
    /// The source has nothing to read for now: connected but silent, or no new files; since when, in milliseconds.
    /// Zero: it has, or it is not known yet; at least one otherwise.
    pub idle_ms: u64,
    /// The source failed for good.
    pub failed: Option<Error>,
    /// The last batch that took from it; all else is said as of after that.
    pub cut: BatchId,
}

/// What the mutex guards.
#[derive(Default)]
struct Held {
    waiting: VecDeque<Waiting>,
    /// The newest records, to which small chunks are joined; they come after all of `waiting`.
    open: Open,
    rows: u64,
    /// Memory of everything that waits.
    bytes: u64,
    idle_since: Option<Instant>,
    finished: bool,
    closed: bool,
    failed: Option<Error>,
    cut: BatchId,
}

enum Waiting {
    Chunk(Chunk),
    /// What comes later is another batch.
    BatchEnd,
}

/// A chunk that still grows.
#[derive(Default)]
struct Open {
    bytes: BytesMut,
    ends: Vec<u32>,
    header: Bytes,
    refused: Vec<Refusal>,
}

impl Inbox {
    /// An empty inbox for at most `bytes_max` bytes. `wake` is called, from the receiver's thread, when something arrives in an empty inbox, when
    /// the source finishes and when it fails.
    pub fn new(bytes_max: u64, wake: Box<dyn Fn() + Send + Sync>) -> Inbox {
        Inbox { held: Mutex::default(), room: Notify::new(), bytes_max, wake }
    }

    /// Receiver: adds records, waiting while more bytes wait than it may hold. Small chunks with the same
    /// header are joined. `false`: the inbox is closed, the receiver ends.
    pub async fn put(&self, chunk: Chunk) -> bool {
        if chunk.rows() == 0 {
            return !self.lock().closed;
        }
        let bytes = chunk.memory_bytes();
        self.admit(bytes, |held| {
            held.rows += chunk.rows() as u64;
            held.bytes += bytes;
            held.join(chunk);
        })
        .await
    }

    /// Receiver: as `put`, but these chunks are one batch by themselves (queue sources).
    pub async fn put_batch(&self, chunks: Vec<Chunk>) -> bool {
        let bytes = chunks.iter().map(Chunk::memory_bytes).sum::<u64>() + BATCH_END_BYTES;
        self.admit(bytes, |held| {
            held.seal();
            if matches!(held.waiting.back(), Some(Waiting::Chunk(_))) {
                held.push_batch_end();
            }
            for chunk in chunks.into_iter().filter(|chunk| chunk.rows() > 0) {
                held.rows += chunk.rows() as u64;
                held.bytes += chunk.memory_bytes();
                held.waiting.push_back(Waiting::Chunk(chunk));
            }
            held.push_batch_end();
        })
        .await
    }

    /// Receiver: nothing more will come.
    pub fn finish(&self) {
        self.lock().finished = true;
        (self.wake)();
    }

    /// Receiver: the source failed for good; the job stops with this error. The first error stays.
    pub fn fail(&self, error: Error) {
        self.lock().failed.get_or_insert(error);
        (self.wake)();
    }

    /// Receiver: whether it has nothing to read for now.
    pub fn idle(&self, idle: bool) {
        let mut held = self.lock();
        if idle != held.idle_since.is_some() {
            held.idle_since = idle.then(Instant::now);
        }
    }

    /// Receiver: waits until the inbox is closed.
    pub async fn closed(&self) {
        loop {
            let mut told = pin!(self.room.notified());
            told.as_mut().enable();
            if self.lock().closed {
                return;
            }
            told.await;
        }
    }

    /// Worker: how things stand.
    pub fn state(&self) -> InboxState {
        let held = self.lock();
        InboxState {
            rows: held.rows,
            ready: !held.is_empty(),
            finished: held.finished,
            idle_ms: held.idle_since.map_or(0, |since| (since.elapsed().as_millis() as u64).max(1)),
            failed: held.failed.clone(),
            cut: held.cut,
        }
    }

    /// Worker: takes what this batch holds, at most so many rows and bytes (but at least one record if one waits). A
    /// chunk is cut only where it must be.
    pub fn take(&self, batch: BatchId, rows_max: u64, bytes_max: u64) -> Vec<Chunk> {
        let mut held = self.lock();
        held.cut = batch;
        held.seal();
        let mut taken = Vec::new();
        let (mut rows, mut bytes) = (0, 0);
        let rows_max = rows_max.max(1);
        while let Some(next) = held.waiting.front_mut() {
            let Waiting::Chunk(chunk) = next else { break };
            if !taken.is_empty() && (rows >= rows_max || bytes + chunk.bytes.len() as u64 > bytes_max) {
                break;
            }
            let mut count = usize::try_from(rows_max - rows).unwrap_or(usize::MAX);
            if taken.is_empty() && chunk.bytes.len() as u64 > bytes_max {
                count = count.min(chunk.ends.partition_point(|end| u64::from(*end) <= bytes_max).max(1));
            }
            let front = chunk.cut_front(count);
            if chunk.rows() == 0 {
                held.waiting.pop_front();
            }
            rows += front.rows() as u64;
            bytes += front.bytes.len() as u64;
            held.rows = held.rows.saturating_sub(front.rows() as u64);
            held.bytes = held.bytes.saturating_sub(front.memory_bytes());
            taken.push(front);
        }
        if matches!(held.waiting.front(), Some(Waiting::BatchEnd)) {
            held.waiting.pop_front();
            held.bytes = held.bytes.saturating_sub(BATCH_END_BYTES);
        }
        drop(held);
        self.room.notify_waiters();
        taken
    }

    /// Worker: no more is wanted; receivers end.
    pub fn close(&self) {
        self.lock().closed = true;
        self.room.notify_waiters();
    }

    /// Waits until there is room for so many bytes, then adds; `false`: closed. An empty inbox has room for anything,
    /// so that no single chunk is too large.
    async fn admit(&self, bytes: u64, add: impl FnOnce(&mut Held)) -> bool {
        loop {
            // Registered before looking, so that a `take` in between is not missed.
            let mut told = pin!(self.room.notified());
            told.as_mut().enable();
            if let Some(mut held) = self.lock_for(bytes) {
                if held.closed {
                    return false;
                }
                let was_empty = held.is_empty();
                add(&mut held);
                held.idle_since = None;
                drop(held);
                if was_empty {
                    (self.wake)();
                }
                return true;
            }
            told.await;
        }
    }

    /// The inside, if it is closed or has room.
    fn lock_for(&self, bytes: u64) -> Option<MutexGuard<'_, Held>> {
        let held = self.lock();
        let room = held.closed || held.is_empty() || held.bytes.saturating_add(bytes) <= self.bytes_max;
        room.then_some(held)
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Nothing that is done under the lock can leave it half done, so a panic elsewhere does not matter here.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.open.ends.is_empty()
    }

    /// Adds a chunk behind all others: to the open one if both together are still a part, so that single lines cost
    /// a copy of their bytes and no more.
    fn join(&mut self, chunk: Chunk) {
        if !self.open.fits(&chunk) {
            self.seal();
        }
        let large = chunk.bytes.len() >= PART_BYTES_MAX / 2 || chunk.rows() >= PART_ROWS_MAX / 2;
        if large && self.open.ends.is_empty() {
            self.waiting.push_back(Waiting::Chunk(chunk));
        } else {
            self.open.add(chunk);
        }
    }

    /// Nothing more joins the open chunk.
    fn seal(&mut self) {
        let open = std::mem::take(&mut self.open);
        if !open.ends.is_empty() {
            let Open { bytes, ends, header, refused } = open;
            self.waiting.push_back(Waiting::Chunk(Chunk { bytes: bytes.freeze(), ends, header, refused }));
        }
    }

    fn push_batch_end(&mut self) {
        self.waiting.push_back(Waiting::BatchEnd);
        self.bytes += BATCH_END_BYTES;
    }
}

impl Open {
    fn fits(&self, chunk: &Chunk) -> bool {
        self.ends.is_empty()
            || (self.header == chunk.header
                && self.bytes.len() + chunk.bytes.len() <= PART_BYTES_MAX
                && self.ends.len() + chunk.rows() <= PART_ROWS_MAX)
    }

    fn add(&mut self, chunk: Chunk) {
        // A part is at most a few megabytes: these numbers fit.
        let (bytes_before, rows_before) = (self.bytes.len() as u32, self.ends.len() as u32);
        if self.ends.is_empty() {
            self.header = chunk.header;
        }
        self.bytes.extend_from_slice(&chunk.bytes);
        self.ends.extend(chunk.ends.iter().map(|end| bytes_before + end));
        let refused = chunk.refused.into_iter();
        self.refused.extend(refused.map(|Refusal { row, reason }| Refusal { row: rows_before + row, reason }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::INBOX_BYTES_MAX;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn lines(count: usize, text: &str) -> Chunk {
        let bytes = Bytes::from(format!("{text}\n").repeat(count));
        let ends = (1..=count as u32).map(|i| i * (text.len() as u32 + 1)).collect();
        Chunk { bytes, ends, ..Chunk::default() }
    }

    fn counted() -> (Arc<Inbox>, Arc<AtomicUsize>) {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counter = wakes.clone();
        let wake = move || {
            counter.fetch_add(1, Ordering::SeqCst);
        };
        (Arc::new(Inbox::new(INBOX_BYTES_MAX, Box::new(wake))), wakes)
    }

    #[tokio::test]
    async fn ten_thousand_single_lines_are_one_part_and_one_wake() {
        let (inbox, wakes) = counted();
        for i in 0..10_000_u32 {
            let mut line = lines(1, "abc");
            if i == 7_777 {
                line.refused.push(Refusal { row: 0, reason: "no".into() });
            }
            assert!(inbox.put(line).await);
        }
        assert_eq!((inbox.state().rows, inbox.state().ready, wakes.load(Ordering::SeqCst)), (10_000, true, 1));
        let mut expected = lines(10_000, "abc");
        expected.refused.push(Refusal { row: 7_777, reason: "no".into() });
        assert_eq!(inbox.take(BatchId(1), u64::MAX, u64::MAX), [expected]);
        assert!(!inbox.state().ready);
        inbox.put(lines(1, "x")).await;
        inbox.finish();
        assert_eq!(wakes.load(Ordering::SeqCst), 3, "empty to non-empty, and finished");
        assert!(inbox.state().finished && inbox.state().ready);
    }

    #[tokio::test]
    async fn parts_have_bounds_and_headers_are_kept_apart() {
        let (inbox, _) = counted();
        for _ in 0..5 {
            inbox.put(lines(PART_ROWS_MAX / 3, "abc")).await;
        }
        inbox.put(Chunk { header: "a,b".into(), ..lines(2, "1,2") }).await;
        let rows: Vec<usize> = inbox.take(BatchId(1), u64::MAX, u64::MAX).iter().map(Chunk::rows).collect();
        assert_eq!(rows, [PART_ROWS_MAX / 3 * 3, PART_ROWS_MAX / 3 * 2, 2]);
    }

    #[tokio::test]
    async fn take_keeps_to_its_limits() {
        let (inbox, _) = counted();
        let large = lines(PART_ROWS_MAX, "abc");
        for _ in 0..3 {
            inbox.put(large.clone()).await;
        }
        let sum = |chunks: &[Chunk]| chunks.iter().map(|c| c.rows()).sum::<usize>();
        assert_eq!(sum(&inbox.take(BatchId(1), PART_ROWS_MAX as u64 + 5, u64::MAX)), PART_ROWS_MAX + 5);
        assert_eq!(sum(&inbox.take(BatchId(1), u64::MAX, 10)), 2, "as many whole records as fit");
        assert_eq!(sum(&inbox.take(BatchId(1), u64::MAX, 3)), 1, "at least one record");
        assert_eq!(sum(&inbox.take(BatchId(1), u64::MAX, large.bytes.len() as u64)), PART_ROWS_MAX - 8);
        let last = inbox.take(BatchId(1), u64::MAX, large.bytes.len() as u64);
        assert_eq!(last, [large]);
        assert_eq!((inbox.state().rows, inbox.lock().bytes), (0, 0));
    }

    #[tokio::test]
    async fn a_batch_is_taken_by_itself_even_when_empty() {
        let (inbox, _) = counted();
        inbox.put_batch(vec![lines(2, "a")]).await;
        inbox.put_batch(vec![]).await;
        inbox.put_batch(vec![lines(3, "b"), lines(1, "c")]).await;
        assert_eq!(inbox.take(BatchId(1), 2, u64::MAX).len(), 1, "the end of the batch goes with its last row");
        assert!(inbox.state().ready);
        assert!(inbox.take(BatchId(1), 100, u64::MAX).is_empty());
        assert_eq!(inbox.take(BatchId(1), 100, u64::MAX), [lines(3, "b"), lines(1, "c")]);
        assert!(!inbox.state().ready);
        assert_eq!(inbox.lock().bytes, 0);
    }

    #[tokio::test]
    async fn a_full_inbox_makes_the_receiver_wait_until_room_or_close() {
        let (inbox, _) = counted();
        let huge = lines(1, &"x".repeat(INBOX_BYTES_MAX as usize + 1));
        assert!(inbox.put(huge.clone()).await, "an empty inbox takes anything");
        let mut waiting = Box::pin(inbox.put(lines(1, "late")));
        assert!(futures_poll(&mut waiting), "it must wait");
        assert_eq!(inbox.take(BatchId(1), u64::MAX, u64::MAX), [lines(1, &"x".repeat(INBOX_BYTES_MAX as usize + 1))]);
        assert!(waiting.await);
        assert_eq!(inbox.take(BatchId(1), 9, 9), [lines(1, "late")]);
        assert!(inbox.put(huge).await);
        let mut waiting = Box::pin(inbox.put(lines(1, "never")));
        assert!(futures_poll(&mut waiting));
        inbox.close();
        assert!(!waiting.await);
        inbox.closed().await;
    }

    /// Polls once; whether it is pending.
    fn futures_poll<F: Future + Unpin>(future: &mut F) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::Pin::new(future).poll(&mut context).is_pending()
    }
}
