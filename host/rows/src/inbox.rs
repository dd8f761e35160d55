//! The queue between a receiver and a worker. It is bounded, so that a slow job slows the receiver.
//!
//! What a receiver has read is put into the inbox immediately; if that is too much, the receiver waits before it reads more. So a source that cannot
//! be read again loses nothing when the inbox is closed.

mod ends;
mod files;
mod planned_topics;
mod listed;
pub mod open;
mod peers;
mod signals;
mod request;

pub use files::{FileMessages, FileOrders, FileReports};
pub use peers::{PartitionReport, PeersState};
pub use signals::{OfferResult, Ticket};

use crate::batch::chunk::Chunk;
use crate::batch::partition::{REPORTS_END, clock_name, rows_name};
use crate::batch::position::{Extent, Position, Positions, SOURCE_END};
use ends::PartitionEnds;
use files::SpreadFiles;
use listed::gathered;
use millstream_base::error::Error;
use millstream_base::ids::BatchId;
use millstream_base::limits::{PART_BYTES_MAX, PART_ROWS_MAX};
use millstream_base::memory::{self, Holder};
use open::GrowingChunk;
use peers::PeerReaders;
use planned_topics::PlannedTopics;
use request::{AtomicRequest, TakenChunks};
use signals::Signals;
use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::Notify;

/// Bytes that the end of a batch or file counts for, so that batches without rows are bounded too.
const END_BYTES: u64 = 64;

/// Chunks of one source that wait for a batch.
pub struct Inbox {
    inbox_contents: Mutex<InboxContents>,
    /// Notified when there may be room again, and when the inbox is closed.
    room: Notify,
    bytes_max: u64,
    /// Maximum rows that all batches take together.
    rows_max: u64,
    /// Maximum rows of a batch by the job file; zero: the number of waiting rows does not decide what a batch takes.
    batch_rows_max: u64,
    /// Whether a later startup continues after `rows_max` rows.
    resumes: bool,
    /// Whether senders are notified once their rows are durable.
    acknowledges: bool,
    wake: Box<dyn Fn() + Send + Sync>,
    /// Reports how much memory the inbox holds.
    holder: Option<Holder>,
    /// Notifies receivers of the state of their rows.
    signals: Signals,
    /// The topics whose records plans hold.
    kept: PlannedTopics,
    /// Its reference count is one more than the number of connections whose clients wait for a response.
    open_responses: Arc<()>,
}

/// What a worker needs to decide about the next batch.
#[derive(Clone, Debug, Default)]
pub struct InboxState {
    /// Rows that wait.
    pub rows: u64,
    /// Whether a batch can be cut: there are waiting rows, a line of a queue (even without rows), or the end of the source.
    pub ready: bool,
    /// The receiver waits because a full batch waits: more bytes than a batch takes, in no more rows than the job file allows for it.
    pub full: bool,
    /// Nothing more will come (what waits may still be taken).
    pub finished: bool,
    /// Nothing more will come, and a batch takes all that waits.
    pub last: bool,
    /// Since when the source has nothing to read (connected but idle, or no new files), in milliseconds. Zero if it has something or that is
    /// unknown; at least one otherwise.
    pub idle_ms: u64,
    /// The error of a source that failed permanently.
    pub failed: Option<Error>,
    /// Some waiting records were put back.
    pub leftover: bool,
    /// Records that the server has for the job and no batch has taken; `None` if it does not say.
    pub missing_records: Option<u64>,
    /// The last batch that took from the inbox; the state is that after it.
    pub cut: BatchId,
}

/// How far a partition is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionRead {
    /// Its name.
    pub name: String,
    /// The next offset; `None` if its positions are not numbers.
    pub next: Option<u64>,
    /// Records that its server has from there on; `None` if unknown.
    pub missing: Option<u64>,
    /// Its position in the reader's format, if it is not a number.
    pub position_text: Option<String>,
    /// Records received of it since the start, if they are counted.
    pub rows: Option<u64>,
}

/// What a batch takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TakenRecords {
    /// The records.
    pub chunks: Vec<Chunk>,
    /// The positions that changed by that, with their new values, by file name.
    pub moved: Vec<(String, Position)>,
}

