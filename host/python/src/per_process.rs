//! What belongs to one process. A fork copies the memory of a process and none of its threads, so the clock of time limits and the
//! threads that call plugins are missing in the copy, and a lock that another thread held is held for ever. So all of that is made
//! anew there, and what was copied is left alone.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A value that is made once a process, when it is asked for.
pub struct PerProcess<T>(AtomicPtr<OfProcess<T>>);

struct OfProcess<T> {
    process: u32,
    value: T,
}

impl<T: Send + Sync> PerProcess<T> {
    /// One that is not made yet.
    pub const fn new() -> PerProcess<T> {
        PerProcess(AtomicPtr::new(ptr::null_mut()))
    }

    /// The value of this process. Of two threads that make it at once one throws away what it made.
    pub fn get<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        let process = std::process::id();
        let found = self.0.load(Ordering::Acquire);
        if let Some(value) = of_process(found, process) {
            return Ok(value);
        }
        let made = Box::into_raw(Box::new(OfProcess { process, value: make()? }));
        match self.0.compare_exchange(found, made, Ordering::AcqRel, Ordering::Acquire) {
            // What was there is of another process, and stays as it is.
            //
            // SAFETY: it was made just now, and is not gone before its owner.
            Ok(_) => Ok(unsafe { &(*made).value }),
            Err(theirs) => {
                // SAFETY: nobody else has seen it.
                let own = unsafe { Box::from_raw(made) };
                match of_process(theirs, process) {
                    Some(value) => Ok(value),
                    // Nobody but this process's threads changes it.
                    None => Ok(&Box::leak(own).value),
                }
            }
        }
    }
}

fn of_process<'a, T>(made: *mut OfProcess<T>, process: u32) -> Option<&'a T> {
    // SAFETY: what was put there stays for as long as its owner, to which the callers bind the reference.
    let made = unsafe { made.as_ref() }?;
    (made.process == process).then_some(&made.value)
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let made = *self.0.get_mut();
        // SAFETY: nobody uses it any more; that of another process is left alone.
        unsafe {
            if made.as_ref().is_some_and(|made| made.process == std::process::id()) {
                drop(Box::from_raw(made));
            }
        }
    }
}

impl<T: Send + Sync> Default for PerProcess<T> {
    fn default() -> PerProcess<T> {
        PerProcess::new()
    }
}
