//! The timers of an update stage on one worker: which keys are to be called when a time has come.

use super::table::{Slot, StateTable};
use super::table_checkpoint::TableCheckpoint;
use crate::batch::keys::Keys;
use crate::batch::types::{ColumnType, timestamps};
use crate::checkpoint::types::{Column, Table};
use crate::error::{Error, Result};
use crate::limits::STATE_SLICE_MAX;
use crate::plugin::TimerChange;
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Field, Fields, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What tells that a timer's time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerClock {
    /// The batch time.
    Batch,
    /// The watermark.
    Watermark,
}

/// The table of a stage's timers.
pub fn table_name(stage: &str) -> String {
    format!("{stage}.timers")
}

/// The same as a checkpoint describes it, without files.
pub fn table_of(stage: &str, key: &Fields, clock: TimerClock) -> Table {
    let identity = match clock {
        TimerClock::Batch => "timers of processing time",
        TimerClock::Watermark => "timers of event time",
    };
    Table::of_stage(table_name(stage), identity, [Column::of(key), Column::of(&[at_field(key)]), Vec::new()])
}

/// The column with a timer's time: `at`, or a longer name where a key column is called so.
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
    /// One row a timer: key columns and time, no state.
    table: StateTable,
    /// All timers by their time in microseconds.
    queue: BTreeSet<(i64, Slot)>,
    /// The keys that have some, how many by slot, and the slot of the key of each timer.
    keys: StateTable,
    count_of: Vec<u32>,
    key_of: Vec<Slot>,
    nothing: SchemaRef,
}

/// Timers that are due: their keys, a row a timer, and their times, the earliest first.
pub struct Due {
    /// The key columns.
    pub keys: Vec<ArrayRef>,
    /// The times of the timers, in microseconds.
    pub times_us: Vec<i64>,
}

impl Timers {
    /// No timers yet.
    pub fn new(key: &Fields, clock: TimerClock) -> Result<Timers, ArrowError> {
        let nothing: SchemaRef = Arc::new(Schema::empty());
        let fields = key.iter().cloned().chain([at_field(key)]).collect();
        Ok(Timers {
            clock,
            table: StateTable::new(fields, nothing.clone(), None)?,
            queue: BTreeSet::new(),
            keys: StateTable::new(key.iter().cloned().collect(), nothing.clone(), None)?,
            count_of: Vec::new(),
            key_of: Vec::new(),
            nothing,
        })
    }

    /// A copy of the timers that notes no changes.
    pub fn copied(&self) -> Timers {
        Timers {
            clock: self.clock,
            table: self.table.copied(),
            queue: self.queue.clone(),
            keys: self.keys.copied(),
            count_of: self.count_of.clone(),
            key_of: self.key_of.clone(),
            nothing: self.nothing.clone(),
        }
    }

    /// What tells that their time has come.
    pub fn clock(&self) -> TimerClock {
        self.clock
    }

    /// Their table, for what checkpoints hold of it.
    pub fn table(&mut self) -> &mut StateTable {
        &mut self.table
    }

