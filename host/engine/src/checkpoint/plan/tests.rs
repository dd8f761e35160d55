use super::frame::{LOG_VERSION, header, put, put_header};
use super::*;
use crate::checkpoint::store::{Guard, Log, Object, Store, Version};
use crate::checkpoint::types::PlanEntry;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use bytes::Bytes;
use millstream_base::failure::Failure;
use millstream_base::random::Random;
use millstream_base::retry::{StoreError, StoreErrorKind};
use millstream_rows::batch::chunk::PlannedChunk;
use millstream_rows::batch::chunk::{Chunk, RejectedRecord};
use millstream_rows::batch::position::{Extent, Position};
use millstream_rows::batch::ready::ReadyRows;
use millstream_rows::decode::varint;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

const DEADLINE: Duration = Duration::from_secs(30);

/// Logs in memory. Appends wait while `is_blocked`.
#[derive(Default)]
struct Memory(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    logs: BTreeMap<String, Vec<u8>>,
    is_blocked: bool,
    /// The number of appends that have begun, and of completed ones.
    begun: usize,
    appends: usize,
    full: bool,
}

struct MemoryLog(Arc<Inner>, String);

impl Memory {
    fn with(name: &LogName, bytes: &[u8]) -> Memory {
        let memory = Memory::default();
        memory.0.state.lock().unwrap().logs.insert(name.path(), bytes.to_vec());
        memory
    }

    fn hold(&self, is_blocked: bool) {
        self.0.state.lock().unwrap().is_blocked = is_blocked;
        self.0.changed.notify_all();
    }

    fn wait_begun(&self, appends: usize) {
        let state = self.0.state.lock().unwrap();
        let (state, _) = self.0.changed.wait_timeout_while(state, DEADLINE, |state| state.begun < appends).unwrap();
        assert_eq!(state.begun, appends);
    }

    fn state<T>(&self, get: impl Fn(&State) -> T) -> T {
        get(&self.0.state.lock().unwrap())
    }
}

impl Log for MemoryLog {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let mut state = self.0.state.lock().unwrap();
        state.begun += 1;
        self.0.changed.notify_all();
        state = self.0.changed.wait_timeout_while(state, DEADLINE, |state| state.is_blocked).unwrap().0;
        if state.full {
            return Err(StoreError {
                what: format!("append {}", self.1),
                reason: "broken".into(),
                kind: StoreErrorKind::Permanent,
            });
        }
        state.logs.get_mut(&self.1).unwrap().extend_from_slice(bytes);
        state.appends += 1;
        Ok(())
    }
}

impl Store for Memory {
    fn location(&self) -> String {
        "memory".into()
    }
    fn lock(&self) -> Result<Option<Guard>, StoreError> {
        Ok(None)
    }
    fn read(&self, _: &str) -> Result<Option<Bytes>, StoreError> {
        unreachable!()
    }
    fn write(&self, _: &str, _: Bytes) -> Result<(), StoreError> {
        unreachable!()
    }
    fn read_version(&self, _: &str) -> Result<Option<(Bytes, Version)>, StoreError> {
        unreachable!()
    }
    fn replace(&self, _: &str, _: Bytes, _: Option<&Version>) -> Result<Option<Version>, StoreError> {
        unreachable!()
    }
    fn list(&self, dir: &str) -> Result<Vec<Object>, StoreError> {
        let object = |(path, log): (&String, &Vec<u8>)| Object { path: path.clone(), bytes: log.len() as u64 };
        Ok(self.state(|state| state.logs.iter().filter(|(path, _)| path.starts_with(dir)).map(object).collect()))
    }
    fn delete(&self, _: &str) -> Result<(), StoreError> {
        unreachable!()
    }
    fn log(&self, path: &str) -> Result<Box<dyn Log>, StoreError> {
        let before = self.0.state.lock().unwrap().logs.insert(path.to_owned(), Vec::new());
        assert_eq!(before, None, "{path} was made twice");
        Ok(Box::new(MemoryLog(self.0.clone(), path.to_owned())))
    }
    fn read_log(&self, path: &str) -> Result<Bytes, StoreError> {
        Ok(self.state(|state| Bytes::copy_from_slice(&state.logs[path])))
    }
    fn delete_log(&self, _: &str) -> Result<(), StoreError> {
        unreachable!()
    }
}

