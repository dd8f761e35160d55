//! The state table of a stage on one worker: maps keys to slots, and slots to values.

pub(super) mod copy;
mod frozen;

use super::column::{self, StateColumn};
use super::idle::{IdleTracker, TouchSource};
use super::keys::{OwnedKey, Slot, hashes_of};
use super::spill::spilled::Spill;
use super::tracked::TrackedChanges;
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{Field, SchemaRef};
use arrow::error::ArrowError;
use frozen::FrozenRows;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use millstream_base::error::{Error, Result};
use millstream_base::limits::SliceMax;
use millstream_metrics::spread::Spread;
use millstream_rows::batch::key_order::sort_keys;
use millstream_rows::batch::keys::{self, KeyHash, Keys, TableSeeds};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

/// Slots sampled to estimate how a table is distributed over key groups: it takes less than a millisecond.
const SPREAD_SLOTS_MAX: usize = 16_384;

/// One row per key, for the keys that a worker owns.
pub struct StateTable {
    pub(super) key_fields: Vec<Arc<Field>>,
    /// Hashes cover only this many key columns, so that rows that belong together are adjacent; `None`: all.
    pub(super) order_columns: Option<usize>,
    pub(super) state_schema: SchemaRef,
    index: HashTable<IndexEntry>,
    /// Whether keys are in the index.
    is_indexed: bool,
    seeds: TableSeeds,
    pub(super) hashes: Vec<u64>,
    pub(super) key_starts: Vec<u64>,
    pub(super) key_lengths: Vec<u32>,
    pub(super) key_bytes: Vec<u8>,
    pub(super) key_bytes_dead: usize,
    /// Whether the slot's key has a state. A slot without one is free, or its key waits for its first call to end.
    pub(super) known: Vec<bool>,
    pub(super) columns: Vec<StateColumn>,
    free: Vec<Slot>,
    /// Keys with a state.
    len: usize,
    /// Changes since the last checkpoint; `None` if no checkpoint needs them.
    pub(super) changes: Option<TrackedChanges>,
    pub(super) idle: Option<IdleTracker>,
    /// The rows that are not in memory, if the table may have such rows.
    pub(super) spill: Option<Box<Spill>>,
    /// Rows frozen at a barrier that are still to be copied.
    pub(super) frozen: Option<Box<FrozenRows>>,
}

/// A key in the index.
#[derive(Clone, Copy)]
struct IndexEntry {
    slot: Slot,
    /// Half of its hash by [`TableSeeds`].
    hash: u32,
}

