//! History of the last batches, and how their time was spent. All of it is bounded: the number of batches, and how many of them have the times of
//! all parts.
//!
//! It is recorded once per batch or part of a batch, never per row. Times are those of the machine's clock at startup plus elapsed time, so that
//! times of one process never go back.

use super::batch_facts::{BatchFacts, BatchWaits, PartTimes};
pub use super::batch_facts::{PartIndex, WaitCause};
use super::calls::{BatchCalls, BatchTrace, CallTimes};
use super::frequent_keys::HotKeys;
use super::recent::{BatchDurations, Recent, Seconds};
use super::rejected_rows::{RejectedRow, RejectedRowHistory};
use arrow::array::RecordBatch;
use millstream_base::ids::{BatchId, BatchTime, ClockId};
use millstream_base::time;
use millstream_plugins::plugin::calls::NotedCalls;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Maximum batches that are kept.
const KEPT_MAX: usize = 3_600;
/// Maximum times of parts that are kept: with many parts, those of fewer batches.
const TIMES_MAX: usize = 200_000;
/// How far a batch may lag behind the newest one and still be updated.
const LOOKED_AT_MAX: usize = 2_048;

/// The result of [`Batches::view`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BatchesView {
    /// The newest committed batches, in order.
    pub committed: Vec<BatchFacts>,
    /// Batches in flight.
    pub in_flight: Vec<BatchFacts>,
    /// Why no batch begins now.
    pub waits_for: Option<WaitCause>,
    /// The last ten seconds.
    pub last_10_s: Recent,
    /// The last minute.
    pub last_minute: Recent,
    /// How long batches took since startup.
    pub took: BatchDurations,
    /// How long each part worked since startup, in microseconds.
    pub busy_us: Vec<u64>,
    /// The watermark of each part that has one.
    pub watermarks_us: Vec<Option<i64>>,
    /// Rejected and late rows, the oldest first.
    pub refused: Vec<RejectedRow>,
}

/// The recorded batches of a process. Cheap to clone.
#[derive(Clone)]
pub struct Batches(Arc<Shared>);

struct Shared {
    since: Instant,
    since_us: i64,
    history: Mutex<BatchHistory>,
}

#[derive(Default)]
struct BatchHistory {
    parts: Vec<String>,
    batches: VecDeque<BatchRecord>,
    /// Buffers for times that are not used any longer.
    spare: Vec<Box<[PartTimes]>>,
    seconds: Seconds,
    took: BatchDurations,
    busy_us: Vec<u64>,
    watermarks_us: Vec<Option<i64>>,
    clocks: Vec<PartClocks>,
    /// By part and worker.
    hot_keys: BTreeMap<(PartIndex, usize), HotKeys>,
    waits: BatchWaits,
    waits_for: Option<WaitCause>,
    waits_since_us: u64,
    commits: u64,
    refused: RejectedRowHistory,
}

/// How often a part reports the clocks that its watermark depends on.
const CLOCKS_EVERY: Duration = Duration::from_secs(1);

/// How far the event time of a source's partition has come, by clock.
pub type ClockTimes = BTreeMap<ClockId, i64>;

/// The clocks of partitions that a part with event time has reported.
#[derive(Clone, Default)]
struct PartClocks {
    reported: Option<Instant>,
    clocks: Arc<ClockTimes>,
}

/// A batch, with times for each part.
struct BatchRecord {
    facts: BatchFacts,
    /// Time since the history was created.
    begun_us: u64,
    times: Box<[PartTimes]>,
    /// Calls, if traces are enabled.
    calls: BatchCalls,
}

impl Default for Batches {
    fn default() -> Batches {
        Batches(Arc::new(Shared { since: Instant::now(), since_us: time::now().0, history: Mutex::default() }))
    }
}

impl Batches {
    /// Sets the parts of the job.
    pub fn of_parts(&self, parts: Vec<String>) {
        let mut state = self.lock();
        state.busy_us = vec![0; parts.len()];
        state.watermarks_us = vec![None; parts.len()];
        state.clocks = vec![PartClocks::default(); parts.len()];
        state.parts = parts;
    }

    /// Sets why no batch begins, or that nothing blocks it.
    pub fn wait_for(&self, cause: Option<WaitCause>) {
        let now_us = self.now_us();
        self.lock().wait_for(cause, now_us);
    }

