//! Where the accumulators of keys and panes are: by the key's number, with its panes beside it, so that a key is looked for
//! once a row, and its panes are mostly not looked for at all.

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
    /// How many panes each key is in.
    panes_of: Vec<u32>,
    /// The slot of each key's last pane.
    last: Vec<Slot>,
    /// The slot of each key's running total.
    running: Vec<Slot>,
    /// The slots of panes by key, for those in which keys were looked for.
    found: BTreeMap<i64, PaneSlots>,
}

/// The slots of a pane by key.
#[derive(Default)]
struct PaneSlots {
    slots: HashTable<(KeyId, Slot)>,
    /// How many of the pane's keys are in it, of those that came first.
    keys: usize,
}

/// Numbers of keys are small and each is there once, so all that a hash has to do is to spread them.
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
    /// There are this many numbers of keys.
    #[inline]
    pub fn grow(&mut self, ids: usize) {
        if self.last.len() < ids {
            self.last.resize(ids, NONE);
            self.running.resize(ids, NONE);
            self.panes_of.resize(ids, 0);
        }
    }

    /// The memory that it takes, about.
    pub fn bytes(&self) -> u64 {
        let by_slot = self.id_of.capacity() * (size_of::<KeyId>() + size_of::<i64>());
        let by_key = self.last.capacity() * 3 * size_of::<u32>();
        let rows: usize = self.rows.values().map(|rows| rows.ids.capacity() + rows.slots.capacity()).sum();
        let found: usize = self.found.values().map(|pane| pane.slots.capacity()).sum();
        (by_slot + by_key + rows * size_of::<u32>() + found * 2 * size_of::<(KeyId, Slot)>()) as u64
    }

    /// How many numbers of keys there may be.
    pub fn ids(&self) -> usize {
        self.last.len()
    }

    /// The slot of a key in a pane.
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

    /// The same, in a pane that is not the key's last.
    fn earlier(&mut self, id: KeyId, pane: i64) -> Option<Slot> {
        let found = self.found.entry(pane).or_default();
        found.catch_up(self.rows.get(&pane)?);
        found.slot(id)
    }

    /// What a pane holds of some keys.
    pub fn of(&mut self, ids: &[KeyId], pane: i64) -> PaneRows {
        let mut rows = PaneRows::default();
        for id in ids {
            if let Some(slot) = self.slot(*id, pane) {
                rows.ids.push(*id);
                rows.slots.push(slot);
            }
        }
        rows
    }

    /// Notes the slot of a key in a pane in which it was not. Whether the key is new.
    #[inline]
    pub fn note(&mut self, id: KeyId, pane: i64, slot: Slot) -> bool {
        let place = slot as usize;
        if self.id_of.len() <= place {
            self.id_of.resize(place + 1, NONE);
            self.pane_of.resize(place + 1, RUNNING);
        }
        (self.id_of[place], self.pane_of[place]) = (id, pane);
        let is_new = !self.is_there(id);
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

    /// Takes out the first pane, where it is before this one.
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

    /// Whether a key is in any pane.
    pub fn is_in_pane(&self, id: KeyId) -> bool {
        self.panes_of[id as usize] > 0
    }

    /// Whether a key is in any pane, or has a running total.
    pub fn is_there(&self, id: KeyId) -> bool {
        self.is_in_pane(id) || self.running(id) != NONE
    }

    /// The pane of a slot.
    pub fn pane_of(&self, slot: Slot) -> i64 {
        self.pane_of[slot as usize]
    }

    /// The slot of a key's running total, or [`NONE`].
    pub fn running(&self, id: KeyId) -> Slot {
        self.running[id as usize]
    }

    /// The key has no running total any more.
    pub fn stop(&mut self, id: KeyId) {
        self.running[id as usize] = NONE;
    }
}
