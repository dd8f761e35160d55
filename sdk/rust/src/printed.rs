//! Sends the output of `println!`, `eprintln!` and `dbg!`, in the plugin and in crates that it uses, to the host's log.
//!
//! The standard library of wasm32-unknown-unknown discards printed output unless it is captured, as in tests. Capturing is not
//! stable, so `millstream build` permits it for this crate, and sets `millstream_captures` if its compiler supports it. Captured
//! output does not distinguish standard output and standard error. It is logged as information when the call ends, before other
//! log lines of the plugin, and when it panics.

#[cfg(all(target_arch = "wasm32", millstream_captures))]
mod captured {
    use std::sync::{Arc, LazyLock, Mutex};

    static PRINTED: LazyLock<Arc<Mutex<Vec<u8>>>> = LazyLock::new(Arc::default);

    /// Starts to capture printed output.
    pub fn begin() {
        std::io::set_output_capture(Some(PRINTED.clone()));
    }

    /// Returns and removes the printed output.
    pub fn take() -> Vec<u8> {
        // It is locked only if a line is logged during printing.
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

/// Logs the text printed since the last call, line by line.
pub fn flush() {
    let printed = captured::take();
    for line in String::from_utf8_lossy(&printed).lines() {
        crate::log::write_line(crate::log::Level::Info, line);
    }
}