    /// A batch begins.
    pub fn record_begin(&self, batch: BatchId, time: BatchTime) {
        let now_us = self.now_us();
        let begun_us = self.0.since_us.saturating_add(i64::try_from(now_us).unwrap_or(i64::MAX));
        let mut state = self.lock();
        state.wait_for(None, now_us);
        let waits = std::mem::take(&mut state.waits);
        let times = state.times_buffer();
        let facts = BatchFacts { batch, time, begun_us, waits, ..BatchFacts::default() };
        state.batches.push_back(BatchRecord { facts, begun_us: now_us, times, calls: BatchCalls::default() });
        state.tidy();
    }

    /// Returns when the first and the last of the kept batches were begun.
    pub fn begun_us(&self) -> Option<(i64, i64)> {
        let state = self.lock();
        let begun_us = |kept: &BatchRecord| kept.facts.begun_us;
        state.batches.front().map(begun_us).zip(state.batches.back().map(begun_us))
    }

    /// A source puts records into a batch.
    pub fn record_input(&self, batch: BatchId, rows: u64, bytes: u64) {
        let now_us = self.now_us();
        let mut state = self.lock();
        state.seconds.at(now_us).cut(rows, bytes);
        if let Some(kept) = state.find(batch) {
            kept.facts.rows = kept.facts.rows.saturating_add(rows);
            kept.facts.bytes = kept.facts.bytes.saturating_add(bytes);
        }
    }

    /// The plan of a batch is durable, for one source.
    pub fn record_plan(&self, batch: BatchId) {
        self.update(batch, |facts, after_us| facts.planned_us = Some(after_us));
    }

    /// All stages are done with a batch.
    pub fn record_ready(&self, batch: BatchId) {
        self.update(batch, |facts, after_us| {
            facts.ready_us.get_or_insert(after_us);
        });
    }

    /// All sinks have committed a batch.
    pub fn record_commit(&self, batch: BatchId) {
        let now_us = self.now_us();
        let mut state = self.lock();
        let commit = state.commits.saturating_add(1);
        let Some(kept) = state.find(batch) else { return };
        let took_us = now_us.saturating_sub(kept.begun_us);
        kept.facts.committed_us = Some(short(took_us));
        kept.facts.commit = commit;
        let waits = kept.facts.waits;
        state.commits = commit;
        state.took.add(took_us);
        state.seconds.at(now_us).committed(took_us, &waits);
    }

    /// A part worked on a batch since then; returns how long.
    pub fn record_work(&self, part: PartIndex, batch: BatchId, since: Instant) -> u64 {
        let to_us = self.now_us();
        let from_us = u64::try_from(since.saturating_duration_since(self.0.since).as_micros()).unwrap_or(u64::MAX);
        let busy_us = to_us.saturating_sub(from_us);
        let mut state = self.lock();
        if let Some(sum) = state.busy_us.get_mut(usize::from(part)) {
            *sum = sum.saturating_add(busy_us);
        }
        let parts = state.parts.len();
        state.seconds.at(to_us).worked(part, parts, busy_us);
        let Some(kept) = state.find(batch) else { return busy_us };
        let (from_us, to_us) =
            (short(from_us.saturating_sub(kept.begun_us)), short(to_us.saturating_sub(kept.begun_us)));
        if let Some(times) = kept.times.get_mut(usize::from(part)) {
            let first = times.to_us == 0 && times.busy_us == 0;
            times.part = part;
            times.from_us = if first { from_us } else { times.from_us.min(from_us) };
            times.to_us = times.to_us.max(to_us).max(1);
            times.busy_us = times.busy_us.saturating_add(short(busy_us));
        }
        busy_us
    }

    /// A part has made these calls for a batch.
    pub fn record_calls(&self, part: PartIndex, batch: BatchId, noted: &NotedCalls) {
        let since = self.0.since;
        let mut state = self.lock();
        let Some(kept) = state.find(batch) else { return };
        let begun_us = u128::from(kept.begun_us);
        let longest = noted.longest.iter().map(|call| CallTimes {
            part,
            from_us: (call.began.saturating_duration_since(since).as_micros().saturating_sub(begun_us))
                .try_into()
                .unwrap_or(u32::MAX),
            took_us: call.took.as_micros().try_into().unwrap_or(u32::MAX),
            rows_in: call.rows_in,
            rows_out: call.rows_out,
            failed: call.failed,
        });
        kept.calls.add(longest, noted.all);
    }

