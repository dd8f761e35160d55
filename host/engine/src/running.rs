//! A running job, as all its workers see it.

pub mod cluster_key;
pub mod handover;
pub mod layout;
pub mod loads;
pub mod peer_trust;
pub mod upgrade;

use crate::checkpoint::JobCheckpoints;
use crate::graph::Graph;
use crate::operators::plugin::versions::Versions;
use crate::state::ahead::TablesAhead;
use handover::HandoverRequests;
use layout::LayoutUpdate;
use loads::Loads;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::ids::BatchId;
use millstream_job::spec::JobSpec;
use millstream_metrics::Metrics;
use millstream_metrics::batches::PartIndex;
use millstream_rows::batch::sink::Sink;
use millstream_rows::inbox::Inbox;
use peer_trust::PeerTrust;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;
use upgrade::Upgrades;

/// Options of a run that are not in the job file.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Worker threads of this process; `None`: as the job says, or all cores.
    pub workers: Option<usize>,
    /// Stop once every source is finished or has been idle for [`millstream_base::limits::IDLE_MS`].
    pub until_idle: bool,
    /// Maximum rows to read from each source, then end.
    pub limit: Option<u64>,
    /// Values that replace those of the job file, by dotted path.
    pub sets: Vec<(String, String)>,
    /// The cluster, if several processes run the job; `None`: only this process.
    pub cluster: Option<Cluster>,
    /// Start from scratch, ignoring any checkpoint.
    pub fresh: bool,
    /// Resume after this batch, though later ones were planned or committed.
    pub resume_from: Option<BatchId>,
    /// Return to the state after this batch, and replay all planned batches after it with the current job.
    pub replay_from: Option<BatchId>,
    /// Names of stages and sources whose state is dropped.
    pub drop_state: Vec<String>,
    /// Replay planned batches up to this one, then end.
    pub replay_until: Option<BatchId>,
    /// With `replay_until`: write no checkpoint.
    pub dry: bool,
    /// When a startup that still waits for a server gives up.
    pub start_until: Option<Instant>,
    /// A supervisor restarts this process on request, see [`Stopper::go_back`].
    pub supervised: bool,
    /// What was loaded before this process took the job over from others, see `run/stand_by`.
    pub ahead: Option<Arc<TablesAhead>>,
}

/// Returns the number of worker threads of all processes of a job.
pub fn workers_of_all(spec: &JobSpec, options: &Options) -> Result<usize> {
    Ok(workers(spec, options)?.saturating_mul(options.process_and_count().1))
}

/// Returns the number of worker threads of each process.
pub fn workers(spec: &JobSpec, options: &Options) -> Result<usize> {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match options.workers.or(spec.workers).unwrap_or_else(cores) {
        0 => Err(Error::job("`workers` is 0; a job needs at least one worker")),
        workers if workers as u64 > millstream_base::limits::WORKERS_MAX => Err(Error::job(format!(
            "`workers` is {workers}; at most {} are allowed",
            millstream_base::limits::WORKERS_MAX
        ))),
        workers => Ok(workers),
    }
}

impl Options {
    /// Returns the number of this process, and the number of processes.
    pub fn process_and_count(&self) -> (usize, usize) {
        self.cluster.as_ref().map_or((0, 1), |cluster| (cluster.process, cluster.hosts.len()))
    }
}

/// This process among those that run a job together.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The index of this process in `hosts`. Process 0 owns the sinks.
    pub process: usize,
    /// `host:port` of each process.
    pub hosts: Vec<String>,
    /// The address on which this process listens, if it differs from that in `hosts`, for example because of NAT.
    pub listen: Option<String>,
    /// How the processes authenticate each other.
    pub trust: PeerTrust,
    /// The layout, if the job was rescaled while it ran.
    pub layout: LayoutUpdate,
}

impl Cluster {
    /// Returns the address of this process.
    pub fn own_host(&self) -> Option<&str> {
        self.hosts.get(self.process).map(String::as_str)
    }
}

/// State that all workers of a process share.
pub struct Running {
    /// The job, with its plugins loaded and its edges checked.
    pub graph: Graph,
    /// The options of this run.
    pub options: Options,
    /// The workers of this process.
    pub threads: WorkerThreads,
    /// The loads of all workers.
    pub loads: Loads,
    /// The job's sources and sinks.
    pub endpoints: JobEndpoints,
    /// The first error, which fails the job.
    pub failure: Failure,
    /// The metrics.
    pub metrics: Metrics,
    /// The number of batches begun so far.
    pub batches: AtomicU64,
    /// The running plugins, and those that are to replace them.
    pub plugins: RunningPlugins,
    /// The checkpoints, if the job keeps any.
    pub checkpoints: Option<Arc<JobCheckpoints>>,
    /// Requests to the running job.
    pub requests: JobRequests,
}

/// The worker threads of this process among those of the job.
#[derive(Clone, Copy, Debug)]
pub struct WorkerThreads {
    /// The number of workers of this process; it is the same in all processes.
    pub count: usize,
    /// The index, in the job, of the first of them, which takes chunks from the inboxes.
    pub first: usize,
}

