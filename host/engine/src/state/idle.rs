//! When the keys of a table were last touched, and which of them have been idle for too long.

use super::table::{Slot, StateTable};
use millstream_base::batch::keys;
use millstream_base::error::Result;
use millstream_base::ids::BatchTime;
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
    timeout_us: i64,
    by: IdleBy,
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
    fn take(&mut self, limit: i64) -> Vec<(Slot, i64)> {
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

impl StateTable {
    /// From now on the table's keys are idle so long after the time that something of the row itself tells.
    #[must_use]
    pub fn idle_by(mut self, by: IdleBy, timeout_us: i64) -> StateTable {
        let mut idle = Idle::new(timeout_us, by);
        idle.touched.resize(self.slots(), Idle::NEVER);
        self.idle = Some(idle);
        let slots: Vec<Slot> = self.all().collect();
        slots.into_iter().for_each(|slot| self.touch_by_row(slot));
        self
    }

    /// Whether it is known when keys were touched, or when they are due.
    pub fn has_times(&self) -> bool {
        self.idle.is_some()
    }

    /// From now on nobody asks for idle keys.
    pub fn never_idle(&mut self) {
        self.idle = None;
    }

    /// Notes when the key of a slot was touched, where its row says so.
    pub(super) fn touch_by_row(&mut self, slot: Slot) {
        let time = match self.idle.as_ref().map(|idle| idle.by) {
            None | Some(IdleBy::Touch) => return,
            Some(IdleBy::State(column)) => {
                self.columns.get(column).and_then(|column| column.word(slot as usize)).unwrap_or_default() as i64
            }
            Some(IdleBy::Key(numbers)) => keys::number_before(self.key(slot), numbers),
        };
        if let Some(idle) = &mut self.idle {
            idle.touch(slot, time.max(Idle::NEVER + 1));
        }
    }

    /// Notes that the keys of these slots had rows in the batch of this time, and still have a state.
    pub fn touch(&mut self, slots: &[Slot], now: BatchTime) {
        self.before_change(slots);
        let Some(idle) = &mut self.idle else { return };
        for slot in slots.iter().filter(|slot| self.known[**slot as usize]) {
            idle.touch(*slot, now.0);
            if let Some(changes) = &mut self.changes {
                changes.changed(*slot);
            }
        }
    }

    /// Notes that keys whose last touch is not known were touched now: they were restored from files that do not tell,
    /// because the stage had no timeout then.
    pub fn touch_restored(&mut self, now: BatchTime) -> Result<()> {
        self.touch_untouched(&self.all().collect::<Vec<_>>(), now);
        if self.idle.is_none() {
            return Ok(());
        }
        self.each_untouched(|table, slots| {
            table.touch_untouched(slots, now);
            Ok(())
        })
    }

    /// Notes that those of these keys which were never touched were now: a call without rows may give a key its first state.
    pub fn touch_untouched(&mut self, slots: &[Slot], now: BatchTime) {
        let Some(idle) = &self.idle else { return };
        let is_untouched = |slot: &Slot| idle.touched[*slot as usize] == Idle::NEVER;
        let never: Vec<Slot> = slots.iter().copied().filter(is_untouched).collect();
        self.touch(&never, now);
    }

    /// The keys that have been idle for the timeout at this time. Each is returned once, and is to be removed or touched.
    pub fn take_idle(&mut self, now: BatchTime) -> Result<Vec<Slot>> {
        self.take_some_idle(now, usize::MAX)
    }

    /// The same, of which those that are not in memory come a part at a time, about so many: until there are none.
    pub fn take_some_idle(&mut self, now: BatchTime, cold_max: usize) -> Result<Vec<Slot>> {
        let mut slots = self.warm_some_idle(now, cold_max)?;
        slots.extend(self.take_idle_in_memory(now));
        slots.sort_unstable();
        Ok(slots)
    }

    /// Brings those of them into memory that are not there, about so many at a time, until there are none: their slots.
    pub fn warm_some_idle(&mut self, now: BatchTime, cold_max: usize) -> Result<Vec<Slot>> {
        match self.idle_since(now) {
            Some(limit) => self.warm_idle(limit, cold_max),
            None => Ok(Vec::new()),
        }
    }

    /// Those of them that are in memory anyway.
    pub fn take_idle_in_memory(&mut self, now: BatchTime) -> Vec<Slot> {
        let limit = self.idle_since(now);
        let expired = self.idle.as_mut().zip(limit).map(|(idle, limit)| idle.take(limit)).unwrap_or_default();
        let slot = |(slot, touched)| {
            self.copy_before_change(slot, Some(touched));
            slot
        };
        expired.into_iter().map(slot).collect()
    }

    fn idle_since(&self, now: BatchTime) -> Option<i64> {
        self.idle.as_ref().map(|idle| now.0.saturating_sub(idle.timeout_us))
    }
}