impl IndexEntry {
    /// Returns the index hash of a key with this half of a hash.
    #[inline]
    fn index_hash(hash: u32) -> u64 {
        // Odd, so that the lower bits of all halves differ, and the upper ones are mixed.
        u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl StateTable {
    /// Creates an empty table. `timeout_us`: after how long without a touch a key is idle.
    pub fn new(key_fields: Vec<Arc<Field>>, state: SchemaRef, timeout_us: Option<i64>) -> Result<Self, ArrowError> {
        Ok(StateTable {
            key_fields,
            order_columns: None,
            columns: state.fields().iter().map(|field| StateColumn::new(field)).collect::<Result<_, _>>()?,
            state_schema: state,
            index: HashTable::new(),
            is_indexed: true,
            seeds: TableSeeds::default(),
            hashes: Vec::new(),
            key_starts: Vec::new(),
            key_lengths: Vec::new(),
            key_bytes: Vec::new(),
            key_bytes_dead: 0,
            known: Vec::new(),
            free: Vec::new(),
            len: 0,
            changes: None,
            spill: None,
            frozen: None,
            idle: timeout_us.map(|timeout_us| IdleTracker::new(timeout_us, TouchSource::Touch)),
        })
    }

    /// Orders rows by the hash of their first `columns` key columns, so that rows that share these are adjacent. The table must be empty.
    #[must_use]
    pub fn ordered_by(self, columns: usize) -> StateTable {
        StateTable { order_columns: Some(columns), ..self }
    }

    /// Returns the hashes of the keys in these columns, as the table computes them.
    pub fn hashes_of(&self, columns: &[ArrayRef], keys: &Keys) -> Result<Vec<KeyHash>, ArrowError> {
        hashes_of(columns, keys, self.order_columns)
    }

    /// Returns a table with the same keys and states that does not track changes.
    pub fn copied(&self) -> StateTable {
        StateTable {
            key_fields: self.key_fields.clone(),
            order_columns: self.order_columns,
            state_schema: self.state_schema.clone(),
            index: self.index.clone(),
            is_indexed: self.is_indexed,
            seeds: self.seeds,
            hashes: self.hashes.clone(),
            key_starts: self.key_starts.clone(),
            key_lengths: self.key_lengths.clone(),
            key_bytes: self.key_bytes.clone(),
            key_bytes_dead: self.key_bytes_dead,
            known: self.known.clone(),
            columns: self.columns.clone(),
            free: self.free.clone(),
            len: self.len,
            changes: None,
            spill: self.spill.as_ref().map(|spill| Box::new(spill.copied())),
            frozen: None,
            idle: self.idle.clone(),
        }
    }

    /// Moves everything from another table with the same columns and the same timeout. Returns `false`, and changes nothing, if these differ.
    pub fn take_over(&mut self, other: StateTable) -> bool {
        let same = |a: &Field, b: &Field| {
            (a.name(), a.data_type(), a.is_nullable()) == (b.name(), b.data_type(), b.is_nullable())
        };
        let all_same =
            |a: &[Arc<Field>], b: &[Arc<Field>]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b));
        let same_idle = match (&self.idle, &other.idle) {
            (Some(idle), Some(other)) => idle.has_same_rules(other),
            (None, None) => true,
            _ => false,
        };
        let is_same = all_same(&self.key_fields, &other.key_fields)
            && all_same(self.state_schema.fields(), other.state_schema.fields())
            && same_idle
            && (self.is_indexed, self.changes.is_some(), self.spills(), self.order_columns)
                == (other.is_indexed, other.changes.is_some(), other.spills(), other.order_columns);
        if is_same {
            let (key_fields, state_schema) = (std::mem::take(&mut self.key_fields), self.state_schema.clone());
            let before = std::mem::replace(self, StateTable { key_fields, state_schema, ..other });
            self.share_spill_of(&before);
        }
        is_same
    }

    /// Returns the slot of a key; a new key gets one, without a state.
    pub fn slot(&mut self, key: &[u8], hash: KeyHash) -> Slot {
        let StateTable { index, key_starts, key_lengths, key_bytes, .. } = self;
        let half = self.seeds.hash(key) as u32;
        let bytes = |slot: Slot| {
            let start = key_starts[slot as usize] as usize;
            &key_bytes[start..start + key_lengths[slot as usize] as usize]
        };
        let same = |other: &IndexEntry| other.hash == half && keys::equal(bytes(other.slot), key);
        let vacant = match index.entry(IndexEntry::index_hash(half), same, |other| IndexEntry::index_hash(other.hash)) {
            Entry::Occupied(found) => return found.get().slot,
            Entry::Vacant(vacant) => vacant,
        };
        let slot = self.free.pop().unwrap_or(self.hashes.len() as Slot);
        vacant.insert(IndexEntry { slot, hash: half });
        self.grow(slot);
        self.occupy(slot, key, hash);
        slot
    }

    /// Drops the index, for a user that keeps the slots of keys itself. The table then takes less time and memory.
    pub fn drop_index(&mut self) {
        self.is_indexed = false;
        self.index = HashTable::new();
    }

    /// Rebuilds the index.
    pub fn rebuild_index(&mut self) {
        let slots: Vec<Slot> = self.all().collect();
        self.index = HashTable::with_capacity(slots.len());
        for slot in slots {
            let hash = self.seeds.hash(self.key(slot)) as u32;
            self.index.insert_unique(IndexEntry::index_hash(hash), IndexEntry { slot, hash }, |other| {
                IndexEntry::index_hash(other.hash)
            });
        }
        self.is_indexed = true;
    }

    /// Returns a slot without a key, for a table without an index.
    pub fn vacant(&mut self) -> Slot {
        debug_assert!(!self.is_indexed, "a key that would not be found");
        self.free_slot()
    }

