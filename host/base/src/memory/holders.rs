//! Who holds how much memory, and which operators are at work: for the message of a job that is over its budget.

use crate::units::mib;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError, Weak};

/// Holders that the story names.
const NAMED: usize = 6;
/// What is smaller is not named.
const NAMED_BYTES_MIN: u64 = 1 << 20;

static HOLDERS: Mutex<Vec<Weak<HolderEntry>>> = Mutex::new(Vec::new());

/// Something that holds memory; those of the same name are told together. It holds nothing any more when it is dropped.
#[derive(Debug)]
pub struct Holder(Arc<HolderEntry>);

#[derive(Debug)]
struct HolderEntry {
    what: String,
    bytes: AtomicU64,
}

impl Holder {
    /// One that holds nothing yet. `what`: for people, as "the state of stage `x`".
    pub fn new(what: impl Into<String>) -> Holder {
        let held = Arc::new(HolderEntry { what: what.into(), bytes: AtomicU64::new(0) });
        let mut holders = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        holders.retain(|holder| holder.strong_count() > 0);
        holders.push(Arc::downgrade(&held));
        Holder(held)
    }

    /// One more of the same name.
    #[must_use]
    pub fn another(&self) -> Holder {
        Holder::new(self.0.what.clone())
    }

    /// It holds so much now.
    pub fn set(&self, bytes: u64) {
        self.0.bytes.store(bytes, Ordering::Relaxed);
    }

    /// It holds so much more, or less.
    pub fn change(&self, more: u64, less: u64) {
        let changed = |bytes: u64| Some(bytes.saturating_add(more).saturating_sub(less));
        // It always gives something.
        let _ = self.0.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
    }
}

/// The largest holders, in a line each; nothing where somebody is about to change which there are, and this thread may be
/// the one.
pub fn largest() -> String {
    let mut words = String::new();
    let holders = match HOLDERS.try_lock() {
        Ok(holders) => holders,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return words,
    };
    let mut sums = BTreeMap::<String, u64>::new();
    for held in holders.iter().filter_map(Weak::upgrade) {
        let sum = sums.entry(held.what.clone()).or_default();
        *sum = sum.saturating_add(held.bytes.load(Ordering::Relaxed));
    }
    drop(holders);
    let mut sums: Vec<_> = sums.into_iter().filter(|(_, bytes)| *bytes >= NAMED_BYTES_MIN).collect();
    sums.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    for (what, bytes) in sums.into_iter().take(NAMED) {
        let _ = write!(words, "\n    {}: {what}", mib(bytes));
    }
    words
}

/// Threads whose work is known at a time; more share places.
const THREADS: usize = 64;
static AT_WORK: [AtomicPtr<String>; THREADS] = [const { AtomicPtr::new(null_mut()) }; THREADS];
static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static PLACE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// This thread works on something until what this gives is dropped. Names live for ever: one for each operator.
pub fn at_work(what: &'static String) -> AtWork {
    let place = PLACE.get();
    let place = if place < THREADS { place } else { NEXT.fetch_add(1, Ordering::Relaxed) % THREADS };
    PLACE.set(place);
    if let Some(now) = AT_WORK.get(place) {
        now.store(std::ptr::from_ref(what).cast_mut(), Ordering::Relaxed);
    }
    AtWork(place)
}

/// See [`at_work`].
#[must_use]
pub struct AtWork(usize);

impl Drop for AtWork {
    fn drop(&mut self) {
        if let Some(now) = AT_WORK.get(self.0) {
            now.store(null_mut(), Ordering::Relaxed);
        }
    }
}

/// What threads work on now, in a line.
pub fn now_at_work() -> String {
    let mut words = String::new();
    for place in &AT_WORK {
        // SAFETY: it is null, or was made of a reference that lives for ever.
        if let Some(what) = unsafe { place.load(Ordering::Relaxed).as_ref() } {
            let _ = write!(words, "{}`{what}`", if words.is_empty() { "" } else { ", " });
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_story_tells_the_largest_first_and_those_of_a_name_together() {
        let [a, b, c] = ["holder a", "holder b", "holder a"].map(Holder::new);
        a.set(3 << 40);
        b.set(5 << 40);
        c.change(4 << 40, 1 << 40);
        let words = largest();
        let (first, second) = (words.find("holder a"), words.find("holder b"));
        assert!(first.is_some() && first < second, "{words}");
        drop((a, b, c));
        assert!(!largest().contains("holder"));
    }

    #[test]
    fn a_thread_is_at_work_until_it_is_done() {
        let name: &'static String = Box::leak(Box::new("an operator of a test".to_owned()));
        let working = at_work(name);
        assert!(now_at_work().contains("`an operator of a test`"));
        drop(working);
        assert!(!now_at_work().contains("an operator of a test"));
    }
}