/// The maximum that a batch takes.
#[derive(Clone, Copy, Debug)]
pub struct TakeLimits {
    /// Rows in total.
    pub rows: u64,
    /// Bytes in total, as received.
    pub bytes: u64,
    /// Rows per chunk.
    pub rows_of_part: u64,
}

impl TakeLimits {
    /// Limits rows and bytes, and leaves chunks uncut.
    pub fn new(rows: u64, bytes: u64) -> TakeLimits {
        TakeLimits { rows, bytes, rows_of_part: u64::MAX }
    }
}

/// What the mutex guards.
#[derive(Default)]
struct InboxContents {
    waiting: VecDeque<QueuedItem>,
    /// The newest records, to which small chunks are joined; they come after all of `waiting`.
    open: GrowingChunk,
    /// How many of `waiting` are ends of files.
    file_ends: usize,
    /// Rows at the front that were put back.
    leftover_rows: u64,
    rows: u64,
    /// Memory of everything that waits.
    bytes: u64,
    idle_since: Option<Instant>,
    /// Records that were not received yet.
    missing_records: Option<u64>,
    /// The last report about the partitions that are read here.
    partitions: Vec<PartitionRead>,
    finished: bool,
    closed: bool,
    failed: Option<Error>,
    cut: BatchId,
    /// Rows that batches have taken.
    taken: u64,
    /// Rows that were ever added, including those that were put back, and how many of them no longer wait.
    added: u64,
    no_longer_waiting: u64,
    /// See [`Inbox::suppress_batches`].
    suppress_batches: bool,
    end: EndMark,
    /// What is known of the ends of partitions, if plans report them.
    ends: Option<PartitionEnds>,
    /// The other processes that receive a part of the source.
    peers: Option<PeerReaders>,
    /// The files of a directory that is spread over processes.
    files: Option<SpreadFiles>,
    /// See [`Inbox::group_by_partition`].
    group_by_partition: bool,
}

/// The end of the source, if a batch must hold it.
#[derive(Default)]
struct EndMark {
    /// See [`Inbox::set_end_mark`].
    is_required: bool,
    /// A batch held it.
    taken: bool,
}

enum QueuedItem {
    Chunk(Chunk),
    /// Records that one batch takes together, and the positions that they move.
    Request(AtomicRequest),
    /// What comes later belongs to another batch; the position of the source then.
    BatchEnd(Option<Position>),
    /// All of a file came before, up to its end; or it can be dropped.
    FileEnd {
        file: String,
        end: Position,
    },
}

impl Inbox {
    /// Creates an empty inbox for about `bytes_max` bytes; what a receiver adds while less waits may exceed that. `wake` is called from the
    /// receiver's thread: when something arrives in an empty inbox, when the inbox is full, when the source finishes and when it fails.
    pub fn new(bytes_max: u64, wake: Box<dyn Fn() + Send + Sync>) -> Inbox {
        let inbox_contents = Mutex::default();
        let room = Notify::new();
        let signals = Signals::default();
        Inbox {
            inbox_contents,
            room,
            bytes_max,
            rows_max: u64::MAX,
            batch_rows_max: u64::MAX,
            resumes: false,
            acknowledges: true,
            wake,
            holder: None,
            signals,
            kept: PlannedTopics::default(),
            open_responses: Arc::default(),
        }
    }

    /// Limits the rows that all batches take together. `resumes`: a later startup continues after them, so that this is not the end of the source.
    #[must_use]
    pub fn limited(self, rows_max: u64, resumes: bool) -> Inbox {
        Inbox { rows_max, resumes, ..self }
    }

    /// Limits the rows of a batch, as in the job file; zero: batches take what they are told to.
    #[must_use]
    pub fn in_batches_of(self, batch_rows_max: u64) -> Inbox {
        Inbox { batch_rows_max, ..self }
    }

    /// Configures the inbox for a job that only shows rows: it takes none of them away from their keeper, so no sender is notified that they are
    /// durable.
    #[must_use]
    pub fn for_preview(self) -> Inbox {
        Inbox { acknowledges: false, ..self }
    }

    /// Receiver: returns whether senders are notified once their rows are durable.
    pub fn acknowledges(&self) -> bool {
        self.acknowledges
    }

    /// Returns the maximum rows that all batches take together.
    pub fn rows_max(&self) -> u64 {
        self.rows_max
    }

