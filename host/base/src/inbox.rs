//! Where a receiver puts chunks and a worker takes them: bounded, so that a slow job slows the receiver.
//!
//! What a receiver has read is in the inbox at once; if that is too much, the receiver waits before it reads on. So a
//! source that cannot be read again loses nothing when the inbox is closed.

mod ends;
mod files;
mod kept;
mod listed;
pub mod open;
mod others;
mod signals;
mod whole;

pub use files::{FileNews, FileOrders, FileReports};
pub use others::{OthersState, PartitionNews};
pub use signals::{Offered, Ticket};

use crate::batch::chunk::Chunk;
use crate::batch::partition::{TELLS_END, clock_name, rows_name};
use crate::batch::position::{Extent, Position, Positions, SOURCE_END};
use crate::error::Error;
use crate::ids::BatchId;
use crate::limits::{PART_BYTES_MAX, PART_ROWS_MAX};
use crate::memory::{self, Holder};
use ends::PartitionEnds;
use files::SpreadFiles;
use kept::KeptTopics;
use listed::gathered;
use open::GrowingChunk;
use others::OtherReaders;
use signals::Signals;
use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use whole::{TakenChunks, WholeRequest};

/// What the end of a batch or file counts as, so that batches without rows are bounded too.
const END_BYTES: u64 = 64;

/// Chunks of one source that wait for a batch.
pub struct Inbox {
    held: Mutex<InboxContents>,
    /// Told when there may be room again, and when the inbox is closed.
    room: Notify,
    bytes_max: u64,
    /// Batches take no more rows than this in all.
    rows_max: u64,
    /// As many rows as the job file lets a batch take; zero: what a batch takes is not a matter of how much waits.
    batch_rows_max: u64,
    /// Whether a later start goes on behind these.
    goes_on: bool,
    /// Whether those who have sent rows hear that they are safe.
    acknowledges: bool,
    wake: Box<dyn Fn() + Send + Sync>,
    /// Tells how much waits.
    holder: Option<Holder>,
    /// What receivers hear of what became of their rows.
    signals: Signals,
    /// The topics whose records plans hold.
    kept: KeptTopics,
    /// One more than there are connections on which somebody waits for an answer.
    answering: Arc<()>,
}

/// What a worker needs to know to decide about the next batch.
#[derive(Clone, Debug, Default)]
pub struct InboxState {
    /// Rows that wait.
    pub rows: u64,
    /// Whether a batch can be cut: rows wait, for a queue a line that may have no rows, or the end of the source.
    pub ready: bool,
    /// The receiver waits, as a whole batch does: more bytes than a batch takes, of no more rows than the job file lets it take.
    pub full: bool,
    /// Nothing more will come (what waits may still be taken).
    pub finished: bool,
    /// The same, and a batch takes what waits.
    pub last: bool,
    /// The source has nothing to read for now: connected but silent, or no new files; since when, in milliseconds.
    /// Zero: it has, or it is not known yet; at least one otherwise.
    pub idle_ms: u64,
    /// The source failed for good.
    pub failed: Option<Error>,
    /// Records wait that were put back.
    pub leftover: bool,
    /// Records that its server has for the job and no batch has taken; `None`: it does not say.
    pub behind: Option<u64>,
    /// The last batch that took from it; all else is said as of after that.
    pub cut: BatchId,
}

/// How far a partition is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionRead {
    /// Its name.
    pub name: String,
    /// The offset that comes next; `None`: its places are not numbers.
    pub next: Option<u64>,
    /// Records that its server has from there on; `None`: that is not known.
    pub missing: Option<u64>,
    /// Its place in the words of whoever reads it, where they are no number.
    pub place: Option<String>,
    /// Records that came of it since the start, where somebody counts.
    pub rows: Option<u64>,
}

/// What a batch takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TakenRecords {
    /// The records.
    pub chunks: Vec<Chunk>,
    /// The positions that changed by that, as they are now, by file name.
    pub moved: Vec<(String, Position)>,
}

