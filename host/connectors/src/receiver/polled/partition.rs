//! One partition: polls, and what becomes of what they gave.

use super::messages::chunks_of;
use super::position::PartitionPosition;
use super::{BusyFlag, RetryPause};
use crate::limits::{POLL_WAIT_MS, POLL_WAIT_SHORT_MS};
use crate::receiver::bodies;
use millstream_base::batch::chunk::{Chunk, RefusedRecord};
use millstream_base::batch::envelope::{self, RecordMetadata};
use millstream_base::batch::json;
use millstream_base::batch::partition::{clock_number, rows_name};
use millstream_base::batch::position::Positions;
use millstream_base::batch::reading::{ReadContent, ReadPartition, ReadRows, ReadTrouble};
use millstream_base::error::Error;
use millstream_base::hex;
use millstream_base::inbox::{Inbox, PartitionRead, Ticket};
use millstream_base::job::spec::SourceSpec;
use millstream_base::limits::PART_ROWS_MAX;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// A position that moved without rows waits so long for some; then a batch holds it alone.
const ALONE_AFTER: Duration = Duration::from_secs(1);

/// How often it is told how far it is read, where that has changed.
const SHOWN_EVERY: Duration = Duration::from_secs(1);
/// Letters of a position that are shown.
const PLACE_CHARS_MAX: usize = 120;

/// How many rows a source had since the job's first start: each partition by itself where another process may read it next time, else
/// all together. Held while rows go into the inbox, so that they stand there in the order of their numbers.
#[derive(Clone)]
pub struct SharedRows {
    /// The position that counts them.
    name: String,
    count: Arc<Mutex<u64>>,
}

impl SharedRows {
    /// Of all partitions together, as positions tell.
    pub fn of_all(from: &Positions) -> SharedRows {
        SharedRows::named(String::new(), from)
    }

    /// Of one.
    pub fn of(partition: &str, from: &Positions) -> SharedRows {
        SharedRows::named(rows_name(partition), from)
    }

    fn named(name: String, from: &Positions) -> SharedRows {
        let count = from.get(&name).map_or(0, |position| position.offset);
        SharedRows { name, count: Arc::new(Mutex::new(count)) }
    }
}

/// Reads one partition until its end, or that of the job.
pub struct PartitionReader {
    source: SourceSpec,
    partition: String,
    /// The number of its clock; 0: that of the source.
    clock: u64,
    place: PartitionPosition,
    reader: Box<dyn ReadPartition>,
    inbox: Arc<Inbox>,
    runtime: Handle,
    rows: SharedRows,
    /// Rows that one batch takes together.
    rows_max: u32,
    again: RetryPause,
    /// Positions whose rows are not known to be durable.
    waiting: VecDeque<(Ticket, Vec<u8>)>,
    /// Of the last rows, whether a position goes with them or not.
    last: Option<Ticket>,
    /// Kept as long as positions wait: the end of the job waits a moment for what is still to be told.
    answers: Option<Arc<()>>,
    /// The last position whose rows are.
    safe: Option<Vec<u8>>,
    /// Since when a position waits for rows to go with.
    noted: Option<Instant>,
    published: watch::Receiver<Positions>,
    seen: ReadProgress,
}

/// What is told of it to whoever looks: records since the start, and the position behind the last ones.
#[derive(Default)]
struct ReadProgress {
    /// It is a partition, and not all that there is of its source.
    clock: bool,
    rows: u64,
    at: Option<Vec<u8>>,
    /// When that was told last, and how many records these were.
    shown: Option<(Instant, u64)>,
}

/// Why a partition is read no further for now.
enum ReadingEnd {
    /// The partition is at its end, or the job wants no more.
    Done,
    /// The job ends.
    Failed(Error),
    /// It is tried again after a while.
    Trouble(String),
}

impl From<ReadTrouble> for ReadingEnd {
    fn from(trouble: ReadTrouble) -> ReadingEnd {
        match trouble {
            ReadTrouble::Passing(why) => ReadingEnd::Trouble(why),
            ReadTrouble::Lasting(error) => ReadingEnd::Failed(error),
        }
    }
}

impl PartitionReader {
    /// Of a partition that goes on at this place.
    pub fn new(
        source: &SourceSpec,
        partition: &str,
        place: PartitionPosition,
        reader: Box<dyn ReadPartition>,
        inbox: &Arc<Inbox>,
        runtime: &Handle,
        rows: SharedRows,
    ) -> PartitionReader {
        let rows_max = source.rows_together_max().min(inbox.rows_max()).clamp(1, PART_ROWS_MAX as u64);
        let rows_max = u32::try_from(rows_max).unwrap_or(u32::MAX);
        // It comes from plans, or from what is behind them.
        let safe = place.now().map(<[u8]>::to_vec);
        PartitionReader {
            source: source.clone(),
            partition: partition.to_owned(),
            clock: if has_clock(source, partition) { clock_number(partition) } else { 0 },
            place,
            reader,
            inbox: inbox.clone(),
            runtime: runtime.clone(),
            rows,
            rows_max,
            again: RetryPause::new(who(&source.name, partition)),
            waiting: VecDeque::new(),
            last: None,
            answers: None,
            safe,
            noted: None,
            published: inbox.published(),
            seen: ReadProgress { clock: has_clock(source, partition), ..ReadProgress::default() },
        }
    }

