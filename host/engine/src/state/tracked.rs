//! The rows of a table that changed since its last checkpoint.

use super::keys::Slot;

/// Slots are listed up to this fraction of all, with a minimum; beyond that only the marks are used.
const LIST_SHARE: usize = 16;
const LIST_MIN: usize = if cfg!(test) { 20 } else { 1024 };
/// The slot was stored or touched.
pub(super) const LISTED: u8 = 1;
/// The slot's key is in a file, so its removal must be recorded.
pub(super) const WRITTEN: u8 = 2;
/// The slot's row is to be copied before it changes.
pub(super) const FROZEN: u8 = 4;

/// The changes since the last [`StateTable::changes`](super::table::StateTable::changes).
#[derive(Default)]
pub struct TrackedChanges {
    /// [`LISTED`], [`WRITTEN`] and [`FROZEN`], by slot.
    pub(super) marks: Vec<u8>,
    /// How many slots were stored or touched. Their keys may have been removed since.
    pub(super) listed: usize,
    /// Those slots, without duplicates, while they are few.
    pub(super) slots: Vec<Slot>,
    pub(super) are_many: bool,
    /// Keys in files that were removed, without duplicates: a key that is added again is not marked as written.
    pub(super) removed: Vec<RemovedKey>,
    pub(super) removed_bytes: Vec<u8>,
}

/// A key that was removed.
pub(super) struct RemovedKey {
    pub(super) hash: u64,
    start: usize,
    length: usize,
}

impl TrackedChanges {
    /// Returns whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.listed == 0 && self.removed.is_empty()
    }

    /// Marks all slots as changed; the removed keys stay.
    pub fn all_changed(&mut self, slots: usize) {
        self.grow(slots);
        (0..slots as Slot).for_each(|slot| self.changed(slot));
    }

    /// Grows to this many slots.
    pub fn grow(&mut self, slots: usize) {
        self.marks.resize(slots, 0);
    }

    /// Records that the slot's key was stored or touched.
    #[inline]
    pub fn changed(&mut self, slot: Slot) {
        let mark = &mut self.marks[slot as usize];
        if *mark & LISTED == 0 {
            *mark |= LISTED;
            self.listed += 1;
            if self.slots.len() >= self.marks.len() / LIST_SHARE + LIST_MIN {
                (self.slots, self.are_many) = (Vec::new(), true);
            }
            if !self.are_many {
                self.slots.push(slot);
            }
        }
    }

    /// Returns the slots that were stored or touched.
    pub(super) fn listed(&self) -> impl Iterator<Item = Slot> + '_ {
        let marks = if self.are_many { self.marks.as_slice() } else { &[] };
        self.slots.iter().copied().chain(listed_in(marks))
    }

    /// Records that a file has the slot's key in its current form.
    pub fn written(&mut self, slot: Slot) {
        self.marks[slot as usize] |= WRITTEN;
    }

    /// Returns whether the slot's row is still to be copied.
    #[inline]
    pub fn is_frozen(&self, slot: Slot) -> bool {
        self.marks[slot as usize] & FROZEN != 0
    }

    /// Records that the slot's row was copied.
    pub fn thaw(&mut self, slot: Slot) {
        self.marks[slot as usize] &= !FROZEN;
    }

    /// Returns whether no file has the slot's key in its current form.
    pub fn is_changed(&self, slot: Slot) -> bool {
        self.marks[slot as usize] & LISTED != 0
    }

    /// Returns whether a file has the slot's key, in its current form or an older one.
    pub fn is_written(&self, slot: Slot) -> bool {
        self.marks[slot as usize] & WRITTEN != 0
    }

    /// Swaps the changes of two slots, when a row moves to a slot without a key.
    pub fn swap(&mut self, from: usize, to: usize) {
        self.marks.swap(from, to);
    }

    /// Truncates to this many slots, and rebuilds the list from their marks.
    pub fn truncate(&mut self, slots: usize) {
        self.marks.truncate(slots);
        self.marks.shrink_to_fit();
        self.listed = listed_in(&self.marks).count();
        if !self.are_many {
            self.slots = listed_in(&self.marks).collect();
        }
    }

    /// Returns the memory of removed keys.
    pub fn removed_bytes(&self) -> u64 {
        (self.removed.len() * size_of::<RemovedKey>() + self.removed_bytes.len()) as u64
    }

    /// Clears the changes of these slots, whose rows and changes are elsewhere now.
    pub fn clear(&mut self, slots: &[Slot]) {
        for slot in slots {
            self.listed -= usize::from(self.is_changed(*slot));
            self.marks[*slot as usize] = 0;
        }
        let marks = &self.marks;
        self.slots.retain(|slot| marks[*slot as usize] & LISTED != 0);
    }

    /// Records that the slot's key is about to be removed.
    pub fn removed(&mut self, slot: Slot, hash: u64, key: &[u8]) {
        let mark = &mut self.marks[slot as usize];
        if *mark & WRITTEN != 0 {
            *mark &= !WRITTEN;
            self.removed.push(RemovedKey { hash, start: self.removed_bytes.len(), length: key.len() });
            self.removed_bytes.extend_from_slice(key);
        }
    }

    /// Records that the slot's key was removed by a file that is being restored.
    pub fn removed_in_file(&mut self, slot: Slot) {
        self.marks[slot as usize] &= !WRITTEN;
    }

    pub(super) fn removed_key(&self, index: u32) -> &[u8] {
        let RemovedKey { start, length, .. } = self.removed[index as usize];
        &self.removed_bytes[start..start + length]
    }
}

/// Returns the slots whose marks say that they were stored or touched.
fn listed_in(marks: &[u8]) -> impl Iterator<Item = Slot> + '_ {
    (0..).zip(marks).filter(|(_, mark)| **mark & LISTED != 0).map(|(slot, _)| slot)
}