/// The most that a batch takes.
#[derive(Clone, Copy, Debug)]
pub struct TakeLimits {
    /// Rows in all.
    pub rows: u64,
    /// Bytes in all, as received.
    pub bytes: u64,
    /// Rows of a chunk.
    pub rows_of_part: u64,
}

impl TakeLimits {
    /// So many rows and bytes, and chunks as they are.
    pub fn of(rows: u64, bytes: u64) -> TakeLimits {
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
    behind: Option<u64>,
    /// What was told last of the partitions that are read here.
    partitions: Vec<PartitionRead>,
    finished: bool,
    closed: bool,
    failed: Option<Error>,
    cut: BatchId,
    /// Rows that batches have taken.
    taken: u64,
    /// Rows that were ever added, those that were put back included, and of them those that do not wait any more.
    added: u64,
    gone: u64,
    /// See [`Inbox::begins_no_batch`].
    begins_no_batch: bool,
    end: EndMark,
    /// What is known of the ends of partitions, where plans tell of them.
    ends: Option<PartitionEnds>,
    /// The other processes that receive a part of the source.
    others: Option<OtherReaders>,
    /// The files of a folder that are spread over processes.
    files: Option<SpreadFiles>,
    /// See [`Inbox::gathers_partitions`].
    gathers_partitions: bool,
}

/// How it stands with the end of the source, where a batch is to hold it.
#[derive(Default)]
struct EndMark {
    /// See [`Inbox::tells_end`].
    told: bool,
    /// A batch held it.
    taken: bool,
}

enum QueuedItem {
    Chunk(Chunk),
    /// Records that one batch takes together, and what they move.
    Whole(WholeRequest),
    /// What comes later is another batch; how far the source is read then.
    BatchEnd(Option<Position>),
    /// All of a file came before, up to its end; or it is to be forgotten.
    FileEnd {
        file: String,
        end: Position,
    },
}

impl Inbox {
    /// An empty inbox for about `bytes_max` bytes: what a receiver adds when less waits may exceed that. `wake` is
    /// called, from the receiver's thread, when something arrives in an empty inbox, when the inbox is full, when the source
    /// finishes and when it fails.
    pub fn new(bytes_max: u64, wake: Box<dyn Fn() + Send + Sync>) -> Inbox {
        let held = Mutex::default();
        let room = Notify::new();
        let signals = Signals::default();
        Inbox {
            held,
            room,
            bytes_max,
            rows_max: u64::MAX,
            batch_rows_max: u64::MAX,
            goes_on: false,
            acknowledges: true,
            wake,
            holder: None,
            signals,
            kept: KeptTopics::default(),
            answering: Arc::default(),
        }
    }

    /// The same, which takes nothing more when batches have taken so many rows. `goes_on`: a later start does, so that this is
    /// not the end of the source.
    #[must_use]
    pub fn limited(self, rows_max: u64, goes_on: bool) -> Inbox {
        Inbox { rows_max, goes_on, ..self }
    }

    /// The same, of which a batch takes no more rows than this, as the job file says; zero: of which batches take what they are told.
    #[must_use]
    pub fn in_batches_of(self, batch_rows_max: u64) -> Inbox {
        Inbox { batch_rows_max, ..self }
    }

    /// The same for a job that only shows rows: it takes none of them away from whoever keeps them, so nobody hears that they are safe.
    #[must_use]
    pub fn for_a_look(self) -> Inbox {
        Inbox { acknowledges: false, ..self }
    }

    /// Receiver: whether those who have sent rows hear that they are safe.
    pub fn acknowledges(&self) -> bool {
        self.acknowledges
    }

    /// How many rows batches take in all.
    pub fn rows_max(&self) -> u64 {
        self.rows_max
    }

    /// The same, which tells there how much waits.
    #[must_use]
    pub fn held_by(self, holder: Holder) -> Inbox {
        Inbox { holder: Some(holder), ..self }
    }

    /// Receiver: adds records, then waits while more bytes wait than may. Small chunks that follow each other in the
    /// source are joined. `false`: the inbox is closed, the receiver ends; if it was closed before this call, the records
    /// were not added.
    pub async fn put(&self, chunk: Chunk) -> bool {
        self.add(|held| {
            held.tell_file_read(&chunk);
            held.join(chunk);
        })
        .await
    }

