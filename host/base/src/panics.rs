//! Catches panics of libraries. The input that the library was given is to blame for them, so they become errors.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! { static CATCHES: Cell<bool> = const { Cell::new(false) } }

/// Whether a panic of this thread is caught, and told in other words: nobody need hear of it.
pub fn catches_panics() -> bool {
    CATCHES.get()
}

/// Does what may panic on what it is given; the words of the panic if it did.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let before = CATCHES.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    CATCHES.set(before);
    done.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}
