//! When the keys of a table were last touched, and which of them have been idle for too long.

use super::keys::Slot;
use std::collections::BTreeMap;

/// So many entries of the queue may be out of date, and as many as half of those that are not.
const STALE_MIN: usize = 4096;

/// What tells when a key was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleBy {
    /// Who uses the table says so, and files tell it again.
    Touch,
    /// A state column: a timestamp that is never null.
    State(usize),
    /// The key, which has a timestamp before so many whole numbers at its end.
    Key(usize),
}

/// When keys were last touched. Each key with a state is in `queue`, at or before its time in `touched`; so may be others.
#[derive(Clone)]
pub(super) struct Idle {
    pub(super) timeout_us: i64,
    pub(super) by: IdleBy,
    pub(super) touched: Vec<i64>,
    queue: BTreeMap<i64, Vec<Slot>>,
    /// The entries of the queue.
    queued: usize,
}

impl Idle {
    /// A key that was never touched, as the slots of none are.
    pub(super) const NEVER: i64 = i64::MIN;

    /// Without keys.
    pub(super) fn new(timeout_us: i64, by: IdleBy) -> Idle {
        Idle { timeout_us, by, touched: Vec::new(), queue: BTreeMap::new(), queued: 0 }
    }

    /// What tells when keys were touched.
    pub(super) fn by(&self) -> IdleBy {
        self.by
    }

    /// The same of a table without rows.
    pub(super) fn emptied(&self) -> Idle {
        Idle::new(self.timeout_us, self.by)
    }

    /// Notes that the key of this slot was last touched at this time.
    pub(super) fn touch(&mut self, slot: Slot, time: i64) {
        if std::mem::replace(&mut self.touched[slot as usize], time) == Idle::NEVER {
            self.enqueue(slot, time);
        }
    }

    fn enqueue(&mut self, slot: Slot, time: i64) {
        self.queue.entry(time).or_default().push(slot);
        self.queued += 1;
    }

    /// Whether another table has idle keys in the same way.
    pub(super) fn is_as(&self, other: &Idle) -> bool {
        (self.timeout_us, self.by) == (other.timeout_us, other.by)
    }

    /// Whether files tell when a key was touched.
    pub(super) fn is_in_files(&self) -> bool {
        self.by == IdleBy::Touch
    }

    /// The memory that the queue takes, about: the places of a time, and those that the slots themselves take there.
    pub(super) fn queue_bytes(&self) -> u64 {
        const TIME_BYTES: usize = 96;
        (self.queue.len() * TIME_BYTES + self.queued.max(self.touched.len()) * size_of::<Slot>()) as u64
    }

    /// There are so many slots from now on.
    pub(super) fn cut(&mut self, slots: usize) {
        self.touched.truncate(slots);
        self.touched.shrink_to_fit();
    }

    /// Makes the queue of the keys that are there, without what is left of others.
    pub(super) fn queue_anew(&mut self) {
        self.queue.clear();
        self.queued = 0;
        for slot in 0..self.touched.len() {
            if let Some(touched) = self.touched.get(slot).copied().filter(|touched| *touched != Idle::NEVER) {
                self.enqueue(slot as Slot, touched);
            }
        }
    }

    /// The same where too much is left of others; there are so many keys.
    pub(super) fn tidy_queue(&mut self, keys: usize) {
        if self.queued > keys + keys / 2 + STALE_MIN {
            self.queue_anew();
        }
    }

    /// The slots of keys that were touched at this time or before, and when. They count as never touched then.
    pub(super) fn take(&mut self, limit: i64) -> Vec<(Slot, i64)> {
        let mut expired = Vec::new();
        while let Some(first) = self.queue.first_entry() {
            if *first.key() > limit {
                break;
            }
            let slots = first.remove();
            self.queued -= slots.len();
            for slot in slots {
                // A key that was touched since waits on; one that was removed (and perhaps came back, with an
                // entry of its own) is no longer waited for here.
                match self.touched[slot as usize] {
                    Idle::NEVER => {}
                    touched if touched > limit => self.enqueue(slot, touched),
                    touched => {
                        self.touched[slot as usize] = Idle::NEVER;
                        expired.push((slot, touched));
                    }
                }
            }
        }
        expired.sort_unstable();
        expired
    }
}