    /// Receiver: as `put`, but one batch takes all of these records, with the positions that they move. They may be joined with
    /// what comes right before and behind them in the same way, to so many rows.
    pub async fn put_whole(&self, chunks: Vec<Chunk>, moves: Vec<(String, Position)>, rows_max: u64) -> bool {
        self.add(|held| held.push_whole(WholeRequest::new(chunks, moves).joined(rows_max))).await
    }

    /// Receiver: adds these records as soon as there is room, and says what to ask whether they are durable; `None`: the inbox was closed,
    /// and does not have them.
    pub async fn put_all_for(&self, chunks: Vec<Chunk>) -> Option<Ticket> {
        let mut ticket = None;
        let added = self.add(|held| {
            chunks.into_iter().for_each(|chunk| held.join(chunk));
            ticket = Some(held.ticket());
        });
        // Where it was closed meanwhile, as a limit does it, a batch may have taken them.
        let _ = added.await;
        ticket
    }

    /// Receiver: as [`Inbox::put_whole`], and what to ask whether these rows are durable; `None`: the inbox was closed, and does not have them.
    pub async fn put_whole_for(
        &self,
        chunks: Vec<Chunk>,
        moves: Vec<(String, Position)>,
        rows_max: u64,
    ) -> Option<Ticket> {
        let mut ticket = None;
        let added = self.add(|held| {
            held.push_whole(WholeRequest::new(chunks, moves).joined(rows_max));
            ticket = Some(held.ticket());
        });
        // Where it was closed meanwhile, as a limit does it, a batch may have taken them.
        let _ = added.await;
        ticket
    }

    /// Receiver: these positions have moved without rows; goes with the next records. `false`: the inbox is closed.
    pub fn note(&self, moves: Vec<(String, Position)>) -> bool {
        self.move_positions(moves.into_iter())
    }

    /// Receiver: as `put`, with the last records of a file, if there are any, which is read up to this end. The batch
    /// that takes the last of them takes the end with them. An end alone wakes nobody and waits for the next records.
    pub async fn put_last(&self, last: Option<Chunk>, file: String, end: Position) -> bool {
        self.add(|held| {
            last.into_iter().for_each(|chunk| held.join(chunk));
            held.end_file(file, end);
        })
        .await
    }

    /// Receiver: nothing need be known of these files any more; goes with the next records. `false`: the inbox is closed.
    pub fn forget(&self, files: Vec<String>) -> bool {
        self.move_positions(files.into_iter().map(|file| (file, Position::GONE)))
    }

    /// Receiver: the source has these partitions now, each with a clock of its own, and not those any more; of all of them, at
    /// once, from the process that tells (`Share::tells_clocks`). It goes with the next records. `false`: the inbox is closed.
    pub fn tell_partitions(&self, new: &[String], gone: &[String]) -> bool {
        let clock = |name: &String, position| (clock_name(name), position);
        let mark = if self.lock().partitions_are_told() { TELLS_END } else { 0 };
        let new = new.iter().map(|name| clock(name, Position { offset: 0, mark }));
        self.move_positions(new.chain(gone.iter().map(|name| clock(name, Position::GONE))))
    }

    fn move_positions(&self, positions: impl Iterator<Item = (String, Position)>) -> bool {
        self.add_now(|held| {
            held.seal();
            positions.for_each(|(name, position)| held.push_file_end(name, position));
        })
    }

    /// Receiver, on a thread of its own: waits for so long. `true`: the inbox was closed meanwhile.
    pub fn closed_within(&self, runtime: &Handle, time: Duration) -> bool {
        runtime.block_on(async { tokio::time::timeout(time, self.closed()).await.is_ok() })
    }