    /// Reports to `holder` how much memory waits.
    #[must_use]
    pub fn held_by(self, holder: Holder) -> Inbox {
        Inbox { holder: Some(holder), ..self }
    }

    /// Receiver: adds records, then waits while more bytes wait than allowed. Small chunks that follow each other in the source are joined. `false`:
    /// the inbox is closed and the receiver ends; if it was closed before this call, the records were not added.
    pub async fn put(&self, chunk: Chunk) -> bool {
        self.add(|contents| {
            contents.report_file_read(&chunk);
            contents.join(chunk);
        })
        .await
    }

    /// Receiver: like `put`, but one batch takes all of these records, with the positions that they move. They may be joined in the same way with
    /// those before and after them, up to `rows_max` rows.
    pub async fn put_atomic(&self, chunks: Vec<Chunk>, moves: Vec<(String, Position)>, rows_max: u64) -> bool {
        self.add(|contents| contents.push_request(AtomicRequest::new(chunks, moves).joined(rows_max))).await
    }

    /// Receiver: adds these records as soon as there is room. Returns a ticket that becomes true once they are durable; `None` if the inbox was
    /// closed and does not have them.
    pub async fn put_all_for(&self, chunks: Vec<Chunk>) -> Option<Ticket> {
        let mut ticket = None;
        let added = self.add(|contents| {
            chunks.into_iter().for_each(|chunk| contents.join(chunk));
            ticket = Some(contents.ticket());
        });
        // If it was closed meanwhile, as a limit does it, a batch may have taken them.
        let _ = added.await;
        ticket
    }

    /// Receiver: like [`Inbox::put_atomic`], with a ticket for the durability of these rows; `None` if the inbox was closed and does not have them.
    pub async fn put_atomic_for(
        &self,
        chunks: Vec<Chunk>,
        moves: Vec<(String, Position)>,
        rows_max: u64,
    ) -> Option<Ticket> {
        let mut ticket = None;
        let added = self.add(|contents| {
            contents.push_request(AtomicRequest::new(chunks, moves).joined(rows_max));
            ticket = Some(contents.ticket());
        });
        // If it was closed meanwhile, as a limit does it, a batch may have taken them.
        let _ = added.await;
        ticket
    }

    /// Receiver: moves these positions without rows, together with the next records. `false`: the inbox is closed.
    pub fn note(&self, moves: Vec<(String, Position)>) -> bool {
        self.move_positions(moves.into_iter())
    }

    /// Receiver: like `put`, with the last records of a file, if there are any, which is read up to this end. The batch that takes the last of them
    /// takes the end with them. An end alone wakes no worker and waits for the next records.
    pub async fn put_last(&self, last: Option<Chunk>, file: String, end: Position) -> bool {
        self.add(|contents| {
            last.into_iter().for_each(|chunk| contents.join(chunk));
            contents.end_file(file, end);
        })
        .await
    }

    /// Receiver: drops what is known of these files, together with the next records. `false`: the inbox is closed.
    pub fn drop_files(&self, files: Vec<String>) -> bool {
        self.move_positions(files.into_iter().map(|file| (file, Position::GONE)))
    }

    /// Receiver: reports the source's new partitions, each with its own clock, and removed ones. Called for all partitions together in the process
    /// that reports clocks (`Share::reports_clocks`). It goes with the next records. `false`: the inbox is closed.
    pub fn report_partitions(&self, new: &[String], removed: &[String]) -> bool {
        let clock = |name: &String, position| (clock_name(name), position);
        let mark = if self.lock().partitions_reported() { REPORTS_END } else { 0 };
        let new = new.iter().map(|name| clock(name, Position { offset: 0, mark }));
        self.move_positions(new.chain(removed.iter().map(|name| clock(name, Position::GONE))))
    }

    fn move_positions(&self, positions: impl Iterator<Item = (String, Position)>) -> bool {
        self.add_now(|contents| {
            contents.seal();
            positions.for_each(|(name, position)| contents.push_file_end(name, position));
        })
    }

    /// Receiver, on its own thread: waits for `time`. `true`: the inbox was closed meanwhile.
    pub fn closed_within(&self, runtime: &Handle, time: Duration) -> bool {
        runtime.block_on(async { tokio::time::timeout(time, self.closed()).await.is_ok() })
    }