    /// Returns the slot of a key of a file: without an index all of them are new.
    pub(super) fn slot_of_file(&mut self, key: &[u8], hash: KeyHash) -> Slot {
        if self.is_indexed {
            return self.slot(key, hash);
        }
        let slot = self.free_slot();
        self.occupy(slot, key, hash);
        slot
    }

    /// Returns a slot without a key, which is not in the index.
    pub(super) fn free_slot(&mut self) -> Slot {
        let slot = self.free.pop().unwrap_or(self.hashes.len() as Slot);
        self.grow(slot);
        slot
    }

    /// Grows the table to contain this slot.
    fn grow(&mut self, slot: Slot) {
        if slot as usize == self.hashes.len() {
            self.hashes.push(0);
            self.key_starts.push(0);
            self.key_lengths.push(0);
            self.known.push(false);
            self.columns.iter_mut().for_each(|column| column.grow(slot as usize + 1));
            if let Some(idle) = &mut self.idle {
                idle.touched.push(IdleTracker::NEVER);
            }
            if let Some(changes) = &mut self.changes {
                changes.grow(slot as usize + 1);
            }
        }
    }

    /// Gives a vacant slot its key.
    pub fn occupy(&mut self, slot: Slot, key: &[u8], hash: KeyHash) {
        self.hashes[slot as usize] = hash.0;
        self.key_starts[slot as usize] = self.key_bytes.len() as u64;
        self.key_lengths[slot as usize] = key.len() as u32;
        self.key_bytes.extend_from_slice(key);
    }

    /// Returns how many columns form a key.
    pub fn key_columns_count(&self) -> usize {
        self.key_fields.len()
    }

    /// Copies the rows of these slots into a table with the same columns.
    pub fn copy_of(&self, slots: &[Slot], mut into: StateTable) -> Result<StateTable> {
        let own: Vec<Slot> = slots.iter().map(|slot| into.slot(self.key(*slot), self.hash_of(*slot))).collect();
        let states = self.states(slots).map_err(Error::arrow)?.0;
        into.store(&own, &states, &BooleanArray::from(vec![true; own.len()]));
        Ok(into)
    }

    /// Records that a key of files that has no slot in this table was removed.
    pub fn record_removed(&mut self, key: &[u8], hash: KeyHash) {
        let slot = self.slot(key, hash);
        if let Some(changes) = &mut self.changes {
            changes.written(slot);
        }
        self.remove(slot);
    }

    /// Returns the state columns.
    pub fn state_schema(&self) -> SchemaRef {
        self.state_schema.clone()
    }

    /// Returns how many keys have a state.
    pub fn len(&self) -> usize {
        self.len + usize::try_from(self.cold().0).unwrap_or(usize::MAX)
    }

    /// Returns whether no key has a state.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many rows are in memory.
    pub fn rows_in_memory(&self) -> usize {
        self.len
    }

    /// Returns the slot of a key, if it has one.
    pub fn find(&self, key: &[u8]) -> Option<Slot> {
        let half = self.seeds.hash(key) as u32;
        let same = |other: &IndexEntry| other.hash == half && keys::equal(self.key(other.slot), key);
        self.index.find(IndexEntry::index_hash(half), same).map(|found| found.slot)
    }

    /// Reserves memory for new keys.
    pub(super) fn reserve(&mut self, keys: usize, key_bytes: usize) {
        self.index.reserve(keys, |other| IndexEntry::index_hash(other.hash));
        self.hashes.reserve(keys);
        self.key_starts.reserve(keys);
        self.key_lengths.reserve(keys);
        self.key_bytes.reserve(key_bytes);
        self.known.reserve(keys);
        self.columns.iter_mut().for_each(|column| column.reserve(keys));
        if let Some(idle) = &mut self.idle {
            idle.touched.reserve(keys);
        }
    }

    /// Returns the memory of keys and states, without that of the tracked changes.
    pub fn bytes(&self) -> u64 {
        let slots = self.hashes.capacity() * (2 * size_of::<u64>() + size_of::<u32>() + size_of::<bool>());
        let index = self.index_bytes() as usize;
        let idle = self.idle.as_ref().map_or(0, |idle| (idle.touched.capacity() + self.len) * size_of::<i64>());
        let columns: usize = self.columns.iter().map(StateColumn::bytes).sum();
        (slots + index + idle + columns + self.key_bytes.capacity() + self.free.capacity() * size_of::<Slot>()) as u64
    }