    /// Sets the watermark of a part, as one of its workers sees it. `true`: the clocks that it depends on are due to be reported.
    pub fn watermark(&self, part: PartIndex, watermark_us: Option<i64>) -> bool {
        let mut state = self.lock();
        if let Some(entry) = state.watermarks_us.get_mut(usize::from(part)) {
            *entry = (*entry).max(watermark_us);
        }
        let Some(clocks) = state.clocks.get_mut(usize::from(part)) else { return false };
        let due = clocks.reported.is_none_or(|reported| reported.elapsed() >= CLOCKS_EVERY);
        if due {
            clocks.reported = Some(Instant::now());
        }
        due
    }

    /// Reports how far event time has come in partitions that a part reads.
    pub fn record_clocks(&self, part: PartIndex, clocks: ClockTimes) {
        if let Some(entry) = self.lock().clocks.get_mut(usize::from(part)) {
            entry.clocks = Arc::new(clocks);
        }
    }

    /// Returns the reported clocks of parts, with their indexes.
    pub fn reported_clocks(&self) -> Vec<(usize, Arc<ClockTimes>)> {
        let state = self.lock();
        let reported = state.clocks.iter().enumerate().filter(|(_, own)| !own.clocks.is_empty());
        reported.map(|(index, own)| (index, own.clocks.clone())).collect()
    }

    /// Reports the most frequent keys of a part, as one of its workers sees them.
    pub fn record_hot_keys(&self, part: PartIndex, worker: usize, keys: HotKeys) {
        self.lock().hot_keys.insert((part, worker), keys);
    }

    /// Returns the most frequent keys of each part, if known.
    pub fn hottest(&self) -> BTreeMap<PartIndex, HotKeys> {
        let mut hottest: BTreeMap<PartIndex, HotKeys> = BTreeMap::new();
        for ((part, _), keys) in &self.lock().hot_keys {
            hottest.entry(*part).or_default().add(keys.clone());
        }
        hottest
    }

    /// A part rejects these rows of a batch, or finds them `late`.
    pub fn record_rejected(&self, part: PartIndex, batch: BatchId, rows: &RecordBatch, late: bool) {
        let now_us = self.now_us();
        let at_us = self.0.since_us.saturating_add(i64::try_from(now_us).unwrap_or(i64::MAX));
        let mut state = self.lock();
        let BatchHistory { parts, refused, .. } = &mut *state;
        if let Some(name) = parts.get(usize::from(part)) {
            refused.add(name, batch, rows, late, at_us);
        }
    }

    /// Returns the oldest batches that were committed after this commit, at most `batches_max`.
    pub fn traced(&self, after_commit: u64, batches_max: usize) -> Vec<BatchTrace> {
        let state = self.lock();
        let newer = state.batches.iter().rev();
        let newer = newer.take_while(|kept| kept.facts.commit == 0 || kept.facts.commit > after_commit);
        let mut newer: Vec<&BatchRecord> = newer.filter(|kept| kept.facts.commit > 0).collect();
        newer.reverse();
        let trace = |kept: &&BatchRecord| BatchTrace { facts: kept.to_facts(), calls: kept.calls.clone() };
        newer.iter().take(batches_max).map(trace).collect()
    }

    /// Returns the number of the last commit.
    pub fn last_commit(&self) -> u64 {
        self.lock().commits
    }

    /// Returns the current state: at most `batches_max` of the newest batches that were committed after this commit, and rejected rows after this
    /// one.
    pub fn view(&self, after_commit: u64, batches_max: usize, after_refused: u64) -> BatchesView {
        let now_us = self.now_us();
        let mut state = self.lock();
        let waits_for = state.waits_for;
        state.wait_for(waits_for, now_us);
        let newer = state.batches.iter().rev().filter(|kept| kept.facts.commit > after_commit).take(batches_max);
        let mut committed: Vec<BatchFacts> = newer.map(BatchRecord::to_facts).collect();
        committed.reverse();
        let oldest = state.batches.len().saturating_sub(LOOKED_AT_MAX);
        let in_flight = state
            .batches
            .iter()
            .skip(oldest)
            .filter(|kept| kept.facts.commit == 0)
            .map(BatchRecord::to_facts)
            .collect();
        let recent = |seconds| state.seconds.recent(now_us, seconds, state.parts.len());
        BatchesView {
            committed,
            in_flight,
            waits_for,
            last_10_s: recent(10),
            last_minute: recent(60),
            took: state.took.clone(),
            busy_us: state.busy_us.clone(),
            watermarks_us: state.watermarks_us.clone(),
            refused: state.refused.after(after_refused),
        }
    }

