//! Threads that make files from rows copied at a barrier, one for each worker with a large table. Workers continue with the next batches, and files
//! of several workers are made in parallel.

use super::WriterOrder;
use super::unwritten::UnwrittenBytes;
use crate::checkpoint::changes::TableChanges;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_base::ids::BatchId;
use millstream_base::threads;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Makes files and hands over each of them.
pub type MakeFiles = Box<dyn FnOnce(&mut dyn FnMut(TableChanges)) -> Result<()> + Send>;

/// The threads, which end when this is dropped.
#[derive(Default)]
pub struct FileMakers {
    by_worker: Mutex<BTreeMap<usize, FileMaker>>,
}

/// Sends orders to one of them.
#[derive(Clone)]
struct FileMaker {
    orders: Sender<MakerOrder>,
    /// Bytes of copies whose files are not made yet.
    copied: Arc<UnwrittenBytes>,
}

enum MakerOrder {
    Make { batch: BatchId, worker: usize, bytes: u64, make: MakeFiles },
    Pass(WriterOrder),
}

impl FileMakers {
    /// Forwards an order of a worker after the files being made for it; returns it if the worker has no maker.
    pub fn pass(&self, worker: usize, order: WriterOrder) -> Option<WriterOrder> {
        let makers = self.by_worker.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(maker) = makers.get(&worker) else { return Some(order) };
        // The thread outlives the job.
        let _ = maker.orders.send(MakerOrder::Pass(order));
        None
    }

    /// Makes files for a worker, from copies of this size. Blocks while earlier ones of it are not done. Fails if the thread cannot be started, see
    /// `thread`.
    pub fn make(
        &self,
        (batch, worker): (BatchId, usize),
        bytes: u64,
        make: MakeFiles,
        thread: MakerThread,
    ) -> Result<()> {
        let failure = thread.failure.clone();
        let maker = self.maker(worker, thread)?;
        maker.copied.add(bytes, &failure);
        let _ = maker.orders.send(MakerOrder::Make { batch, worker, bytes, make });
        Ok(())
    }

    fn maker(&self, worker: usize, thread: MakerThread) -> Result<FileMaker> {
        let mut makers = self.by_worker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(maker) = makers.get(&worker) {
            return Ok(maker.clone());
        }
        let (sender, orders) = channel();
        let maker = FileMaker { orders: sender, copied: Arc::default() };
        let (copied, failure) = (maker.copied.clone(), thread.failure.clone());
        let failed = move |error| failure.set(error);
        threads::start("millstream-copies", "the thread that creates checkpoint files", failed, move || {
            thread.run(&orders, &copied);
        })?;
        makers.insert(worker, maker.clone());
        Ok(maker)
    }
}

/// The state of such a thread.
pub struct MakerThread {
    pub to: Sender<WriterOrder>,
    /// Unwritten bytes of the files of all makers.
    pub made: Arc<UnwrittenBytes>,
    pub failure: Failure,
}

impl MakerThread {
    fn run(&self, orders: &Receiver<MakerOrder>, copied: &UnwrittenBytes) {
        for order in orders {
            if self.failure.happened() {
                continue;
            }
            match order {
                MakerOrder::Pass(order) => self.send(order),
                MakerOrder::Make { batch, worker, bytes, make } => {
                    let made = make(&mut |changes| {
                        self.made.add(changes.bytes(), &self.failure);
                        self.send(WriterOrder::Ahead { batch, worker, changes, unwritten: self.made.clone() });
                    });
                    copied.written(bytes);
                    if let Err(error) = made {
                        self.failure.set(error.within(format!("checkpoint after batch {batch}")));
                    }
                }
            }
        }
    }

    fn send(&self, order: WriterOrder) {
        let _ = self.to.send(order);
    }
}