    /// Moves the rows to the first slots, so that unused slots take no memory. Keys move to other slots.
    pub(super) fn compact_slots(&mut self) {
        let count = self.len;
        // A key that waits for a state has a slot of its own.
        if !self.is_indexed || self.slots() - self.free.len() != count {
            return;
        }
        self.frozen_moved();
        let mut free = std::mem::take(&mut self.free);
        free.retain(|slot| (*slot as usize) < count);
        for from in count..self.slots() {
            if !self.known[from] {
                continue;
            }
            let Some(to) = free.pop() else { break };
            let index_hash = IndexEntry::index_hash(self.seeds.hash(self.key(from as Slot)) as u32);
            if let Some(entry) = self.index.find_mut(index_hash, |other| other.slot as usize == from) {
                entry.slot = to;
            }
            let to = to as usize;
            self.hashes.swap(from, to);
            self.key_starts.swap(from, to);
            self.key_lengths.swap(from, to);
            self.known.swap(from, to);
            self.columns.iter_mut().for_each(|column| column.swap(from, to));
            if let Some(idle) = &mut self.idle {
                idle.touched.swap(from, to);
            }
            if let Some(changes) = &mut self.changes {
                changes.swap(from, to);
            }
        }
        self.hashes.truncate(count);
        self.hashes.shrink_to_fit();
        self.key_starts.truncate(count);
        self.key_starts.shrink_to_fit();
        self.key_lengths.truncate(count);
        self.key_lengths.shrink_to_fit();
        self.known.truncate(count);
        self.known.shrink_to_fit();
        self.columns.iter_mut().for_each(|column| column.truncate(count));
        if let Some(idle) = &mut self.idle {
            idle.truncate(count);
            idle.rebuild_queue();
        }
        if let Some(changes) = &mut self.changes {
            changes.truncate(count);
        }
        self.index.shrink_to(count, |other| IndexEntry::index_hash(other.hash));
    }

    /// Returns the memory of the index.
    pub(super) fn index_bytes(&self) -> u64 {
        // At least one eighth of the index is empty, and each entry has one extra byte.
        (self.index.capacity() * (size_of::<IndexEntry>() + 1) * 8 / 7) as u64
    }

    /// Returns the number of slots, including free ones.
    pub fn slots(&self) -> usize {
        self.hashes.len()
    }

    /// Returns whether the slot's key has a state.
    pub fn is_stored(&self, slot: Slot) -> bool {
        self.known[slot as usize]
    }

