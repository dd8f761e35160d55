//! Where the rows of a key are, of those in memory, on both sides of a join.

use crate::join::Side;
use crate::state::Slot;
use std::collections::HashMap;

/// The rows of a key, by side.
#[derive(Default)]
pub struct KeyRows {
    /// Their slots.
    pub slots: [Vec<Slot>; 2],
}

/// Those of all keys.
#[derive(Default)]
pub struct KeyIndex {
    keys: HashMap<Box<[u8]>, KeyRows>,
    bytes: u64,
}

impl KeyIndex {
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
