//! Times at which rows of a key were kept: the state of `deduplicate`, dropped when no row can be a duplicate of them.

use crate::state::spill::budget::StateBudget;
use crate::state::{StateTable, TouchSource};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::datatypes::{Field, Schema, SchemaRef};
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::ids::BatchTime;
use millstream_rows::batch::keys::Keys;
use millstream_rows::batch::types::{ColumnType, timestamps};
use std::sync::Arc;

/// Returns the state columns of `deduplicate` per key: the newest time at which a row was kept, and the others as eight bytes each.
pub fn deduplicate_state() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("kept_at", ColumnType::Timestamp.arrow(), false),
        Field::new("kept_earlier", ColumnType::Binary.arrow(), true),
    ]))
}

/// The times at which rows of one key were kept.
#[derive(Default)]
pub struct TimesOfKey {
    /// In ascending order.
    times: Vec<i64>,
    changed: bool,
}

/// The keys that one worker owns. A key is dropped once no row can be within `within_us` of its times.
pub struct KeyTimes {
    /// A key is idle when it may be dropped.
    table: StateTable,
    within_us: i64,
}

/// Approximate number of spilled keys that are dropped at a time.
const DROPPED_MAX: usize = 1 << 16;

impl KeyTimes {
    /// Creates an empty table.
    pub fn new(key_fields: Vec<Arc<Field>>, within_us: i64) -> Result<KeyTimes> {
        let table = StateTable::new(key_fields, deduplicate_state(), None).map_err(Error::arrow)?;
        Ok(KeyTimes { table: table.with_touch_source(TouchSource::State(0), within_us), within_us })
    }

    /// Limits the memory as the job says.
    pub fn spilling(self, budget: Option<&Arc<StateBudget>>, failure: &Failure, stage: &str) -> Result<KeyTimes> {
        Ok(KeyTimes { table: self.table.spilling_within(budget, failure, stage)?, ..self })
    }

    /// Returns its table, for checkpoints.
    pub fn table(&mut self) -> &mut StateTable {
        &mut self.table
    }

    /// Returns the slots of the keys of these rows.
    pub fn slots(&mut self, keys: &Keys, rows: impl Iterator<Item = u32>) -> Result<Vec<u32>> {
        let keys = keys.view();
        self.table.warm(keys)?;
        let slots: Vec<u32> =
            rows.map(|row| self.table.slot(keys.get(row as usize), keys.short(row as usize).1)).collect();
        self.table.used(&slots);
        Ok(slots)
    }

    /// Returns the times of these slots' keys, without those of which no row at time `complete` or later can be a duplicate. Storing the result drops
    /// them, so that a key that never stops coming does not grow.
    pub fn times(&self, slots: &[u32], complete: i64) -> Result<Vec<TimesOfKey>> {
        let (states, known) = self.table.states(slots).map_err(Error::arrow)?;
        let (Some(newest), Some(earlier)) =
            (states.column(0).as_primitive_opt::<TimestampMicrosecondType>(), states.column(1).as_binary_opt::<i32>())
        else {
            return Err(Error::bug("kept times of other types"));
        };
        let of = |row: usize| {
            let mut times = Vec::new();
            if known.value(row) {
                let earlier = if earlier.is_valid(row) { earlier.value(row) } else { &[] };
                let earlier = earlier.as_chunks().0.iter().map(|word| i64::from_le_bytes(*word));
                times.extend(earlier.chain([newest.value(row)]).filter(|time| !self.is_over(*time, complete)));
            }
            TimesOfKey { times, changed: false }
        };
        Ok((0..slots.len()).map(of).collect())
    }

    /// Returns whether no row from `complete` on can be a duplicate of a row of this time.
    fn is_over(&self, time: i64, complete: i64) -> bool {
        time.saturating_add(self.within_us) <= complete
    }

    /// Returns whether a row of this time is no duplicate, and adds its time if so.
    pub fn is_new(&self, known: &mut TimesOfKey, time: i64) -> bool {
        let within = self.within_us.unsigned_abs();
        // Only the nearest times on both sides matter.
        let index = known.times.partition_point(|kept| *kept < time);
        let near = |kept: Option<&i64>| kept.is_some_and(|kept| kept.abs_diff(time) < within);
        if near(known.times.get(index)) || near(index.checked_sub(1).and_then(|before| known.times.get(before))) {
            return false;
        }
        known.times.insert(index, time);
        known.changed = true;
        true
    }

    /// Stores the changed times of these slots. Keys without any time are removed.
    pub fn store(&mut self, slots: &[u32], known: &[TimesOfKey]) -> Result<()> {
        let stored = slots.iter().zip(known).filter(|(_, times)| times.changed || times.times.is_empty());
        let (mut changed, mut newest, mut earlier, mut kept) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (slot, times) in stored {
            let (last, times) =
                times.times.split_last().map_or((None, &[] as &[i64]), |(last, rest)| (Some(*last), rest));
            changed.push(*slot);
            newest.push(last.unwrap_or_default());
            earlier.push(
                (!times.is_empty()).then(|| times.iter().flat_map(|time| time.to_le_bytes()).collect::<Vec<u8>>()),
            );
            kept.push(last.is_some());
        }
        let columns: Vec<ArrayRef> = vec![
            timestamps(newest.iter().copied()),
            Arc::new(earlier.iter().map(Option::as_deref).collect::<BinaryArray>()),
        ];
        let states = RecordBatch::try_new(deduplicate_state(), columns).map_err(Error::arrow)?;
        self.table.store(&changed, &states, &BooleanArray::from(kept));
        Ok(())
    }