fn name(after: u64) -> LogName {
    LogName { generation: Generation(3), process: 1, after: BatchId(after) }
}

/// Random parts of plans.
trait RandomEntries {
    fn number(&mut self) -> u64;
    fn text(&mut self) -> String;
    fn chunk(&mut self) -> Chunk;
    fn entry(&mut self, batch: u64) -> PlanEntry;
}

impl RandomEntries for Random {
    /// Numbers of all lengths, including the extremes.
    fn number(&mut self) -> u64 {
        let bits = self.below(65) as u32;
        self.next().checked_shr(64 - bits).unwrap_or(0)
    }

    fn text(&mut self) -> String {
        (0..self.below(6)).map(|_| ['a', 'ß', '\0', '/', '😀'][self.below(5) as usize]).collect()
    }

    fn chunk(&mut self) -> Chunk {
        let mut ends = Vec::new();
        let mut end = 0;
        for _ in 0..self.below(8) {
            end += if self.below(3) == 0 { 0 } else { self.below(300) as u32 };
            ends.push(end);
        }
        // Zeros too: they must not be taken for unwritten bytes.
        let zeros = self.below(2) == 0;
        let bytes: Vec<u8> = (0..end).map(|_| if zeros { 0 } else { self.next() as u8 }).collect();
        let rejected = (0..self.below(3))
            .map(|row| RejectedRecord { row: row as u32, reason: self.text(), dropped: self.below(100) })
            .collect();
        Chunk { bytes: bytes.into(), ends, header: self.text().into(), rejected, ..Chunk::default() }
    }

    fn entry(&mut self, batch: u64) -> PlanEntry {
        let mut chunks = Vec::new();
        for _ in 0..self.below(4) {
            let extent = Extent { file: self.text(), start: self.number(), bytes: self.number(), row: self.number() };
            let kept = (self.below(2) == 0).then(|| Chunk { extent: extent.clone(), ..self.chunk() });
            chunks.push(PlannedChunk { extent, rows: self.number() as u32, kept });
        }
        let position = |random: &mut Random| Position { offset: random.number(), mark: random.number() as i64 };
        let moved = (0..self.below(3)).map(|_| (self.text(), position(self))).collect();
        let time = BatchTime(self.number() as i64);
        PlanEntry { batch: BatchId(batch), time, source: self.text(), made_up: self.below(2) == 1, chunks, moved }
    }
}

/// A chunk of rows that came as columns.
fn columns(rows: i64) -> Chunk {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter((0..rows).map(|n| (n % 3 > 0).then_some(n))));
    let strings: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|n| format!("row {n}"))));
    let rows = RecordBatch::try_from_iter_with_nullable([("n", numbers, true), ("text", strings, true)]).unwrap();
    Chunk::of_ready(ReadyRows::new(rows))
}

fn log_of(name: &LogName, entries: &[PlanEntry]) -> Vec<u8> {
    let mut log = Vec::new();
    let mut seed = put_header(&mut log, name);
    entries.iter().for_each(|entry| put(&mut log, &mut seed, entry).unwrap());
    log
}

/// A log of these entries in the format of versions that did not record whether a batch was made up.
fn log_before_made_up(version: u32, entries: &[PlanEntry]) -> Vec<u8> {
    let mut log = header(&name(7), version).to_vec();
    let mut seed = xxh3_64(&log);
    log.extend(seed.to_le_bytes());
    for entry in entries {
        let (mut body, mut head) = (Vec::new(), Vec::new());
        super::entry::put(&mut body, entry).unwrap();
        varint::write(entry.batch.0, &mut head);
        varint::write(varint::zigzag(entry.time.0), &mut head);
        varint::write(entry.source.len() as u64, &mut head);
        assert_eq!(body.remove(head.len() + entry.source.len()), 0);
        body.push(0xa5);
        let length = (body.len() as u32).to_le_bytes();
        log.extend(length);
        log.extend((xxh3_64_with_seed(&length, seed) as u32).to_le_bytes());
        seed = xxh3_64_with_seed(&body, seed);
        log.extend(seed.to_le_bytes());
        log.extend(body);
    }
    log
}