    /// Reads on and on. Whether it came to the end, and all of its rows are in batches.
    pub fn read(&mut self, mut busy: BusyFlag) -> bool {
        loop {
            let pause = match self.turn(&mut busy) {
                Ok(pause) => pause,
                Err(ReadingEnd::Done) => {
                    self.tell_last();
                    self.inbox.tell_all_read(&self.partition);
                    return !self.inbox.is_closed();
                }
                Err(ReadingEnd::Failed(error)) => {
                    self.inbox.fail(error);
                    return false;
                }
                Err(ReadingEnd::Trouble(why)) => {
                    busy.is(false, &self.inbox);
                    self.again.after(&why)
                }
            };
            if !pause.is_zero() && self.inbox.closed_within(&self.runtime, pause) {
                self.tell_last();
                return false;
            }
        }
    }

    /// No more is read. What batches have taken becomes durable still, and who waits to hear of that hears it.
    fn tell_last(&mut self) {
        while self.reader.is_open() && !self.waiting.is_empty() && self.tell().is_ok() && !self.inbox.has_ended() {
            std::thread::sleep(Duration::from_millis(POLL_WAIT_SHORT_MS));
        }
        self.answers = None;
    }

    /// Somebody else goes on here. Who has read so far hears first that its rows are durable: what they came from may let go of them for
    /// nobody else. Whether the job goes on.
    fn hand_over(&mut self) -> bool {
        while self.reader.is_open() && !self.waiting.is_empty() && self.tell().is_ok() {
            if self.inbox.closed_within(&self.runtime, Duration::from_millis(POLL_WAIT_SHORT_MS)) {
                return false;
            }
        }
        true
    }

    /// Polls once, and tells what is to be told. How long there is nothing to do.
    fn turn(&mut self, busy: &mut BusyFlag) -> Result<Duration, ReadingEnd> {
        if self.inbox.is_closed() {
            return Err(ReadingEnd::Done);
        }
        let replaced = self.reader.is_replaced();
        if replaced && !self.hand_over() {
            return Err(ReadingEnd::Done);
        }
        if replaced || !self.reader.is_open() {
            self.reader.open(&self.partition, self.place.now())?;
            // Whoever sent them may not have heard it: the start before was killed, or the connection was lost.
            if let Some(safe) = self.safe.as_ref().filter(|_| self.reader.keeps_positions()) {
                self.reader.durable(safe)?;
            }
        }
        self.tell()?;
        self.show();
        let wait_ms = if self.waiting.is_empty() { POLL_WAIT_MS } else { POLL_WAIT_SHORT_MS };
        let polled = self.reader.poll(self.rows_max, Duration::from_millis(wait_ms))?;
        let pause = polled.pause;
        let is_empty = polled.content.rows() == 0 && polled.refused.is_empty();
        self.put(polled)?;
        if self.noted.is_some_and(|since| pause.is_none() || since.elapsed() >= ALONE_AFTER) {
            self.noted = None;
            self.inbox.begin_batch();
        }
        // At its end others may follow upon it.
        busy.is(!is_empty || pause.is_none() || self.reader.has_more(), &self.inbox);
        self.again.well();
        match pause {
            None => self.end(),
            // Who waits to hear of rows does not wait for more of them.
            Some(pause) if !self.waiting.is_empty() => Ok(pause.min(Duration::from_millis(POLL_WAIT_SHORT_MS))),
            Some(pause) => Ok(pause),
        }
    }

    /// The partition is at its end: what is still to be told is told, as far as it comes about. Rows that no position is told of are waited for
    /// as well: who hears of the end takes all of its rows for those of batches.
    fn end(&mut self) -> Result<Duration, ReadingEnd> {
        let is_left = |reader: &PartitionReader| reader.last.is_some_and(|last| !reader.inbox.is_durable(last));
        while (!self.waiting.is_empty() || is_left(self)) && !self.inbox.is_closed() {
            self.tell()?;
            let _ = self.inbox.closed_within(&self.runtime, Duration::from_millis(POLL_WAIT_SHORT_MS));
        }
        Err(ReadingEnd::Done)
    }

    /// Tells who reads what is durable and what is published by now.
    fn tell(&mut self) -> Result<(), ReadingEnd> {
        let mut durable = None;
        while let Some((_, position)) = self.waiting.pop_front_if(|(ticket, _)| self.inbox.is_durable(*ticket)) {
            durable = Some(position);
        }
        if let Some(position) = durable.filter(|_| self.inbox.acknowledges()) {
            self.reader.durable(self.safe.insert(position))?;
        }
        if self.waiting.is_empty() {
            self.answers = None;
        }
        if self.published.has_changed().unwrap_or(false) {
            let place = PartitionPosition::of(&self.partition, &self.published.borrow_and_update());
            if let Some(position) = place.now() {
                self.reader.published(position)?;
            }
        }
        Ok(())
    }