    /// Receiver: as `put`, but these chunks are one batch by themselves (queue sources), after which the source is read
    /// up to `behind`.
    pub async fn put_batch(&self, chunks: Vec<Chunk>, behind: Position) -> bool {
        self.add(|held| {
            held.seal();
            if matches!(held.waiting.back(), Some(QueuedItem::Chunk(_))) {
                held.push_batch_end(None);
            }
            for chunk in chunks.into_iter().filter(|chunk| chunk.rows() > 0) {
                held.count(&chunk);
                held.waiting.push_back(QueuedItem::Chunk(chunk));
            }
            held.push_batch_end(Some(behind));
        })
        .await
    }

    /// Receiver: what waits is a batch by itself, also where that is no records but positions alone.
    pub fn begin_batch(&self) {
        self.add_now(|held| {
            held.seal();
            held.push_batch_end(None);
        });
    }

    /// Receiver: adds a chunk in the place of all that waits, and does not wait for room.
    pub fn put_instead(&self, chunk: Chunk) {
        self.add_now(|held| {
            held.gone = held.added;
            held.clear();
            held.count(&chunk);
            held.waiting.push_back(QueuedItem::Chunk(chunk));
        });
    }

    /// Receiver: what waits is no reason for a batch; it comes in with what other sources have.
    pub fn begins_no_batch(&self) {
        self.lock().begins_no_batch = true;
    }

    /// `told`: that nothing more will come is to be in a batch, too, and a reason for one: the first that is cut when all else was
    /// taken. `taken`: a batch of an earlier start held it.
    pub fn tells_end(&self, told: bool, taken: bool) {
        self.lock().end = EndMark { told, taken };
    }