    /// Receiver: like `put`, but these chunks are one batch of their own (queue sources), after which the source is read up to `end`.
    pub async fn put_batch(&self, chunks: Vec<Chunk>, end: Position) -> bool {
        self.add(|contents| {
            contents.seal();
            if matches!(contents.waiting.back(), Some(QueuedItem::Chunk(_))) {
                contents.push_batch_end(None);
            }
            for chunk in chunks.into_iter().filter(|chunk| chunk.rows() > 0) {
                contents.count(&chunk);
                contents.waiting.push_back(QueuedItem::Chunk(chunk));
            }
            contents.push_batch_end(Some(end));
        })
        .await
    }

    /// Receiver: makes what waits a batch of its own, even if that is only positions without records.
    pub fn begin_batch(&self) {
        self.add_now(|contents| {
            contents.seal();
            contents.push_batch_end(None);
        });
    }

    /// Receiver: replaces all that waits by a chunk, and does not wait for room.
    pub fn replace_waiting(&self, chunk: Chunk) {
        self.add_now(|contents| {
            contents.no_longer_waiting = contents.added;
            contents.clear();
            contents.count(&chunk);
            contents.waiting.push_back(QueuedItem::Chunk(chunk));
        });
    }

    /// Receiver: what waits does not cause a batch; it is taken with what other sources have.
    pub fn suppress_batches(&self) {
        self.lock().suppress_batches = true;
    }

    /// Sets the end of the source. `is_required`: a batch must hold it, and is cut for it once all else was taken. `taken`: a batch of an earlier
    /// start held it.
    pub fn set_end_mark(&self, is_required: bool, taken: bool) {
        self.lock().end = EndMark { is_required, taken };
    }

    /// Puts back what an earlier startup had taken for a batch that was not completed, and the other positions that go with these rows. It comes
    /// before all else, whatever its size.
    pub fn put_back(&self, chunks: Vec<Chunk>, moved: Vec<(String, Position)>) {
        let mut contents = self.lock();
        moved.into_iter().for_each(|(file, end)| contents.push_file_end(file, end));
        for chunk in chunks.into_iter().rev().filter(|chunk| chunk.rows() > 0) {
            contents.count(&chunk);
            contents.leftover_rows += chunk.rows() as u64;
            contents.waiting.push_front(QueuedItem::Chunk(chunk));
        }
        drop(contents);
        (self.wake)();
    }

    /// Receiver: nothing more will come.
    pub fn finish(&self) {
        self.lock().finished = true;
        (self.wake)();
    }

    /// Receiver: the source failed permanently; the job stops with this error. The first error stays.
    pub fn fail(&self, error: Error) {
        self.lock().failed.get_or_insert(error);
        (self.wake)();
    }

    /// Receiver: sets whether it has nothing to read for now.
    pub fn idle(&self, idle: bool) {
        let mut contents = self.lock();
        if idle != contents.idle_since.is_some() {
            contents.idle_since = idle.then(Instant::now);
        }
    }

    /// Receiver: reports how far this partition is read, which has its own thread; the number of missing records is unknown.
    pub fn report_partition_read(&self, read: PartitionRead) {
        let mut contents = self.lock();
        match contents.partitions.iter_mut().find(|known| known.name == read.name) {
            Some(known) => *known = read,
            None => contents.partitions.push(read),
        }
    }

    /// Receiver: reports that a partition is read to its end.
    pub fn report_partition_end(&self, partition: &str) {
        self.lock().partitions.retain(|known| known.name != partition);
    }

    /// Receiver: reports how far all partitions are read that are read here.
    pub fn report_partitions_read(&self, partitions: Vec<PartitionRead>) {
        let missing = partitions.iter().map(|partition| partition.missing.unwrap_or(0));
        let missing_records = missing.fold(0, u64::saturating_add);
        let mut contents = self.lock();
        (contents.missing_records, contents.partitions) = (Some(missing_records), partitions);
    }

