//! Rows that are copied while the table is used.

use super::*;
use crate::state::table::copy::TableCopy;
use std::sync::Mutex;

/// Receives the copy.
type CopySlot = Arc<Mutex<Option<TableCopy>>>;

impl Pair {
    /// Freezes rows of the spilling table.
    fn freeze(&mut self, all: bool) -> CopySlot {
        let taken = CopySlot::default();
        let to = taken.clone();
        let put = move |copy| {
            *to.lock().unwrap() = Some(copy);
            Ok(())
        };
        let room = self.spilled.room_for_copy(None).unwrap();
        let failure = self.spilled.spill.as_ref().unwrap().failure.clone();
        self.spilled.freeze(all, room, &failure, put).unwrap();
        taken
    }

    /// Touches or removes some keys without storing anything.
    fn touch_or_remove(&mut self, keys: u64) {
        let (removes, now) = (self.random.below(2) == 0, BatchTime(self.now));
        let mut names: Vec<String> = (0..10).map(|_| name(self.random.below(keys))).collect();
        names.sort();
        names.dedup();
        let rows = names.len();
        let encoded = Keys::encode(&[Arc::new(StringArray::from(names)) as ArrayRef], rows).unwrap();
        self.both(|table| {
            table.warm(encoded.view()).unwrap();
            let slots: Vec<Slot> = (0..rows).filter_map(|row| table.find(encoded.view().get(row))).collect();
            if removes { table.remove_all(&slots) } else { table.touch(&slots, now) }
        });
    }

    /// Returns the rows of the next file, or of a base. The spilling table makes a copy while both are used.
    pub(super) fn changes_frozen(&mut self, all: bool, keys: u64) -> RecordBatch {
        let rows = self.plain.all_changes(all).unwrap();
        let taken = self.freeze(all);
        assert_eq!((self.plain.changed(), self.spilled.changed()), (0, 0));
        for _ in 0..self.random.below(12) {
            self.batch(keys);
            self.touch_or_remove(keys);
            if self.random.below(2) == 0 {
                let more = self.spilled.thaw_some().unwrap();
                assert_eq!((more, taken.lock().unwrap().is_none()), (self.spilled.is_frozen(), more));
                self.spilled.compact_slots();
            }
        }
        self.spilled.thaw().unwrap();
        let mut copy = taken.lock().unwrap().take().unwrap().table().unwrap();
        let copied = if all {
            let mut slices = Vec::new();
            copy.all_of(0..KEY_GROUPS, STATE_SLICE_MAX, &mut |slice| slices.push(slice.rows)).unwrap();
            concat_batches(&copy.file_schema(), &slices).unwrap()
        } else {
            copy.all_changes(false).unwrap()
        };
        assert_eq!(copied, rows, "the rows of a file, all: {all}");
        rows
    }
}

#[test]
fn rows_that_are_frozen_are_copied_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    for (seed, (keys, bytes, timeout)) in
        (1..).zip([(300, 3_000, None), (2_000, 60_000, Some(90)), (400, 200_000, Some(60)), (300, 1 << 30, None)])
    {
        let spilled = spilling(bytes, dir.path(), timeout);
        let mut pair = Pair { plain: table(timeout), spilled, random: Random(seed), now: 0 };
        pair.both(StateTable::track_changes);
        pair.fill(keys);
        for _ in 0..60 {
            pair.batch(keys);
            let all = pair.random.below(4) == 0;
            pair.changes_frozen(all, keys);
        }
        // A table dropped before everything was copied leaves no checkpoint.
        pair.batch(keys);
        let (taken, failure) = (pair.freeze(false), pair.spilled.spill.as_ref().unwrap().failure.clone());
        assert!(!failure.happened());
        drop(pair);
        assert!(failure.happened() && taken.lock().unwrap().is_none());
    }
}
