//! The start of a job: what exists, how to proceed with it, and which process may.

use super::connect;
use super::connect::{Connected, Hello, Liveness, PeerPort};
use super::control::others::OtherProcesses;
use super::launch::{Peers, launch, open_sinks};
use super::prepared::{PreparedStart, StandbyPort};
use super::sent::SentBatches;
use super::stopper::Stopper;
use crate::recover;
use crate::recover::RecoveryPlan;
use millstream_base::error::{Error, Kind, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::{BatchId, Generation};
use millstream_base::memory;
use millstream_base::retry::StartupRetry;
use millstream_base::threads::lost_connection;
use millstream_connect::receiver::outage::wait_until_readable;
use millstream_connectors::kinds;
use millstream_engine::checkpoint::store::{self, Store, Version};
use millstream_engine::checkpoint::types::{JobRecord, JobStart};
use millstream_engine::checkpoint::{DirLock, manifest, record};
use millstream_engine::graph::Graph;
use millstream_engine::running::Options;
use millstream_engine::running::workers;
use millstream_job::spec::SinkStart;
use millstream_job::spec::{JobSpec, OnError, SinkKind, StateSpec};
use millstream_plugins::plugin::PluginHost;
use std::sync::Arc;
use std::time::Duration;

/// Starts a job. Errors are found before anything runs or is written. `ready`: what a standby process has already
/// loaded.
pub fn start(spec: JobSpec, options: Options, ready: Option<PreparedStart>) -> Result<Stopper> {
    memory::limit(spec.memory_bytes_max, processes_sharing_memory(&options))?;
    memory::unspillable::limit(spec.state.as_ref().map(|state| state.memory_bytes_max));
    await_clusters(&spec, &options)?;
    let (plugins, standby_port, failure) = match ready {
        Some(ready) => (ready.plugins, ready.port, ready.failure),
        None => (PluginHost::new()?, StandbyPort::None, Failure::default()),
    };
    let Some(checkpoint) = &spec.checkpoint else {
        let graph = Graph::resolve(spec, kinds::all(), &plugins, owns_sinks(&options), startup_retry(&options))?;
        graph.check_instances(workers(&graph.spec, &options)?)?;
        let port = open_port(&graph, &options)?;
        let failure = Failure::default();
        let peers = connect_peers(&options, port, Generation(0), &failure)?;
        let sinks = open_sinks(&graph, &options, owns_sinks(&options), None, &failure)?;
        return launch(graph, options, None, sinks, failure, peers);
    };
    let store = store::open(&checkpoint.dir, &spec.origin.dir)?;
    if !options.fresh && manifest_version(&*store)?.is_some() {
        wait_until_readable(spec.sources.iter(), &spec.origin.dir);
    }
    if owns_sinks(&options) {
        let lock = store.lock()?.map(Arc::new);
        start_first(spec, options, &plugins, store, lock, None, standby_port)
    } else {
        start_follower(spec, options, &plugins, store, standby_port, failure)
    }
}

/// Returns how many processes of the job share the memory of this machine.
pub(super) fn processes_sharing_memory(options: &Options) -> usize {
    options.cluster.as_ref().map_or(1, |here| memory::on_this_machine(&here.hosts, here.process))
}

/// Waits for unreachable servers of the job. Nothing begins before all are reachable.
fn await_clusters(spec: &JobSpec, options: &Options) -> Result<()> {
    for sink in spec.sinks.iter().filter(|_| owns_sinks(options)) {
        sink.kind.await_server(SinkStart::new(sink, &spec.origin, startup_retry(options)))?;
    }
    Ok(())
}

/// Returns the retry policy of the start for databases and other servers that are unreachable.
pub(super) fn startup_retry(options: &Options) -> StartupRetry {
    StartupRetry::Until(options.start_until)
}

/// Returns whether this process owns the sinks and the manifest: process 0 does.
fn owns_sinks(options: &Options) -> bool {
    options.cluster.as_ref().is_none_or(|cluster| cluster.process == 0)
}

/// Starts process 0 of a job with checkpoints: decides how to resume, claims the job, and starts.
fn start_first(
    spec: JobSpec,
    options: Options,
    plugins: &PluginHost,
    store: Arc<dyn Store>,
    lock: Option<DirLock>,
    record: Option<JobRecord>,
    mut standby_port: StandbyPort,
) -> Result<Stopper> {
    let failure = Failure::default();
    let (graph, decided, port, sinks) = loop {
        let (graph, mut decided, sent) = settle(&spec, &options, plugins, &store, lock.as_ref(), record.as_ref())?;
        let port = match std::mem::replace(&mut standby_port, StandbyPort::None) {
            // The other processes wait there.
            StandbyPort::Open(hello, port) if Some(hello) == hello_of(&graph, &options)? => Some((hello, port)),
            _ => open_port(&graph, &options)?,
        };
        // Open the sinks first: once they know this startup, no older process commits, and the plans read afterwards are
        // complete.
        let mut sinks = None;
        if let Some(owner) = decided.owner() {
            let open = open_sinks(&graph, &options, true, Some(&owner), &failure)?;
            let fenced = graph.spec.sinks.iter().zip(&open);
            let fenced = fenced.filter_map(|(spec, sink)| Some((spec.name.clone(), sink.as_ref()?.committed()?)));
            decided = recover::decide(&graph, &*store, &options, record.clone(), Some(fenced.collect()), sent.max)?;
            // Another start has claimed the job meanwhile, perhaps with the number by which the sinks know this one.
            if decided.owner().is_none_or(|now| now.generation != owner.generation) {
                continue;
            }
            sinks = Some(open);
        }
        // A commit was in progress when the sinks were first queried. What it committed must be replayed unchanged.
        if record.is_some() || decided.resume.as_before.is_none() {
            break (graph, decided, port, sinks);
        }
    };
    decided.warn();
    handover_fault_point(&options, "handover.claim");
    let owned = recover::claim(decided, &*store, &failure)?;
    handover_fault_point(&options, "handover.claimed");
    let manifest = owned.manifest.clone();
    let checkpoints = recover::prepare(&graph, store, &manifest, Some(owned), lock, &options, &failure)?;
    let sinks = match sinks {
        Some(sinks) => sinks,
        None => open_sinks(&graph, &options, true, Some(&checkpoints.owner), &failure)?,
    };
    let peers = connect_peers(&options, port, manifest.generation, &failure)?;
    launch(graph, options, Some(checkpoints), sinks, failure, peers)
}

/// A fault point of a startup that takes the job over from other processes.
fn handover_fault_point(options: &Options, name: &str) {
    if options.ahead.is_some() {
        fault::point(name);
    }
}

/// Checks and decides, until the job can continue in its current form.
fn settle(
    spec: &JobSpec,
    options: &Options,
    plugins: &PluginHost,
    store: &Arc<dyn Store>,
    lock: Option<&DirLock>,
    record: Option<&JobRecord>,
) -> Result<(Graph, RecoveryPlan, SentBatches)> {
    let (mut ran_as_before, mut sent) = (BatchId(0), SentBatches::default());
    loop {
        let version = manifest_version(&**store)?;
        let saved_manifest = if options.fresh { None } else { manifest::read(&**store)? };
        saved_manifest.iter().filter_map(|(manifest, _)| manifest.newest()).for_each(|newest| sent.saved(newest.batch));
        let job_id = saved_manifest.as_ref().map(|(manifest, _)| manifest.job_id.as_str());
        let graph = Graph::resolve(spec.clone(), kinds::all(), plugins, false, startup_retry(options))?;
        graph.check_instances(workers(&graph.spec, options)?)?;
        graph.check_sinks(job_id)?;
        if job_id.is_none() {
            graph.check_tables()?;
        }
        let decided = match recover::decide(&graph, &**store, options, record.cloned(), None, sent.max) {
            // Another process that was replaced, or is about to be, has just made a checkpoint and deleted old files.
            Err(_) if manifest_version(&**store)? != version => continue,
            decided => decided?,
        };
        let Some(until) = decided.resume.as_before else { return Ok((graph, decided, sent)) };
        // This happens twice if a sink could not be read completely before that startup of the job had fenced it.
        let Some(start) = decided.before.clone().filter(|_| until > ran_as_before) else {
            return Err(Error::bug(format!(
                "batches up to {until} were replayed unchanged, but no checkpoint was written"
            )));
        };
        let first = decided.resume.replay.first().map_or(until, |(batch, _)| *batch);
        // There may not be enough memory for both jobs.
        drop((graph, decided));
        // The other processes wait meanwhile and hold nothing yet, so this process may use their share of memory.
        memory::limit(spec.memory_bytes_max, 1)?;
        memory::unspillable::limit(spec.state.as_ref().map(|state| state.memory_bytes_max));
        let ran = replay_as_before(&start, until, spec, options, plugins, store, lock.cloned());
        memory::limit(spec.memory_bytes_max, processes_sharing_memory(options))?;
        memory::unspillable::limit(spec.state.as_ref().map(|state| state.memory_bytes_max));
        match ran {
            Ok(()) => {
                ran_as_before = until;
                sent.ran(until);
            }
            Err(ReplayFailure { error, committed }) => {
                // A plugin sink may have accepted rows of a batch before it rejected others.
                let by_rows = error.kind == Kind::Plugin && spec.sinks.iter().all(|sink| sink.plugin().is_none());
                if !by_rows || !sent.failed(first, until, committed) {
                    return Err(error);
                }
                if first == until {
                    tracing::warn!("{error}; so nothing of batch {until} was sent, and it runs with the current job");
                }
            }
        }
    }
}

fn manifest_version(store: &dyn Store) -> Result<Option<Version>> {
    Ok(store.read_version(manifest::PATH)?.map(|(_, version)| version))
}

/// Replays batches with the previous job, plugins and workers, since another job might produce other results. These are
/// the batches that a sink has committed, or that record how far a removed source was read. Ends with a checkpoint.
fn replay_as_before(
    start: &JobStart,
    until: BatchId,
    now: &JobSpec,
    options: &Options,
    plugins: &PluginHost,
    store: &Arc<dyn Store>,
    lock: Option<DirLock>,
) -> Result<(), ReplayFailure> {
    let within = |error: Error| error.within(format!("replaying the batches up to {until} with the previous job"));
    let record = record::read(&**store, start).map_err(within)?;
    let dir = tempfile::tempdir().map_err(|e| Error::environment(format!("cannot create a directory: {e}")))?;
    let mut spec = record::job(&**store, &record, kinds::all(), dir.path()).map_err(within)?;
    tracing::info!(
        "the job or its number of workers was changed, or the state of a source is dropped; batches up to {until} \
         are replayed with the previous job"
    );
    let workers = usize::try_from(start.workers).unwrap_or(1);
    spec.workers = Some(workers);
    raise_limits(&mut spec, now);
    // The output does not depend on it, and only the memory of the current job is available.
    spec.state =
        now.state.clone().map(|state| StateSpec { dir: state.dir.map(|dir| now.origin.dir.join(dir)), ..state });
    send_as_now(&mut spec, now);
    let options = Options {
        workers: Some(workers),
        sets: record.sets.clone(),
        resume_from: options.resume_from,
        replay_until: Some(until),
        start_until: options.start_until,
        ..Options::default()
    };
    let stopper =
        start_first(spec, options, plugins, store.clone(), lock, Some(record), StandbyPort::None).map_err(within)?;
    let ended = stopper.await_termination(None);
    ended.map(drop).map_err(|error| ReplayFailure { error: within(error), committed: stopper.committed() })
}

/// Why batches could not be replayed unchanged.
struct ReplayFailure {
    error: Error,
    /// The last batch that was committed in this attempt.
    committed: Option<BatchId>,
}

impl From<Error> for ReplayFailure {
    fn from(error: Error) -> ReplayFailure {
        ReplayFailure { error, committed: None }
    }
}

/// How many times longer a call may take than in the first run of the batch. That machine may have been faster.
const REPLAY_TIMES: u32 = 10;

/// Raises the limits that only stop a job to their current values, as they may have stopped it. Limits that decide
/// about rows stay: the batches must have the same results.
fn raise_limits(before: &mut JobSpec, now: &JobSpec) {
    for stage in &mut before.stages {
        let Some(same) = now.stages.iter().find(|same| same.name == stage.name) else { continue };
        let plugins = stage.plugins_mut().into_iter().zip(same.plugins());
        for (before, now) in plugins.filter(|(before, _)| before.on_error == OnError::Fail) {
            let no_limit = before.limits.time_max.is_zero() || now.limits.time_max.is_zero();
            let longest = before.limits.time_max.max(now.limits.time_max);
            before.limits.time_max = if no_limit { Duration::ZERO } else { longest.saturating_mul(REPLAY_TIMES) };
            let raise = |limit: &mut u64, now: u64| *limit = now.max(*limit);
            raise(&mut before.limits.output_bytes_max, now.limits.output_bytes_max);
            raise(&mut before.limits.output_rows_max, now.limits.output_rows_max);
            raise(&mut before.limits.expansion_max, now.limits.expansion_max);
        }
    }
}

/// Applies the current settings for how rows are sent, if they do not change the rows. They may be what makes a server
/// accept them.
fn send_as_now(before: &mut JobSpec, now: &JobSpec) {
    for sink in &mut before.sinks {
        let same = now.sinks.iter().find(|same| same.name == sink.name);
        if let Some(sent) = same.and_then(|same| sink.kind.sent_as(&*same.kind)) {
            sink.kind = SinkKind::Declared(sent);
        }
    }
}

/// Starts another process of a job with checkpoints: resumes as process 0 has decided.
fn start_follower(
    spec: JobSpec,
    options: Options,
    plugins: &PluginHost,
    store: Arc<dyn Store>,
    standby_port: StandbyPort,
    failure: Failure,
) -> Result<Stopper> {
    let graph = Graph::resolve(spec, kinds::all(), plugins, false, startup_retry(&options))?;
    graph.check_instances(workers(&graph.spec, &options)?)?;
    let peers = match standby_port {
        StandbyPort::Admitted(hello, peers) if Some(hello) == hello_of(&graph, &options)? => Some(*peers),
        // The job was changed while this process was in standby.
        StandbyPort::Admitted(..) => return Err(lost_connection()),
        _ => connect_peers(&options, open_port(&graph, &options)?, Generation(0), &failure)?,
    };
    let generation = peers.as_ref().map_or(Generation(0), |peers| peers.generation);
    let saved_manifest = manifest::read(&*store)?.map(|(manifest, _)| manifest);
    if saved_manifest.as_ref().is_some_and(|manifest| manifest.generation > generation) {
        // Process 0 was restarted meanwhile.
        return Err(lost_connection());
    }
    let Some(manifest) = saved_manifest.filter(|manifest| manifest.generation == generation) else {
        return Err(Error::environment(format!(
            "{}: process 0 runs generation {generation} of the job, but this directory has another one; all \
             processes must use the same checkpoints: use a shared directory or s3://",
            store.location()
        )));
    };
    let checkpoints = recover::prepare(&graph, store, &manifest, None, None, &options, &failure)?;
    launch(graph, options, Some(checkpoints), Vec::new(), failure, peers)
}

/// Opens the port of this process, if there are several. Other processes may connect from now on. They wait until this
/// one is ready.
pub(super) fn open_port(graph: &Graph, options: &Options) -> Result<Option<(Hello, PeerPort)>> {
    let Some((cluster, own)) = options.cluster.as_ref().zip(hello_of(graph, options)?) else { return Ok(None) };
    Ok(Some((own, connect::listen(cluster, own)?)))
}

/// Returns the hello message of this process, if there are several.
fn hello_of(graph: &Graph, options: &Options) -> Result<Option<Hello>> {
    let Some(cluster) = &options.cluster else { return Ok(None) };
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(Some(Hello {
        process: number(cluster.process),
        processes: number(cluster.hosts.len()),
        workers: number(workers(&graph.spec, options)?),
        job: graph.digest(),
        generation: Generation(0),
        layout: cluster.layout.id,
    }))
}

/// Connects to the other processes, if there are any. From then on the job fails when one of them is lost.
pub(super) fn connect_peers(
    options: &Options,
    port: Option<(Hello, PeerPort)>,
    generation: Generation,
    failure: &Failure,
) -> Result<Option<Peers>> {
    let (Some(cluster), Some((own, port))) = (&options.cluster, port) else { return Ok(None) };
    let (failure, failed) = (failure.clone(), failure.clone());
    let liveness = Liveness::start(move |error| failure.set(error), move || failed.happened())?;
    let connected = connect::connect(cluster, Hello { generation, ..own }, port, &liveness)?;
    let Connected { sockets, generation, questions } = connected;
    Ok(Some(Peers { sockets, generation, liveness, others: OtherProcesses::new(questions) }))
}
