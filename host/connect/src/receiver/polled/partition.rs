//! Reads one partition: polls it and puts the rows into batches.

use super::messages::chunks_of;
use super::position::PartitionPosition;
use super::{BusyFlag, RetryPause};
use crate::limits::{POLL_WAIT_MS, POLL_WAIT_SHORT_MS};
use crate::receiver::bodies;
use millstream_base::error::Error;
use millstream_base::hex;
use millstream_base::limits::PART_ROWS_MAX;
use millstream_job::spec::SourceSpec;
use millstream_rows::batch::chunk::{Chunk, RejectedRecord};
use millstream_rows::batch::envelope::{self, RecordMetadata};
use millstream_rows::batch::json;
use millstream_rows::batch::partition::{clock_number, rows_name};
use millstream_rows::batch::position::Positions;
use millstream_rows::batch::reading::{ReadContent, ReadError, ReadPartition, ReadRows};
use millstream_rows::inbox::{Inbox, PartitionRead, Ticket};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// How long a position that moved without rows waits for rows. After that a batch holds the position alone.
const POSITION_ALONE_AFTER: Duration = Duration::from_secs(1);

/// How often the reading progress is reported, if it has changed.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum characters of a position that are displayed.
const POSITION_CHARS_MAX: usize = 120;

/// Number of rows since the first start of the job. Partitions that another process may read next time are counted separately, others together. The
/// lock is held while rows go into the inbox, so that they enter it in the order of their numbers.
#[derive(Clone)]
pub struct SharedRows {
    /// The position that counts them.
    name: String,
    count: Arc<Mutex<u64>>,
}

impl SharedRows {
    /// Restores the count of all partitions together from saved positions.
    pub fn for_source(from: &Positions) -> SharedRows {
        SharedRows::named(String::new(), from)
    }

    /// Restores the count of one partition.
    pub fn for_partition(partition: &str, from: &Positions) -> SharedRows {
        SharedRows::named(rows_name(partition), from)
    }

    fn named(name: String, from: &Positions) -> SharedRows {
        let count = from.get(&name).map_or(0, |position| position.offset);
        SharedRows { name, count: Arc::new(Mutex::new(count)) }
    }
}

/// Reads one partition until the partition or the job ends.
pub struct PartitionReader {
    source: SourceSpec,
    partition: String,
    /// Number of the partition's watermark; 0 is the watermark of the source.
    clock: u64,
    position: PartitionPosition,
    reader: Box<dyn ReadPartition>,
    inbox: Arc<Inbox>,
    runtime: Handle,
    rows: SharedRows,
    /// Maximum rows of one batch.
    rows_max: u32,
    retry: RetryPause,
    /// Positions whose rows are not known to be durable yet.
    waiting: VecDeque<(Ticket, Vec<u8>)>,
    /// Ticket of the last rows, with or without a position.
    last: Option<Ticket>,
    /// Held while positions wait: a job that stops waits briefly for the remaining acknowledgments.
    response_guard: Option<Arc<()>>,
    /// The last position whose rows are durable.
    durable_position: Option<Vec<u8>>,
    /// Since when a position has waited for rows to go with.
    noted_since: Option<Instant>,
    published: watch::Receiver<Positions>,
    progress: ReadProgress,
}

/// Reading progress for clients: records since startup, and the position after the last ones.
#[derive(Default)]
struct ReadProgress {
    /// Whether the source has several partitions and this is one of them.
    is_one_of_many: bool,
    rows: u64,
    position: Option<Vec<u8>>,
    /// When progress was last reported, and the number of records then.
    reported: Option<(Instant, u64)>,
}

/// Why reading of a partition stops or pauses.
enum ReadingEnd {
    /// The partition has ended, or the inbox is closed.
    Done,
    /// The job fails.
    Failed(Error),
    /// A transient error: reading is retried after a pause.
    Retry(String),
}

impl From<ReadError> for ReadingEnd {
    fn from(error: ReadError) -> ReadingEnd {
        match error {
            ReadError::Transient(why) => ReadingEnd::Retry(why),
            ReadError::Permanent(error) => ReadingEnd::Failed(error),
        }
    }
}

