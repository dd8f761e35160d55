//! The timers of an update stage on one worker: which keys are to be called at which time.

use super::idle::TouchSource;
use super::keys::Slot;
use super::spill::budget::StateBudget;
use super::spill::stage_budget::StageBudget;
use super::table::StateTable;
use super::table_checkpoint::TableCheckpoint;
use super::time_counts::TimeCounts;
use crate::checkpoint::types::{Column, Table};
use crate::limits::STATE_SLICE_MAX;
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Field, Fields, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::ids::BatchTime;
use millstream_plugins::plugin::TimerChange;
use millstream_rows::batch::keys::{KeyHash, Keys, last_number};
use millstream_rows::batch::types::{ColumnType, timestamps};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The clock of a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerClock {
    /// The batch time.
    Batch,
    /// The watermark.
    Watermark,
}

/// Returns the name of the table of a stage's timers.
pub fn table_name(stage: &str) -> String {
    format!("{stage}.timers")
}

/// Returns this table as a checkpoint describes it, without files.
pub fn table_of(stage: &str, key: &Fields, clock: TimerClock) -> Table {
    let identity = match clock {
        TimerClock::Batch => "timers of processing time",
        TimerClock::Watermark => "timers of event time",
    };
    Table::of_stage(
        table_name(stage),
        identity,
        [Column::from_fields(key), Column::from_fields(&[at_field(key)]), Vec::new()],
    )
}

/// Returns the column with a timer's time: `at`, or a longer name if a key column has that name.
fn at_field(key: &Fields) -> Arc<Field> {
    let mut name = "at".to_owned();
    while key.iter().any(|field| *field.name() == name) {
        name.insert_str(0, "timer_");
    }
    Arc::new(Field::new(name, ColumnType::Timestamp.arrow(), false))
}

/// The timers of the keys that a worker owns.
pub struct Timers {
    clock: TimerClock,
    /// One row per timer: key columns and time, no state.
    table: StateTable,
    queue: Queue,
    /// The memory budget while all timers are in memory and may leave it.
    budget: Option<StageBudget>,
    /// The keys that have timers in memory, their counts by slot, and the slot of the key of each timer.
    keys: StateTable,
    count_of: Vec<u32>,
    key_of: Vec<Slot>,
    nothing: SchemaRef,
}

/// All timers by their time in microseconds.
#[derive(Clone)]
enum Queue {
    /// All of them are in memory.
    Slots(BTreeSet<(i64, Slot)>),
    /// Some may be in files, where the table finds those that are due.
    Times(TimeCounts),
}

/// A timer that is not counted for its key: it was loaded from a file because it is due.
const NO_KEY: Slot = Slot::MAX;

/// The timeout of tables whose timers may be in files: each is idle at the time at the end of its key.
pub const DUE: (TouchSource, i64) = (TouchSource::Key(0), 0);

/// Timers that are due: their keys, one row per timer, and their times, the earliest first.
pub struct DueTimers {
    /// The key columns.
    pub keys: Vec<ArrayRef>,
    /// The times of the timers, in microseconds.
    pub times_us: Vec<i64>,
}

impl Timers {
    /// Creates timers without entries.
    pub fn new(key: &Fields, clock: TimerClock) -> Result<Timers, ArrowError> {
        let nothing: SchemaRef = Arc::new(Schema::empty());
        let fields = key.iter().cloned().chain([at_field(key)]).collect();
        Ok(Timers {
            clock,
            table: StateTable::new(fields, nothing.clone(), None)?,
            queue: Queue::Slots(BTreeSet::new()),
            budget: None,
            keys: key_table(key.iter().cloned().collect(), &nothing)?,
            count_of: Vec::new(),
            key_of: Vec::new(),
            nothing,
        })
    }

    /// Lets timers move to files if they take too much memory. There must be none yet.
    pub fn spilling(self, budget: &Arc<StateBudget>, failure: &Failure, stage: &str) -> Timers {
        let keys = self.table.key_columns_count() - 1;
        Timers { table: self.table.ordered_by(keys), budget: Some(StageBudget::new(budget, failure, stage)), ..self }
    }

