//! Counters (Spark's accumulators), summed over all calls of a stage and shown with the job's metrics.

/// Adds to a counter, which starts at 0. Names match `[a-z][a-z0-9_]{0,63}`; other names are ignored. In tests, it does nothing.
#[cfg(target_arch = "wasm32")]
pub fn add(counter: &str, amount: u64) {
    crate::bindings::transform::millstream::plugin::metrics::add(counter, amount);
}

/// Adds to a counter, which starts at 0. Names match `[a-z][a-z0-9_]{0,63}`; other names are ignored. In tests, it does nothing.
#[cfg(not(target_arch = "wasm32"))]
pub fn add(_counter: &str, _amount: u64) {}
