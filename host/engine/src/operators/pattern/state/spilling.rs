//! Spilled keys of a pattern. A key is spilled when one of its rows leaves memory. It is loaded when it has a new row, or its time has come. The
//! state of its matches is then recomputed, as after a restart.

use super::rows::{KeyRows, PatternRows};
use crate::state::{Slot, StateTable};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use millstream_base::error::{Error, Result};
use millstream_rows::batch::keys::{KeyHash, Keys};
use std::collections::{HashMap, HashSet};
use std::mem::take;

impl PatternRows {
    /// Lets rows spill to files; `spilling` converts the table, which must be empty. All rows of a key come back together, so there must be a key.
    pub fn spilling(self, spilling: impl FnOnce(StateTable) -> Result<StateTable>) -> Result<PatternRows> {
        let table = spilling(self.table.ordered_by(self.layout.key))?;
        Ok(PatternRows { table, ..self })
    }

    /// Returns whether keys may be spilled.
    pub fn spills(&self) -> bool {
        self.table.spills()
    }

    /// Marks all keys of the table as spilled. `within_us` limits an attempt; all rows older than `before` have been processed.
    pub fn mark_spilled(&mut self, within_us: Option<i64>, end_us: i64, before: Option<i64>) -> Result<()> {
        self.rebuild_spilled();
        let (key, mut last) = (self.layout.key, None::<SpilledKey>);
        let spilled = &mut self.spilled;
        let show = |table: &StateTable, slots: &[Slot]| {
            let columns = table.keys(slots).map_err(Error::arrow)?;
            let keys = Keys::encode(columns.get(..key).unwrap_or_default(), slots.len()).map_err(Error::arrow)?;
            let (states, _) = table.states(slots).map_err(Error::arrow)?;
            let times = states.columns().first().and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
            let times = times.ok_or_else(|| Error::bug("the table of a pattern without its times"))?;
            for (row, (slot, time)) in slots.iter().zip(times.values()).enumerate() {
                let is_looked_at = before.is_some_and(|before| *time < before);
                let due = match (is_looked_at, within_us) {
                    (false, _) => *time,
                    (true, Some(within_us)) => time.saturating_add(within_us).min(end_us),
                    (true, None) => end_us,
                };
                let looked_at_us = Some(*time).filter(|_| is_looked_at);
                match last.as_mut().filter(|last| *last.key == *keys.view().get(row)) {
                    Some(last) => {
                        last.due = last.due.min(due);
                        last.looked_at_us = last.looked_at_us.into_iter().chain(looked_at_us).min();
                    }
                    None => {
                        let next = SpilledKey {
                            key: keys.view().get(row).into(),
                            hash: table.hash_of(*slot),
                            due,
                            looked_at_us,
                        };
                        let before = last.replace(next);
                        before.into_iter().for_each(|key| spilled.add(key.hash, Some(key.due), key.looked_at_us));
                    }
                }
            }
            Ok(())
        };
        self.table.each_range(|_| true, |_| false, show)?;
        last.into_iter().for_each(|key| self.spilled.add(key.hash, Some(key.due), key.looked_at_us));
        Ok(())
    }

    /// Returns the hashes of these keys, without those that are loaded.
    pub fn not_loaded(&self, keys: &Keys) -> HashSet<KeyHash> {
        let (view, hashes) = (keys.view(), keys.hashes());
        (0..).zip(hashes).filter(|(row, _)| !self.index.contains_key(view.get(*row))).map(|(_, hash)| hash).collect()
    }

    /// Loads spilled keys with these hashes; see [`PatternRows::mark_spilled`] for `before`. Returns their numbers.
    pub fn load(
        &mut self,
        hashes: HashSet<KeyHash>,
        before: Option<i64>,
        own: impl Fn(&RecordBatch) -> Result<Vec<u64>>,
    ) -> Result<Vec<u32>> {
        let rest: Vec<Slot> = hashes.iter().filter_map(|hash| self.spilled.rest.remove(hash)).flatten().collect();
        let mut slots = self.table.warm_hashes(hashes.into_iter())?;
        slots.extend(rest);
        self.table.used(&slots);
        let keys = self.enter(&slots, own)?;
        for key in &keys {
            let first = self.get(*key).and_then(KeyRows::first);
            let looked_at_us = first.filter(|first| before.is_some_and(|before| *first < before));
            looked_at_us.into_iter().for_each(|time| self.spilled.looked_at_us.remove(time));
        }
        Ok(keys)
    }

    /// Spills rows, if needed. Returns the in-memory state of the newly spilled keys, by their numbers.
    pub fn shrink(&mut self) -> Result<Vec<(u32, KeyRows)>> {
        let PatternRows { table, layout, keys, free, index, spilled } = self;
        let mut slept: Vec<(u32, KeyRows)> = Vec::new();
        let mut spill_key = |number: u32, rest: &mut HashMap<KeyHash, Vec<Slot>>| {
            let Some(of) = keys.get_mut(number as usize) else { return };
            let rows = std::mem::replace(of, KeyRows::new(Box::default(), KeyHash(0)));
            rest.entry(rows.hash).or_default().extend(rows.slots());
            free.push(number);
            slept.push((number, rows));
        };
        let moved = table.shrink_notifying(|table, slots| {
            let columns = table.keys(slots).map_err(Error::arrow)?;
            let of_rows =
                Keys::encode(columns.get(..layout.key).unwrap_or_default(), slots.len()).map_err(Error::arrow)?;
            for row in 0..slots.len() {
                if let Some(number) = index.remove(of_rows.view().get(row)) {
                    spill_key(number, &mut spilled.rest);
                }
            }
            let leaving: HashSet<Slot> = slots.iter().copied().collect();
            let hashes: HashSet<KeyHash> = slots.iter().map(|slot| table.hash_of(*slot)).collect();
            for hash in hashes {
                if let Some(rest) = spilled.rest.get_mut(&hash) {
                    rest.retain(|slot| !leaving.contains(slot));
                    if rest.is_empty() {
                        spilled.rest.remove(&hash);
                    }
                }
            }
            Ok(())
        })?;
        if moved {
            take(index).into_values().for_each(|number| spill_key(number, &mut spilled.rest));
            self.rebuild_spilled();
        }
        Ok(slept)
    }

    /// Rebuilds the record of spilled keys from the rows in memory.
    fn rebuild_spilled(&mut self) {
        self.spilled.rest.clear();
        for slot in self.table.all() {
            self.spilled.rest.entry(self.table.hash_of(slot)).or_default().push(slot);
        }
    }
}

/// A key that is being spilled.
struct SpilledKey {
    key: Box<[u8]>,
    hash: KeyHash,
    due: i64,
    looked_at_us: Option<i64>,
}