    /// Drops the keys of which no row at this time or later can be a duplicate.
    pub fn drop_expired(&mut self, complete: i64) -> Result<()> {
        loop {
            let slots = self.table.take_some_idle(BatchTime(complete), DROPPED_MAX)?;
            if slots.is_empty() {
                return Ok(());
            }
            self.table.remove_all(&slots);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, StringArray};
    use arrow::datatypes::DataType;
    use millstream_base::random::Random;

    /// Returns whether each row of a key and time is new, after dropping what lies before `complete`, and the maximum number of times per key.
    fn new_rows_of(memory: &mut KeyTimes, complete: i64, rows: &[(&str, i64)]) -> (Vec<bool>, usize) {
        memory.drop_expired(complete).unwrap();
        let (mut new, mut largest) = (Vec::new(), 0);
        for (key, time) in rows {
            let column: ArrayRef = Arc::new(StringArray::from(vec![*key]));
            let keys = Keys::encode(&[column], 1).unwrap();
            let slots = memory.slots(&keys, std::iter::once(0)).unwrap();
            let mut times = memory.times(&slots, complete).unwrap();
            largest = largest.max(times[0].times.len());
            new.push(memory.is_new(&mut times[0], *time));
            memory.store(&slots, &times).unwrap();
        }
        (new, largest)
    }

    fn new_rows(memory: &mut KeyTimes, complete: i64, rows: &[(&str, i64)]) -> Vec<bool> {
        new_rows_of(memory, complete, rows).0
    }

    /// Compared with all rows that were kept: rows out of order, no older than the watermark, which only advances.
    #[test]
    fn a_key_that_comes_for_ever_is_remembered_for_as_long_as_it_matters() {
        for case in 0..200 {
            let mut random = Random(case);
            let (within, lateness) = (1 + random.below(20) as i64, random.below(30) as i64);
            let mut memory = KeyTimes::new(vec![Arc::new(Field::new("k", DataType::Utf8, true))], within).unwrap();
            let mut kept: Vec<i64> = Vec::new();
            for now in 0..300_i64 {
                let complete = now - lateness;
                let time = complete + random.below(lateness as u64 + 1) as i64;
                let expected = kept.iter().all(|kept| kept.abs_diff(time) >= within.unsigned_abs());
                let (new, largest) = new_rows_of(&mut memory, complete, &[("a", time)]);
                assert_eq!(new, [expected], "case {case} at {now}");
                kept.extend(expected.then_some(time));
                assert!(
                    largest as i64 <= lateness / within + 2,
                    "case {case} at {now}: {largest} times are remembered"
                );
            }
        }
    }

    #[test]
    fn it_makes_no_difference_where_keys_are() {
        let dir = tempfile::tempdir().unwrap();
        for (seed, bytes) in [(1, 1), (2, 3_000), (3, 20_000)] {
            let field = Arc::new(Field::new("k", DataType::Utf8, true));
            let mut plain = KeyTimes::new(vec![field.clone()], 300).unwrap();
            let budget = StateBudget::new(bytes, dir.path().to_owned());
            let mut spilled =
                KeyTimes::new(vec![field], 300).unwrap().spilling(Some(&budget), &Failure::default(), "s").unwrap();
            [&mut plain, &mut spilled].into_iter().for_each(|memory| memory.table().track_changes());
            let (mut random, mut cold) = (Random(seed), 0);
            for now in 0..400_i64 {
                let rows: Vec<(String, i64)> =
                    (0..10).map(|_| (format!("key {}", random.below(2_000)), now + random.below(40) as i64)).collect();
                let rows: Vec<(&str, i64)> = rows.iter().map(|(key, time)| (key.as_str(), *time)).collect();
                assert_eq!(new_rows(&mut plain, now, &rows), new_rows(&mut spilled, now, &rows), "at {now}");
                spilled.table().shrink().unwrap();
                cold = cold.max(spilled.table().cold().0);
                assert_eq!(plain.table().len(), spilled.table().len(), "at {now}");
                if now % 50 == 7 {
                    let base = now % 100 == 7;
                    let [plain, spilled] =
                        [&mut plain, &mut spilled].map(|memory| memory.table().all_changes(base).unwrap());
                    assert_eq!(plain, spilled, "the rows of a file at {now}");
                }
            }
            assert!(cold > 500, "{cold} cold rows");
            [&mut plain, &mut spilled].into_iter().for_each(|memory| memory.drop_expired(1_000).unwrap());
            assert_eq!((plain.table().len(), spilled.table().len()), (0, 0));
        }
    }

    #[test]
    fn keys_are_new_again_after_the_time_and_then_forgotten() {
        let mut memory = KeyTimes::new(vec![Arc::new(Field::new("k", DataType::Utf8, true))], 10).unwrap();
        assert_eq!(new_rows(&mut memory, 0, &[("a", 5), ("a", 14), ("b", 6)]), [true, false, true]);
        assert_eq!(new_rows(&mut memory, 0, &[("a", 15), ("a", 9), ("a", -5)]), [true, false, true]);
        // Out of order: near to a kept row, before or after it.
        assert_eq!(new_rows(&mut memory, 0, &[("b", -3), ("b", -4), ("b", -13)]), [false, true, false]);
        assert_eq!(memory.table().len(), 2);
        // b was kept at 6 and is dropped at 16; a at 15.
        assert_eq!(new_rows(&mut memory, 16, &[("a", 24), ("b", 16)]), [false, true]);
        assert_eq!(new_rows(&mut memory, 25, &[]), [] as [bool; 0]);
        assert_eq!(memory.table().len(), 1);
        assert_eq!(new_rows(&mut memory, 26, &[]), [] as [bool; 0]);
        assert_eq!(memory.table().len(), 0);
        assert_eq!(new_rows(&mut memory, i64::MAX, &[("a", i64::MIN), ("a", i64::MAX - 1)]), [true, true]);
    }
}
