//! The budget: one number for the process, and what follows from it.
//!
//! | resident | what happens |
//! |---|---|
//! | above [`TIGHT`] | freed memory is returned to the system; if that does not help, the job takes in less |
//! | above the budget | [`check`] and [`charge`] return errors, and the job fails with the first |
//! | above [`LAST`] | the process exits immediately, with a report and [`MEMORY_EXIT_CODE`] |
//!
//! Each limit is checked again after returning freed memory to the system, as the C library keeps much of it.

use super::{give_back, holders, resident, unspillable};
use crate::error::{Error, MEMORY_EXIT_CODE, Result};
use crate::terminal;
use crate::units::mib;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// Percentage of the budget above which a job takes in less.
const TIGHT: u64 = 75;
/// Percentage below which it takes in the normal amount again.
const EASY: u64 = 65;
/// Percentage above which the process exits.
const LAST: u64 = 104;
/// Minimum bytes that threads together allocate between two checks.
const LOOK_BYTES_MIN: u64 = 1 << 20;

/// Zero: there is no budget.
static MAX: AtomicU64 = AtomicU64::new(0);
/// At the last check.
static RESIDENT: AtomicU64 = AtomicU64::new(0);
/// How much may be allocated before the next check.
static ROOM: AtomicI64 = AtomicI64::new(i64::MAX);
static IS_TIGHT: AtomicBool = AtomicBool::new(false);
static IS_OVER: AtomicBool = AtomicBool::new(false);

fn hundredths(max: u64, of: u64) -> u64 {
    (max / 100).saturating_mul(of)
}

/// Sets the budget; zero: none.
pub(super) fn set(max: u64) {
    MAX.store(max, Ordering::Relaxed);
    [&IS_TIGHT, &IS_OVER].into_iter().for_each(|flag| flag.store(false, Ordering::Relaxed));
    ROOM.store(0, Ordering::Relaxed);
}

/// Returns the budget, and the resident memory at the last check; zero if there is none.
pub fn state() -> (u64, u64) {
    (MAX.load(Ordering::Relaxed), RESIDENT.load(Ordering::Relaxed))
}

/// Returns whether most of the budget is used, so that the job should take in less for now.
#[inline]
pub fn tight() -> bool {
    IS_TIGHT.load(Ordering::Relaxed)
}

/// Returns whether the last check found the budget exceeded.
pub(super) fn is_over() -> bool {
    IS_OVER.load(Ordering::Relaxed)
}

/// Returns the limit for `tight`.
pub(super) fn tight_at(max: u64) -> u64 {
    hundredths(max, TIGHT)
}

/// Updates whether memory is tight; returns whether it has become so.
pub(super) fn note_tight() -> bool {
    let (max, now) = state();
    let was = tight();
    let is = max > 0 && now > hundredths(max, if was { EASY } else { TIGHT });
    IS_TIGHT.store(is, Ordering::Relaxed);
    is != was
}

/// Returns the maximum received bytes of a batch: rows take several times as much memory in the graph.
pub fn batch_bytes_max(wanted: u64) -> u64 {
    let (max, now) = state();
    if max == 0 {
        return wanted;
    }
    let longest = if tight() { max.saturating_sub(now) / 16 } else { max / 16 };
    wanted.min(longest.max(LOOK_BYTES_MIN))
}

/// Returns an error if the budget is exceeded: the job must fail with it.
#[inline]
pub fn check() -> Result<()> {
    unspillable::check()?;
    if IS_OVER.load(Ordering::Relaxed) { confirm(0) } else { Ok(()) }
}

/// Returns an error if `bytes` more bytes would exceed the budget.
pub fn charge(bytes: u64) -> Result<()> {
    let max = MAX.load(Ordering::Relaxed);
    if max == 0 || claim(bytes, max) { Ok(()) } else { confirm(bytes) }
}

/// Large allocations that may not be resident yet: since the last call of [`turn_claims`], and in the period before.
static CLAIMED: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
/// The maximum time until an allocation is resident: a claim need not count for longer.
pub(super) const CLAIMED_FOR: Duration = Duration::from_millis(60);

/// Drops older claims: their memory is resident.
pub(super) fn turn_claims() {
    let [new, old] = &CLAIMED;
    old.store(new.swap(0, Ordering::Relaxed), Ordering::Relaxed);
}