    /// Puts back what an earlier start had taken for a batch that did not come about, and the positions beside that of the rows
    /// that go with it. It comes before all else, however much it is.
    pub fn put_back(&self, chunks: Vec<Chunk>, moved: Vec<(String, Position)>) {
        let mut held = self.lock();
        moved.into_iter().for_each(|(file, end)| held.push_file_end(file, end));
        for chunk in chunks.into_iter().rev().filter(|chunk| chunk.rows() > 0) {
            held.count(&chunk);
            held.leftover_rows += chunk.rows() as u64;
            held.waiting.push_front(QueuedItem::Chunk(chunk));
        }
        drop(held);
        (self.wake)();
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

    /// Receiver: how far this partition is read, which a thread of its own reads; nothing is known of how much is missing.
    pub fn tell_one_read(&self, read: PartitionRead) {
        let mut held = self.lock();
        match held.partitions.iter_mut().find(|known| known.name == read.name) {
            Some(known) => *known = read,
            None => held.partitions.push(read),
        }
    }

    /// Receiver: that one is read to its end.
    pub fn tell_all_read(&self, partition: &str) {
        self.lock().partitions.retain(|known| known.name != partition);
    }

    /// Receiver: how far all partitions are read that are read here.
    pub fn tell_read(&self, partitions: Vec<PartitionRead>) {
        let missing = partitions.iter().map(|partition| partition.missing.unwrap_or(0));
        let behind = missing.fold(0, u64::saturating_add);
        let mut held = self.lock();
        (held.behind, held.partitions) = (Some(behind), partitions);
    }

    /// How far batches have taken these partitions: what waits counts as missing.
    pub fn partitions(&self) -> Vec<PartitionRead> {
        let held = self.lock();
        let mut partitions = held.partitions.clone();
        let mut waiting: HashMap<&str, (&Extent, u64)> = HashMap::new();
        if !partitions.is_empty() {
            let chunks = held.waiting.iter().filter_map(|item| match item {
                QueuedItem::Chunk(chunk) => Some((&chunk.extent, chunk.rows())),
                _ => None,
            });
            let open = (!held.open.is_empty()).then(|| (held.open.extent(), held.open.rows()));
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
            // Places that are numbers of rows.
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
            let mut told = pin!(self.room.notified());
            told.as_mut().enable();
            if self.lock().closed {
                return;
            }
            told.await;
        }
    }

    /// Receiver: whether the inbox is closed.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Bytes that wait, and about how many may.
    pub fn fill(&self) -> (u64, u64) {
        (self.lock().bytes, self.bytes_max)
    }

    /// Worker: how things stand.
    pub fn state(&self) -> InboxState {
        let held = self.lock();
        InboxState {
            rows: held.rows,
            ready: (!held.is_empty() || held.at_end()) && !held.begins_no_batch,
            full: self.is_full(&held),
            finished: held.finished,
            last: held.finished && held.bytes <= self.bytes_max && self.may_be_one_batch(&held),
            idle_ms: held.idle_since.map_or(0, |since| (since.elapsed().as_millis() as u64).max(1)),
            failed: held.failed.clone(),
            leftover: held.leftover_rows > 0,
            behind: held.behind.map(|behind| behind.saturating_add(held.rows)),
            cut: held.cut,
        }
    }

    /// Worker: this batch takes nothing, as it is run again from its plan.
    pub fn skip(&self, batch: BatchId) {
        self.lock().cut = batch;
    }

    /// Worker: takes what this batch holds, but at least one record if one waits. A chunk is cut only where it must be.
    pub fn take(&self, batch: BatchId, most: TakeLimits) -> TakenRecords {
        let mut held = self.lock();
        held.cut = batch;
        held.seal();
        let mut chunks = TakenChunks::new(most.rows_of_part);
        let mut moved = Positions::new();
        let (mut rows, mut bytes) = (0, 0);
        let left = self.rows_max.saturating_sub(held.taken);
        let (rows_max, bytes_max) = (most.rows.min(left).max(1), most.bytes);
        // As it was before this batch, so that it does not depend on how soon the receiver says so behind its last rows.
        let ends = held.at_end();
        held.take_end_back(&mut moved);
        while let Some(next) = held.waiting.front() {
            let ended = match next {
                QueuedItem::Chunk(chunk)
                    if !chunks.is_empty() && (rows >= rows_max || bytes + chunk.bytes() as u64 > bytes_max) =>
                {
                    break;
                }
                QueuedItem::Chunk(_) => {
                    let rows_left = (rows_max - rows).min(most.rows_of_part);
                    let rows_left = usize::try_from(rows_left).unwrap_or(usize::MAX);
                    let Some(front) = held.cut_front(rows_left, bytes_max.saturating_sub(bytes)) else { break };
                    rows += front.rows() as u64;
                    bytes += front.bytes() as u64;
                    move_to(&mut moved, &front.extent.file, front.position_behind());
                    chunks.push(front);
                    continue;
                }
                QueuedItem::Whole(next)
                    if !chunks.is_empty() && (rows + next.rows > rows_max || bytes + next.bytes > bytes_max) =>
                {
                    break;
                }
                QueuedItem::Whole(_) => {
                    let Some(whole) = held.pop_whole() else { break };
                    rows += whole.rows;
                    bytes += whole.bytes;
                    for chunk in whole.chunks {
                        move_to(&mut moved, &chunk.extent.file, chunk.position_behind());
                        chunks.join(chunk);
                    }
                    whole.moves.iter().for_each(|(name, position)| move_to(&mut moved, name, *position));
                    continue;
                }
                QueuedItem::BatchEnd(_) => true,
                QueuedItem::FileEnd { .. } => false,
            };
            held.pop_end(&mut moved);
            if ended {
                break;
            }
        }
        held.taken = held.taken.saturating_add(rows);
        held.gone = held.gone.saturating_add(rows);
        self.signals.taken(batch, held.gone);
        if held.taken >= self.rows_max {
            held.end();
            held.end.told &= !self.goes_on;
        }
        if ends {
            held.end.taken = true;
            moved.insert(SOURCE_END.into(), Position { offset: 0, mark: 1 });
        }
        held.tell_of_ends(&mut moved, true);
        held.files.iter_mut().for_each(|files| files.moved(&moved));
        self.tell(&held);
        let gathers = held.gathers_partitions;
        drop(held);
        self.room.notify_waiters();
        let mut chunks = chunks.into_chunks();
        if gathers {
            chunks = gathered(chunks, most.rows_of_part);
        }
        TakenRecords { chunks, moved: moved.into_iter().collect() }
    }

    /// Receiver: a connection is open on which an answer may be due, as long as what this gives is kept.
    pub fn answers(&self) -> Arc<()> {
        self.answering.clone()
    }

    /// Whether such a connection is open.
    pub fn is_answering(&self) -> bool {
        Arc::strong_count(&self.answering) > 1
    }

    /// Worker: no more is wanted; receivers end.
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
            let mut told = pin!(self.room.notified());
            told.as_mut().enable();
            if let Some(open) = self.has_room() {
                return open;
            }
            told.await;
        }
    }

