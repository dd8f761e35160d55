//! A job that runs, as all its workers see it.

pub mod cluster_key;
pub mod upgrade;
pub mod versions;

use crate::checkpoint::Kept;
use crate::error::{Error, Result};
use crate::failure::Failure;
use crate::graph::Graph;
use crate::ids::BatchId;
use crate::job::spec::JobSpec;
use crate::metrics::Metrics;
use crate::receiver::inbox::Inbox;
use crate::sink::Sink;
use cluster_key::ClusterKey;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;
use upgrade::Upgrades;
use versions::Versions;

/// How a job is run, beside what its file says.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Worker threads of this process; `None`: as the job says, or all cores.
    pub workers: Option<usize>,
    /// Stop once every source is finished or has been idle for [`crate::limits::IDLE_MS`].
    pub until_idle: bool,
    /// Read at most so many rows of each source, then end.
    pub limit: Option<u64>,
    /// Values that replace those of the job file, by dotted path.
    pub sets: Vec<(String, String)>,
    /// Several processes that run one job; `None`: this one alone.
    pub cluster: Option<Cluster>,
    /// Begin anew, whatever checkpoint there is.
    pub fresh: bool,
    /// Go on after this batch, though later ones were planned or committed.
    pub resume_from: Option<BatchId>,
    /// Go back to the state after this batch, and run all planned batches behind it again as the job is now.
    pub replay_from: Option<BatchId>,
    /// Names of stages and sources whose state is left behind.
    pub drop_state: Vec<String>,
    /// Run planned batches again up to this one, then end.
    pub replay_until: Option<BatchId>,
    /// With `replay_until`: write no checkpoint.
    pub dry: bool,
    /// A start that still waits for a server then gives up.
    pub start_until: Option<Instant>,
    /// Somebody starts this process again where it asks for that, see [`Stopper::go_back`].
    pub supervised: bool,
}

/// Worker threads of all processes of a job.
pub fn workers_of_all(spec: &JobSpec, options: &Options) -> Result<usize> {
    Ok(workers(spec, options)?.saturating_mul(options.place().1))
}

/// Worker threads of each process.
pub fn workers(spec: &JobSpec, options: &Options) -> Result<usize> {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match options.workers.or(spec.workers).unwrap_or_else(cores) {
        0 => Err(Error::job("`workers` is 0; a job needs at least one worker")),
        workers if workers as u64 > crate::limits::WORKERS_MAX => {
            Err(Error::job(format!("`workers` is {workers}; at most {} are allowed", crate::limits::WORKERS_MAX)))
        }
        workers => Ok(workers),
    }
}

impl Options {
    /// The number of this process, and how many there are.
    pub fn place(&self) -> (usize, usize) {
        self.cluster.as_ref().map_or((0, 1), |cluster| (cluster.process, cluster.hosts.len()))
    }
}

/// This process among those that run a job together.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// This process's place in `hosts`, from 0. Process 0 owns the sinks.
    pub process: usize,
    /// `host:port` of each process.
    pub hosts: Vec<String>,
    /// By which the processes know each other.
    pub key: ClusterKey,
}

/// What all workers of a process share.
pub struct Running {
    pub graph: Graph,
    pub options: Options,
    /// Worker threads of this process.
    pub workers: usize,
    /// The inbox of each source; `None` where another process receives.
    pub inboxes: Vec<Option<Arc<Inbox>>>,
    /// The index, in the whole job, of the first worker of this process: the one that takes from the inboxes.
    pub first_worker: usize,
    pub failure: Failure,
    pub metrics: Metrics,
    pub batches: AtomicU64,
    /// The plugins that run now.
    pub versions: Versions,
    /// Those that are to take their places.
    pub upgrades: Upgrades,
    /// Where the job keeps checkpoints.
    pub kept: Option<Arc<Kept>>,
    /// The job is to stop gracefully.
    pub stop: AtomicBool,
    /// The job is to be started again from the checkpoint after this batch, once it has stopped.
    pub go_back: OnceLock<BatchId>,
    /// The open sinks by number, each to be taken once.
    pub sinks: Mutex<Vec<Option<Box<dyn Sink>>>>,
}

impl Running {
    /// The open sink of this number; once.
    pub fn take_sink(&self, number: usize) -> Option<Box<dyn Sink>> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner).get_mut(number)?.take()
    }

    /// Receivers end; worker 0 hears of it and ends the job when all is committed.
    pub fn request_stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.inboxes.iter().flatten().for_each(|inbox| inbox.close());
        self.failure.wake();
    }

    /// Whether the job is to stop gracefully.
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}