    /// Returns a copy of the timers that does not track changes.
    pub fn copied(&self) -> Timers {
        Timers {
            clock: self.clock,
            table: self.table.copied(),
            queue: self.queue.clone(),
            budget: self.budget.as_ref().map(StageBudget::another),
            keys: self.keys.copied(),
            count_of: self.count_of.clone(),
            key_of: self.key_of.clone(),
            nothing: self.nothing.clone(),
        }
    }

    /// Returns the clock of the timers.
    pub fn clock(&self) -> TimerClock {
        self.clock
    }

    /// Returns their table, for checkpoints.
    pub fn table(&mut self) -> &mut StateTable {
        &mut self.table
    }

    /// Restores the timers of a checkpoint, and starts tracking changes.
    pub fn restore(&mut self, checkpoint: &TableCheckpoint) -> Result<()> {
        self.may_leave_memory()?;
        checkpoint.restore(&mut self.table)?;
        self.restored()
    }

    /// Lets timers move to files, if that is enabled.
    fn may_leave_memory(&mut self) -> Result<()> {
        if let Some(budget) = &self.budget {
            let empty = StateTable::new(Vec::new(), self.nothing.clone(), None).map_err(Error::arrow)?;
            let table = std::mem::replace(&mut self.table, empty);
            self.table = budget.spilling(table.with_touch_source(DUE.0, DUE.1))?;
        }
        Ok(())
    }

    /// Rebuilds the queue from the restored table, which is in memory if all timers fit.
    fn restored(&mut self) -> Result<()> {
        if self.table.stay_in_memory() {
            self.table.never_idle();
            self.queue = Queue::Slots(self.table.all().map(|slot| (last_number(self.table.key(slot)), slot)).collect());
        } else {
            self.are_in_files()?;
        }
        self.count_all()
    }

    fn are_in_files(&mut self) -> Result<()> {
        let mut times = TimeCounts::default();
        self.table.each_touched(|at_us| times.add(at_us))?;
        (self.queue, self.budget) = (Queue::Times(times), None);
        Ok(())
    }

    /// Counts the timers in memory by their keys.
    fn count_all(&mut self) -> Result<()> {
        self.keys = key_table(self.keys.key_fields.clone(), &self.nothing).map_err(Error::arrow)?;
        (self.count_of, self.key_of) = (Vec::new(), Vec::new());
        let slots: Vec<Slot> = self.table.all().collect();
        self.count_in_memory(&slots)
    }

