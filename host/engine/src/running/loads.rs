//! The load of each worker of the job, as last reported. Chunks that any worker may decode go to those that will be free first.

use millstream_metrics::rate::Rate;
use millstream_metrics::work;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Instant;
use timely::scheduling::SyncActivator;

/// What a worker has done since the job was started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// How long its operators were busy, including time in which the machine ran other threads.
    pub busy_us: u64,
    /// The bytes that it has decoded, by source number.
    pub decoded_bytes: Vec<u64>,
    /// The bytes that its process has received and not given to a worker, by source number. `u64::MAX` while there is more to receive.
    pub left_bytes: Vec<u64>,
}

/// The load of a worker as one source sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceLoad {
    /// How long the worker was busy, with work of any source.
    pub busy_us: u64,
    /// The bytes of the source that it has decoded.
    pub decoded_bytes: u64,
    /// The part of these that it got from its own process's inbox worker.
    pub own_bytes: u64,
    /// The bytes of the source that its process has received and not given to a worker. `u64::MAX` while there is more to receive.
    pub left_bytes: u64,
    /// When that was received, if the worker is in another process.
    pub received_at: Option<Instant>,
}

/// The loads of all workers. Those of other processes are as last reported.
pub struct Loads {
    workers: Vec<WorkerLoad>,
    /// The operator that distributes the chunks of each source.
    waiting: Vec<WaitingOperator>,
    /// The worker that reports the loads of this process to the others.
    teller: OnceLock<Thread>,
}

struct WorkerLoad {
    busy_us: AtomicU64,
    /// How fast `busy_us` grows, for workers of this process.
    busy_rate: Rate,
    sources: Vec<DecodedBytes>,
    received_at: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct DecodedBytes {
    bytes: AtomicU64,
    own_bytes: AtomicU64,
    left_bytes: AtomicU64,
}

/// An operator that distributes chunks, the bytes it still holds, and whether it waits for a worker to become free.
#[derive(Default)]
struct WaitingOperator {
    waits: AtomicBool,
    left_bytes: AtomicU64,
    operator: Mutex<Option<SyncActivator>>,
}

impl Loads {
    /// Creates the loads of a job with this number of workers in all its processes and this number of sources.
    pub fn new(workers: usize, sources: usize) -> Loads {
        let load = |_| WorkerLoad {
            busy_us: AtomicU64::new(0),
            busy_rate: Rate::default(),
            sources: (0..sources).map(|_| DecodedBytes::default()).collect(),
            received_at: Mutex::default(),
        };
        let waiting = (0..sources).map(|_| WaitingOperator::default()).collect();
        Loads { workers: (0..workers).map(load).collect(), waiting, teller: OnceLock::new() }
    }

    /// Registers this thread as the one that reports the loads to other processes. It is woken when a load changes.
    pub fn report_from_this_thread(&self) {
        let _ = self.teller.set(thread::current());
    }

    /// Counts bytes of a source that a worker has decoded. `is_own`: they came from the inbox worker of its own process.
    pub fn add_decoded(&self, worker: usize, source: usize, bytes: u64, is_own: bool) {
        let Some(decoded) = self.workers.get(worker).and_then(|load| load.sources.get(source)) else { return };
        decoded.bytes.fetch_add(bytes, Ordering::SeqCst);
        if is_own {
            decoded.own_bytes.fetch_add(bytes, Ordering::SeqCst);
        } else if let Some(teller) = self.teller.get() {
            teller.unpark();
        }
        self.wake(source);
    }

    /// Updates the busy time after a step. The worker calls it itself.
    pub fn record_step(&self, worker: usize) {
        let Some(load) = self.workers.get(worker) else { return };
        let (before, now) = (load.busy_us.load(Ordering::Relaxed), work::busy_us());
        if now != before {
            load.busy_rate.counts(before);
            load.busy_us.store(now, Ordering::Relaxed);
        }
    }

