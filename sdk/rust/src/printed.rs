//! What `println!`, `eprintln!` and `dbg!` print, in the plugin and in crates that it uses, goes to the host's log.
//!
//! The standard library of wasm32-unknown-unknown throws away what is printed, unless it is captured, as it is in tests. That
//! is not stable, so `millstream build` allows it for this crate, and sets `millstream_captures` where its compiler has it. What
//! is captured comes in one piece, standard output and standard error alike: all of it is logged as information, when the call
//! ends, before other words of the plugin, and when it panics.

#[cfg(all(target_arch = "wasm32", millstream_captures))]
mod captured {
    use std::sync::{Arc, LazyLock, Mutex};

    static PRINTED: LazyLock<Arc<Mutex<Vec<u8>>>> = LazyLock::new(Arc::default);

    /// What is printed from now on is kept.
    pub fn begin() {
        std::io::set_output_capture(Some(PRINTED.clone()));
    }

    /// What was printed, which is kept no longer.
    pub fn take() -> Vec<u8> {
        // It is locked only where words are logged while others are printed.
        PRINTED.try_lock().map(|mut printed| std::mem::take(&mut *printed)).unwrap_or_default()
    }
}

#[cfg(not(all(target_arch = "wasm32", millstream_captures)))]
mod captured {
    pub fn begin() {}

    pub fn take() -> Vec<u8> {
        Vec::new()
    }
}

pub use captured::begin;

/// Logs what was printed since the last time, line by line.
pub fn flush() {
    let printed = captured::take();
    for line in String::from_utf8_lossy(&printed).lines() {
        crate::log::write_line(crate::log::Level::Info, line);
    }
}