/// A small log, whose last entry ends in zeros of its own.
fn small() -> (Vec<PlanEntry>, Vec<u8>) {
    let chunk = |bytes: &'static [u8]| Chunk {
        bytes: Bytes::from_static(bytes),
        ends: vec![bytes.len() as u32],
        ..Chunk::default()
    };
    let planned = |bytes| PlannedChunk { extent: Extent::default(), rows: 1, kept: Some(chunk(bytes)) };
    let entry = |batch, source: &str, bytes| PlanEntry {
        batch: BatchId(batch),
        time: BatchTime(1_000_000),
        source: source.into(),
        made_up: batch == 9,
        chunks: vec![planned(bytes)],
        moved: vec![(String::new(), Position { offset: batch, mark: 0 })],
    };
    let entries =
        vec![entry(8, "a", b"one\n"), entry(8, "b", b"two\n"), entry(9, "a", b"\0\0"), entry(9, "b", &[0; 32])];
    let log = log_of(&name(7), &entries);
    (entries, log)
}

fn heads(memory: &Memory) -> Vec<LogHeads> {
    read_heads(memory).unwrap()
}

/// Everything that can be read, and what is damaged.
fn read(memory: &Memory) -> (Vec<PlanEntry>, Option<String>) {
    let logs = heads(memory);
    let mut entries = Vec::new();
    read_entries(memory, &logs, |_, _| true, |_, entry| entries.push(entry)).unwrap();
    let heads_read: Vec<Head> = logs.iter().flat_map(|log| log.heads.clone()).collect();
    let head = |entry: &PlanEntry| {
        let PlanEntry { batch, time, made_up, .. } = *entry;
        Head { batch, time, source: entry.source.clone(), made_up }
    };
    assert_eq!(heads_read, entries.iter().map(head).collect::<Vec<_>>());
    (entries, logs.into_iter().find_map(|log| log.damage))
}

#[test]
fn entries_of_all_shapes_are_read_as_they_were_written() {
    let mut random = Random(7);
    for round in 0..300 {
        let mut entries: Vec<PlanEntry> = (0..random.below(5)).map(|batch| random.entry(round + batch)).collect();
        if let Some(chunk) = entries.iter_mut().flat_map(|entry| &mut entry.chunks).next() {
            chunk.kept = Some(Chunk { extent: chunk.extent.clone(), ..columns(round as i64 % 20) });
        }
        for entry in &entries {
            let mut bytes = Vec::new();
            super::entry::put(&mut bytes, entry).unwrap();
            assert!(bytes.len() <= super::entry::bytes_max(entry), "{entry:?}");
        }
        assert_eq!(read(&Memory::with(&name(7), &log_of(&name(7), &entries))), (entries, None));
    }
}

#[test]
fn a_log_that_is_cut_short_anywhere_holds_its_first_entries() {
    let (entries, log) = small();
    let mut complete = 0;
    for cut in 0..=log.len() {
        for zeros in [0, 1, 15, 100] {
            let torn = [&log[..cut], &vec![0; zeros]].concat();
            let (read, damage) = read(&Memory::with(&name(7), &torn));
            assert_eq!(damage, None, "cut at {cut} and {zeros} zeros");
            assert_eq!(read, entries[..read.len()], "cut at {cut} and {zeros} zeros");
            assert!(read.len() >= complete, "cut at {cut} and {zeros} zeros");
            complete = complete.max(if zeros == 0 { read.len() } else { 0 });
        }
    }
    assert_eq!(complete, entries.len());
}

