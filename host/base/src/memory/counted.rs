//! The program's allocator: the system's, with a budget check after a number of allocated bytes.

use super::{addresses, budget};
use crate::error::MEMORY_EXIT_CODE;
use crate::terminal;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Cursor, Write as _};

/// A thread checks the budget after allocating this many bytes, freed or not.
const LOOK_EVERY_BYTES: usize = 1 << 20;
/// Larger allocations are checked individually.
const LARGE_BYTES: usize = 4 << 20;

/// The system's allocator, which reports allocations to [`budget`]. A program makes it its global allocator. Without it only a thread watches the
/// budget, and fast allocations can exceed it further.
pub struct CountingAllocator;

thread_local! {
    /// Bytes allocated since the last check. Without a destructor, so that it exists for as long as the thread.
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

#[inline]
fn count(bytes: usize) {
    // A thread that is ending needs no checks.
    let due = ALLOCATED.try_with(|allocated| {
        let sum = allocated.get().saturating_add(bytes);
        let due = sum >= LOOK_EVERY_BYTES;
        allocated.set(if due { 0 } else { sum });
        if due { sum } else { 0 }
    });
    match due {
        Ok(0) | Err(_) => {}
        Ok(sum) => budget::count_allocated(sum),
    }
}

/// Returns the system's pointer. If the address space is exhausted, the process exits with a message about that instead of an abort.
#[inline]
fn count_if_allocated(pointer: *mut u8, size: usize) -> *mut u8 {
    if pointer.is_null() {
        report_exhausted(size);
    }
    pointer
}

// SAFETY: the system's allocator does all the work; the code before it neither allocates nor unwinds.
unsafe impl GlobalAlloc for CountingAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        if layout.size() >= LARGE_BYTES {
            budget::large(layout.size());
        }
        // SAFETY: the caller follows the rules, which are the same.
        unsafe { count_if_allocated(System.alloc(layout), layout.size()) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        if layout.size() >= LARGE_BYTES {
            budget::large(layout.size());
        }
        // SAFETY: as above.
        unsafe { count_if_allocated(System.alloc_zeroed(layout), layout.size()) }
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if layout.size() >= LARGE_BYTES {
            budget::unclaim(layout.size() as u64);
        }
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    // A buffer that grows by doubling is filled slowly, if at all, so nothing is claimed for it.
    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.saturating_sub(layout.size()));
        // SAFETY: as above.
        unsafe { count_if_allocated(System.realloc(pointer, layout, size), size) }
    }
}

/// Called if the allocator got nothing for `size` bytes: if a limit of the address space is the cause, exits the process with a message about that.
/// A checkpoint and the sinks stay unchanged, as if it were killed. May be called in the middle of anything, so it allocates nothing, and takes no
/// lock.
#[cold]
fn report_exhausted(size: usize) {
    // A size above the limit itself can never succeed: the caller may handle that error.
    if addresses::limit().is_none_or(|limit| size as u64 > limit) {
        return;
    }
    let mut line = [0; 1024];
    let mut message = Cursor::new(line.as_mut_slice());
    // What does not fit is cut.
    let _ = writeln!(message, "error: memory allocation of {size} bytes failed{}", addresses::advice());
    let length = usize::try_from(message.position()).unwrap_or_default();
    terminal::wipe_at_once();
    // SAFETY: the length matches the bytes, which lie within `line`. Whether they are written or not, the process exits: no exit handlers may run,
    // as locks may be held.
    unsafe {
        libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), length);
        libc::_exit(MEMORY_EXIT_CODE.into())
    }
}
