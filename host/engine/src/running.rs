//! A job that runs, as all its workers see it.

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
use layout::LayoutNews;
use loads::Loads;
use millstream_base::batch::sink::Sink;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::ids::BatchId;
use millstream_base::inbox::Inbox;
use millstream_base::job::spec::JobSpec;
use millstream_metrics::Metrics;
use millstream_metrics::batches::PartPlace;
use peer_trust::PeerTrust;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;
use upgrade::Upgrades;

/// How a job is run, beside what its file says.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Worker threads of this process; `None`: as the job says, or all cores.
    pub workers: Option<usize>,
    /// Stop once every source is finished or has been idle for [`millstream_base::limits::IDLE_MS`].
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
    /// What was loaded before this process took the job over from others, see `run/stand_by`.
    pub ahead: Option<Arc<TablesAhead>>,
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
        workers if workers as u64 > millstream_base::limits::WORKERS_MAX => Err(Error::job(format!(
            "`workers` is {workers}; at most {} are allowed",
            millstream_base::limits::WORKERS_MAX
        ))),
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
    /// Where this process listens, if that is not its address in `hosts`: behind a translation of addresses, say.
    pub listen: Option<String>,
    /// By what the processes know each other.
    pub trust: PeerTrust,
    /// Of machines that the job was given while it ran.
    pub layout: LayoutNews,
}

impl Cluster {
    /// The address of this process.
    pub fn own_host(&self) -> Option<&str> {
        self.hosts.get(self.process).map(String::as_str)
    }
}

/// What all workers of a process share.
pub struct Running {
    /// The job, with its plugins loaded and its edges checked.
    pub graph: Graph,
    /// How it is run.
    pub options: Options,
    /// The workers of this process.
    pub threads: WorkerThreads,
    /// How fast all workers are.
    pub loads: Loads,
    /// Where rows come in and go out.
    pub ends: JobEnds,
    /// The first error, which ends the job.
    pub failure: Failure,
    /// What was counted.
    pub metrics: Metrics,
    /// Batches begun so far.
    pub batches: AtomicU64,
    /// The plugins that run now, and those that are to take their places.
    pub plugins: RunningPlugins,
    /// What is kept of the job where it keeps checkpoints.
    pub checkpoints: Option<Arc<JobCheckpoints>>,
    /// What the job was asked to do.
    pub requests: JobRequests,
}

/// The worker threads of this process among those of the job.
#[derive(Clone, Copy, Debug)]
pub struct WorkerThreads {
    /// How many this process has; all processes have as many.
    pub count: usize,
    /// The index, in the whole job, of the first of them: the one that takes from the inboxes.
    pub first: usize,
}

impl WorkerThreads {
    /// Their indices in the whole job.
    pub fn all(&self) -> Range<usize> {
        self.first..self.first + self.count
    }

    /// The number of this process.
    pub fn process(&self) -> usize {
        self.first / self.count.max(1)
    }
}

/// The sources and sinks of a running job, by their numbers.
pub struct JobEnds {
    /// The inbox of each source; `None` where another process receives.
    pub inboxes: Vec<Option<Arc<Inbox>>>,
    sinks: Mutex<Vec<Option<Box<dyn Sink>>>>,
    shares: Mutex<SinkShares>,
}

/// What workers have of sinks that each of them commits to, by the sink's number and the worker.
pub type SinkShares = BTreeMap<(usize, usize), Box<dyn Sink>>;

impl JobEnds {
    /// With sinks that are open; there are none where another process owns them. `shares`: of the workers of this process.
    pub fn new(inboxes: Vec<Option<Arc<Inbox>>>, sinks: Vec<Option<Box<dyn Sink>>>, shares: SinkShares) -> JobEnds {
        JobEnds { inboxes, sinks: Mutex::new(sinks), shares: Mutex::new(shares) }
    }

    /// The open sink of this number, once. It stays here as long as the job runs where each worker commits to it, so that nobody
    /// else opens it.
    pub fn take_sink(&self, number: usize) -> Option<Box<dyn Sink>> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner).get_mut(number)?.take()
    }

    /// What a worker has of the sink of this number, once.
    pub fn take_share(&self, number: usize, worker: usize) -> Option<Box<dyn Sink>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner).remove(&(number, worker))
    }

    /// No source receives anything more.
    pub fn close_inboxes(&self) {
        self.inboxes.iter().flatten().for_each(|inbox| inbox.close());
    }
}

/// The plugins of a running job.
pub struct RunningPlugins {
    /// Those that run now.
    pub versions: Versions,
    /// Those that are to take their places.
    pub upgrades: Upgrades,
}

/// What a running job was asked to do. Nothing of it is taken back.
#[derive(Default)]
pub struct JobRequests {
    /// To stop gracefully.
    stop: AtomicBool,
    /// To be started again from the checkpoint after this batch, once it has stopped.
    pub go_back: OnceLock<BatchId>,
    /// To be handed over to other processes.
    pub handover: HandoverRequests,
}

impl Running {
    /// The names of sources, stages and sinks: a part's place among them is how its times are told.
    pub fn parts(&self) -> Vec<String> {
        let JobSpec { sources, stages, sinks, .. } = &self.graph.spec;
        let sources = sources.iter().map(|source| &source.name);
        sources
            .chain(stages.iter().map(|stage| &stage.name))
            .chain(sinks.iter().map(|sink| &sink.name))
            .cloned()
            .collect()
    }

    /// The place of a source by its number.
    pub fn part_of_source(&self, number: usize) -> PartPlace {
        PartPlace::try_from(number).unwrap_or(PartPlace::MAX)
    }

    /// The place of a stage.
    pub fn part_of_stage(&self, name: &str) -> Option<PartPlace> {
        let place = self.graph.spec.stages.iter().position(|stage| stage.name == name)?;
        PartPlace::try_from(self.graph.spec.sources.len() + place).ok()
    }

    /// The place of a sink by its number.
    pub fn part_of_sink(&self, number: usize) -> PartPlace {
        let spec = &self.graph.spec;
        PartPlace::try_from(spec.sources.len() + spec.stages.len() + number).unwrap_or(PartPlace::MAX)
    }

    /// Receivers end; worker 0 hears of it and ends the job when all is committed.
    pub fn request_stop(&self) {
        self.requests.stop.store(true, Ordering::Release);
        self.ends.close_inboxes();
        self.failure.wake();
    }

    /// A checkpoint is to be made soon, as others load it.
    pub fn request_checkpoint(&self) {
        self.requests.handover.want_checkpoint();
        self.is_followed();
        self.failure.wake();
    }

    /// Other processes load the checkpoints of this one.
    pub fn is_followed(&self) {
        self.checkpoints.iter().for_each(|checkpoints| checkpoints.writers.checkpoints.is_followed());
    }

    /// Other processes take the job over: worker 0 stops it, as [`Running::request_stop`] does, as soon as no checkpoint is under way that
    /// they would have to wait for.
    pub fn request_handover(&self) {
        self.requests.handover.want_end();
        self.checkpoints.iter().for_each(|checkpoints| checkpoints.writers.checkpoints.hand_over());
        self.failure.wake();
    }

    /// Whether the job is to stop gracefully.
    pub fn stopping(&self) -> bool {
        self.requests.stop.load(Ordering::Acquire)
    }
}