    /// Returns the share of the last seconds for which a worker of this process was busy, in percent.
    pub fn busy_percent(&self, worker: usize) -> u64 {
        const US_A_PERCENT: u64 = 10_000;
        let Some(load) = self.workers.get(worker) else { return 0 };
        (load.busy_rate.per_second(load.busy_us.load(Ordering::Relaxed)) / US_A_PERCENT).min(100)
    }

    /// Stores the load of a worker that another process reported.
    pub fn set_remote(&self, worker: usize, load: &Load) {
        let Some(known) = self.workers.get(worker) else { return };
        known.busy_us.store(load.busy_us, Ordering::Relaxed);
        for (known, bytes) in known.sources.iter().zip(&load.left_bytes) {
            known.left_bytes.store(*bytes, Ordering::SeqCst);
        }
        let mut changed_sources = Vec::new();
        for ((source, known), bytes) in known.sources.iter().enumerate().zip(&load.decoded_bytes) {
            if known.bytes.swap(*bytes, Ordering::SeqCst) != *bytes {
                changed_sources.push(source);
            }
        }
        *known.received_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        changed_sources.into_iter().for_each(|source| self.wake(source));
    }

    /// Returns the loads of workers of this process. `inbox_bytes`: the bytes waiting in the inboxes of the sources.
    pub fn current(&self, workers: Range<usize>, inbox_bytes: &[u64]) -> Vec<Load> {
        let left = |(waiting, inbox): (&WaitingOperator, &u64)| {
            waiting.left_bytes.load(Ordering::SeqCst).saturating_add(*inbox)
        };
        let left_bytes: Vec<u64> = self.waiting.iter().zip(inbox_bytes).map(left).collect();
        let load = |load: &WorkerLoad| Load {
            busy_us: load.busy_us.load(Ordering::Relaxed),
            decoded_bytes: load.sources.iter().map(|decoded| decoded.bytes.load(Ordering::SeqCst)).collect(),
            left_bytes: left_bytes.clone(),
        };
        self.workers.get(workers).unwrap_or_default().iter().map(load).collect()
    }

    /// Returns the loads of all workers as one source sees them.
    pub fn of_source(&self, source: usize) -> Vec<SourceLoad> {
        let of = |load: &WorkerLoad| {
            let decoded = load.sources.get(source);
            let bytes =
                |bytes: fn(&DecodedBytes) -> &AtomicU64| decoded.map_or(0, |all| bytes(all).load(Ordering::SeqCst));
            SourceLoad {
                busy_us: load.busy_us.load(Ordering::Relaxed),
                decoded_bytes: bytes(|decoded| &decoded.bytes),
                own_bytes: bytes(|decoded| &decoded.own_bytes),
                left_bytes: bytes(|decoded| &decoded.left_bytes),
                received_at: *load.received_at.lock().unwrap_or_else(PoisonError::into_inner),
            }
        };
        self.workers.iter().map(of).collect()
    }

    /// Registers the operator that distributes the chunks of a source.
    pub fn set_distributor(&self, source: usize, operator: SyncActivator) {
        let Some(waiting) = self.waiting.get(source) else { return };
        *waiting.operator.lock().unwrap_or_else(PoisonError::into_inner) = Some(operator);
    }

    /// Sets the number of bytes that wait to be distributed.
    pub fn set_left(&self, source: usize, bytes: u64) {
        self.waiting.get(source).iter().for_each(|waiting| waiting.left_bytes.store(bytes, Ordering::SeqCst));
    }

    /// Sets whether the operator waits to be woken when a worker becomes free. Call it before reading the loads.
    pub fn set_waiting(&self, source: usize, waits: bool) {
        self.waiting.get(source).iter().for_each(|waiting| waiting.waits.store(waits, Ordering::SeqCst));
    }

    fn wake(&self, source: usize) {
        let Some(waiting) = self.waiting.get(source).filter(|waiting| waiting.waits.swap(false, Ordering::SeqCst))
        else {
            return;
        };
        let operator = waiting.operator.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(operator) = &*operator {
            // It fails if the worker has ended; then no one waits.
            let _ = operator.activate();
        }
    }
}
