//! The thread on which the sinks of a job commit, so that no worker waits for a disk or a server. All sinks share it: a batch is committed by one
//! sink after the other, in the order of the job file, and before the next batch.

use crate::checkpoint::Markers;
use crate::checkpoint::resolve::commits;
use crate::timely_ext::Completions;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::memory::{self, mark_busy};
use millstream_base::threads;
use millstream_metrics::work::OperatorWork;
use millstream_metrics::{Counts, Metrics};
use millstream_rows::batch::part::Part;
use millstream_rows::batch::sink::Sink;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often sinks are called while no batch comes.
const IDLE: Duration = Duration::from_millis(500);

/// A batch that a sink may commit: it is complete, and can no longer fail.
pub struct CompleteBatch {
    /// The sink's index in the job.
    pub sink: usize,
    /// The batch's id.
    pub id: BatchId,
    /// Its time.
    pub time: BatchTime,
    /// Its rows, in order.
    pub parts: Vec<Part>,
    /// Notified when it is committed.
    pub committed: Arc<Completions<()>>,
}

/// The state for committing batches of a sink.
pub struct SinkCommitter {
    /// The open sink.
    pub sink: Box<dyn Sink>,
    /// Its name in the job's markers.
    pub name: &'static String,
    /// The last batch that is replayed: the sink may already hold some of those up to this one.
    pub replayed: BatchId,
    /// The markers of the job.
    pub markers: Markers,
    /// The counters of the sink.
    pub counts: Counts,
    /// Notified of progress.
    pub metrics: Metrics,
    /// Gets the time that it works.
    pub work: OperatorWork,
}

impl SinkCommitter {
    fn commit(&mut self, batch: BatchId, time: BatchTime, parts: Vec<Part>) -> Result<()> {
        memory::check()?;
        let rows: Vec<_> = parts.into_iter().map(|part| part.rows).collect();
        let committed = self.sink.committed().filter(|_| !fault::bug!("no-skip"));
        if !commits(batch, committed) && batch > self.replayed {
            // Its rows would be duplicated, or those of another batch lost.
            return Err(Error::bug(format!(
                "sink `{}`: batch {batch} is already committed, but came again",
                self.name
            )));
        }
        if commits(batch, committed) {
            self.counts.add_rows(rows.iter().map(|rows| rows.num_rows()).sum());
            self.sink.commit(batch, time, rows)?;
            self.metrics.progressed(batch);
        }
        self.markers.set(self.name, self.sink.committed());
        Ok(())
    }
}

/// Handle of the thread, which ends when this is dropped. The queue is bounded by the batches in flight.
pub struct CommitThread {
    batches: Option<Sender<CompleteBatch>>,
    thread: Option<JoinHandle<()>>,
}

impl CommitThread {
    /// Starts the thread, for sinks by their index in the job. The first error of a sink fails the job, and ends the thread. If the job fails
    /// otherwise, batches that were handed over are still committed.
    pub fn start(sinks: BTreeMap<usize, SinkCommitter>, failure: &Failure) -> Result<CommitThread> {
        let (batches, waiting) = channel();
        let (failed, failure) = (failure.clone(), failure.clone());
        let work = move || commit_all(sinks, &waiting, &failure);
        let what = "the thread that commits";
        let thread = threads::start("millstream-sinks", what, move |error| failed.set(error), work)?;
        Ok(CommitThread { batches: Some(batches), thread: Some(thread) })
    }

    /// Hands over a batch. Batches are committed in the order of these calls. If the thread has ended, the job fails, and the batch is not committed.
    pub fn add(&self, batch: CompleteBatch) {
        // Whatever ended the thread is the job's failure, or is about to be.
        let _ = self.batches.as_ref().map(|batches| batches.send(batch));
    }
}

impl Drop for CommitThread {
    /// Waits for the batches that were handed over, so that a sink is not opened twice.
    fn drop(&mut self) {
        self.batches = None;
        // A panic of the thread is the job's failure already.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn commit_all(mut sinks: BTreeMap<usize, SinkCommitter>, waiting: &Receiver<CompleteBatch>, failure: &Failure) {
    loop {
        let done = match waiting.recv_timeout(IDLE) {
            Ok(CompleteBatch { sink: index, id, time, parts, committed }) => {
                let Some(sink) = sinks.get_mut(&index) else { continue };
                let _at_work = mark_busy(sink.name);
                let begun = sink.work.begin();
                let done = sink.commit(id, time, parts);
                sink.work.end(id, begun);
                done.map(|()| committed.complete(id.stamp(), ())).map_err(|error| (error, sink.name))
            }
            Err(RecvTimeoutError::Timeout) => each(&mut sinks, |sink| sink.idle()),
            Err(RecvTimeoutError::Disconnected) if failure.happened() => return,
            Err(RecvTimeoutError::Disconnected) => {
                if let Err((error, name)) = each(&mut sinks, |sink| sink.finish()) {
                    failure.set(error.in_operator(name));
                }
                return;
            }
        };
        if let Err((error, name)) = done {
            failure.set(error.in_operator(name));
            return;
        }
    }
}

/// Applies `work` to all sinks, up to the first error, which includes the sink's name.
fn each(
    sinks: &mut BTreeMap<usize, SinkCommitter>,
    work: impl Fn(&mut dyn Sink) -> Result<()>,
) -> std::result::Result<(), (Error, &'static String)> {
    sinks.values_mut().try_for_each(|of| work(&mut *of.sink).map_err(|error| (error, of.name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::RecordBatch;
    use millstream_base::error::Kind;
    use std::sync::Mutex;

    struct RecordingSink(Option<BatchId>, Arc<Mutex<Vec<u64>>>);

    impl Sink for RecordingSink {
        fn commit(&mut self, batch: BatchId, _: BatchTime, _: Vec<RecordBatch>) -> Result<()> {
            self.1.lock().unwrap().push(batch.0);
            self.0 = Some(batch);
            Ok(())
        }

        fn committed(&self) -> Option<BatchId> {
            self.0
        }
    }

    #[test]
    fn what_is_held_is_skipped_when_it_runs_again_and_refused_otherwise() {
        let (metrics, seen) = (Metrics::default(), Arc::new(Mutex::new(Vec::new())));
        let mut commits = SinkCommitter {
            sink: Box::new(RecordingSink(Some(BatchId(4)), seen.clone())),
            name: crate::timely_ext::leak_name("out"),
            replayed: BatchId(5),
            markers: Markers::default(),
            counts: Counts::default(),
            work: OperatorWork::new(metrics.batches(), 0),
            metrics: metrics.clone(),
        };
        let mut commit = |batch| commits.commit(BatchId(batch), BatchTime(0), Vec::new()).map_err(|error| error.kind);
        assert_eq!([3, 4, 5, 6].map(&mut commit), [Ok(()); 4]);
        assert_eq!(commit(6), Err(Kind::Bug), "its rows would be there twice");
        assert_eq!(*seen.lock().unwrap(), [5, 6]);
        assert_eq!(commits.markers.all()["out"], BatchId(6));
    }
}
