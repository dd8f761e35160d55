//! Index of accumulators by key and pane. Each key's number has its panes, so that a key is looked up once per row, and its panes mostly not at all.

use super::{KeyId, NONE, PaneRows, RUNNING, RowsByPane};
use crate::state::Slot;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::collections::BTreeMap;

/// The slots of keys and panes.
#[derive(Default)]
pub struct PaneIndex {
    /// The panes, with their keys and slots.
    pub rows: RowsByPane,
    /// The key of each slot.
    pub id_of: Vec<KeyId>,
    /// The pane of each slot.
    pane_of: Vec<i64>,
    /// Number of panes of each key.
    panes_of: Vec<u32>,
    /// The slot of each key's last pane.
    last: Vec<Slot>,
    /// The slot of each key's running total.
    running: Vec<Slot>,
    /// The slots of panes by key, for panes in which keys were looked up.
    found: BTreeMap<i64, PaneSlots>,
}

/// The slots of a pane by key.
#[derive(Default)]
struct PaneSlots {
    slots: HashTable<(KeyId, Slot)>,
    /// How many of the pane's first keys it includes.
    keys: usize,
}

/// Key numbers are small and unique, so the hash only has to spread them.
fn hash((id, _): &(KeyId, Slot)) -> u64 {
    u64::from(*id).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl PaneSlots {
    fn catch_up(&mut self, rows: &PaneRows) {
        for (id, slot) in rows.ids.iter().zip(&rows.slots).skip(self.keys) {
            let key = (*id, *slot);
            if let Entry::Vacant(vacant) = self.slots.entry(hash(&key), |other| other.0 == *id, hash) {
                vacant.insert(key);
            }
        }
        self.keys = rows.ids.len();
    }

    fn slot(&self, id: KeyId) -> Option<Slot> {
        self.slots.find(hash(&(id, NONE)), |other| other.0 == id).map(|found| found.1)
    }
}

impl PaneIndex {
    /// Grows to this upper bound of key numbers.
    #[inline]
    pub fn grow(&mut self, ids: usize) {
        if self.last.len() < ids {
            self.last.resize(ids, NONE);
            self.running.resize(ids, NONE);
            self.panes_of.resize(ids, 0);
        }
    }

    /// Returns the approximate memory in use.
    pub fn bytes(&self) -> u64 {
        let by_slot = self.id_of.capacity() * (size_of::<KeyId>() + size_of::<i64>());
        let by_key = self.last.capacity() * 3 * size_of::<u32>();
        let rows: usize = self.rows.values().map(|rows| rows.ids.capacity() + rows.slots.capacity()).sum();
        let found: usize = self.found.values().map(|pane| pane.slots.capacity()).sum();
        (by_slot + by_key + rows * size_of::<u32>() + found * 2 * size_of::<(KeyId, Slot)>()) as u64
    }

    /// Returns the upper bound of key numbers.
    pub fn ids(&self) -> usize {
        self.last.len()
    }

    /// Returns the slot of a key in a pane.
    #[inline]
    pub fn slot(&mut self, id: KeyId, pane: i64) -> Option<Slot> {
        let last = self.last[id as usize];
        if last == NONE || pane > self.pane_of[last as usize] {
            return None;
        }
        if pane == self.pane_of[last as usize] {
            return Some(last);
        }
        self.earlier(id, pane)
    }

    /// As [`Self::slot`], in a pane that is not the key's last.
    fn earlier(&mut self, id: KeyId, pane: i64) -> Option<Slot> {
        let found = self.found.entry(pane).or_default();
        found.catch_up(self.rows.get(&pane)?);
        found.slot(id)
    }

    /// Returns the rows of some keys in a pane.
    pub fn rows_of(&mut self, ids: &[KeyId], pane: i64) -> PaneRows {
        let mut rows = PaneRows::default();
        for id in ids {
            if let Some(slot) = self.slot(*id, pane) {
                rows.ids.push(*id);
                rows.slots.push(slot);
            }
        }
        rows
    }

    /// Adds the slot of a key in a pane. Returns whether the key is new.
    #[inline]
    pub fn note(&mut self, id: KeyId, pane: i64, slot: Slot) -> bool {
        let index = slot as usize;
        if self.id_of.len() <= index {
            self.id_of.resize(index + 1, NONE);
            self.pane_of.resize(index + 1, RUNNING);
        }
        (self.id_of[index], self.pane_of[index]) = (id, pane);
        let is_new = !self.has(id);
        if pane == RUNNING {
            self.running[id as usize] = slot;
            return is_new;
        }
        let last = &mut self.last[id as usize];
        if *last == NONE || pane > self.pane_of[*last as usize] {
            *last = slot;
        }
        self.panes_of[id as usize] += 1;
        let rows = self.rows.entry(pane).or_default();
        rows.ids.push(id);
        rows.slots.push(slot);
        is_new
    }

    /// Takes the first pane, if it is before this one.
    pub fn take_before(&mut self, pane: i64) -> Option<PaneRows> {
        let first = self.rows.first_entry().filter(|first| *first.key() < pane)?;
        self.found.remove(first.key());
        let rows = first.remove();
        for (id, slot) in rows.ids.iter().zip(&rows.slots) {
            self.panes_of[*id as usize] -= 1;
            if self.last[*id as usize] == *slot {
                self.last[*id as usize] = NONE;
            }
        }
        Some(rows)
    }

    /// Returns whether a key is in any pane.
    pub fn is_in_pane(&self, id: KeyId) -> bool {
        self.panes_of[id as usize] > 0
    }

    /// Returns whether a key is in any pane, or has a running total.
    pub fn has(&self, id: KeyId) -> bool {
        self.is_in_pane(id) || self.running(id) != NONE
    }

    /// Returns the pane of a slot.
    pub fn pane_of(&self, slot: Slot) -> i64 {
        self.pane_of[slot as usize]
    }

    /// Returns the slot of a key's running total, or [`NONE`].
    pub fn running(&self, id: KeyId) -> Slot {
        self.running[id as usize]
    }

    /// Removes the key's running total.
    pub fn remove_running(&mut self, id: KeyId) {
        self.running[id as usize] = NONE;
    }
}
