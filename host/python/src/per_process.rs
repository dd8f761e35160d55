//! Values that belong to one process. A fork copies the memory of a process but not its threads. So the copy lacks the
//! clock of time limits and the threads that call plugins. A lock held by another thread stays locked indefinitely.
//! Therefore these values are recreated in the copy, and the copied ones are not used.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A value that is created once per process, on first use.
pub struct PerProcess<T>(AtomicPtr<OfProcess<T>>);

struct OfProcess<T> {
    process: u32,
    value: T,
}

impl<T: Send + Sync> PerProcess<T> {
    /// Creates it without a value.
    pub const fn new() -> PerProcess<T> {
        PerProcess(AtomicPtr::new(ptr::null_mut()))
    }

    /// Returns the value of this process. If two threads create it at the same time, one result is dropped.
    pub fn get<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        let process = std::process::id();
        let found = self.0.load(Ordering::Acquire);
        if let Some(value) = of_process(found, process) {
            return Ok(value);
        }
        let made = Box::into_raw(Box::new(OfProcess { process, value: make()? }));
        match self.0.compare_exchange(found, made, Ordering::AcqRel, Ordering::Acquire) {
            // The previous value is of another process, and stays unchanged.
            //
            // SAFETY: it was just created, and lives as long as its owner.
            Ok(_) => Ok(unsafe { &(*made).value }),
            Err(theirs) => {
                // SAFETY: no other thread has seen it.
                let own = unsafe { Box::from_raw(made) };
                match of_process(theirs, process) {
                    Some(value) => Ok(value),
                    // Only threads of this process change it.
                    None => Ok(&Box::leak(own).value),
                }
            }
        }
    }
}

fn of_process<'a, T>(made: *mut OfProcess<T>, process: u32) -> Option<&'a T> {
    // SAFETY: the value lives as long as its owner, to which the callers bind the reference.
    let made = unsafe { made.as_ref() }?;
    (made.process == process).then_some(&made.value)
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let made = *self.0.get_mut();
        // SAFETY: it is no longer used. A value of another process is not touched.
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
