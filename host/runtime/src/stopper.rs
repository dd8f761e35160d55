//! Stopping a job from another thread, and its status.

use super::control::machines;
use super::control::others::OtherProcesses;
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use millstream_engine::running::handover::HandoverMessage;
use millstream_engine::running::{Cluster, Running};
use millstream_metrics::Snapshot;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How a job is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Receivers stop. What they have received is processed and committed.
    Graceful,
    /// Batches in flight are dropped.
    Now,
}

/// Stops a job from another thread, for example a signal handler, and reports its status. Cheap to clone.
#[derive(Clone)]
pub struct Stopper {
    pub(super) running: Arc<Running>,
    pub(super) done: Arc<JobResult>,
    pub(super) others: Arc<OtherProcesses>,
}

/// The result of a job, with its waiters.
#[derive(Default)]
pub(super) struct JobResult {
    result: Mutex<Option<Result<()>>>,
    changed: Condvar,
}

impl JobResult {
    /// Stores the job's result and wakes all waiters.
    pub(super) fn set(&self, result: Result<()>) {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        self.changed.notify_all();
    }
}

impl Stopper {
    /// Requests the job to stop.
    pub fn stop(&self, how: Stop) {
        match how {
            Stop::Graceful => self.running.request_stop(),
            Stop::Now => self.running.failure.end(None),
        }
    }

    /// Fails the job with this error.
    pub fn fail(&self, error: Error) {
        self.running.failure.set(error);
    }

    /// Requests the job to stop gracefully, and its supervisor to restart it from the checkpoint after this batch, see
    /// [`Options::replay_from`](millstream_engine::running::Options::replay_from). Fails if there is no supervisor.
    pub fn go_back(&self, batch: BatchId) -> Result<()> {
        if !self.running.options.supervised {
            return Err(Error::job(
                "this process has no supervisor to restart it; stop the job, and start it with `--replay-from`",
            ));
        }
        let wanted = *self.running.requests.go_back.get_or_init(|| batch);
        if wanted != batch {
            return Err(Error::job(format!("the job is already going back to the state after batch {wanted}")));
        }
        self.stop(Stop::Graceful);
        Ok(())
    }

    /// Requests a checkpoint soon, since another process loads it. [`Stopper::saved`] reports when it exists.
    pub fn save_soon(&self) {
        self.running.request_checkpoint();
    }

    /// Returns the last batch of the newest checkpoint, once the last requested checkpoint exists.
    pub fn saved(&self) -> Option<BatchId> {
        let checkpoints = self.running.checkpoints.as_ref().filter(|_| self.running.requests.handover.is_saved())?;
        let published = checkpoints.writers.checkpoints.recent().last().map(|last| last.batch);
        Some(published.unwrap_or(checkpoints.loaded.last_batch.0))
    }

    /// Stops like [`Stop::Graceful`]. Another process takes the job over from its last checkpoint.
    pub fn hand_over(&self) {
        self.running.request_handover();
    }

    /// Returns whether the job is to end because another process takes it over.
    pub fn hands_over(&self) -> bool {
        self.running.requests.handover.is_last()
    }

    /// Returns the messages of supervisors of other processes since the last call.
    pub fn take_messages(&self) -> Vec<HandoverMessage> {
        self.running.requests.handover.take_received()
    }

    /// Sends a message to supervisors of other processes. Fails if one of them does not accept it.
    pub fn send_message(&self, word: &HandoverMessage) -> Result<()> {
        machines::send(&self.running, &self.others, word)
    }

    /// Returns whether the job was handed over to other machines, and this machine is not one of them.
    pub fn is_leaving(&self) -> bool {
        let own = self.running.options.cluster.as_ref().and_then(Cluster::own_host);
        let next = self.running.requests.handover.next();
        self.hands_over() && next.zip(own).is_some_and(|(next, own)| next.index_of_host(own).is_none())
    }

    /// Waits until other processes run the job that this process has left, while `keep_waiting` holds. Fails if this process
    /// is needed again.
    pub fn await_successor(&self, keep_waiting: impl Fn() -> bool) -> Result<()> {
        machines::await_successor(&self.running, keep_waiting)
    }

    /// Returns when the first and the last known batch began, by the machine's clock in microseconds.
    pub fn begun_us(&self) -> Option<(i64, i64)> {
        self.running.metrics.batches().begun_us()
    }

    /// Returns whether all workers of this process have loaded their state and can begin batches.
    pub fn is_loaded(&self) -> bool {
        self.running.checkpoints.as_ref().is_none_or(|checkpoints| checkpoints.loaded.progress.is_done())
    }

    /// Returns the batch passed to [`Stopper::go_back`].
    pub fn requested_back(&self) -> Option<BatchId> {
        self.running.requests.go_back.get().copied()
    }

    /// Same as [`Job::await_termination`](crate::Job::await_termination).
    pub fn await_termination(&self, timeout: Option<Duration>) -> Result<bool> {
        // A time beyond the range of the clock is no deadline.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut result = self.done.result.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(result) = &*result {
                return result.clone().map(|()| true);
            }
            result = match deadline {
                None => self.done.changed.wait(result).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(false);
                    }
                    self.done.changed.wait_timeout(result, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Returns the furthest batch that a sink has committed since the startup, or after which a checkpoint was published.
    /// 0 if none.
    pub fn progress(&self) -> BatchId {
        self.running.metrics.progress()
    }

    /// Returns the last batch that was committed since the startup.
    pub(crate) fn committed(&self) -> Option<BatchId> {
        self.running.metrics.batches_committed().last.map(|(batch, _)| batch)
    }

    /// Returns the first source whose records were all rejected without a reader for the rejected ones, and their
    /// number. `None` also for a job that resumed or has other processes: this one does not know what was read earlier,
    /// or there.
    pub fn rejected_source(&self) -> Option<(&str, u64)> {
        let resumed = self.running.checkpoints.as_ref().is_some_and(|checkpoints| {
            checkpoints.loaded.last_batch.0 != BatchId(0) || !checkpoints.replay.batches.is_empty()
        });
        if resumed || self.running.options.cluster.is_some() {
            return None;
        }
        let counts = self.running.metrics.snapshot();
        self.running.graph.spec.sources.iter().find_map(|source| {
            let count = counts.get(&source.name)?;
            let all = count.rows == 0 && count.unread_rejected > 0;
            all.then_some((source.name.as_str(), count.unread_rejected))
        })
    }

    /// Returns the number of batches begun so far, and the counts by name of source, stage and sink.
    pub fn counts(&self) -> (u64, BTreeMap<String, Snapshot>) {
        (self.running.batches.load(Ordering::Relaxed), self.running.metrics.snapshot())
    }
}