    /// `false`: closed, and nothing was added.
    fn add_now(&self, add: impl FnOnce(&mut InboxContents)) -> bool {
        let mut held = self.lock();
        if held.closed {
            return false;
        }
        let (was_empty, was_full) = (held.is_empty(), self.is_full(&held));
        add(&mut held);
        let (is_empty, is_full) = (held.is_empty(), self.is_full(&held));
        if !is_empty {
            held.idle_since = None;
        }
        self.tell(&held);
        drop(held);
        if (was_empty && !is_empty) || (is_full && !was_full) {
            (self.wake)();
        }
        true
    }

    /// Whether there is room; `Some(false)`: it is closed. An empty inbox has room, so that no single chunk is too large, also
    /// where memory is tight.
    fn has_room(&self) -> Option<bool> {
        let held = self.lock();
        let room = held.closed || held.is_empty() || (held.bytes <= self.bytes_max && !memory::tight());
        room.then_some(!held.closed)
    }

    fn is_full(&self, held: &InboxContents) -> bool {
        held.bytes > self.bytes_max && self.may_be_one_batch(held) && !held.begins_no_batch
    }

    /// Whether the job file lets one batch take as many rows as wait.
    fn may_be_one_batch(&self, held: &InboxContents) -> bool {
        self.batch_rows_max > 0 && held.rows <= self.batch_rows_max
    }

    fn tell(&self, held: &InboxContents) {
        self.holder.iter().for_each(|holder| holder.set(held.bytes));
    }

    fn lock(&self) -> MutexGuard<'_, InboxContents> {
        // Nothing that is done under the lock can leave it half done, so a panic elsewhere does not matter here.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InboxContents {
    /// Whether there is nothing that a batch could be cut for: an end of a file alone is not.
    fn is_empty(&self) -> bool {
        self.waiting.len() == self.file_ends && self.open.is_empty()
    }

    /// Whether the end of the source is what the next batch is to hold.
    fn at_end(&self) -> bool {
        self.end.told && !self.end.taken && self.finished && self.is_empty() && self.others_have_finished()
    }

    /// Nothing more is wanted: what waits is not read, and receivers end.
    fn end(&mut self) {
        // What no batch took is not safe, whoever asks, so it does not count as gone.
        self.clear();
        (self.finished, self.closed) = (true, true);
    }

    /// What waits is dropped.
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

    /// Adds a chunk behind all others: to the open one if both together are still a part, so that single lines cost
    /// a copy of their bytes and no more.
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

    /// Nothing more joins the open chunk.
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

    fn push_batch_end(&mut self, behind: Option<Position>) {
        self.waiting.push_back(QueuedItem::BatchEnd(behind));
        self.bytes += END_BYTES;
    }

    /// Takes records of the first chunk, at most so many rows and bytes, but at least one; `None`: it is no chunk.
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
            Some(QueuedItem::BatchEnd(behind)) => {
                self.bytes = self.bytes.saturating_sub(END_BYTES);
                behind.into_iter().for_each(|behind| move_to(moved, "", behind));
            }
            Some(QueuedItem::FileEnd { file, end }) => {
                self.bytes = self.bytes.saturating_sub(END_BYTES + file.len() as u64);
                self.file_ends = self.file_ends.saturating_sub(1);
                self.files.iter_mut().for_each(|files| files.popped(&file, end));
                move_to(moved, &file, end);
            }
            Some(other @ (QueuedItem::Chunk(_) | QueuedItem::Whole(_))) => self.waiting.push_front(other),
            None => {}
        }
    }
}

/// A file, or the source itself, is read up to there now.
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