/// Claims `bytes` bytes. Several threads may claim the same free memory, so if claims block another one, it waits until they are resident or
/// dropped. `false`: it would be too much. Allocates nothing itself.
fn claim(bytes: u64, max: u64) -> bool {
    const LOOK_EVERY: Duration = Duration::from_millis(2);
    let looks = 3 * CLAIMED_FOR.as_millis() / LOOK_EVERY.as_millis();
    for _ in 0..looks {
        let claimed = CLAIMED.iter().map(|claimed| claimed.load(Ordering::Relaxed)).sum::<u64>();
        let wanted = resident::bytes().saturating_add(bytes);
        if wanted.saturating_add(claimed) <= max {
            add_claim(bytes);
            return true;
        }
        if wanted > max || claimed == 0 {
            return false;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    false
}

fn add_claim(bytes: u64) {
    let [new, _] = &CLAIMED;
    new.fetch_add(bytes, Ordering::Relaxed);
}

/// Drops the claim of freed bytes, if there was one.
#[inline]
pub(super) fn unclaim(bytes: u64) {
    if MAX.load(Ordering::Relaxed) == 0 {
        return;
    }
    for claimed in &CLAIMED {
        // The closure never returns `None`.
        let _ = claimed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| Some(now.saturating_sub(bytes)));
    }
}

/// Called by the allocator before a large allocation; allocates nothing itself.
pub(super) fn large(bytes: usize) {
    let max = MAX.load(Ordering::Relaxed);
    if max == 0 || ENDING_HERE.get() {
        return;
    }
    let (bytes, last) = (bytes as u64, hundredths(max, LAST));
    if !claim(bytes, last) {
        last_resort(bytes, max, last);
        add_claim(bytes);
    }
}

/// Returns freed memory to the system, then returns an error or success.
pub(super) fn confirm(more: u64) -> Result<()> {
    give_back();
    let (now, max) = (resident::bytes(), MAX.load(Ordering::Relaxed));
    RESIDENT.store(now, Ordering::Relaxed);
    let over = max > 0 && now > max;
    IS_OVER.store(over, Ordering::Relaxed);
    if over || (max > 0 && now.saturating_add(more) > max) {
        return Err(Error::memory(over_budget_message(now, more, max)));
    }
    Ok(())
}

/// Called by the allocator: threads have allocated `bytes` bytes since the last call. Allocates nothing itself.
#[inline]
pub(super) fn count_allocated(bytes: usize) {
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    if ROOM.fetch_sub(bytes, Ordering::Relaxed) <= bytes {
        look();
    }
}

/// Checks the resident memory, and does what must not wait.
pub(super) fn look() -> u64 {
    let max = MAX.load(Ordering::Relaxed);
    if max == 0 {
        ROOM.store(i64::MAX, Ordering::Relaxed);
        return 0;
    }
    let now = resident::bytes();
    RESIDENT.store(now, Ordering::Relaxed);
    if now > max {
        IS_OVER.store(true, Ordering::Relaxed);
    }
    let last = hundredths(max, LAST);
    if now > last {
        last_resort(0, max, last);
    }
    let room = (last.saturating_sub(now) / 8).max(LOOK_BYTES_MIN);
    ROOM.store(i64::try_from(room).unwrap_or(i64::MAX), Ordering::Relaxed);
    now
}

/// Returns how long no check is needed, as memory is not filled faster than this; at most `longest`.
pub(super) fn pause(longest: Duration) -> Duration {
    const BYTES_PER_MS: u64 = 32 << 20;
    let (max, now) = state();
    let left = hundredths(max, LAST).saturating_sub(now);
    Duration::from_millis((left / BYTES_PER_MS).max(1)).min(longest)
}

thread_local! {
    // Without a destructor, so that it exists for as long as the thread.
    static ENDING_HERE: Cell<bool> = const { Cell::new(false) };
}
static ENDING: AtomicBool = AtomicBool::new(false);

/// Exits the process, unless returning freed memory helps. A checkpoint and the sinks stay unchanged, as if it were killed. May be called in the
/// middle of anything, so it takes no lock that this or a waiting thread may hold.
fn last_resort(more: u64, max: u64, last: u64) {
    if ENDING_HERE.get() {
        return;
    }
    if ENDING.swap(true, Ordering::AcqRel) {
        while ENDING.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_micros(200));
        }
        return;
    }
    ENDING_HERE.set(true);
    give_back();
    let now = resident::bytes();
    if now.saturating_add(more) > last {
        let line = format!("error: {}\n", Error::memory(over_budget_message(now, more, max)));
        terminal::wipe_at_once();
        // SAFETY: the length matches the bytes. Whether they are written or not, the process exits: no exit handlers may run, as locks may be held.
        unsafe {
            libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len());
            libc::_exit(MEMORY_EXIT_CODE.into())
        }
    }
    RESIDENT.store(now, Ordering::Relaxed);
    ENDING_HERE.set(false);
    ENDING.store(false, Ordering::Release);
}

fn over_budget_message(now: u64, more: u64, max: u64) -> String {
    let wanted = match more {
        0 => String::new(),
        more => format!(", and {} more are needed", mib(more)),
    };
    let busy = holders::busy_operators();
    let busy = if busy.is_empty() { busy } else { format!("\n  Busy: {busy}.") };
    let largest = holders::describe_largest();
    let largest = match largest.is_empty() {
        true => {
            "\n  State kept between batches is small; most of the memory holds the rows of batches and their results."
                .into()
        }
        false => format!("\n  State kept between batches:{largest}"),
    };
    format!(
        "the job needs more memory than it may have: {} are resident{wanted}, and the budget of this process is \
         {}{busy}{largest}\n  Batches in flight are not committed. Raise `memory` of the job, or reduce its use: \
         smaller batches (`bytes_per_batch_max`, `rows_per_batch_max`), shorter windows, a `timeout` for keys, \
         lower `limits` of its stages, or more processes on other machines.",
        mib(now),
        mib(max)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test, as there is only one budget.
    #[test]
    fn the_budget_is_told_when_it_is_over() {
        resident::open().unwrap();
        set(0);
        assert!(check().is_ok() && charge(u64::MAX).is_ok() && batch_bytes_max(7 << 30) == 7 << 30);
        // Far more than other tests need at the same time.
        let max = resident::bytes() + (8 << 30);
        set(max);
        assert!(charge(1 << 20).is_ok() && check().is_ok() && !note_tight() && !tight());
        let error = charge(16 << 30).unwrap_err();
        assert_eq!(error.exit_code(), MEMORY_EXIT_CODE);
        assert!(error.message.contains("and 16384 MiB more are needed, and the budget of this process is"), "{error}");
        assert!(check().is_ok(), "what was refused does not count");
        assert_eq!((batch_bytes_max(64 << 20), batch_bytes_max(max)), (64 << 20, max / 16));
        IS_OVER.store(true, Ordering::Relaxed);
        assert!(check().is_ok() && !IS_OVER.load(Ordering::Relaxed), "it is over no more");
        assert!(pause(Duration::from_millis(50)) == Duration::from_millis(50));
        set(0);
    }
}