impl PartitionReader {
    /// Creates the reader of a partition that resumes at this position.
    pub fn new(
        source: &SourceSpec,
        partition: &str,
        position: PartitionPosition,
        reader: Box<dyn ReadPartition>,
        inbox: &Arc<Inbox>,
        runtime: &Handle,
        rows: SharedRows,
    ) -> PartitionReader {
        let rows_max = source.rows_per_take_max().min(inbox.rows_max()).clamp(1, PART_ROWS_MAX as u64);
        let rows_max = u32::try_from(rows_max).unwrap_or(u32::MAX);
        // The position comes from plans, or from a checkpoint after them.
        let durable_position = position.now().map(<[u8]>::to_vec);
        PartitionReader {
            source: source.clone(),
            partition: partition.to_owned(),
            clock: if has_clock(source, partition) { clock_number(partition) } else { 0 },
            position,
            reader,
            inbox: inbox.clone(),
            runtime: runtime.clone(),
            rows,
            rows_max,
            retry: RetryPause::new(subject(&source.name, partition)),
            waiting: VecDeque::new(),
            last: None,
            response_guard: None,
            durable_position,
            noted_since: None,
            published: inbox.published(),
            progress: ReadProgress { is_one_of_many: has_clock(source, partition), ..ReadProgress::default() },
        }
    }

    /// Reads until the end. Returns whether the partition ended and all of its rows are in batches.
    pub fn read(&mut self, mut busy: BusyFlag) -> bool {
        loop {
            let pause = match self.poll_once(&mut busy) {
                Ok(pause) => pause,
                Err(ReadingEnd::Done) => {
                    self.report_last();
                    self.inbox.report_partition_end(&self.partition);
                    return !self.inbox.is_closed();
                }
                Err(ReadingEnd::Failed(error)) => {
                    self.inbox.fail(error);
                    return false;
                }
                Err(ReadingEnd::Retry(why)) => {
                    busy.set(false, &self.inbox);
                    self.retry.next(&why)
                }
            };
            if !pause.is_zero() && self.inbox.closed_within(&self.runtime, pause) {
                self.report_last();
                return false;
            }
        }
    }

    /// Reports rows that become durable after the reading has stopped, to a sender that waits for it.
    fn report_last(&mut self) {
        while self.reader.is_open()
            && !self.waiting.is_empty()
            && self.report_durable().is_ok()
            && !self.inbox.has_ended()
        {
            std::thread::sleep(Duration::from_millis(POLL_WAIT_SHORT_MS));
        }
        self.response_guard = None;
    }

    /// Waits until the previous sender is notified that its rows are durable, before a new one takes over: only then may it release them. Returns
    /// whether the job continues.
    fn hand_over(&mut self) -> bool {
        while self.reader.is_open() && !self.waiting.is_empty() && self.report_durable().is_ok() {
            if self.inbox.closed_within(&self.runtime, Duration::from_millis(POLL_WAIT_SHORT_MS)) {
                return false;
            }
        }
        true
    }

    /// Polls once and reports what has become durable. Returns how long there is nothing to do.
    fn poll_once(&mut self, busy: &mut BusyFlag) -> Result<Duration, ReadingEnd> {
        if self.inbox.is_closed() {
            return Err(ReadingEnd::Done);
        }
        let replaced = self.reader.is_replaced();
        if replaced && !self.hand_over() {
            return Err(ReadingEnd::Done);
        }
        if replaced || !self.reader.is_open() {
            self.reader.open(&self.partition, self.position.now())?;
            // The sender may have missed the notification: the previous process was killed, or the connection was lost.
            if let Some(durable_position) = self.durable_position.as_ref().filter(|_| self.reader.keeps_positions()) {
                self.reader.durable(durable_position)?;
            }
        }
        self.report_durable()?;
        self.report_progress();
        let wait_ms = if self.waiting.is_empty() { POLL_WAIT_MS } else { POLL_WAIT_SHORT_MS };
        let polled = self.reader.poll(self.rows_max, Duration::from_millis(wait_ms))?;
        let pause = polled.pause;
        let is_empty = polled.content.rows() == 0 && polled.rejected.is_empty();
        self.put(polled)?;
        if self.noted_since.is_some_and(|since| pause.is_none() || since.elapsed() >= POSITION_ALONE_AFTER) {
            self.noted_since = None;
            self.inbox.begin_batch();
        }
        // Other partitions may follow one that has ended.
        busy.set(!is_empty || pause.is_none() || self.reader.has_more(), &self.inbox);
        self.retry.reset();
        match pause {
            None => self.end(),
            // A sender that waits for acknowledgments should not wait for more rows.
            Some(pause) if !self.waiting.is_empty() => Ok(pause.min(Duration::from_millis(POLL_WAIT_SHORT_MS))),
            Some(pause) => Ok(pause),
        }
    }

