//! Planning, on a thread of its own: with a stack that is deep enough, and a time after which nobody waits for it any
//! longer.

use super::budget;
use crate::limits::SQL_PLAN_MS_MAX;
use millstream_base::error::{Error, Result};
use millstream_base::panics::caught;
use std::io;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// The stack of the thread. Parser and planner call themselves for each level of a query, which may be as deep as the
/// parser allows; the stacks of workers are too small for that.
const STACK_BYTES: usize = 64 << 20;

/// Plans. What takes too long is an error; its thread ends with the process, since nothing can end it before.
pub fn planned<T: Send + 'static>(plan: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let failed = |cause: io::Error| {
        Error::environment(format!(
            "cannot start a thread to plan a query: {cause}{}",
            millstream_base::memory::addresses::advice()
        ))
    };
    let (sender, receiver) = channel();
    let planning = move || {
        // Nobody may wait any longer.
        let _ = sender.send(caught(|| budget::while_planning(plan)));
    };
    thread::Builder::new().name("plan".into()).stack_size(STACK_BYTES).spawn(planning).map_err(failed)?;
    let broke_off = |words: &str| Error::job(budget::panicked(None, words).message());
    match receiver.recv_timeout(Duration::from_millis(SQL_PLAN_MS_MAX)) {
        Ok(Ok(planned)) => planned,
        Ok(Err(words)) => Err(broke_off(&words)),
        Err(RecvTimeoutError::Timeout) => Err(Error::job(format!(
            "it is too complex: planning it takes longer than {} s; split it, or nest less",
            SQL_PLAN_MS_MAX / 1000
        ))),
        Err(RecvTimeoutError::Disconnected) => Err(broke_off("without a word")),
    }
}