impl WorkerThreads {
    /// Returns their indices in the job.
    pub fn all(&self) -> Range<usize> {
        self.first..self.first + self.count
    }

    /// Returns the number of this process.
    pub fn process(&self) -> usize {
        self.first / self.count.max(1)
    }
}

/// The sources and sinks of a running job, by their numbers.
pub struct JobEndpoints {
    /// The inbox of each source; `None` if another process receives.
    pub inboxes: Vec<Option<Arc<Inbox>>>,
    sinks: Mutex<Vec<Option<Box<dyn Sink>>>>,
    shares: Mutex<SinkShares>,
}

/// The workers' shares of sinks to which each worker commits, by the sink's number and the worker.
pub type SinkShares = BTreeMap<(usize, usize), Box<dyn Sink>>;

impl JobEndpoints {
    /// Creates the endpoints. `sinks` is empty if another process owns them. `shares`: of the workers of this process.
    pub fn new(
        inboxes: Vec<Option<Arc<Inbox>>>,
        sinks: Vec<Option<Box<dyn Sink>>>,
        shares: SinkShares,
    ) -> JobEndpoints {
        JobEndpoints { inboxes, sinks: Mutex::new(sinks), shares: Mutex::new(shares) }
    }

    /// Returns the open sink of this number, once. If each worker commits to it, the sink stays here as long as the job runs, so that it is not
    /// opened twice.
    pub fn take_sink(&self, number: usize) -> Option<Box<dyn Sink>> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner).get_mut(number)?.take()
    }

    /// Returns a worker's share of the sink of this number, once.
    pub fn take_share(&self, number: usize, worker: usize) -> Option<Box<dyn Sink>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner).remove(&(number, worker))
    }

    /// Closes all inboxes, so that no source receives more.
    pub fn close_inboxes(&self) {
        self.inboxes.iter().flatten().for_each(|inbox| inbox.close());
    }
}

/// The plugins of a running job.
pub struct RunningPlugins {
    /// The running plugins.
    pub versions: Versions,
    /// The plugins that are to replace them.
    pub upgrades: Upgrades,
}

/// Requests to a running job. They are never withdrawn.
#[derive(Default)]
pub struct JobRequests {
    /// Stop gracefully.
    stop: AtomicBool,
    /// Restart from the checkpoint after this batch, once the job has stopped.
    pub go_back: OnceLock<BatchId>,
    /// Hand the job over to other processes.
    pub handover: HandoverRequests,
}

impl Running {
    /// Returns the names of sources, stages and sinks. A part's index in this list identifies it in timings.
    pub fn parts(&self) -> Vec<String> {
        let JobSpec { sources, stages, sinks, .. } = &self.graph.spec;
        let sources = sources.iter().map(|source| &source.name);
        sources
            .chain(stages.iter().map(|stage| &stage.name))
            .chain(sinks.iter().map(|sink| &sink.name))
            .cloned()
            .collect()
    }

    /// Returns the index of a source by its number.
    pub fn part_of_source(&self, number: usize) -> PartIndex {
        PartIndex::try_from(number).unwrap_or(PartIndex::MAX)
    }

    /// Returns the index of a stage.
    pub fn part_of_stage(&self, name: &str) -> Option<PartIndex> {
        let index = self.graph.spec.stages.iter().position(|stage| stage.name == name)?;
        PartIndex::try_from(self.graph.spec.sources.len() + index).ok()
    }

    /// Returns the index of a sink by its number.
    pub fn part_of_sink(&self, number: usize) -> PartIndex {
        let spec = &self.graph.spec;
        PartIndex::try_from(spec.sources.len() + spec.stages.len() + number).unwrap_or(PartIndex::MAX)
    }

    /// Stops the receivers. Worker 0 notices and ends the job when everything is committed.
    pub fn request_stop(&self) {
        self.requests.stop.store(true, Ordering::Release);
        self.endpoints.close_inboxes();
        self.failure.wake();
    }

    /// Requests a checkpoint soon, as other processes load it.
    pub fn request_checkpoint(&self) {
        self.requests.handover.request_early_checkpoint();
        self.is_followed();
        self.failure.wake();
    }

    /// Returns whether other processes load the checkpoints of this one.
    pub fn is_followed(&self) {
        self.checkpoints.iter().for_each(|checkpoints| checkpoints.writers.checkpoints.is_followed());
    }

    /// Stops the job as [`Running::request_stop`] does, because other processes take it over. Worker 0 first waits for a checkpoint in progress, as
    /// they would have to wait for it otherwise.
    pub fn request_handover(&self) {
        self.requests.handover.request_end();
        self.checkpoints.iter().for_each(|checkpoints| checkpoints.writers.checkpoints.hand_over());
        self.failure.wake();
    }

    /// Returns whether the job is to stop gracefully.
    pub fn stopping(&self) -> bool {
        self.requests.stop.load(Ordering::Acquire)
    }
}
