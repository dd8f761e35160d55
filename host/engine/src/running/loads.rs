//! What each worker of the job has done, as far as it has told, so that rows that any worker may have go to those who will be done with them
//! first.

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
    /// For how long its operators have worked; where the machine gave the time to others, that counts.
    pub busy_us: u64,
    /// Of each source, by number, the bytes that it has decoded.
    pub decoded_bytes: Vec<u64>,
    /// Of each source, by number, the bytes that its process has received and no worker has been given; the most there can be, as long as
    /// there is more to receive.
    pub left_bytes: Vec<u64>,
}

/// What a source knows of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceLoad {
    /// For how long the worker was busy, with whatever.
    pub busy_us: u64,
    /// What it has decoded of the source.
    pub decoded_bytes: u64,
    /// What of that came from the worker of its own process that takes from the inbox.
    pub own_bytes: u64,
    /// What its process has received of the source, and no worker has been given; the most there can be, as long as there is more.
    pub left_bytes: u64,
    /// When that was told, where the worker is in another process.
    pub heard: Option<Instant>,
}

/// The loads of all workers. Those of other processes are what these said last.
pub struct Loads {
    workers: Vec<WorkerLoad>,
    /// Who hands out what each source has.
    waiting: Vec<WaitingOperator>,
    /// The worker that tells other processes of the loads here.
    teller: OnceLock<Thread>,
}

struct WorkerLoad {
    busy_us: AtomicU64,
    /// How fast that grows, of a worker of this process.
    busy_rate: Rate,
    sources: Vec<DecodedBytes>,
    heard: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct DecodedBytes {
    bytes: AtomicU64,
    own_bytes: AtomicU64,
    left_bytes: AtomicU64,
}

/// An operator that hands out chunks, how many bytes nobody has, and whether it waits for somebody to be done with some.
#[derive(Default)]
struct WaitingOperator {
    waits: AtomicBool,
    left_bytes: AtomicU64,
    operator: Mutex<Option<SyncActivator>>,
}

impl Loads {
    /// Of a job with so many workers in all its processes, and so many sources.
    pub fn new(workers: usize, sources: usize) -> Loads {
        let load = |_| WorkerLoad {
            busy_us: AtomicU64::new(0),
            busy_rate: Rate::default(),
            sources: (0..sources).map(|_| DecodedBytes::default()).collect(),
            heard: Mutex::default(),
        };
        let waiting = (0..sources).map(|_| WaitingOperator::default()).collect();
        Loads { workers: (0..workers).map(load).collect(), waiting, teller: OnceLock::new() }
    }

    /// This thread tells other processes of the loads here, and is woken when one of them waits to hear.
    pub fn told_by_this_thread(&self) {
        let _ = self.teller.set(thread::current());
    }

    /// A worker has decoded so many bytes of a source. `is_own`: from the worker of its process that takes from the inbox.
    pub fn decoded(&self, worker: usize, source: usize, bytes: u64, is_own: bool) {
        let Some(decoded) = self.workers.get(worker).and_then(|load| load.sources.get(source)) else { return };
        decoded.bytes.fetch_add(bytes, Ordering::SeqCst);
        if is_own {
            decoded.own_bytes.fetch_add(bytes, Ordering::SeqCst);
        } else if let Some(teller) = self.teller.get() {
            teller.unpark();
        }
        self.wake(source);
    }

    /// A worker, which calls this itself, has taken a step.
    pub fn stepped(&self, worker: usize) {
        let Some(load) = self.workers.get(worker) else { return };
        let (before, now) = (load.busy_us.load(Ordering::Relaxed), work::busy_us());
        if now != before {
            load.busy_rate.counts(before);
            load.busy_us.store(now, Ordering::Relaxed);
        }
    }

    /// For how much of the last seconds a worker of this process has worked, in percent.
    pub fn busy_percent(&self, worker: usize) -> u64 {
        const US_A_PERCENT: u64 = 10_000;
        let Some(load) = self.workers.get(worker) else { return 0 };
        (load.busy_rate.per_second(load.busy_us.load(Ordering::Relaxed)) / US_A_PERCENT).min(100)
    }

    /// What another process says of a worker.
    pub fn heard(&self, worker: usize, load: &Load) {
        let Some(known) = self.workers.get(worker) else { return };
        known.busy_us.store(load.busy_us, Ordering::Relaxed);
        for (known, bytes) in known.sources.iter().zip(&load.left_bytes) {
            known.left_bytes.store(*bytes, Ordering::SeqCst);
        }
        let mut news = Vec::new();
        for ((source, known), bytes) in known.sources.iter().enumerate().zip(&load.decoded_bytes) {
            if known.bytes.swap(*bytes, Ordering::SeqCst) != *bytes {
                news.push(source);
            }
        }
        *known.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        news.into_iter().for_each(|source| self.wake(source));
    }

    /// The loads of workers of this process; `inbox_bytes`: what waits in the inboxes of the sources.
    pub fn of(&self, workers: Range<usize>, inbox_bytes: &[u64]) -> Vec<Load> {
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

    /// What a source needs to know of all workers.
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
                heard: *load.heard.lock().unwrap_or_else(PoisonError::into_inner),
            }
        };
        self.workers.iter().map(of).collect()
    }

    /// This operator hands out what a source has.
    pub fn handed_out_by(&self, source: usize, operator: SyncActivator) {
        let Some(waiting) = self.waiting.get(source) else { return };
        *waiting.operator.lock().unwrap_or_else(PoisonError::into_inner) = Some(operator);
    }

    /// So many bytes wait to be handed out.
    pub fn left(&self, source: usize, bytes: u64) {
        self.waiting.get(source).iter().for_each(|waiting| waiting.left_bytes.store(bytes, Ordering::SeqCst));
    }

    /// It waits, until it is woken, for somebody to be done with what it has; or not any more. To be said before it looks at the loads.
    pub fn waits(&self, source: usize, waits: bool) {
        self.waiting.get(source).iter().for_each(|waiting| waiting.waits.store(waits, Ordering::SeqCst));
    }

    fn wake(&self, source: usize) {
        let Some(waiting) = self.waiting.get(source).filter(|waiting| waiting.waits.swap(false, Ordering::SeqCst))
        else {
            return;
        };
        let operator = waiting.operator.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(operator) = &*operator {
            // It fails where the worker has ended, and then nobody waits.
            let _ = operator.activate();
        }
    }
}
