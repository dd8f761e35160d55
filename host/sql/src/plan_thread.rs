//! Planning on a separate thread, with a sufficiently deep stack and a timeout.

use super::budget;
use crate::limits::SQL_PLAN_MS_MAX;
use millstream_base::error::{Error, Result};
use millstream_base::panics::caught;
use std::io;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Stack of the thread. Parser and planner recurse for each level of a query, up to the parser's limit; the stacks of workers are too small for that.
const STACK_BYTES: usize = 64 << 20;

/// Runs `plan`. A timeout is an error; the thread then ends with the process, since it cannot be cancelled.
pub fn planned<T: Send + 'static>(plan: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let failed = |cause: io::Error| {
        Error::environment(format!(
            "cannot start a thread to plan a query: {cause}{}",
            millstream_base::memory::addresses::advice()
        ))
    };
    let (sender, receiver) = channel();
    let planning = move || {
        // The receiver may be gone.
        let _ = sender.send(caught(|| budget::while_planning(plan)));
    };
    thread::Builder::new().name("plan".into()).stack_size(STACK_BYTES).spawn(planning).map_err(failed)?;
    let broke_off = |reason: &str| Error::job(budget::panicked(None, reason).message());
    match receiver.recv_timeout(Duration::from_millis(SQL_PLAN_MS_MAX)) {
        Ok(Ok(planned)) => planned,
        Ok(Err(reason)) => Err(broke_off(&reason)),
        Err(RecvTimeoutError::Timeout) => Err(Error::job(format!(
            "it is too complex: planning it takes longer than {} s; split it, or nest less",
            SQL_PLAN_MS_MAX / 1000
        ))),
        Err(RecvTimeoutError::Disconnected) => Err(broke_off("without a message")),
    }
}