    /// Waits at the end of the partition until all rows are durable, and reports it. This includes rows without a position, as the end implies that
    /// all rows are in batches.
    fn end(&mut self) -> Result<Duration, ReadingEnd> {
        let any_pending = |reader: &PartitionReader| reader.last.is_some_and(|last| !reader.inbox.is_durable(last));
        while (!self.waiting.is_empty() || any_pending(self)) && !self.inbox.is_closed() {
            self.report_durable()?;
            let _ = self.inbox.closed_within(&self.runtime, Duration::from_millis(POLL_WAIT_SHORT_MS));
        }
        Err(ReadingEnd::Done)
    }

    /// Reports to the reader what has become durable and what has been published.
    fn report_durable(&mut self) -> Result<(), ReadingEnd> {
        let mut durable = None;
        while let Some((_, position)) = self.waiting.pop_front_if(|(ticket, _)| self.inbox.is_durable(*ticket)) {
            durable = Some(position);
        }
        if let Some(position) = durable.filter(|_| self.inbox.acknowledges()) {
            self.reader.durable(self.durable_position.insert(position))?;
        }
        if self.waiting.is_empty() {
            self.response_guard = None;
        }
        if self.published.has_changed().unwrap_or(false) {
            let published = PartitionPosition::restore(&self.partition, &self.published.borrow_and_update());
            if let Some(position) = published.now() {
                self.reader.published(position)?;
            }
        }
        Ok(())
    }

    /// Reports the reading progress to clients.
    fn report_progress(&mut self) {
        let ReadProgress { is_one_of_many, rows, position, reported } = &mut self.progress;
        if !*is_one_of_many
            || reported.is_some_and(|(when, reported)| reported == *rows || when.elapsed() < PROGRESS_INTERVAL)
        {
            return;
        }
        *reported = Some((Instant::now(), *rows));
        let position_text = position.as_deref().or(self.position.now()).map(display_position);
        let position_text = position_text.map(|position_text| self.reader.shown(&position_text).to_owned());
        let name = self.partition.clone();
        self.inbox.report_partition_read(PartitionRead {
            name,
            position_text,
            rows: Some(*rows),
            ..PartitionRead::default()
        });
    }

