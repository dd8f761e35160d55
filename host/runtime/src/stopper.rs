//! Stopping a job from elsewhere, and how it stands.

use super::control::machines;
use super::control::others::OtherProcesses;
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use millstream_engine::running::handover::HandoverWord;
use millstream_engine::running::{Cluster, Running};
use millstream_metrics::Snapshot;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How a job is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Receivers end; what they have received is processed and committed.
    Graceful,
    /// Batches in flight are dropped.
    Now,
}

/// Stops a job from another thread, as a signal handler does, and tells how it stands. Cheap to clone.
#[derive(Clone)]
pub struct Stopper {
    pub(super) running: Arc<Running>,
    pub(super) done: Arc<JobEnd>,
    pub(super) others: Arc<OtherProcesses>,
}

/// How a job has ended, and who waits for that.
#[derive(Default)]
pub(super) struct JobEnd {
    result: Mutex<Option<Result<()>>>,
    changed: Condvar,
}

impl JobEnd {
    /// The job has ended so.
    pub(super) fn set(&self, result: Result<()>) {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        self.changed.notify_all();
    }
}

impl Stopper {
    /// Asks the job to stop.
    pub fn stop(&self, how: Stop) {
        match how {
            Stop::Graceful => self.running.request_stop(),
            Stop::Now => self.running.failure.end(None),
        }
    }

    /// Ends the job with this error.
    pub fn fail(&self, error: Error) {
        self.running.failure.set(error);
    }

    /// Asks the job to stop gracefully, and its supervisor to start it again from the checkpoint after this batch, see
    /// [`Options::replay_from`](millstream_engine::running::Options::replay_from). An error where nobody would start it again.
    pub fn go_back(&self, batch: BatchId) -> Result<()> {
        if !self.running.options.supervised {
            return Err(Error::job(
                "this process has no supervisor that would restart it; stop the job, and start it with `--replay-from`",
            ));
        }
        let wanted = *self.running.requests.go_back.get_or_init(|| batch);
        if wanted != batch {
            return Err(Error::job(format!("the job is already going back to the state after batch {wanted}")));
        }
        self.stop(Stop::Graceful);
        Ok(())
    }

    /// Asks for a checkpoint soon, since another process loads it; [`Stopper::saved`] tells when it is there.
    pub fn save_soon(&self) {
        self.running.request_checkpoint();
    }

    /// The last batch of the newest checkpoint, once the one that was asked for last is there.
    pub fn saved(&self) -> Option<BatchId> {
        let checkpoints = self.running.checkpoints.as_ref().filter(|_| self.running.requests.handover.is_saved())?;
        let published = checkpoints.writers.checkpoints.recent().last().map(|last| last.batch);
        Some(published.unwrap_or(checkpoints.loaded.last_batch.0))
    }

    /// As [`Stop::Graceful`]; another process takes the job over from its last checkpoint.
    pub fn hand_over(&self) {
        self.running.request_handover();
    }

    /// Whether the job is to end since another process takes it over.
    pub fn hands_over(&self) -> bool {
        self.running.requests.handover.is_last()
    }

    /// What supervisors of other processes have said since this was asked last.
    pub fn heard(&self) -> Vec<HandoverWord> {
        self.running.requests.handover.take_heard()
    }

    /// Tells supervisors of other processes something. An error where one of them does not take it.
    pub fn tell(&self, word: &HandoverWord) -> Result<()> {
        machines::tell(&self.running, &self.others, word)
    }

    /// Whether the job was handed over to processes on other machines, and none of them is on this one.
    pub fn leaves(&self) -> bool {
        let own = self.running.options.cluster.as_ref().and_then(Cluster::own_host);
        let next = self.running.requests.handover.next();
        self.hands_over() && next.zip(own).is_some_and(|(next, own)| next.place_of(own).is_none())
    }

    /// Waits until others run the job that this process has left, for as long as `goes_on`. An error where it is needed again.
    pub fn await_successor(&self, goes_on: impl Fn() -> bool) -> Result<()> {
        machines::await_successor(&self.running, goes_on)
    }

    /// When the first and the last of the batches that are known of were begun, by the machine's clock in microseconds.
    pub fn begun_us(&self) -> Option<(i64, i64)> {
        self.running.metrics.batches().begun_us()
    }

    /// Whether all workers of this process have what they go on from, and can begin batches.
    pub fn is_loaded(&self) -> bool {
        self.running.checkpoints.as_ref().is_none_or(|checkpoints| checkpoints.loaded.progress.is_done())
    }

    /// The batch that [`Stopper::go_back`] named.
    pub fn goes_back(&self) -> Option<BatchId> {
        self.running.requests.go_back.get().copied()
    }

    /// As [`Job::await_termination`](crate::Job::await_termination).
    pub fn await_termination(&self, timeout: Option<Duration>) -> Result<bool> {
        // A time beyond the end of the clock is no deadline.
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

    /// The furthest batch that a sink has committed since the start, or after which a checkpoint is published; zero: none.
    pub fn progress(&self) -> BatchId {
        self.running.metrics.progress()
    }

    /// The last batch that was committed since the start.
    pub(crate) fn committed(&self) -> Option<BatchId> {
        self.running.metrics.batches_committed().last.map(|(batch, _)| batch)
    }

    /// The first source of which every record was rejected, and nothing reads these; how many there were. `None` as well for a job that
    /// resumed or has other processes: this one does not know what was read before, or there.
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

    /// Batches begun so far, and what was counted, by name of source, stage and sink.
    pub fn counts(&self) -> (u64, BTreeMap<String, Snapshot>) {
        (self.running.batches.load(Ordering::Relaxed), self.running.metrics.snapshot())
    }
}
