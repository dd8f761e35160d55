//! The allocator of the program: the system's, and a look at the budget whenever a thread has asked for a while.

use super::{addresses, budget};
use crate::error::MEMORY_EXIT_CODE;
use crate::terminal;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Cursor, Write as _};

/// A thread looks at the budget after so many bytes that it asked for, freed or not.
const LOOK_EVERY_BYTES: usize = 1 << 20;
/// What is asked for in pieces as large as this is looked at one by one.
const LARGE_BYTES: usize = 4 << 20;

/// The system's allocator, with [`budget`] told of what is asked for. A program makes it its global allocator; without it
/// only a thread watches the budget, and memory that is asked for fast can go further beyond it.
pub struct CountingAllocator;

thread_local! {
    /// Bytes asked for since the last look. Without a destructor, so that it is there for as long as the thread.
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

#[inline]
fn count(bytes: usize) {
    // A thread that is about to be gone needs no looks.
    let due = ASKED.try_with(|asked| {
        let sum = asked.get().saturating_add(bytes);
        let due = sum >= LOOK_EVERY_BYTES;
        asked.set(if due { 0 } else { sum });
        if due { sum } else { 0 }
    });
    match due {
        Ok(0) | Err(_) => {}
        Ok(sum) => budget::asked(sum),
    }
}

/// What the system gave. Where it has no address space left, the process ends with the story of that instead of an abort.
#[inline]
fn there(pointer: *mut u8, size: usize) -> *mut u8 {
    if pointer.is_null() {
        used_up(size);
    }
    pointer
}

// SAFETY: all is done by the system's allocator; what comes before neither allocates nor unwinds.
unsafe impl GlobalAlloc for CountingAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        if layout.size() >= LARGE_BYTES {
            budget::large(layout.size());
        }
        // SAFETY: the caller keeps to the rules, which are the same.
        unsafe { there(System.alloc(layout), layout.size()) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        if layout.size() >= LARGE_BYTES {
            budget::large(layout.size());
        }
        // SAFETY: as above.
        unsafe { there(System.alloc_zeroed(layout), layout.size()) }
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if layout.size() >= LARGE_BYTES {
            budget::unclaim(layout.size() as u64);
        }
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    // What grows by doubling is filled slowly, if at all, so that nothing is claimed for it.
    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.saturating_sub(layout.size()));
        // SAFETY: as above.
        unsafe { there(System.realloc(pointer, layout, size), size) }
    }
}

/// The allocator got nothing for so many bytes: where a limit of the address space is why, ends the process with the words of that.
/// A checkpoint and the sinks stay as they are, as where it is killed. May be called in the middle of anything, so it asks for no
/// memory, and takes no lock.
#[cold]
fn used_up(size: usize) {
    // Nobody could serve what is more than the limit itself: whoever asks for that may be ready to hear so.
    if addresses::limit().is_none_or(|limit| size as u64 > limit) {
        return;
    }
    let mut line = [0; 1024];
    let mut words = Cursor::new(line.as_mut_slice());
    // What does not fit is cut.
    let _ = writeln!(words, "error: memory allocation of {size} bytes failed{}", addresses::advice());
    let length = usize::try_from(words.position()).unwrap_or_default();
    terminal::wipe_at_once();
    // SAFETY: the bytes are as many as is said, and lie within `line`. Whether they are written or not, the process ends: nothing may
    // run on exit, as locks may be held.
    unsafe {
        libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), length);
        libc::_exit(MEMORY_EXIT_CODE.into())
    }
}
