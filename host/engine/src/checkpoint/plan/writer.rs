//! The thread that makes plans durable. Waiting entries are written together, so that the cost of durability is paid once (group commit, as databases
//! do with their logs).

use super::{LogName, frame};
use crate::checkpoint::store::{Log, Store};
use crate::checkpoint::types::PlanEntry;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, Generation};
use millstream_base::limits::BYTES_PER_BATCH_MAX;
use millstream_base::retry::retry_transient;
use millstream_base::threads;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Encoded bytes after which no further entry joins an append.
const APPEND_BYTES_MAX: usize = BYTES_PER_BATCH_MAX as usize;
/// Bytes of the buffer that are kept between appends; more are released. New memory costs several times what encoding costs, so batches of the usual
/// sizes reuse theirs.
const BUFFER_BYTES_KEPT: usize = 2 * APPEND_BYTES_MAX;
/// How late the planted bug `plan-late` appends.
const BUG_DELAY: Duration = Duration::from_millis(300);

type Durable = Box<dyn FnOnce() + Send>;

/// Writes the plans of the sources of one process. Cheap to clone. The thread ends when the last clone is dropped, or on [`PlanWriter::finish`],
/// after writing everything it got. The queue is bounded by the batches in flight.
#[derive(Clone)]
pub struct PlanWriter {
    orders: Sender<LogOrder>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
    failure: Failure,
}

enum LogOrder {
    Add(PlanEntry, Durable),
    Rotate(BatchId),
    Finish,
}

impl PlanWriter {
    /// Starts the thread. The first log is created with the first entry. A full or read-only disk is waited for. Any other failure of the store fails
    /// the job through `failure`.
    pub fn start(
        store: Arc<dyn Store>,
        generation: Generation,
        process: usize,
        after: BatchId,
        failure: Failure,
    ) -> Result<PlanWriter> {
        let process = u32::try_from(process).map_err(|_| Error::bug(format!("process {process}")))?;
        let (orders, waiting) = channel();
        let name = LogName { generation, process, after };
        let failing = failure.clone();
        let writing = LogThread { store, name, log: None, buffer: Vec::new(), callbacks: Vec::new(), failure: failing };
        let failing = failure.clone();
        let failed = move |error| failing.set(error);
        let work = move || writing.run(&waiting);
        let thread = threads::start("millstream-plan", "the thread that writes plans", failed, work)?;
        Ok(PlanWriter { orders, thread: Arc::new(Mutex::new(Some(thread))), failure })
    }

    /// Writes an entry. `durable` is called on the writer's thread when it is durable, in the order of these calls. It is dropped without being
    /// called if the job fails first.
    pub fn add(&self, entry: PlanEntry, durable: Box<dyn FnOnce() + Send>) {
        self.order(LogOrder::Add(entry, durable));
    }

    /// Starts a new log for entries added from now on, those of later batches, so that this one can be deleted when it is no longer needed.
    pub fn rotate(&self, after: BatchId) {
        self.order(LogOrder::Rotate(after));
    }

    /// Waits until everything added before is durable and its callbacks have been called, or until the job has failed. Afterwards nothing can be
    /// added through any clone.
    pub fn finish(self) {
        let _ = self.orders.send(LogOrder::Finish);
        self.join();
    }

    /// Waits for the end of the thread, which has reported its own failure by then.
    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    fn order(&self, order: LogOrder) {
        if self.orders.send(order).is_err() {
            self.join();
            // Has no effect if the thread ended because the job failed: the first error wins.
            self.failure.set(Error::bug("a plan came after the thread that writes plans had ended"));
        }
    }
}

/// The state of the thread.
struct LogThread {
    store: Arc<dyn Store>,
    /// The name of the log that is written, or will be.
    name: LogName,
    /// The log and the seed of its next record; `None`: it is not created yet.
    log: Option<(Box<dyn Log>, u64)>,
    /// What the next append writes, and its callbacks.
    buffer: Vec<u8>,
    callbacks: Vec<Durable>,
    failure: Failure,
}

impl LogThread {
    fn run(mut self, orders: &Receiver<LogOrder>) {
        if let Err(error) = self.write_all(orders) {
            self.failure.set(error);
        }
    }

    /// Writes what comes until all senders are dropped.
    fn write_all(&mut self, orders: &Receiver<LogOrder>) -> Result<()> {
        while let Ok(first) = orders.recv() {
            let mut next = Ok(first);
            loop {
                match next {
                    Ok(LogOrder::Add(entry, durable)) => self.take(&entry, durable)?,
                    Ok(LogOrder::Rotate(after)) => self.rotate(after)?,
                    Ok(LogOrder::Finish) => return self.append(),
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
                if self.buffer.len() >= APPEND_BYTES_MAX {
                    break;
                }
                next = orders.try_recv();
            }
            self.append()?;
        }
        Ok(())
    }

    /// Adds an entry to the buffer.
    fn take(&mut self, entry: &PlanEntry, durable: Durable) -> Result<()> {
        if self.log.is_none() {
            let path = self.name.path();
            let log = retry_transient(&self.failure, || self.store.log(&path)).map_err(|error| self.failed(error))?;
            let seed = frame::put_header(&mut self.buffer, &self.name);
            self.log = Some((log, seed));
        }
        if let Some((_, seed)) = &mut self.log {
            frame::put(&mut self.buffer, seed, entry)?;
        }
        self.callbacks.push(durable);
        Ok(())
    }

    fn rotate(&mut self, after: BatchId) -> Result<()> {
        self.append()?;
        // A log is never created twice: appended data would be lost.
        if after > self.name.after {
            self.name.after = after;
            self.log = None;
        }
        Ok(())
    }

    /// Makes the buffer durable and calls the callbacks.
    fn append(&mut self) -> Result<()> {
        let Some((log, _)) = &mut self.log else { return Ok(()) };
        if self.buffer.is_empty() {
            return Ok(());
        }
        if fault::bug!("plan-late") {
            self.callbacks.drain(..).for_each(|durable| durable());
            std::thread::sleep(BUG_DELAY);
        }
        fault::point("plan.before");
        let (failure, buffer) = (&self.failure, &self.buffer);
        let appended = retry_transient(failure, || log.append(buffer));
        appended.map_err(|error| self.failed(error))?;
        fault::point("plan.durable");
        self.callbacks.drain(..).for_each(|durable| durable());
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        Ok(())
    }

    fn failed(&self, error: Error) -> Error {
        error.within(format!("the log of plans `{}` in `{}`", self.name.path(), self.store.location()))
    }
}