#[test]
fn every_flipped_bit_is_damage_after_the_entries_before_it() {
    let (entries, log) = small();
    let frames: Vec<usize> = (0..=entries.len()).map(|count| log_of(&name(7), &entries[..count]).len()).collect();
    for byte in 0..log.len() {
        for bit in 0..8 {
            let mut flipped = log.clone();
            flipped[byte] ^= 1 << bit;
            let (read, damage) = read(&Memory::with(&name(7), &flipped));
            assert!(damage.is_some(), "bit {bit} of byte {byte}");
            let before = frames.iter().filter(|end| **end <= byte).count().saturating_sub(1);
            assert_eq!(read, entries[..before], "bit {bit} of byte {byte}");

            // If the end is cut off as well, it may look like a torn append.
            flipped.pop();
            let (read, _) = self::read(&Memory::with(&name(7), &flipped));
            assert_eq!(read, entries[..before.min(entries.len() - 1)], "bit {bit} of byte {byte}, cut");
        }
    }
}

#[test]
fn hostile_bodies_are_refused_without_panic() {
    let mut random = Random(11);
    for round in 0..3000 {
        let mut body = Vec::new();
        super::entry::put(&mut body, &random.entry(round)).unwrap();
        for _ in 0..=random.below(3) {
            let at = random.below(body.len() as u64) as usize;
            body[at] = [0xff, random.next() as u8][random.below(2) as usize];
        }
        body.truncate(random.below(body.len() as u64 + 1) as usize + 8);
        let _ = super::entry::get(&body.into(), LOG_VERSION);
    }
    // More chunks than there are bytes, and a length beyond all memory.
    let huge = [[1, 2, 0, 0, 0xff].as_slice(), &[0xff; 8], &[1]].concat();
    assert_eq!(super::entry::get(&huge.into(), LOG_VERSION), Err("a frame ends within its entry".into()));
}

#[test]
fn damage_names_the_log_and_the_batch_to_go_on_from() {
    let (entries, log) = small();
    let at = log_of(&name(7), &entries[..3]).len() + 20;
    let memory = Memory::with(&name(7), &[&log[..at], b"?", &log[at + 1..]].concat());
    let logs = heads(&memory);
    let error = logs[0].check("memory").unwrap_err().message;
    assert!(error.contains("`plans/000003-001-000000000007.log` in `memory` is damaged: "), "{error}");
    // The entry of source `b` for batch 9 is missing.
    assert!(error.ends_with("millstream run JOB --resume-from 8"), "{error}");
    read_entries(&memory, &logs, |_, head| head.batch.0 == 8, |_, entry| assert_eq!(entry.batch.0, 8)).unwrap();

    // A log that changes between reading its heads and its entries is an error.
    let logs = heads(&Memory::with(&name(7), &log));
    let error = read_entries(&memory, &logs, |_, _| true, |_, _| ()).unwrap_err().message;
    assert!(error.ends_with("--resume-from 8"), "{error}");
    let cut = Memory::with(&name(7), &log[..log.len() - 1]);
    let error = read_entries(&cut, &logs, |_, _| true, |_, _| ()).unwrap_err().message;
    assert!(error.contains("its end is missing"), "{error}");
}

#[test]
fn other_logs_newer_versions_and_strangers_are_told_apart() {
    let (_, log) = small();
    let (_, damage) = read(&Memory::with(&name(6), &log));
    assert!(damage.is_some_and(|damage| damage.contains("under another name")));

    // Earlier versions do not record batches that were made up.
    let (mut entries, _) = small();
    entries.iter_mut().for_each(|entry| entry.made_up = false);
    for version in 1..LOG_VERSION {
        let before = log_before_made_up(version, &entries);
        assert_eq!(read(&Memory::with(&name(7), &before)), (entries.clone(), None));
    }

    let newer = header(&name(7), LOG_VERSION + 1);
    let newer = [newer.as_slice(), &xxh3_64(&newer).to_le_bytes()].concat();
    let error = read_heads(&Memory::with(&name(7), &newer)).unwrap_err().message;
    assert!(error.contains("newer version of Millstream (format 4;"), "{error}");

    let memory = Memory::with(&name(7), &log);
    for stranger in ["plans/notes.txt", "plans/3-1-7.log", "plans/000003-001-000000000007-1.log"] {
        memory.0.state.lock().unwrap().logs.insert(stranger.into(), b"?".to_vec());
    }
    assert_eq!(heads(&memory).iter().map(|log| log.name.clone()).collect::<Vec<_>>(), [name(7)]);
}

