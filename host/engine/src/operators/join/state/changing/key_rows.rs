//! Index of the rows of each key in memory, on both sides of a join.

use crate::operators::join::state::Side;
use crate::state::{Slot, StateTable};
use millstream_base::error::{Error, Result};
use millstream_rows::batch::keys::Keys;
use std::collections::{HashMap, HashSet};

/// Slots whose columns are read at a time.
const SLOTS_AT_ONCE: usize = 16_384;

/// The rows of a key, by side.
#[derive(Default)]
pub struct KeyRows {
    /// Their slots.
    pub slots: [Vec<Slot>; 2],
}

/// The rows of all keys.
pub struct KeyIndex {
    /// Number of key columns, the first ones of a row.
    on: usize,
    keys: HashMap<Box<[u8]>, KeyRows>,
    bytes: u64,
}

impl KeyIndex {
    /// Creates an empty index; `on` is the number of key columns.
    pub fn new(on: usize) -> KeyIndex {
        KeyIndex { on, keys: HashMap::new(), bytes: 0 }
    }

    /// Returns the keys of the rows in these slots of a side's table.
    pub fn keys_of(&self, table: &StateTable, slots: &[Slot]) -> Result<Keys> {
        let columns = table.keys(slots).map_err(Error::arrow)?;
        Keys::encode(columns.get(..self.on).unwrap_or_default(), slots.len()).map_err(Error::arrow)
    }

    /// Adds rows of a side that came into memory.
    pub fn enter(&mut self, side: Side, table: &StateTable, slots: &[Slot]) -> Result<()> {
        for slots in slots.chunks(SLOTS_AT_ONCE) {
            let keys = self.keys_of(table, slots)?;
            for (row, slot) in slots.iter().enumerate() {
                self.add(keys.view().get(row), side, *slot);
            }
        }
        Ok(())
    }

    /// Removes rows of a side that left memory.
    fn leave(&mut self, side: Side, table: &StateTable, slots: &[Slot]) -> Result<()> {
        for slots in slots.chunks(SLOTS_AT_ONCE) {
            let keys = self.keys_of(table, slots)?;
            let leaving: HashSet<Slot> = slots.iter().copied().collect();
            let of_rows: HashSet<&[u8]> = (0..slots.len()).map(|row| keys.view().get(row)).collect();
            of_rows.into_iter().for_each(|key| self.retain(key, side, |slot| !leaving.contains(slot)));
        }
        Ok(())
    }

    /// Rebuilds the index from the rows of both sides in memory.
    pub fn enter_all(&mut self, tables: &[StateTable; 2]) -> Result<()> {
        *self = KeyIndex::new(self.on);
        for side in Side::BOTH {
            let table = &tables[side.index()];
            let slots: Vec<Slot> = table.all().collect();
            self.enter(side, table, &slots)?;
        }
        Ok(())
    }

    /// Spills rows of both sides, if needed.
    pub fn shrink(&mut self, tables: &mut [StateTable; 2]) -> Result<()> {
        let mut rebuild = false;
        for side in Side::BOTH {
            rebuild |= tables[side.index()].shrink_notifying(|table, slots| {
                // If many rows leave, rebuilding the index is cheaper.
                rebuild |= slots.len() > table.rows_in_memory() / 4;
                if rebuild { Ok(()) } else { self.leave(side, table, slots) }
            })?;
        }
        if rebuild { self.enter_all(tables) } else { Ok(()) }
    }

    /// Returns the approximate memory of the index, without the rows.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the rows of a key, if any.
    pub fn get(&self, key: &[u8]) -> Option<&KeyRows> {
        self.keys.get(key)
    }

    /// Returns the rows of a key, possibly none yet.
    pub fn rows_of(&mut self, key: &[u8]) -> &mut KeyRows {
        let bytes = &mut self.bytes;
        self.keys.entry(key.into()).or_insert_with(|| {
            *bytes += memory(key.len());
            KeyRows::default()
        })
    }

    /// Adds a row to a key.
    pub fn add(&mut self, key: &[u8], side: Side, slot: Slot) {
        self.rows_of(key).slots[side.index()].push(slot);
    }

    /// Keeps only some rows of a key's side.
    pub fn retain(&mut self, key: &[u8], side: Side, stays: impl Fn(&Slot) -> bool) {
        let Some(rows) = self.keys.get_mut(key) else { return };
        rows.slots[side.index()].retain(stays);
        if rows.slots.iter().all(Vec::is_empty) {
            self.remove(key);
        }
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &[u8]) -> Option<KeyRows> {
        let rows = self.keys.remove(key)?;
        self.bytes = self.bytes.saturating_sub(memory(key.len()));
        Some(rows)
    }
}

/// Returns the memory of a key: its bytes are in its entry and in the list of arrival times.
fn memory(bytes: usize) -> u64 {
    (2 * bytes + size_of::<KeyRows>() + 2 * size_of::<(i64, Box<[u8]>)>()) as u64
}