    /// Tells whoever looks how far it is read.
    fn show(&mut self) {
        let ReadProgress { clock, rows, at, shown } = &mut self.seen;
        if !*clock || shown.is_some_and(|(when, told)| told == *rows || when.elapsed() < SHOWN_EVERY) {
            return;
        }
        *shown = Some((Instant::now(), *rows));
        let place = at.as_deref().or(self.place.now()).map(words);
        let place = place.map(|place| self.reader.shown(&place).to_owned());
        let name = self.partition.clone();
        self.inbox.tell_one_read(PartitionRead { name, place, rows: Some(*rows), ..PartitionRead::default() });
    }

    /// What a poll gave goes into one batch, with the position behind it.
    fn put(&mut self, polled: ReadRows) -> Result<(), ReadingEnd> {
        let moves = polled.position.as_deref().filter(|position| Some(*position) != self.place.now());
        let position = moves.map(<[u8]>::to_vec);
        let keeps = self.reader.keeps_positions();
        let kept = position.as_deref().filter(|_| keeps);
        let moves = kept.map(|position| self.place.set(position)).unwrap_or_default();
        let mut chunks = chunks(&self.source, &polled).map_err(ReadingEnd::Failed)?;
        // Nothing that is done under the lock can leave it half done.
        let mut count = self.rows.count.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in &mut chunks {
            chunk.extent.file.clone_from(&self.rows.name);
            (chunk.extent.row, chunk.extent.start) = (*count, self.clock);
            *count = count.saturating_add(chunk.rows() as u64);
        }
        if chunks.is_empty() {
            // It goes with the next rows, whatever partition they are of.
            if !moves.is_empty() {
                self.noted.get_or_insert_with(Instant::now);
                if !self.inbox.note(moves) {
                    return Err(ReadingEnd::Done);
                }
            }
            // Some servers keep everything until they hear of it.
            if position.is_some() && self.reader.notes_are_batches() {
                self.noted = None;
                self.inbox.begin_batch();
            }
            return Ok(());
        }
        self.noted = None;
        self.seen.rows += chunks.iter().map(|chunk| chunk.rows() as u64).sum::<u64>();
        let put = self.runtime.block_on(self.inbox.put_whole_for(chunks, moves, u64::from(self.rows_max)));
        drop(count);
        let Some(ticket) = put else { return Err(ReadingEnd::Done) };
        self.last = Some(ticket);
        if let Some(position) = position {
            self.seen.at = keeps.then(|| position.clone());
            self.waiting.push_back((ticket, position));
            self.answers.get_or_insert_with(|| self.inbox.answers());
        }
        Ok(())
    }
}

/// A position as somebody may read it: words of whoever reads the partition, and of no more letters than a line has room for.
fn words(position: &[u8]) -> String {
    let text = std::str::from_utf8(position).ok().filter(|text| !text.chars().any(char::is_control));
    let text = text.map_or_else(|| hex::encode(&position[..position.len().min(PLACE_CHARS_MAX)]), str::to_owned);
    match text.char_indices().nth(PLACE_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// Whether a partition has a clock of its own: one without a name is all that there is of its source.
pub fn has_clock(source: &SourceSpec, partition: &str) -> bool {
    source.kind.has_partitions() && !partition.is_empty()
}

/// Who has trouble, for whoever reads the log.
fn who(source: &str, partition: &str) -> String {
    match partition {
        "" => format!("source `{source}`"),
        _ => format!("source `{source}`, partition `{partition}`"),
    }
}

/// The rows as lines of JSON of our own, messages as they came, or columns, and behind them what is no row.
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
    if !polled.refused.is_empty() {
        let are_messages = !matches!(polled.content, ReadContent::Rows(_));
        chunks.push(refused(source, &polled.refused, are_messages));
    }
    Ok(chunks)
}

/// What is no row, as records that do not decode: of messages with what stands before each, else as lines.
fn refused(source: &SourceSpec, refused: &[(Vec<u8>, String)], are_messages: bool) -> Chunk {
    let most = usize::try_from(source.rejected_bytes_max).unwrap_or(usize::MAX);
    let (mut bytes, mut chunk) = (Vec::new(), Chunk::default());
    for (row, (data, reason)) in (0_u32..).zip(refused) {
        let kept = data.get(..most.min(data.len())).unwrap_or_default();
        if are_messages {
            let _ = envelope::put(&mut bytes, &RecordMetadata::default());
        }
        bytes.extend_from_slice(kept);
        if !are_messages {
            bytes.push(b'\n');
        }
        chunk.ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        let dropped = (data.len() - kept.len()) as u64;
        chunk.refused.push(RefusedRecord { row, reason: reason.clone(), dropped });
    }
    Chunk { bytes: bytes.into(), ..chunk }
}
