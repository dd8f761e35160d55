//! The thread that makes plans durable: what waits is written together, so that the price of making it durable is paid
//! once (group commit, as databases do with their logs).

use super::{LogName, frame};
use crate::checkpoint::store::{Log, Store};
use crate::checkpoint::types::PlanEntry;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, Generation};
use millstream_base::limits::BYTES_PER_BATCH_MAX;
use millstream_base::patience::patiently;
use millstream_base::threads;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Encoded bytes after which no further entry joins an append.
const APPEND_BYTES_MAX: usize = BYTES_PER_BATCH_MAX as usize;
/// Bytes of the buffer that are kept from append to append, more are given back: memory that is new costs several times
/// what encoding costs, so batches of the usual sizes keep theirs.
const BUFFER_BYTES_KEPT: usize = 2 * APPEND_BYTES_MAX;
/// How late the planted bug `plan-late` appends.
const BUG_DELAY: Duration = Duration::from_millis(300);

type Durable = Box<dyn FnOnce() + Send>;

/// Writes the plans of the sources of one process. Cheap to clone; the thread writes what it was given and ends when the
/// last clone is dropped, or when told to [`PlanWriter::finish`]. What waits is bounded by the batches in flight.
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
    /// Starts the thread. The first log is made with the first entry. A full or read-only disk is waited for; any other
    /// failure of the store ends the job through `failure`.
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

    /// Writes an entry. `durable` is called, on the writer's thread, when it is durable, in the order of these calls; it
    /// is dropped without being called where the job fails first.
    pub fn add(&self, entry: PlanEntry, durable: Box<dyn FnOnce() + Send>) {
        self.order(LogOrder::Add(entry, durable));
    }

    /// Entries that are added from now on, those of later batches, go to a new log, so that this one can be deleted when
    /// nothing needs it any more.
    pub fn rotate(&self, after: BatchId) {
        self.order(LogOrder::Rotate(after));
    }

    /// Waits until all that was added before is durable and its callbacks have been called, or until the job has failed.
    /// Nothing can be added afterwards, by no clone.
    pub fn finish(self) {
        let _ = self.orders.send(LogOrder::Finish);
        self.join();
    }

    /// Waits for the end of the thread, which has told its own failure by then.
    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    fn order(&self, order: LogOrder) {
        if self.orders.send(order).is_err() {
            self.join();
            // No news where the thread ended because the job failed: the first error counts.
            self.failure.set(Error::bug("a plan came after the thread that writes plans had ended"));
        }
    }
}

/// What the thread works with.
struct LogThread {
    store: Arc<dyn Store>,
    /// Of the log that is written, or will be.
    name: LogName,
    /// The log and the seed of its next record; `None`: it is not made yet.
    log: Option<(Box<dyn Log>, u64)>,
    /// What the next append writes, and who hears of it.
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

    /// Writes what comes until nobody can add anything any more.
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

    /// Puts an entry into the buffer.
    fn take(&mut self, entry: &PlanEntry, durable: Durable) -> Result<()> {
        if self.log.is_none() {
            let path = self.name.path();
            let log = patiently(&self.failure, || self.store.log(&path)).map_err(|error| self.failed(error))?;
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
        // A log is never made twice: what was appended to it would be lost.
        if after > self.name.after {
            self.name.after = after;
            self.log = None;
        }
        Ok(())
    }

    /// Makes the buffer durable and says so.
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
        let appended = patiently(failure, || log.append(buffer));
        appended.map_err(|error| self.failed(error))?;
        fault::point("plan.durable");
        self.callbacks.drain(..).for_each(|durable| durable());
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        Ok(())
    }

    fn failed(&self, error: Error) -> Error {
        error.within(format!("the log of plans `{}` in `{}`", self.name.path(), self.store.place()))
    }
}
