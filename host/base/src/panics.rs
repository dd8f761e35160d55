//! Catches panics of libraries. They are caused by the library's input, so they become errors.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! { static CATCHES: Cell<bool> = const { Cell::new(false) } }

/// Returns whether a panic of this thread is caught and reported as an error, so that it need not be logged.
pub fn catches_panics() -> bool {
    CATCHES.get()
}

/// Runs code that may panic; the error is the panic's message.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let before = CATCHES.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    CATCHES.set(before);
    done.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}