    fn count_in_memory(&mut self, slots: &[Slot]) -> Result<()> {
        let mut rest = slots;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(self.table.slice_of(rest, STATE_SLICE_MAX));
            let columns = self.table.keys(now).map_err(Error::arrow)?;
            let keys = columns.split_last().map_or(&[][..], |(_, keys)| keys);
            self.counts(keys, now).map_err(Error::arrow)?;
            rest = later;
        }
        Ok(())
    }

    /// Loads all timers of keys with these hashes into memory. Call it before querying any of the keys.
    pub fn warm(&mut self, hashes: impl Iterator<Item = KeyHash>) -> Result<()> {
        let slots = self.table.warm_hashes(hashes)?;
        self.table.used(&slots);
        self.count_in_memory(&slots)
    }

    /// Evicts timers after a batch if necessary.
    pub fn shrink(&mut self) -> Result<()> {
        let bytes = self.bytes();
        if self.budget.as_ref().is_some_and(|budget| budget.is_exceeded(bytes)) {
            self.may_leave_memory()?;
            self.are_in_files()?;
        }
        let Timers { table, keys, count_of, key_of, .. } = self;
        let moved = table.shrink_notifying(|_, slots| {
            slots.iter().for_each(|slot| uncount(keys, count_of, key_of, *slot));
            Ok(())
        })?;
        self.keys.compact();
        if moved { self.count_all() } else { Ok(()) }
    }

    /// Returns the number of timers.
    pub fn count(&self) -> u64 {
        self.table.len() as u64
    }

    /// Returns the memory that they take.
    pub fn bytes(&self) -> u64 {
        self.table.bytes() + self.bytes_outside_table()
    }

    /// Returns the part of the memory that is never in files.
    pub fn kept_bytes(&self) -> u64 {
        match self.queue {
            Queue::Slots(_) if self.budget.is_some() => 0,
            Queue::Slots(_) => self.bytes(),
            Queue::Times(_) => self.bytes_outside_table(),
        }
    }

    fn bytes_outside_table(&self) -> u64 {
        const QUEUED_BYTES: u64 = 24;
        let queue = match &self.queue {
            Queue::Slots(queue) => queue.len() as u64 * QUEUED_BYTES,
            Queue::Times(times) => times.bytes(),
        };
        queue + ((self.count_of.capacity() + self.key_of.capacity()) * size_of::<u32>()) as u64 + self.keys.bytes()
    }

    /// Returns the number of timers of each of these keys.
    pub fn of_keys(&self, keys: &RecordBatch) -> Result<Vec<u32>, ArrowError> {
        let keys = Keys::encode(keys.columns(), keys.num_rows())?;
        let view = keys.view();
        let count = |row: usize| {
            let slot = self.keys.find(view.get(row));
            slot.and_then(|slot| self.count_of.get(slot as usize).copied()).unwrap_or_default()
        };
        Ok((0..view.rows()).map(count).collect())
    }

    /// Counts new timers, given their slots and the key of each.
    fn counts(&mut self, keys: &[ArrayRef], slots: &[Slot]) -> Result<(), ArrowError> {
        let keys = Keys::encode(keys, slots.len())?;
        let view = keys.view();
        for ((row, hash), slot) in keys.hashes().into_iter().enumerate().zip(slots) {
            let key = self.keys.slot(view.get(row), hash);
            self.keys.keep(key);
            self.count_of.resize(self.keys.slots(), 0);
            self.key_of.resize(self.table.slots(), NO_KEY);
            self.count_of[key as usize] += 1;
            self.key_of[*slot as usize] = key;
        }
        Ok(())
    }

    /// Returns the time of the first timer.
    pub fn first_us(&self) -> Option<i64> {
        match &self.queue {
            Queue::Slots(queue) => queue.first().map(|(at_us, _)| *at_us),
            Queue::Times(times) => times.first(),
        }
    }

    /// Returns whether any timer is due.
    pub fn any_due(&self, now_us: i64) -> bool {
        self.first_us().is_some_and(|at_us| at_us <= now_us)
    }

    /// Takes the timers that are due. `now_us`: `None` if time has not begun.
    pub fn take_due(&mut self, now_us: Option<i64>) -> Result<DueTimers> {
        let mut slots = Vec::new();
        if let Some(now_us) = now_us.filter(|now_us| self.any_due(*now_us)) {
            match &mut self.queue {
                Queue::Slots(queue) => {
                    while let Some((at_us, slot)) = queue.first().copied().filter(|(at_us, _)| *at_us <= now_us) {
                        queue.remove(&(at_us, slot));
                        slots.push(slot);
                    }
                }
                Queue::Times(_) => {
                    slots = self.table.take_idle(BatchTime(now_us))?;
                    slots.sort_by_key(|slot| last_number(self.table.key(*slot)));
                }
            }
        }
        let mut keys = self.table.keys(&slots).map_err(Error::arrow)?;
        let times_us = times(&keys);
        keys.pop();
        self.remove(&slots);
        Ok(DueTimers { keys, times_us })
    }

    /// Applies the timers that a call set and canceled; `keys` are those of its groups. The last change of a timer wins.
    pub fn apply(&mut self, keys: &RecordBatch, changes: &[TimerChange]) -> Result<(), ArrowError> {
        if changes.is_empty() {
            return Ok(());
        }
        let last: BTreeMap<(u32, i64), bool> =
            changes.iter().map(|change| ((change.group, change.at_us), change.is_set)).collect();
        let groups: UInt32Array = last.keys().map(|(group, _)| Some(*group)).collect();
        let columns = keys.columns().iter().map(|column| take(column, &groups, None));
        let mut columns = columns.collect::<Result<Vec<ArrayRef>, _>>()?;
        columns.push(timestamps(last.keys().map(|(_, at_us)| *at_us)));
        let keys = Keys::encode(&columns, last.len())?;
        let (hashes, view) = (self.table.hashes_of(&columns, &keys)?, keys.view());
        let (mut set, mut set_rows, mut cancelled) = (Vec::new(), Vec::new(), Vec::new());
        for (row, (((_, at_us), is_set), hash)) in last.into_iter().zip(hashes).enumerate() {
            if is_set {
                let slot = self.table.slot(view.get(row), hash);
                if !self.table.is_stored(slot) {
                    self.queue.add(at_us, slot);
                    set.push(slot);
                    set_rows.push(row as u32);
                }
            } else if let Some(slot) = self.table.find(view.get(row)) {
                cancelled.push(slot);
            }
        }
        let kept = BooleanArray::from(vec![true; set.len()]);
        self.table.store(&set, &RecordBatch::new_empty(self.nothing.clone()), &kept);
        columns.pop();
        let of_set = UInt32Array::from(set_rows);
        let keys = columns.iter().map(|column| take(column, &of_set, None)).collect::<Result<Vec<ArrayRef>, _>>()?;
        self.counts(&keys, &set)?;
        self.remove(&cancelled);
        Ok(())
    }

    fn remove(&mut self, slots: &[Slot]) {
        for slot in slots {
            self.queue.remove(last_number(self.table.key(*slot)), *slot);
            uncount(&mut self.keys, &mut self.count_of, &mut self.key_of, *slot);
        }
        self.keys.compact();
        self.table.remove_all(slots);
    }
}