    /// Puts the rows of a poll into one batch, with the position after them.
    fn put(&mut self, polled: ReadRows) -> Result<(), ReadingEnd> {
        let moved = polled.position.as_deref().filter(|position| Some(*position) != self.position.now());
        let position = moved.map(<[u8]>::to_vec);
        let keeps = self.reader.keeps_positions();
        let kept = position.as_deref().filter(|_| keeps);
        let moved = kept.map(|position| self.position.set(position)).unwrap_or_default();
        let mut chunks = chunks(&self.source, &polled).map_err(ReadingEnd::Failed)?;
        // No operation under the lock can leave the count inconsistent.
        let mut count = self.rows.count.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in &mut chunks {
            chunk.extent.file.clone_from(&self.rows.name);
            (chunk.extent.row, chunk.extent.start) = (*count, self.clock);
            *count = count.saturating_add(chunk.rows() as u64);
        }
        if chunks.is_empty() {
            // The position goes with the next rows of any partition.
            if !moved.is_empty() {
                self.noted_since.get_or_insert_with(Instant::now);
                if !self.inbox.note(moved) {
                    return Err(ReadingEnd::Done);
                }
            }
            // Some servers keep everything until they receive an acknowledgment.
            if position.is_some() && self.reader.notes_are_batches() {
                self.noted_since = None;
                self.inbox.begin_batch();
            }
            return Ok(());
        }
        self.noted_since = None;
        self.progress.rows += chunks.iter().map(|chunk| chunk.rows() as u64).sum::<u64>();
        let put = self.runtime.block_on(self.inbox.put_atomic_for(chunks, moved, u64::from(self.rows_max)));
        drop(count);
        let Some(ticket) = put else { return Err(ReadingEnd::Done) };
        self.last = Some(ticket);
        if let Some(position) = position {
            self.progress.position = keeps.then(|| position.clone());
            self.waiting.push_back((ticket, position));
            self.response_guard.get_or_insert_with(|| self.inbox.open_response());
        }
        Ok(())
    }
}

/// Formats a position for display, shortened to the length of a line.
fn display_position(position: &[u8]) -> String {
    let text = std::str::from_utf8(position).ok().filter(|text| !text.chars().any(char::is_control));
    let text = text.map_or_else(|| hex::encode(&position[..position.len().min(POSITION_CHARS_MAX)]), str::to_owned);
    match text.char_indices().nth(POSITION_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// Returns whether a partition has its own watermark. A partition without a name is the only one of its source.
pub fn has_clock(source: &SourceSpec, partition: &str) -> bool {
    source.kind.has_partitions() && !partition.is_empty()
}

/// Names the partition in log messages.
fn subject(source: &str, partition: &str) -> String {
    match partition {
        "" => format!("source `{source}`"),
        _ => format!("source `{source}`, partition `{partition}`"),
    }
}

/// Converts rows to chunks: lines of JSON, messages as received, or columns. Rejected rows follow them.
fn chunks(source: &SourceSpec, polled: &ReadRows) -> Result<Vec<Chunk>, Error> {
    let failed =
        |why: String| Error::plugin(format!("source `{}`: rows of its plugin cannot be kept: {why}", source.name));
    let mut chunks = match &polled.content {
        ReadContent::Messages(messages) => chunks_of(source, messages),
        ReadContent::Ready(rows) if rows.rows().num_rows() == 0 => Vec::new(),
        ReadContent::Ready(rows) => vec![Chunk::of_ready(rows.clone())],
        ReadContent::Rows(rows) => {
            let mut lines = Vec::new();
            json::write(std::slice::from_ref(rows), &mut lines).map_err(|why| failed(why.to_string()))?;
            bodies::cut(source, &lines, u64::MAX).map_err(failed)?.chunks
        }
    };
    if !polled.rejected.is_empty() {
        let are_messages = !matches!(polled.content, ReadContent::Rows(_));
        chunks.push(rejected_chunk(source, &polled.rejected, are_messages));
    }
    Ok(chunks)
}

/// Builds a chunk of rejected rows, which do not decode. Messages have their metadata before them, other rows are lines.
fn rejected_chunk(source: &SourceSpec, rejected: &[(Vec<u8>, String)], are_messages: bool) -> Chunk {
    let bytes_max = usize::try_from(source.rejected_bytes_max).unwrap_or(usize::MAX);
    let (mut bytes, mut chunk) = (Vec::new(), Chunk::default());
    for (row, (data, reason)) in (0_u32..).zip(rejected) {
        let kept = data.get(..bytes_max.min(data.len())).unwrap_or_default();
        if are_messages {
            let _ = envelope::put(&mut bytes, &RecordMetadata::default());
        }
        bytes.extend_from_slice(kept);
        if !are_messages {
            bytes.push(b'\n');
        }
        chunk.ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        let dropped = (data.len() - kept.len()) as u64;
        chunk.rejected.push(RejectedRecord { row, reason: reason.clone(), dropped });
    }
    Chunk { bytes: bytes.into(), ..chunk }
}
