//! Waiting for servers on the thread that commits.

use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use std::future::Future;
use std::time::Duration;
use tokio::runtime::Runtime;

/// How often a waiting sink checks whether the job has ended.
const CHECK_INTERVAL_MS: u64 = 100;

/// Pauses; `false` if the job has ended meanwhile.
pub fn pause_or_end(pause: Duration, failure: &Failure) -> bool {
    let mut left = pause;
    while !failure.happened() {
        if left.is_zero() {
            return true;
        }
        let step = left.min(Duration::from_millis(CHECK_INTERVAL_MS));
        std::thread::sleep(step);
        left -= step;
    }
    false
}

/// Creates a runtime for a sink.
pub fn new_runtime() -> Result<Runtime> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|cause| Error::environment(format!("cannot start a runtime: {cause}")))
}

/// Creates a runtime with one thread of this name, which runs spawned tasks.
pub fn named_runtime(thread: &str) -> Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let built = builder.worker_threads(1).thread_name(thread).enable_all().build();
    built.map_err(|cause| Error::environment(format!("cannot start a runtime: {cause}")))
}

/// Waits for `work`; `None` if the job ends before.
pub fn await_or_end<T>(runtime: &Runtime, failure: &Failure, work: impl Future<Output = T>) -> Option<T> {
    let ended = async {
        while !failure.happened() {
            tokio::time::sleep(Duration::from_millis(CHECK_INTERVAL_MS)).await;
        }
    };
    runtime.block_on(async {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = ended => None,
        }
    })
}