    /// Returns all slots in memory whose keys have a state.
    pub fn all(&self) -> impl Iterator<Item = Slot> + '_ {
        (0..self.slots() as Slot).filter(|slot| self.is_stored(*slot))
    }

    /// Returns the bytes of a slot's key.
    pub fn key(&self, slot: Slot) -> &[u8] {
        let start = self.key_starts[slot as usize] as usize;
        &self.key_bytes[start..start + self.key_lengths[slot as usize] as usize]
    }

    /// Returns the hash of a slot's key.
    pub fn hash_of(&self, slot: Slot) -> KeyHash {
        KeyHash(self.hashes[slot as usize])
    }

    /// Returns the bytes of the key and the state of a slot.
    pub fn bytes_of(&self, slot: Slot) -> usize {
        let key = self.key_lengths[slot as usize] as usize;
        self.columns.iter().fold(key, |sum, column| sum.saturating_add(column.bytes_of(slot as usize)))
    }

    /// Estimates how many rows and bytes are in each key group; a large table is sampled.
    pub fn spread(&self) -> Spread {
        let step = self.slots().div_ceil(SPREAD_SLOTS_MAX).max(1);
        let mut groups: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for slot in (0..self.slots()).step_by(step).map(|slot| slot as Slot).filter(|slot| self.is_stored(*slot)) {
            let (rows, bytes) = groups.entry(KeyHash(self.hashes[slot as usize]).group()).or_default();
            *rows += step as u64;
            *bytes += (self.bytes_of(slot) * step) as u64;
        }
        let (all, length) = self.cold();
        self.sample_cold(|group, count| {
            let (rows, bytes) = groups.entry(group).or_default();
            *rows += count;
            *bytes += (u128::from(length) * u128::from(count) / u128::from(all.max(1))) as u64;
        });
        Spread::new(&groups)
    }

    /// Returns how many of the slots, from the first on, fit into a slice: at least one.
    pub fn slice_of(&self, slots: &[Slot], max: SliceMax) -> usize {
        let mut bytes = 0_usize;
        let fits = |slot: &&Slot| {
            bytes = bytes.saturating_add(self.bytes_of(**slot));
            bytes <= max.bytes
        };
        slots.iter().take(max.rows).take_while(fits).count().max(1)
    }

    /// Sorts slots by the hash of their keys, then by the keys: an order that does not depend on the table.
    pub fn sort(&self, slots: &mut [Slot]) {
        sort_keys(slots, |slot| KeyHash(self.hashes[slot as usize]), |slot| self.key(slot));
    }

    /// Returns the rank of each slot in that order, for a table without free slots.
    pub fn ranks(&self) -> Vec<u32> {
        let mut order: Vec<Slot> = (0..self.slots() as Slot).collect();
        self.sort(&mut order);
        let mut ranks = vec![0; order.len()];
        (0u32..).zip(&order).for_each(|(rank, slot)| ranks[*slot as usize] = rank);
        ranks
    }

    /// Returns the key columns of these slots.
    pub fn keys(&self, slots: &[Slot]) -> Result<Vec<ArrayRef>, ArrowError> {
        keys::decode(&self.key_fields, slots.iter().map(|slot| self.key(*slot)))
    }

    /// Returns the states of these slots, and which of them have one.
    pub fn states(&self, slots: &[Slot]) -> Result<(RecordBatch, BooleanArray), ArrowError> {
        let known = BooleanBuffer::collect_bool(slots.len(), |row| self.is_stored(slots[row]));
        let known = BooleanArray::new(known, None);
        let columns = self.columns.iter().map(|column| column.gather(slots, &known)).collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(slots.len()));
        Ok((RecordBatch::try_new_with_options(self.state_schema.clone(), columns, &options)?, known))
    }

    /// Returns the states of these keys, and which of them have one.
    pub fn states_of(&self, keys: &[OwnedKey]) -> Result<(RecordBatch, BooleanArray), ArrowError> {
        let found = keys.iter().map(|(_, key)| self.find(key));
        let slots: Vec<Option<Slot>> = found.map(|slot| slot.filter(|slot| self.is_stored(*slot))).collect();
        self.states_at(slots)
    }

    /// Returns the states of these slots, null if there is none, and which of them have one.
    pub fn states_at(&self, slots: Vec<Option<Slot>>) -> Result<(RecordBatch, BooleanArray), ArrowError> {
        let known: BooleanArray = slots.iter().map(|slot| Some(slot.is_some())).collect();
        let slots: Vec<Slot> = slots.into_iter().map(Option::unwrap_or_default).collect();
        let columns = self.columns.iter().map(|column| column.gather(&slots, &known)).collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(slots.len()));
        Ok((RecordBatch::try_new_with_options(self.state_schema.clone(), columns, &options)?, known))
    }

    /// Returns one state column of these slots; null if there is none.
    pub fn state_column(&self, index: usize, slots: &[Option<Slot>]) -> Result<ArrayRef, ArrowError> {
        let known: BooleanArray = slots.iter().map(|slot| Some(slot.is_some())).collect();
        let slots: Vec<Slot> = slots.iter().map(|slot| slot.unwrap_or_default()).collect();
        let column = self.columns.get(index);
        let missing = || ArrowError::InvalidArgumentError(format!("the table has no column {index}"));
        column.ok_or_else(missing)?.gather_or_null(&slots, &known)
    }

    /// Returns the key of a slot, for lookups in another table.
    pub fn owned_key(&self, slot: Slot) -> OwnedKey {
        (KeyHash(self.hashes[slot as usize]), self.key(slot).into())
    }

    /// Returns the columns of these keys.
    pub fn key_columns(&self, keys: &[OwnedKey]) -> Result<Vec<ArrayRef>, ArrowError> {
        keys::decode(&self.key_fields, keys.iter().map(|(_, key)| &**key))
    }

    /// Stores the states of these slots if `kept` is set, and removes the other keys.
    pub fn store(&mut self, slots: &[Slot], states: &RecordBatch, kept: &BooleanArray) {
        self.before_change(slots);
        for (column, values) in self.columns.iter_mut().zip(states.columns()) {
            column.scatter(slots, values, kept);
        }
        let all = column::all(kept);
        for (row, slot) in slots.iter().enumerate() {
            if all || kept.value(row) {
                self.keep(*slot);
                self.touch_by_row(*slot);
                if let Some(changes) = &mut self.changes {
                    changes.changed(*slot);
                }
            } else {
                self.remove(*slot);
            }
        }
        self.compact();
    }

    /// Records that the slot's key has a state now.
    pub(super) fn keep(&mut self, slot: Slot) {
        self.len += usize::from(!std::mem::replace(&mut self.known[slot as usize], true));
    }

    /// Prefetches the index entries of these slots into the processor's caches, for [`StateTable::remove`].
    pub(super) fn load_index(&self, slots: &[Slot]) {
        for slot in slots {
            let index_hash = IndexEntry::index_hash(self.seeds.hash(self.key(*slot)) as u32);
            black_box(self.index.find(index_hash, |other| other.slot == *slot));
        }
    }

    /// Removes the keys of these slots.
    pub fn remove_all(&mut self, slots: &[Slot]) {
        slots.iter().for_each(|slot| self.remove(*slot));
        self.compact();
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        self.before_change(&[slot]);
        let hash = self.hashes[slot as usize];
        if let Some(changes) = &mut self.changes {
            let start = self.key_starts[slot as usize] as usize;
            let key = &self.key_bytes[start..start + self.key_lengths[slot as usize] as usize];
            changes.removed(slot, hash, key);
        }
        if self.is_indexed {
            let index_hash = IndexEntry::index_hash(self.seeds.hash(self.key(slot)) as u32);
            if let Ok(entry) = self.index.find_entry(index_hash, |other| other.slot == slot) {
                entry.remove();
            }
        }
        self.len -= usize::from(self.known[slot as usize]);
        self.empty(slot);
    }

    /// Clears a slot whose key was not in the index.
    pub(super) fn empty(&mut self, slot: Slot) {
        self.key_bytes_dead += self.key_lengths[slot as usize] as usize;
        self.key_lengths[slot as usize] = 0;
        self.known[slot as usize] = false;
        self.columns.iter_mut().for_each(|column| column.clear(slot as usize));
        if let Some(idle) = &mut self.idle {
            idle.touched[slot as usize] = IdleTracker::NEVER;
        }
        self.free.push(slot);
    }

    /// Removes all keys.
    pub fn clear(&mut self) -> Result<()> {
        let all: Vec<Slot> = self.all().collect();
        all.into_iter().for_each(|slot| self.remove(slot));
        self.clear_cold()?;
        self.compact();
        Ok(())
    }

    /// Reclaims the bytes of removed keys once they are more than half.
    pub(super) fn compact(&mut self) {
        self.compact_above(2);
    }

    /// Does the same once they are more than this fraction.
    pub(super) fn compact_above(&mut self, of: usize) {
        if self.key_bytes_dead >= 1 << 16 && self.key_bytes_dead >= self.key_bytes.len() / of {
            self.compact_now();
        }
    }

    /// Reclaims the bytes of removed keys.
    pub(super) fn compact_now(&mut self) {
        let mut bytes = Vec::with_capacity(self.key_bytes.len() - self.key_bytes_dead);
        for slot in 0..self.slots() as Slot {
            let start = bytes.len() as u64;
            bytes.extend_from_slice(self.key(slot));
            self.key_starts[slot as usize] = start;
        }
        self.key_bytes = bytes;
        self.key_bytes_dead = 0;
    }
}