    /// Returns how far batches have taken these partitions: what waits counts as missing.
    pub fn partitions(&self) -> Vec<PartitionRead> {
        let contents = self.lock();
        let mut partitions = contents.partitions.clone();
        let mut waiting: HashMap<&str, (&Extent, u64)> = HashMap::new();
        if !partitions.is_empty() {
            let chunks = contents.waiting.iter().filter_map(|item| match item {
                QueuedItem::Chunk(chunk) => Some((&chunk.extent, chunk.rows())),
                _ => None,
            });
            let open = (!contents.open.is_empty()).then(|| (contents.open.extent(), contents.open.rows()));
            for (extent, rows) in chunks.chain(open) {
                let (_, waits) = waiting.entry(extent.file.as_str()).or_insert((extent, 0));
                *waits += rows as u64;
            }
        }
        for partition in &mut partitions {
            if let Some((first, rows)) = waiting.get(partition.name.as_str()) {
                partition.next = Some(first.start);
                partition.missing = partition.missing.map(|missing| missing.saturating_add(*rows));
            }
            // Positions that are numbers of rows.
            let counted = partition.next.as_mut().zip(waiting.get(rows_name(&partition.name).as_str()));
            if let Some((next, (first, _))) = counted {
                *next = first.row;
            }
        }
        partitions
    }

    /// Receiver: waits until the inbox is closed.
    pub async fn closed(&self) {
        loop {
            let mut notified = pin!(self.room.notified());
            notified.as_mut().enable();
            if self.lock().closed {
                return;
            }
            notified.await;
        }
    }

    /// Receiver: returns whether the inbox is closed.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Returns the bytes that wait, and about how many may.
    pub fn fill(&self) -> (u64, u64) {
        (self.lock().bytes, self.bytes_max)
    }

    /// Worker: returns the current state.
    pub fn state(&self) -> InboxState {
        let contents = self.lock();
        InboxState {
            rows: contents.rows,
            ready: (!contents.is_empty() || contents.at_end()) && !contents.suppress_batches,
            full: self.is_full(&contents),
            finished: contents.finished,
            last: contents.finished && contents.bytes <= self.bytes_max && self.may_be_one_batch(&contents),
            idle_ms: contents.idle_since.map_or(0, |since| (since.elapsed().as_millis() as u64).max(1)),
            failed: contents.failed.clone(),
            leftover: contents.leftover_rows > 0,
            missing_records: contents
                .missing_records
                .map(|missing_records| missing_records.saturating_add(contents.rows)),
            cut: contents.cut,
        }
    }

    /// Worker: this batch takes nothing, as it is replayed from its plan.
    pub fn skip(&self, batch: BatchId) {
        self.lock().cut = batch;
    }

    /// Worker: takes what this batch holds, but at least one record if one waits. A chunk is cut only if necessary.
    pub fn take(&self, batch: BatchId, limits: TakeLimits) -> TakenRecords {
        let mut contents = self.lock();
        contents.cut = batch;
        contents.seal();
        let mut chunks = TakenChunks::new(limits.rows_of_part);
        let mut moved = Positions::new();
        let (mut rows, mut bytes) = (0, 0);
        let left = self.rows_max.saturating_sub(contents.taken);
        let (rows_max, bytes_max) = (limits.rows.min(left).max(1), limits.bytes);
        // As of before this batch, so that it does not depend on how soon the receiver reports it after its last rows.
        let ends = contents.at_end();
        contents.take_end_back(&mut moved);
        while let Some(next) = contents.waiting.front() {
            let ended = match next {
                QueuedItem::Chunk(chunk)
                    if !chunks.is_empty() && (rows >= rows_max || bytes + chunk.bytes() as u64 > bytes_max) =>
                {
                    break;
                }
                QueuedItem::Chunk(_) => {
                    let rows_left = (rows_max - rows).min(limits.rows_of_part);
                    let rows_left = usize::try_from(rows_left).unwrap_or(usize::MAX);
                    let Some(front) = contents.cut_front(rows_left, bytes_max.saturating_sub(bytes)) else { break };
                    rows += front.rows() as u64;
                    bytes += front.bytes() as u64;
                    move_to(&mut moved, &front.extent.file, front.end_position());
                    chunks.push(front);
                    continue;
                }
                QueuedItem::Request(next)
                    if !chunks.is_empty() && (rows + next.rows > rows_max || bytes + next.bytes > bytes_max) =>
                {
                    break;
                }
                QueuedItem::Request(_) => {
                    let Some(request) = contents.pop_request() else { break };
                    rows += request.rows;
                    bytes += request.bytes;
                    for chunk in request.chunks {
                        move_to(&mut moved, &chunk.extent.file, chunk.end_position());
                        chunks.join(chunk);
                    }
                    request.moves.iter().for_each(|(name, position)| move_to(&mut moved, name, *position));
                    continue;
                }
                QueuedItem::BatchEnd(_) => true,
                QueuedItem::FileEnd { .. } => false,
            };
            contents.pop_end(&mut moved);
            if ended {
                break;
            }
        }
        contents.taken = contents.taken.saturating_add(rows);
        contents.no_longer_waiting = contents.no_longer_waiting.saturating_add(rows);
        self.signals.record_batch(batch, contents.no_longer_waiting);
        if contents.taken >= self.rows_max {
            contents.end();
            contents.end.is_required &= !self.resumes;
        }
        if ends {
            contents.end.taken = true;
            moved.insert(SOURCE_END.into(), Position { offset: 0, mark: 1 });
        }
        contents.add_ends(&mut moved, true);
        contents.files.iter_mut().for_each(|files| files.moved(&moved));
        self.report_holder(&contents);
        let gathers = contents.group_by_partition;
        drop(contents);
        self.room.notify_waiters();
        let mut chunks = chunks.into_chunks();
        if gathers {
            chunks = gathered(chunks, limits.rows_of_part);
        }
        TakenRecords { chunks, moved: moved.into_iter().collect() }
    }

