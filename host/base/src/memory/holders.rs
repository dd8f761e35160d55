//! Who holds how much memory, and which operators are busy: for the message of a job over its budget.

use crate::units::mib;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError, Weak};

/// Maximum holders in the message.
const NAMED: usize = 6;
/// Smaller ones are not listed.
const NAMED_BYTES_MIN: u64 = 1 << 20;

static HOLDERS: Mutex<Vec<Weak<HolderEntry>>> = Mutex::new(Vec::new());

/// Something that holds memory; those of the same name are summed. It stops counting when it is dropped.
#[derive(Debug)]
pub struct Holder(Arc<HolderEntry>);

#[derive(Debug)]
struct HolderEntry {
    what: String,
    bytes: AtomicU64,
}

impl Holder {
    /// Creates a holder of nothing. `what` is for people, for example "the state of stage `x`".
    pub fn new(what: impl Into<String>) -> Holder {
        let holder_entry = Arc::new(HolderEntry { what: what.into(), bytes: AtomicU64::new(0) });
        let mut holders = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        holders.retain(|holder| holder.strong_count() > 0);
        holders.push(Arc::downgrade(&holder_entry));
        Holder(holder_entry)
    }

    /// Creates another holder of the same name.
    #[must_use]
    pub fn another(&self) -> Holder {
        Holder::new(self.0.what.clone())
    }

    /// Sets its bytes.
    pub fn set(&self, bytes: u64) {
        self.0.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Changes its bytes by a difference.
    pub fn change(&self, more: u64, less: u64) {
        let changed = |bytes: u64| Some(bytes.saturating_add(more).saturating_sub(less));
        // The closure never returns `None`.
        let _ = self.0.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
    }
}

/// Returns the largest holders, one per line; empty if the list is locked, as this thread may hold the lock.
pub fn describe_largest() -> String {
    let mut text = String::new();
    let holders = match HOLDERS.try_lock() {
        Ok(holders) => holders,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return text,
    };
    let mut sums = BTreeMap::<String, u64>::new();
    for holder_entry in holders.iter().filter_map(Weak::upgrade) {
        let sum = sums.entry(holder_entry.what.clone()).or_default();
        *sum = sum.saturating_add(holder_entry.bytes.load(Ordering::Relaxed));
    }
    drop(holders);
    let mut sums: Vec<_> = sums.into_iter().filter(|(_, bytes)| *bytes >= NAMED_BYTES_MIN).collect();
    sums.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    for (what, bytes) in sums.into_iter().take(NAMED) {
        let _ = write!(text, "\n    {}: {what}", mib(bytes));
    }
    text
}

/// Maximum threads whose work is recorded; more share slots.
const THREADS: usize = 64;
static AT_WORK: [AtomicPtr<String>; THREADS] = [const { AtomicPtr::new(null_mut()) }; THREADS];
static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SLOT: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Records that this thread works on something until the result is dropped. Names are never freed: one per operator.
pub fn mark_busy(what: &'static String) -> BusyGuard {
    let slot = SLOT.get();
    let slot = if slot < THREADS { slot } else { NEXT.fetch_add(1, Ordering::Relaxed) % THREADS };
    SLOT.set(slot);
    if let Some(now) = AT_WORK.get(slot) {
        now.store(std::ptr::from_ref(what).cast_mut(), Ordering::Relaxed);
    }
    BusyGuard(slot)
}

/// See [`mark_busy`].
#[must_use]
pub struct BusyGuard(usize);

impl Drop for BusyGuard {
    fn drop(&mut self) {
        if let Some(now) = AT_WORK.get(self.0) {
            now.store(null_mut(), Ordering::Relaxed);
        }
    }
}

/// Returns what threads work on now, in one line.
pub fn busy_operators() -> String {
    let mut text = String::new();
    for slot in &AT_WORK {
        // SAFETY: it is null, or was created from a reference that lives forever.
        if let Some(what) = unsafe { slot.load(Ordering::Relaxed).as_ref() } {
            let _ = write!(text, "{}`{what}`", if text.is_empty() { "" } else { ", " });
        }
    }
    text
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
        let text = describe_largest();
        let (first, second) = (text.find("holder a"), text.find("holder b"));
        assert!(first.is_some() && first < second, "{text}");
        drop((a, b, c));
        assert!(!describe_largest().contains("holder"));
    }

    #[test]
    fn a_thread_is_at_work_until_it_is_done() {
        let name: &'static String = Box::leak(Box::new("an operator of a test".to_owned()));
        let working = mark_busy(name);
        assert!(busy_operators().contains("`an operator of a test`"));
        drop(working);
        assert!(!busy_operators().contains("an operator of a test"));
    }
}
