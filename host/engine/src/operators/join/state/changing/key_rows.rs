//! Where the rows of a key are, of those in memory, on both sides of a join.

use crate::operators::join::state::Side;
use crate::state::{Slot, StateTable};
use millstream_base::batch::keys::Keys;
use millstream_base::error::{Error, Result};
use std::collections::{HashMap, HashSet};

/// Slots whose columns are looked at at once.
const SLOTS_AT_ONCE: usize = 16_384;

/// The rows of a key, by side.
#[derive(Default)]
pub struct KeyRows {
    /// Their slots.
    pub slots: [Vec<Slot>; 2],
}

/// Those of all keys.
pub struct KeyIndex {
    /// So many of the first columns of a row are its key.
    on: usize,
    keys: HashMap<Box<[u8]>, KeyRows>,
    bytes: u64,
}

impl KeyIndex {
    /// Of no rows yet; `on`: how many columns make the key.
    pub fn new(on: usize) -> KeyIndex {
        KeyIndex { on, keys: HashMap::new(), bytes: 0 }
    }

    /// The keys of the rows in these slots of a side's table.
    pub fn keys_of(&self, table: &StateTable, slots: &[Slot]) -> Result<Keys> {
        let columns = table.keys(slots).map_err(Error::arrow)?;
        Keys::encode(columns.get(..self.on).unwrap_or_default(), slots.len()).map_err(Error::arrow)
    }

    /// These rows of a side are in memory now.
    pub fn enter(&mut self, side: Side, table: &StateTable, slots: &[Slot]) -> Result<()> {
        for slots in slots.chunks(SLOTS_AT_ONCE) {
            let keys = self.keys_of(table, slots)?;
            for (row, slot) in slots.iter().enumerate() {
                self.add(keys.view().get(row), side, *slot);
            }
        }
        Ok(())
    }

    /// These are not any more.
    fn leave(&mut self, side: Side, table: &StateTable, slots: &[Slot]) -> Result<()> {
        for slots in slots.chunks(SLOTS_AT_ONCE) {
            let keys = self.keys_of(table, slots)?;
            let leaving: HashSet<Slot> = slots.iter().copied().collect();
            let of_rows: HashSet<&[u8]> = (0..slots.len()).map(|row| keys.view().get(row)).collect();
            of_rows.into_iter().for_each(|key| self.retain(key, side, |slot| !leaving.contains(slot)));
        }
        Ok(())
    }

    /// Knows of the rows of both sides that are in memory, and of no others.
    pub fn enter_all(&mut self, tables: &[StateTable; 2]) -> Result<()> {
        *self = KeyIndex::new(self.on);
        for side in Side::BOTH {
            let table = &tables[side.place()];
            let slots: Vec<Slot> = table.all().collect();
            self.enter(side, table, &slots)?;
        }
        Ok(())
    }

    /// Gives up rows of both sides where that is needed.
    pub fn shrink(&mut self, tables: &mut [StateTable; 2]) -> Result<()> {
        let mut anew = false;
        for side in Side::BOTH {
            anew |= tables[side.place()].shrink_telling(|table, slots| {
                // Where many leave it is less to make it anew.
                anew |= slots.len() > table.rows_in_memory() / 4;
                if anew { Ok(()) } else { self.leave(side, table, slots) }
            })?;
        }
        if anew { self.enter_all(tables) } else { Ok(()) }
    }

    /// The memory that keys take beside their rows, about.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The rows of a key, if it has any.
    pub fn get(&self, key: &[u8]) -> Option<&KeyRows> {
        self.keys.get(key)
    }

    /// The rows of a key, which may have none yet.
    pub fn rows_of(&mut self, key: &[u8]) -> &mut KeyRows {
        let bytes = &mut self.bytes;
        self.keys.entry(key.into()).or_insert_with(|| {
            *bytes += memory(key.len());
            KeyRows::default()
        })
    }

    /// A key has this row, too.
    pub fn add(&mut self, key: &[u8], side: Side, slot: Slot) {
        self.rows_of(key).slots[side.place()].push(slot);
    }

    /// A key has those of its rows of a side that are to stay.
    pub fn retain(&mut self, key: &[u8], side: Side, stays: impl Fn(&Slot) -> bool) {
        let Some(rows) = self.keys.get_mut(key) else { return };
        rows.slots[side.place()].retain(stays);
        if rows.slots.iter().all(Vec::is_empty) {
            self.remove(key);
        }
    }

    /// Nothing is known of a key any more.
    pub fn remove(&mut self, key: &[u8]) -> Option<KeyRows> {
        let rows = self.keys.remove(key)?;
        self.bytes = self.bytes.saturating_sub(memory(key.len()));
        Some(rows)
    }
}

/// What a key takes: its bytes are in its entry and where it says when rows came.
fn memory(bytes: usize) -> u64 {
    (2 * bytes + size_of::<KeyRows>() + 2 * size_of::<(i64, Box<[u8]>)>()) as u64
}