    /// Receiver: a connection may need a response while the result is alive.
    pub fn open_response(&self) -> Arc<()> {
        self.open_responses.clone()
    }

    /// Returns whether such a connection is open.
    pub fn has_open_response(&self) -> bool {
        Arc::strong_count(&self.open_responses) > 1
    }

    /// Worker: closes the inbox; receivers end.
    pub fn close(&self) {
        self.lock().closed = true;
        self.room.notify_waiters();
    }

    /// Adds, then waits until there is room again. `false`: closed.
    async fn add(&self, add: impl FnOnce(&mut InboxContents)) -> bool {
        if !self.add_now(add) {
            return false;
        }
        loop {
            // Registered before looking, so that a `take` in between is not missed.
            let mut notified = pin!(self.room.notified());
            notified.as_mut().enable();
            if let Some(open) = self.has_room() {
                return open;
            }
            notified.await;
        }
    }

    /// `false`: closed, and nothing was added.
    fn add_now(&self, add: impl FnOnce(&mut InboxContents)) -> bool {
        let mut contents = self.lock();
        if contents.closed {
            return false;
        }
        let (was_empty, was_full) = (contents.is_empty(), self.is_full(&contents));
        add(&mut contents);
        let (is_empty, is_full) = (contents.is_empty(), self.is_full(&contents));
        if !is_empty {
            contents.idle_since = None;
        }
        self.report_holder(&contents);
        drop(contents);
        if (was_empty && !is_empty) || (is_full && !was_full) {
            (self.wake)();
        }
        true
    }

    /// Returns whether there is room; `Some(false)`: it is closed. An empty inbox has room, so that no single chunk is too large, even if memory is
    /// tight.
    fn has_room(&self) -> Option<bool> {
        let contents = self.lock();
        let room = contents.closed || contents.is_empty() || (contents.bytes <= self.bytes_max && !memory::tight());
        room.then_some(!contents.closed)
    }

    fn is_full(&self, contents: &InboxContents) -> bool {
        contents.bytes > self.bytes_max && self.may_be_one_batch(contents) && !contents.suppress_batches
    }

    /// Returns whether the job file allows all waiting rows in one batch.
    fn may_be_one_batch(&self, contents: &InboxContents) -> bool {
        self.batch_rows_max > 0 && contents.rows <= self.batch_rows_max
    }

    fn report_holder(&self, contents: &InboxContents) {
        self.holder.iter().for_each(|holder| holder.set(contents.bytes));
    }