    fn update(&self, batch: BatchId, update: impl FnOnce(&mut BatchFacts, u32)) {
        let now_us = self.now_us();
        if let Some(kept) = self.lock().find(batch) {
            update(&mut kept.facts, short(now_us.saturating_sub(kept.begun_us)));
        }
    }

    /// Returns the time since the history was created.
    fn now_us(&self) -> u64 {
        u64::try_from(self.0.since.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, BatchHistory> {
        self.0.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BatchRecord {
    fn to_facts(&self) -> BatchFacts {
        let parts = self.times.iter().filter(|times| times.to_us > 0).copied().collect();
        BatchFacts { parts, ..self.facts.clone() }
    }
}

impl BatchHistory {
    fn wait_for(&mut self, cause: Option<WaitCause>, now_us: u64) {
        if let Some(before) = std::mem::replace(&mut self.waits_for, cause) {
            self.waits.add(before, now_us.saturating_sub(self.waits_since_us));
        }
        self.waits_since_us = now_us;
    }

    fn find(&mut self, batch: BatchId) -> Option<&mut BatchRecord> {
        self.batches.iter_mut().rev().take(LOOKED_AT_MAX).find(|kept| kept.facts.batch == batch)
    }

    fn times_buffer(&mut self) -> Box<[PartTimes]> {
        let mut times = self.spare.pop().unwrap_or_default();
        if times.len() != self.parts.len() {
            times = vec![PartTimes::default(); self.parts.len()].into();
        }
        times.fill(PartTimes::default());
        times
    }

    /// Drops what is too old.
    fn tidy(&mut self) {
        while self.batches.len() > KEPT_MAX {
            self.batches.pop_front();
        }
        let with_times = (TIMES_MAX / self.parts.len().max(1)).max(1);
        let bare = self.batches.len().checked_sub(with_times + 1).and_then(|index| self.batches.get_mut(index));
        let spare = bare.map(|kept| std::mem::take(&mut kept.times)).filter(|times| !times.is_empty());
        self.spare.extend(spare.filter(|_| self.spare.is_empty()));
    }
}

/// Limits a duration to what 32 bits hold, which is more than an hour.
fn short(us: u64) -> u32 {
    u32::try_from(us).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_told_from_its_beginning_to_its_commit() {
        let batches = Batches::default();
        batches.of_parts(vec!["in".into(), "stage".into(), "out".into()]);
        batches.wait_for(Some(WaitCause::Data));
        batches.record_begin(BatchId(7), BatchTime(5));
        batches.record_input(BatchId(7), 10, 100);
        batches.record_plan(BatchId(7));
        let since = Instant::now();
        batches.record_work(1, BatchId(7), since);
        batches.record_work(1, BatchId(99), since);
        batches.record_ready(BatchId(7));
        let view = batches.view(0, 10, 0);
        assert_eq!((view.committed.len(), view.in_flight.len()), (0, 1));
        batches.record_commit(BatchId(7));
        batches.record_commit(BatchId(99));
        let view = batches.view(0, 10, 0);
        let [batch] = view.committed.as_slice() else { panic!("{view:?}") };
        assert_eq!((batch.rows, batch.bytes, batch.commit, batch.parts.len()), (10, 100, 1, 1));
        assert!(batch.planned_us <= batch.ready_us && batch.ready_us <= batch.committed_us, "{batch:?}");
        assert_eq!((view.took.count, view.last_10_s.batches, view.last_10_s.rows), (1, 1, 10));
        assert!(batches.view(1, 10, 0).committed.is_empty(), "it was told before");
        assert_eq!((batches.traced(0, 10).len(), batches.traced(1, 10).len(), batches.last_commit()), (1, 0, 1));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let batches = Batches::default();
        batches.of_parts((0..1000).map(|part| part.to_string()).collect());
        for batch in 1..=5000 {
            batches.record_begin(BatchId(batch), BatchTime(0));
            batches.record_work(999, BatchId(batch), Instant::now());
            batches.record_commit(BatchId(batch));
        }
        let view = batches.view(0, usize::MAX, 0);
        assert_eq!(view.committed.len(), KEPT_MAX);
        let with_times = view.committed.iter().filter(|batch| !batch.parts.is_empty()).count();
        assert_eq!(with_times, TIMES_MAX / 1000);
        assert_eq!(batches.view(0, 5, 0).committed.last().map(|batch| batch.batch), Some(BatchId(5000)));
    }
}