    /// Takes over the timers of a checkpoint, and notes changes from now on.
    pub fn restore(&mut self, checkpoint: &TableCheckpoint) -> Result<()> {
        checkpoint.restore(&mut self.table)?;
        let slots: Vec<Slot> = self.table.all().collect();
        let mut rest = slots.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(self.table.slice_of(rest, STATE_SLICE_MAX));
            let columns = self.table.keys(now).map_err(Error::arrow)?;
            self.queue.extend(times(&columns).into_iter().zip(now.iter().copied()));
            let keys = columns.split_last().map_or(&[][..], |(_, keys)| keys);
            self.counts(keys, now).map_err(Error::arrow)?;
            rest = later;
        }
        Ok(())
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.queue.len() as u64
    }

    /// The memory that they take.
    pub fn bytes(&self) -> u64 {
        const QUEUED_BYTES: usize = 24;
        let others = (self.count_of.capacity() + self.key_of.capacity()) * size_of::<u32>();
        (self.queue.len() * QUEUED_BYTES + others) as u64 + self.table.bytes() + self.keys.bytes()
    }

    /// How many each of these keys has.
    pub fn of_keys(&self, keys: &RecordBatch) -> Result<Vec<u32>, ArrowError> {
        let keys = Keys::encode(keys.columns(), keys.num_rows())?;
        let view = keys.view();
        let count = |row: usize| {
            let slot = self.keys.find(view.get(row));
            slot.and_then(|slot| self.count_of.get(slot as usize).copied()).unwrap_or_default()
        };
        Ok((0..view.rows()).map(count).collect())
    }

    /// Counts new timers: their slots, and the key of each.
    fn counts(&mut self, keys: &[ArrayRef], slots: &[Slot]) -> Result<(), ArrowError> {
        let keys = Keys::encode(keys, slots.len())?;
        let view = keys.view();
        for ((row, hash), slot) in keys.hashes().into_iter().enumerate().zip(slots) {
            let key = self.keys.slot(view.get(row), hash);
            self.keys.keep(key);
            self.count_of.resize(self.keys.slots(), 0);
            self.key_of.resize(self.table.slots(), 0);
            self.count_of[key as usize] += 1;
            self.key_of[*slot as usize] = key;
        }
        Ok(())
    }

    /// The time of the first.
    pub fn first_us(&self) -> Option<i64> {
        self.queue.first().map(|(at_us, _)| *at_us)
    }

    /// Whether the time of one has come.
    pub fn any_due(&self, now_us: i64) -> bool {
        self.queue.first().is_some_and(|(at_us, _)| *at_us <= now_us)
    }

    /// Takes the timers whose time has come; they are gone then. `now_us`: none where time has not begun.
    pub fn take_due(&mut self, now_us: Option<i64>) -> Result<Due, ArrowError> {
        let mut slots = Vec::new();
        while let Some((at_us, slot)) = self.queue.first().copied().filter(|(at_us, _)| Some(*at_us) <= now_us) {
            self.queue.remove(&(at_us, slot));
            slots.push(slot);
        }
        let mut keys = self.table.keys(&slots)?;
        let times_us = times(&keys);
        keys.pop();
        self.remove(&slots);
        Ok(Due { keys, times_us })
    }

    /// Sets and cancels what a call asked for; `keys` are those of its groups. What came last counts.
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
        let (hashes, view) = (keys.hashes(), keys.view());
        let (mut set, mut set_rows, mut cancelled) = (Vec::new(), Vec::new(), Vec::new());
        for (row, (((_, at_us), is_set), hash)) in last.into_iter().zip(hashes).enumerate() {
            if is_set {
                let slot = self.table.slot(view.get(row), hash);
                if self.queue.insert((at_us, slot)) {
                    set.push(slot);
                    set_rows.push(row as u32);
                }
            } else if let Some(slot) = self.table.find(view.get(row)) {
                self.queue.remove(&(at_us, slot));
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
            let key = self.key_of[*slot as usize];
            self.count_of[key as usize] -= 1;
            if self.count_of[key as usize] == 0 {
                self.keys.remove(key);
            }
        }
        self.keys.compact();
        let kept = BooleanArray::from(vec![false; slots.len()]);
        self.table.store(slots, &RecordBatch::new_empty(self.nothing.clone()), &kept);
    }
}

/// The last of these columns.
fn times(columns: &[ArrayRef]) -> Vec<i64> {
    let times = columns.last().and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
    times.map(|times| times.values().to_vec()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::StringArray;

    fn keys(keys: &[&str]) -> RecordBatch {
        let column: ArrayRef = Arc::new(StringArray::from(keys.to_vec()));
        RecordBatch::try_from_iter([("at", column)]).unwrap()
    }

    fn timers() -> Timers {
        Timers::new(keys(&[]).schema().fields(), TimerClock::Batch).unwrap()
    }

    fn due(timers: &mut Timers, now_us: Option<i64>) -> Vec<(String, i64)> {
        let Due { keys, times_us } = timers.take_due(now_us).unwrap();
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
}