    fn lock(&self) -> MutexGuard<'_, InboxContents> {
        // Operations under the lock cannot leave inconsistent state, so a panic elsewhere does not matter here.
        self.inbox_contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InboxContents {
    /// Returns whether there is nothing to cut a batch for: an end of a file alone is not enough.
    fn is_empty(&self) -> bool {
        self.waiting.len() == self.file_ends && self.open.is_empty()
    }

    /// Returns whether the next batch must hold the end of the source.
    fn at_end(&self) -> bool {
        self.end.is_required && !self.end.taken && self.finished && self.is_empty() && self.peers_have_finished()
    }

    /// Drops what waits, and receivers end.
    fn end(&mut self) {
        // What no batch took is not durable, so it does not count as taken.
        self.clear();
        (self.finished, self.closed) = (true, true);
    }

    /// Drops what waits.
    fn clear(&mut self) {
        self.waiting.clear();
        self.open = GrowingChunk::default();
        (self.file_ends, self.leftover_rows, self.rows, self.bytes) = (0, 0, 0, 0);
    }

    fn count(&mut self, chunk: &Chunk) {
        self.rows += chunk.rows() as u64;
        self.added += chunk.rows() as u64;
        self.bytes += chunk.memory_bytes();
    }

    /// Appends a chunk: to the open one if both together still fit into a part, so that single lines cost only a copy of their bytes.
    fn join(&mut self, chunk: Chunk) {
        if chunk.rows() == 0 {
            return;
        }
        self.count(&chunk);
        if !self.open.fits(&chunk) {
            self.seal();
        }
        let large = chunk.bytes() >= PART_BYTES_MAX / 2 || chunk.rows() >= PART_ROWS_MAX / 2;
        if large && self.open.is_empty() {
            self.waiting.push_back(QueuedItem::Chunk(chunk));
        } else {
            self.open.add(chunk);
        }
    }

    /// Closes the open chunk, so that nothing more joins it.
    fn seal(&mut self) {
        let open = std::mem::take(&mut self.open);
        if !open.is_empty() {
            self.waiting.push_back(QueuedItem::Chunk(open.into_chunk()));
        }
    }

    fn push_file_end(&mut self, file: String, end: Position) {
        self.file_ends += 1;
        self.bytes += END_BYTES + file.len() as u64;
        self.waiting.push_back(QueuedItem::FileEnd { file, end });
    }

    fn push_batch_end(&mut self, end: Option<Position>) {
        self.waiting.push_back(QueuedItem::BatchEnd(end));
        self.bytes += END_BYTES;
    }

    /// Takes at least one record of the first chunk, within these limits; `None`: the first item is not a chunk.
    fn cut_front(&mut self, rows_max: usize, bytes_max: u64) -> Option<Chunk> {
        let Some(QueuedItem::Chunk(chunk)) = self.waiting.front_mut() else { return None };
        let mut count = rows_max;
        if chunk.bytes() as u64 > bytes_max {
            count = count.min(chunk.rows_within(bytes_max));
        }
        let front = chunk.cut_front(count.max(1));
        if chunk.rows() == 0 {
            self.waiting.pop_front();
        }
        self.rows = self.rows.saturating_sub(front.rows() as u64);
        self.leftover_rows = self.leftover_rows.saturating_sub(front.rows() as u64);
        self.bytes = self.bytes.saturating_sub(front.memory_bytes());
        Some(front)
    }

    /// Takes the end of a batch or file that comes first.
    fn pop_end(&mut self, moved: &mut Positions) {
        match self.waiting.pop_front() {
            Some(QueuedItem::BatchEnd(end)) => {
                self.bytes = self.bytes.saturating_sub(END_BYTES);
                end.into_iter().for_each(|end| move_to(moved, "", end));
            }
            Some(QueuedItem::FileEnd { file, end }) => {
                self.bytes = self.bytes.saturating_sub(END_BYTES + file.len() as u64);
                self.file_ends = self.file_ends.saturating_sub(1);
                self.files.iter_mut().for_each(|files| files.popped(&file, end));
                move_to(moved, &file, end);
            }
            Some(other @ (QueuedItem::Chunk(_) | QueuedItem::Request(_))) => self.waiting.push_front(other),
            None => {}
        }
    }
}

/// Moves the position of a file, or of the source itself.
fn move_to(moved: &mut Positions, file: &str, position: Position) {
    match moved.get_mut(file) {
        Some(before) => *before = position,
        None => {
            moved.insert(file.to_owned(), position);
        }
    }
}

#[cfg(test)]
mod tests;
