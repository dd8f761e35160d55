//! How long the system's scheduler lets a thread compute in one go. A thread whose calls of plugins take long is given long
//! slices: its share of the processor stays the same, but a thread with usual slices that wakes up, as those of the job
//! beside it, runs at once instead of after the scheduler's next tick. So a plugin that loops does not make others late.
//! The idea is that of feedback queues, which rank by what a thread did last (F. J. Corbató, 1962); slices by thread are
//! there since Linux 6.12. Elsewhere nothing changes.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// A call that takes so long is long: slices that the system gives by itself are about half of it.
const LONG_CALL: Duration = Duration::from_millis(5);
/// The longest slice that Linux gives.
const LONG_SLICE_NS: u64 = 100_000_000;
/// Until so long after its last long call a thread keeps long slices.
const KEPT: Duration = Duration::from_secs(1);

#[derive(Clone, Copy)]
struct Slices {
    /// Whether they may be changed.
    may_change: bool,
    /// The usual slice in nanoseconds, while slices are long, and until when they are.
    long: Option<(u64, Instant)>,
}

thread_local! { static SLICES: Cell<Slices> = const { Cell::new(Slices { may_change: false, long: None }) } }

/// From now on the slices of this thread follow its calls. Only threads of the engine's own ask for it: those of a program
/// that the engine is a part of are not its to change.
pub fn follow_calls() {
    SLICES.with(|slices| slices.set(Slices { may_change: true, ..slices.get() }));
}

/// A call of this thread took so long.
pub fn call_took(time: Duration) {
    let Slices { may_change, long } = SLICES.with(Cell::get);
    if may_change && time >= LONG_CALL {
        let usual_ns = long.map(|(usual_ns, _)| usual_ns).or_else(|| change(Some(LONG_SLICE_NS)));
        let long = usual_ns.map(|usual_ns| (usual_ns, Instant::now() + KEPT));
        SLICES.with(|slices| slices.set(Slices { may_change, long }));
    } else if let Some((usual_ns, until)) = long
        && Instant::now() >= until
    {
        let _ = change(Some(usual_ns));
        SLICES.with(|slices| slices.set(Slices { may_change, long: None }));
    }
}

/// The slice of this thread in nanoseconds before it is given another, if any; `None` where the system has no slices by thread.
#[cfg(target_os = "linux")]
fn change(slice_ns: Option<u64>) -> Option<u64> {
    let size = u32::try_from(size_of::<libc::sched_attr>()).ok()?;
    // SAFETY: a struct of numbers, for which zeros are values.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the system fills no more than `size` bytes, which are those of `attributes`; 0 is this thread.
    let read = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    let (normal, batch) = (libc::SCHED_OTHER.cast_unsigned(), libc::SCHED_BATCH.cast_unsigned());
    // Before Linux 6.12 the slice of such a thread is 0. Threads of other policies have none.
    let has_slices = [normal, batch].contains(&attributes.sched_policy) && attributes.sched_runtime > 0;
    if read != 0 || !has_slices {
        return None;
    }
    let usual_ns = attributes.sched_runtime;
    if let Some(slice_ns) = slice_ns {
        (attributes.size, attributes.sched_runtime) = (size, slice_ns);
        // SAFETY: the system only reads `attributes`; all but the slice stays as it was.
        let set = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
        if set != 0 {
            return None;
        }
    }
    Some(usual_ns)
}

#[cfg(not(target_os = "linux"))]
fn change(_: Option<u64>) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_long_for_a_while_after_a_long_call_and_only_where_they_may_change() {
        let Some(usual_ns) = change(None) else { return };
        let short = LONG_CALL / 2;
        call_took(LONG_CALL);
        assert_eq!(change(None), Some(usual_ns), "this thread did not ask for it");
        follow_calls();
        call_took(short);
        assert_eq!(change(None), Some(usual_ns));
        call_took(LONG_CALL);
        assert_eq!(change(None), Some(LONG_SLICE_NS));
        call_took(short);
        assert_eq!(change(None), Some(LONG_SLICE_NS), "it keeps them for a while");
        SLICES.with(|slices| slices.set(Slices { may_change: true, long: Some((usual_ns, Instant::now())) }));
        call_took(short);
        assert_eq!(change(None), Some(usual_ns));
    }
}
