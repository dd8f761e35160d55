//! Which rows of a table changed since its last checkpoint.

use super::keys::Slot;

/// As many slots are listed as one of so many of all, and some at least; of more their marks tell.
const LIST_SHARE: usize = 16;
const LIST_MIN: usize = if cfg!(test) { 20 } else { 1024 };
/// The slot was stored or touched.
pub(super) const LISTED: u8 = 1;
/// The slot's key is in a file, so its removal must be told, too.
pub(super) const WRITTEN: u8 = 2;
/// The slot's row is to be copied as it is before it changes.
pub(super) const FROZEN: u8 = 4;

/// The changes since the last [`StateTable::changes`](super::table::StateTable::changes).
#[derive(Default)]
pub struct TrackedChanges {
    /// [`LISTED`], [`WRITTEN`] and [`FROZEN`], by slot.
    pub(super) marks: Vec<u8>,
    /// How many slots were stored or touched. Their keys may have been removed since.
    pub(super) listed: usize,
    /// Those slots, each once, while they are few.
    pub(super) slots: Vec<Slot>,
    pub(super) are_many: bool,
    /// Keys in files that were removed. Each is there once, as it is not written when it comes back.
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
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.listed == 0 && self.removed.is_empty()
    }

    /// All of so many slots changed, and what was removed stays as it is.
    pub fn all_changed(&mut self, slots: usize) {
        self.grow(slots);
        (0..slots as Slot).for_each(|slot| self.changed(slot));
    }

    /// Makes room for this many slots.
    pub fn grow(&mut self, slots: usize) {
        self.marks.resize(slots, 0);
    }

    /// The slot's key was stored or touched.
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

    /// The slots that were stored or touched.
    pub(super) fn listed(&self) -> impl Iterator<Item = Slot> + '_ {
        let marks = if self.are_many { self.marks.as_slice() } else { &[] };
        self.slots.iter().copied().chain(listed_in(marks))
    }

    /// The slot's key is in a file, and as it is there.
    pub fn written(&mut self, slot: Slot) {
        self.marks[slot as usize] |= WRITTEN;
    }

    /// Whether the slot's row is to be copied as it is.
    #[inline]
    pub fn is_frozen(&self, slot: Slot) -> bool {
        self.marks[slot as usize] & FROZEN != 0
    }

    /// It is done.
    pub fn thaw(&mut self, slot: Slot) {
        self.marks[slot as usize] &= !FROZEN;
    }

    /// Whether no file has the slot's key as it is.
    pub fn is_changed(&self, slot: Slot) -> bool {
        self.marks[slot as usize] & LISTED != 0
    }

    /// Whether the slot's key is in a file, as it is or as it was.
    pub fn is_written(&self, slot: Slot) -> bool {
        self.marks[slot as usize] & WRITTEN != 0
    }

    /// Two slots get each other's changes: of one whose row moves to one without a key.
    pub fn swap(&mut self, from: usize, to: usize) {
        self.marks.swap(from, to);
    }

    /// There are so many slots from now on; the list is made of their marks.
    pub fn cut(&mut self, slots: usize) {
        self.marks.truncate(slots);
        self.marks.shrink_to_fit();
        self.listed = listed_in(&self.marks).count();
        if !self.are_many {
            self.slots = listed_in(&self.marks).collect();
        }
    }

    /// The memory that removed keys take.
    pub fn removed_bytes(&self) -> u64 {
        (self.removed.len() * size_of::<RemovedKey>() + self.removed_bytes.len()) as u64
    }

    /// The rows of these slots are elsewhere now, and so are their changes.
    pub fn forget(&mut self, slots: &[Slot]) {
        for slot in slots {
            self.listed -= usize::from(self.is_changed(*slot));
            self.marks[*slot as usize] = 0;
        }
        let marks = &self.marks;
        self.slots.retain(|slot| marks[*slot as usize] & LISTED != 0);
    }

    /// The slot's key is about to be removed.
    pub fn removed(&mut self, slot: Slot, hash: u64, key: &[u8]) {
        let mark = &mut self.marks[slot as usize];
        if *mark & WRITTEN != 0 {
            *mark &= !WRITTEN;
            self.removed.push(RemovedKey { hash, start: self.removed_bytes.len(), length: key.len() });
            self.removed_bytes.extend_from_slice(key);
        }
    }

    /// The slot's key is gone as it is in the files: its removal was read from one.
    pub fn removed_in_file(&mut self, slot: Slot) {
        self.marks[slot as usize] &= !WRITTEN;
    }

    pub(super) fn removed_key(&self, place: u32) -> &[u8] {
        let RemovedKey { start, length, .. } = self.removed[place as usize];
        &self.removed_bytes[start..start + length]
    }
}

/// The slots with such marks that were stored or touched.
fn listed_in(marks: &[u8]) -> impl Iterator<Item = Slot> + '_ {
    (0..).zip(marks).filter(|(_, mark)| **mark & LISTED != 0).map(|(slot, _)| slot)
}