impl Queue {
    fn add(&mut self, at_us: i64, slot: Slot) {
        match self {
            Queue::Slots(queue) => drop(queue.insert((at_us, slot))),
            Queue::Times(times) => times.add(at_us),
        }
    }

    fn remove(&mut self, at_us: i64, slot: Slot) {
        match self {
            Queue::Slots(queue) => drop(queue.remove(&(at_us, slot))),
            Queue::Times(times) => times.remove(at_us),
        }
    }
}

/// Creates a table that only has keys.
fn key_table(key: Vec<Arc<Field>>, nothing: &SchemaRef) -> Result<StateTable, ArrowError> {
    StateTable::new(key, nothing.clone(), None)
}

/// Stops counting a timer for its key.
fn uncount(keys: &mut StateTable, count_of: &mut [u32], key_of: &mut [Slot], timer: Slot) {
    let key = key_of.get_mut(timer as usize).map_or(NO_KEY, |key| std::mem::replace(key, NO_KEY));
    if let Some(count) = count_of.get_mut(key as usize) {
        *count -= 1;
        if *count == 0 {
            keys.remove(key);
        }
    }
}

/// Returns the last of these columns.
fn times(columns: &[ArrayRef]) -> Vec<i64> {
    let times = columns.last().and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
    times.map(|times| times.values().to_vec()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::StringArray;
    use millstream_base::random::Random;

    fn keys(keys: &[&str]) -> RecordBatch {
        let column: ArrayRef = Arc::new(StringArray::from(keys.to_vec()));
        RecordBatch::try_from_iter([("at", column)]).unwrap()
    }

    fn timers() -> Timers {
        Timers::new(keys(&[]).schema().fields(), TimerClock::Batch).unwrap()
    }

    fn due(timers: &mut Timers, now_us: Option<i64>) -> Vec<(String, i64)> {
        let DueTimers { keys, times_us } = timers.take_due(now_us).unwrap();
        let names = keys[0].as_string::<i32>();
        let mut due: Vec<(String, i64)> =
            names.iter().map(|name| name.unwrap().to_owned()).zip(times_us.iter().copied()).collect();
        assert!(times_us.is_sorted());
        due.sort();
        due
    }

    fn change(group: u32, at_us: i64, is_set: bool) -> TimerChange {
        TimerChange { group, at_us, is_set }
    }

    fn owned(due: &[(&str, i64)]) -> Vec<(String, i64)> {
        due.iter().map(|(key, at)| ((*key).to_owned(), *at)).collect()
    }

    #[test]
    fn a_timer_is_due_once_when_its_time_has_come() {
        let mut timers = timers();
        let all = [change(0, 5, true), change(1, 5, true), change(1, i64::MIN, true), change(0, i64::MAX, true)];
        timers.apply(&keys(&["a", "b"]), &all).unwrap();
        timers.apply(&keys(&["b"]), &[change(0, 5, true), change(0, 6, true)]).unwrap();
        assert_eq!(due(&mut timers, None), []);
        assert_eq!(due(&mut timers, Some(4)), owned(&[("b", i64::MIN)]));
        assert_eq!(due(&mut timers, Some(5)), owned(&[("a", 5), ("b", 5)]));
        assert_eq!(due(&mut timers, Some(5)), []);
        assert_eq!(due(&mut timers, Some(i64::MAX)), owned(&[("a", i64::MAX), ("b", 6)]));
        assert_eq!((timers.table.len(), timers.count(), timers.keys.len()), (0, 0, 0));
    }

    #[test]
    fn what_was_asked_for_last_counts() {
        let mut timers = timers();
        timers.apply(&keys(&["a"]), &[change(0, 1, true), change(0, 1, false), change(0, 9, false)]).unwrap();
        timers.apply(&keys(&["a"]), &[change(0, 2, false), change(0, 2, true), change(0, 3, true)]).unwrap();
        timers.apply(&keys(&["b", "a"]), &[change(0, 3, false), change(1, 3, false)]).unwrap();
        assert_eq!(due(&mut timers, Some(9)), owned(&[("a", 2)]));
    }

    #[test]
    fn a_checkpoint_holds_timers_that_wait_and_tells_which_are_gone() {
        let mut timers = timers();
        timers.table().track_changes();
        timers.apply(&keys(&["a", "b"]), &[change(0, 1, true), change(1, 2, true)]).unwrap();
        assert_eq!(timers.of_keys(&keys(&["b", "none", "a"])).unwrap(), [1, 0, 1]);
        timers.apply(&keys(&["b"]), &[change(0, 2, true), change(0, 3, true), change(0, 4, false)]).unwrap();
        assert_eq!(timers.of_keys(&keys(&["b"])).unwrap(), [2]);
        timers.apply(&keys(&["b"]), &[change(0, 3, false)]).unwrap();
        assert_eq!(timers.of_keys(&keys(&["b"])).unwrap(), [1]);
        let first = timers.table().all_changes(false).unwrap();
        assert_eq!(first.schema().fields()[1].name(), "timer_at", "a key column is called `at`");
        assert_eq!(due(&mut timers, Some(1)), owned(&[("a", 1)]));
        let second = timers.table().all_changes(false).unwrap();
        let mut after = self::timers();
        for rows in [first, second] {
            after.table().restore(&rows, |_| true).unwrap();
        }
        assert_eq!(after.table.len(), 1);
    }

    /// Timers are set, canceled and due in the same way wherever they are stored, even after a restore.
    #[test]
    fn timers_in_files_are_those_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let budget = StateBudget::new(100, dir.path().into());
        let spilling = || timers().spilling(&budget, &Failure::default(), "s");
        let mut peak = 0;
        for seed in 0..300 {
            let mut random = Random(seed);
            let (mut memory, mut files) = (timers(), spilling());
            [&mut memory, &mut files].into_iter().for_each(|timers| timers.table().track_changes());
            let mut saved = Vec::new();
            for now in 0..20 {
                let names: Vec<String> = (0..1 + random.below(6)).map(|_| format!("k{}", random.below(12))).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect::<BTreeSet<_>>().into_iter().collect();
                let groups = keys(&names);
                let change = |random: &mut Random| {
                    let at = now + random.below(9) as i64 - 1;
                    change(random.below(names.len() as u64) as u32, at, random.below(3) > 0)
                };
                let changes: Vec<TimerChange> = (0..random.below(9)).map(|_| change(&mut random)).collect();
                let found = due(&mut memory, Some(now));
                assert_eq!(due(&mut files, Some(now)), found, "{seed}: due at {now}");
                let hashes = Keys::encode(groups.columns(), names.len()).unwrap().hashes();
                files.warm(hashes.into_iter()).unwrap();
                assert_eq!(files.of_keys(&groups).unwrap(), memory.of_keys(&groups).unwrap(), "{seed}: at {now}");
                [&mut memory, &mut files].into_iter().for_each(|timers| timers.apply(&groups, &changes).unwrap());
                assert_eq!((files.count(), files.first_us()), (memory.count(), memory.first_us()), "{seed}: at {now}");
                if random.below(3) > 0 {
                    files.shrink().unwrap();
                    peak = peak.max(files.table().cold().0);
                }
                if random.below(4) == 0 {
                    saved.push(files.table().all_changes(false).unwrap());
                    let mut after = spilling();
                    after.may_leave_memory().unwrap();
                    after.table().track_changes();
                    for rows in &saved {
                        after.table().restore(rows, |_| true).unwrap();
                        after.table().shrink().unwrap();
                    }
                    after.restored().unwrap();
                    files = after;
                }
            }
        }
        assert!(peak > 10, "{peak} timers lay in files");
    }
}
