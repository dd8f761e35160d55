//! Tracks when the keys of a table were last touched, and which of them have timed out.

use super::keys::Slot;
use std::collections::BTreeMap;

/// The queue may contain this many outdated entries, and half as many as current ones.
const STALE_MIN: usize = 4096;

/// The source of a key's last touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TouchSource {
    /// The user of the table reports touches, and files store them.
    Touch,
    /// A state column: a timestamp that is never null.
    State(usize),
    /// A key column: a timestamp, followed by this many integer columns at the end of the key.
    Key(usize),
}

/// When keys were last touched. Each key with a state is in `queue`, at or before its time in `touched`; other keys may be, too.
#[derive(Clone)]
pub(super) struct IdleTracker {
    pub(super) timeout_us: i64,
    pub(super) source: TouchSource,
    pub(super) touched: Vec<i64>,
    queue: BTreeMap<i64, Vec<Slot>>,
    /// The number of entries in the queue.
    queued: usize,
}

impl IdleTracker {
    /// The time of a key that was never touched, and of slots without a key.
    pub(super) const NEVER: i64 = i64::MIN;

    /// Creates it without keys.
    pub(super) fn new(timeout_us: i64, source: TouchSource) -> IdleTracker {
        IdleTracker { timeout_us, source, touched: Vec::new(), queue: BTreeMap::new(), queued: 0 }
    }

    /// Returns the source of touches.
    pub(super) fn source(&self) -> TouchSource {
        self.source
    }

    /// Returns the same settings without keys.
    pub(super) fn without_keys(&self) -> IdleTracker {
        IdleTracker::new(self.timeout_us, self.source)
    }

    /// Records that the key of this slot was last touched at this time.
    pub(super) fn touch(&mut self, slot: Slot, time: i64) {
        if std::mem::replace(&mut self.touched[slot as usize], time) == IdleTracker::NEVER {
            self.enqueue(slot, time);
        }
    }

    fn enqueue(&mut self, slot: Slot, time: i64) {
        self.queue.entry(time).or_default().push(slot);
        self.queued += 1;
    }

    /// Returns whether another table determines idle keys in the same way.
    pub(super) fn has_same_rules(&self, other: &IdleTracker) -> bool {
        (self.timeout_us, self.source) == (other.timeout_us, other.source)
    }

    /// Returns whether files store when a key was touched.
    pub(super) fn is_in_files(&self) -> bool {
        self.source == TouchSource::Touch
    }

    /// Returns the approximate memory of the queue: its entries by time, and the slots in them.
    pub(super) fn queue_bytes(&self) -> u64 {
        const TIME_BYTES: usize = 96;
        (self.queue.len() * TIME_BYTES + self.queued.max(self.touched.len()) * size_of::<Slot>()) as u64
    }

    /// Truncates to this many slots.
    pub(super) fn truncate(&mut self, slots: usize) {
        self.touched.truncate(slots);
        self.touched.shrink_to_fit();
    }

    /// Rebuilds the queue from the existing keys, without outdated entries.
    pub(super) fn rebuild_queue(&mut self) {
        self.queue.clear();
        self.queued = 0;
        for slot in 0..self.touched.len() {
            if let Some(touched) = self.touched.get(slot).copied().filter(|touched| *touched != IdleTracker::NEVER) {
                self.enqueue(slot as Slot, touched);
            }
        }
    }

    /// Rebuilds the queue if it has too many outdated entries for this number of keys.
    pub(super) fn prune_queue(&mut self, keys: usize) {
        if self.queued > keys + keys / 2 + STALE_MIN {
            self.rebuild_queue();
        }
    }

    /// Takes the slots of keys that were last touched at this time or before, with that time. They count as never touched then.
    pub(super) fn take(&mut self, limit: i64) -> Vec<(Slot, i64)> {
        let mut expired = Vec::new();
        while let Some(first) = self.queue.first_entry() {
            if *first.key() > limit {
                break;
            }
            let slots = first.remove();
            self.queued -= slots.len();
            for slot in slots {
                // A key that was touched since stays in the queue. One that was removed, and perhaps re-added with a new entry, is dropped here.
                match self.touched[slot as usize] {
                    IdleTracker::NEVER => {}
                    touched if touched > limit => self.enqueue(slot, touched),
                    touched => {
                        self.touched[slot as usize] = IdleTracker::NEVER;
                        expired.push((slot, touched));
                    }
                }
            }
        }
        expired.sort_unstable();
        expired
    }
}