/// A writer whose callbacks send the number of their entry.
fn writer(memory: Memory, failure: Failure) -> (PlanWriter, impl Fn(&PlanEntry), Receiver<u64>) {
    let writer = PlanWriter::start(Arc::new(memory), Generation(3), 1, BatchId(7), failure).unwrap();
    let (durable, durable_batches) = channel();
    let adding = writer.clone();
    let add = move |entry: &PlanEntry| {
        let (durable, batch) = (durable.clone(), entry.batch.0);
        adding.add(entry.clone(), Box::new(move || durable.send(batch).unwrap()));
    };
    (writer, add, durable_batches)
}

#[test]
fn entries_that_wait_are_written_with_one_append_and_told_in_order() {
    let mut random = Random(13);
    let entries: Vec<PlanEntry> = (8..19).map(|batch| random.entry(batch)).collect();
    let memory = Memory::default();
    let looking = Memory(memory.0.clone());
    memory.hold(true);
    let (writer, add, durable_batches) = writer(memory, Failure::default());
    add(&entries[0]);
    looking.wait_begun(1);
    entries[1..].iter().for_each(&add);
    assert!(durable_batches.try_recv().is_err(), "told before it was durable");
    looking.hold(false);
    for entry in &entries {
        assert_eq!(durable_batches.recv_timeout(DEADLINE), Ok(entry.batch.0));
    }
    assert_eq!(looking.state(|state| state.appends), 2);
    writer.finish();
    assert_eq!(read(&looking), (entries, None));
}

#[test]
fn a_rotated_log_ends_where_the_next_one_begins() {
    let mut random = Random(17);
    let entries: Vec<PlanEntry> = (8..14).map(|batch| random.entry(batch)).collect();
    let memory = Memory::default();
    let looking = Memory(memory.0.clone());
    memory.hold(true);
    let (writer, add, durable_batches) = writer(memory, Failure::default());
    assert!(heads(&looking).is_empty(), "a log without an entry");
    writer.rotate(BatchId(7));
    add(&entries[0]);
    looking.wait_begun(1);
    add(&entries[1]);
    writer.rotate(BatchId(9));
    writer.rotate(BatchId(9));
    entries[2..5].iter().for_each(&add);
    writer.rotate(BatchId(12));
    writer.rotate(BatchId(13));
    add(&entries[5]);
    looking.hold(false);
    // Dropping the last clone still writes everything.
    drop((writer, add));
    assert_eq!(durable_batches.iter().collect::<Vec<_>>(), [8, 9, 10, 11, 12, 13]);
    let logs = heads(&looking);
    let batches = |log: &LogHeads| log.heads.iter().map(|head| head.batch.0).collect::<Vec<_>>();
    let heads_read: Vec<_> = logs.iter().map(|log| (log.name.clone(), batches(log))).collect();
    assert_eq!(heads_read, [(name(7), vec![8, 9]), (name(9), vec![10, 11, 12]), (name(13), vec![13])]);
    let mut taken = Vec::new();
    read_entries(&looking, &logs, |log, head| log.after.0 == 9 && head.batch.0 != 11, |_, entry| taken.push(entry))
        .unwrap();
    assert_eq!(taken, [entries[2].clone(), entries[4].clone()]);
}

#[test]
fn a_log_that_cannot_be_written_ends_the_job_and_nobody_is_told() {
    let (entries, _) = small();
    let (memory, failure) = (Memory::default(), Failure::default());
    memory.0.state.lock().unwrap().full = true;
    let (writer, add, durable_batches) = writer(memory, failure.clone());
    add(&entries[0]);
    writer.finish();
    let error = failure.error().unwrap().message;
    assert!(error.contains("the log of plans `plans/000003-001-000000000007.log` in `memory`"), "{error}");
    add(&entries[1]);
    drop(add);
    assert_eq!(durable_batches.recv(), Err(std::sync::mpsc::RecvError));
}
