//! Starting a job: checks, sinks, receivers, workers.

use super::connect::Connected;
use super::liveness::{self, Liveness};
use super::{Done, Failure, Options, Running, Stopper, connect};
use crate::checkpoint::recover;
use crate::checkpoint::store::{self, Store, Version};
use crate::checkpoint::types::{JobRecord, Positions, Start};
use crate::checkpoint::{Kept, Lock, Owner, manifest, record};
use crate::error::{Error, Result};
use crate::graph::{Graph, inbox_bytes_max};
use crate::ids::{BatchId, Generation};
use crate::job::spec::JobSpec;
use crate::metrics::Metrics;
use crate::plugin::PluginHost;
use crate::receiver::{self, inbox::Inbox};
use crate::timely_ext::{is_lost_connection, lost_connection};
use crate::{sink, worker};
use std::any::Any;
use std::fmt::Display;
use std::net::{TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use timely::communication::allocator::ProcessBuilder;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::{AllocatorBuilder, Hooks, WorkerGuards};
use timely::{CommunicationConfig, WorkerConfig};
use tokio::runtime::Handle;

/// Starts a job. What can be wrong is found before anything runs or is written.
pub fn start(spec: JobSpec, options: Options) -> Result<Stopper> {
    let plugins = PluginHost::new()?;
    let Some(checkpoint) = &spec.checkpoint else {
        let graph = Graph::resolve(spec, &plugins, owns_sinks(&options))?;
        let listener = options.cluster.as_ref().map(connect::listen).transpose()?;
        let failure = Failure::default();
        let peers = connected(&graph, &options, listener, Generation(0), &failure)?;
        let sinks = open_sinks(&graph, owns_sinks(&options), None, &failure)?;
        return launch(graph, options, None, sinks, failure, peers);
    };
    let store = store::open(&checkpoint.dir, &spec.origin.folder)?;
    if owns_sinks(&options) {
        let lock = store.lock()?.map(Arc::new);
        own(spec, options, &plugins, store, lock, None)
    } else {
        follow(spec, options, &plugins, store)
    }
}

/// Process 0 owns the sinks and the manifest.
fn owns_sinks(options: &Options) -> bool {
    options.cluster.as_ref().is_none_or(|cluster| cluster.process == 0)
}

/// Process 0 of a job with checkpoints: decides how to go on, claims the job, and starts.
fn own(
    spec: JobSpec,
    options: Options,
    plugins: &PluginHost,
    store: Arc<dyn Store>,
    lock: Option<Lock>,
    record: Option<JobRecord>,
) -> Result<Stopper> {
    let workers = |graph: &Graph| Ok::<_, Error>(workers(&graph.spec, &options)?.saturating_mul(options.place().1));
    let mut before = false;
    let (graph, decided) = loop {
        let version = manifest_version(&*store)?;
        let held = if options.fresh { None } else { manifest::read(&*store)? };
        let job_id = held.as_ref().map(|(manifest, _)| manifest.job_id.as_str());
        let graph = Graph::resolve(spec.clone(), plugins, false)?;
        graph.check_sinks(job_id)?;
        match recover::decide(&graph, &*store, &options, workers(&graph)?, record.clone(), None) {
            // Another process that has lost the job, or is about to, has just made a checkpoint and tidied up.
            Err(_) if manifest_version(&*store)? != version => {}
            Err(error) => return Err(error),
            Ok(decided) => match (decided.resume.as_before, &decided.before) {
                (Some(until), Some(start)) if !before => {
                    replay_as_before(start, until, &options, plugins, &store, lock.clone())?;
                    before = true;
                }
                _ => break (graph, decided),
            },
        }
    };
    let listener = options.cluster.as_ref().map(connect::listen).transpose()?;
    let failure = Failure::default();
    // Sinks first: once they know this start, nobody older commits, and what is then read of plans is all that counts.
    let (mut sinks, mut decided) = (None, decided);
    if let Some(owner) = decided.owner() {
        let open = open_sinks(&graph, true, Some(&owner), &failure)?;
        let fenced = graph.spec.sinks.iter().zip(&open);
        let fenced = fenced.filter_map(|(spec, sink)| Some((spec.name.clone(), sink.as_ref()?.committed()?)));
        decided = recover::decide(&graph, &*store, &options, workers(&graph)?, record, Some(fenced.collect()))?;
        sinks = Some(open);
    }
    decided.warn();
    let owned = recover::claim(decided, &*store, &failure)?;
    let manifest = owned.manifest.clone();
    let kept = recover::prepare(&graph, store, &manifest, Some(owned), lock, &options, &failure)?;
    let sinks = match sinks {
        Some(sinks) => sinks,
        None => open_sinks(&graph, true, Some(&kept.owner), &failure)?,
    };
    let peers = connected(&graph, &options, listener, manifest.generation, &failure)?;
    launch(graph, options, Some(kept), sinks, failure, peers)
}

fn manifest_version(store: &dyn Store) -> Result<Option<Version>> {
    Ok(store.read_version(manifest::PATH)?.map(|(_, version)| version))
}

/// Runs the batches that a sink has committed again with the job, the plugins and the workers of before, as another job
/// might make something else of them. Ends with a checkpoint.
fn replay_as_before(
    start: &Start,
    until: BatchId,
    options: &Options,
    plugins: &PluginHost,
    store: &Arc<dyn Store>,
    lock: Option<Lock>,
) -> Result<()> {
    let within = |error: Error| error.within(format!("running the batches up to {until} again as they were"));
    let record = record::read(&**store, start).map_err(within)?;
    let folder = tempfile::tempdir().map_err(|e| Error::environment(format!("cannot make a folder: {e}")))?;
    let mut spec = record::job(&**store, &record, folder.path()).map_err(within)?;
    tracing::info!("the job was changed since; batches up to {until} are run again as it was before");
    let workers = usize::try_from(start.workers).unwrap_or(1);
    spec.workers = Some(workers);
    let options = Options {
        workers: Some(workers),
        sets: record.sets.clone(),
        resume_from: options.resume_from,
        replay_until: Some(until),
        ..Options::default()
    };
    let stopper = own(spec, options, plugins, store.clone(), lock, Some(record)).map_err(within)?;
    stopper.await_termination(None).map(drop).map_err(within)
}

/// Another process of a job with checkpoints: goes on as process 0 has decided.
fn follow(spec: JobSpec, options: Options, plugins: &PluginHost, store: Arc<dyn Store>) -> Result<Stopper> {
    let graph = Graph::resolve(spec, plugins, false)?;
    let listener = options.cluster.as_ref().map(connect::listen).transpose()?;
    let failure = Failure::default();
    let peers = connected(&graph, &options, listener, Generation(0), &failure)?;
    let generation = peers.as_ref().map_or(Generation(0), |peers| peers.generation);
    let held = manifest::read(&*store)?.map(|(manifest, _)| manifest);
    let Some(manifest) = held.filter(|manifest| manifest.generation == generation) else {
        return Err(Error::environment(format!(
            "{}: process 0 runs generation {generation} of the job, which is not what this folder holds; all processes \
             must see the same checkpoints: use a shared folder or s3://",
            store.place()
        )));
    };
    let kept = recover::prepare(&graph, store, &manifest, None, None, &options, &failure)?;
    launch(graph, options, Some(kept), Vec::new(), failure, peers)
}

/// The other processes of the job.
pub(super) struct Peers {
    sockets: Vec<Option<TcpStream>>,
    /// As process 0 says.
    generation: Generation,
    liveness: Liveness,
}

/// Connects with the other processes, where there are some. From then on the job fails when one of them is lost.
fn connected(
    graph: &Graph,
    options: &Options,
    listener: Option<TcpListener>,
    generation: Generation,
    failure: &Failure,
) -> Result<Option<Peers>> {
    let (Some(cluster), Some(listener)) = (&options.cluster, listener) else { return Ok(None) };
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let own = connect::Hello {
        process: number(cluster.process),
        processes: number(cluster.hosts.len()),
        workers: number(workers(&graph.spec, options)?),
        job: graph.digest(),
        generation,
    };
    let Connected { sockets, generation, links } = connect::connect(cluster, own, &listener)?;
    let failure = failure.clone();
    let liveness = liveness::watch(links, move || failure.set(lost_connection()))
        .map_err(|error| Error::environment(format!("cannot watch the other processes: {error}")))?;
    Ok(Some(Peers { sockets, generation, liveness }))
}

/// Starts receivers and workers.
pub(super) fn launch(
    graph: Graph,
    options: Options,
    kept: Option<Kept>,
    sinks: OpenSinks,
    failure: Failure,
    mut peers: Option<Peers>,
) -> Result<Stopper> {
    let (process, processes) = options.place();
    let workers = workers(&graph.spec, &options)?;
    let first_thread = Arc::new(OnceLock::<Thread>::new());
    let mut inboxes = Vec::new();
    for (number, source) in graph.spec.sources.iter().enumerate() {
        let thread = first_thread.clone();
        let wake = Box::new(move || thread.get().into_iter().for_each(Thread::unpark));
        let bytes_max = inbox_bytes_max(&graph.spec, source.bytes_per_batch_max);
        inboxes.push((number % processes == process).then(|| Arc::new(Inbox::new(bytes_max, wake))));
    }
    let receivers = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("millstream-receivers")
        .enable_all()
        .build()
        .map_err(|e| Error::environment(format!("cannot start the receivers: {e}")))?;
    let running = Arc::new(Running {
        graph,
        options,
        workers,
        inboxes,
        first_worker: process * workers,
        failure,
        metrics: Metrics::default(),
        batches: AtomicU64::new(0),
        kept: kept.map(Arc::new),
        stop: AtomicBool::new(false),
        sinks: Mutex::new(sinks),
    });
    if running.options.replay_until.is_none() {
        receive(&running, receivers.handle());
    }
    let sockets = peers.as_mut().map(|peers| std::mem::take(&mut peers.sockets));
    let guards = start_workers(&running, sockets, first_thread)?;
    let liveness = peers.map(|peers| peers.liveness);
    let done = Arc::new(Done::default());
    let stopper = Stopper { running: running.clone(), done: done.clone() };
    std::thread::Builder::new()
        .name("millstream-end".into())
        .spawn(move || {
            // timely passes the panics of its connections on to whoever waits for the workers.
            let joined =
                catch_unwind(AssertUnwindSafe(|| guards.join().into_iter().find_map(std::result::Result::err)));
            let ended = match joined {
                Ok(Some(words)) if !is_lost_connection(&words) => Some(Error::bug(words)),
                Ok(None) => None,
                Ok(Some(_)) | Err(_) => Some(lost_connection()),
            };
            running.inboxes.iter().flatten().for_each(|inbox| inbox.close());
            receivers.shutdown_background();
            let error = running.failure.error().or(ended);
            if let (Some(liveness), None) = (liveness, &error) {
                liveness.goodbye();
            }
            *done.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.map_or(Ok(()), Err));
            done.changed.notify_all();
        })
        .map_err(|e| Error::environment(format!("cannot start a thread: {e}")))?;
    Ok(stopper)
}

/// Starts the receivers of this process where their sources go on.
fn receive(running: &Running, runtime: &Handle) {
    for (number, (source, inbox)) in running.graph.spec.sources.iter().zip(&running.inboxes).enumerate() {
        let Some(inbox) = inbox else { continue };
        let mut from = Positions::new();
        if let Some(start) = running.kept.as_ref().and_then(|kept| kept.source(number)) {
            let (positions, leftovers) = start;
            from = positions;
            inbox.put_back(leftovers);
        }
        receiver::start(source, &running.graph.spec.origin, inbox.clone(), runtime, &from);
    }
}

fn workers(spec: &JobSpec, options: &Options) -> Result<usize> {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match options.workers.or(spec.workers).unwrap_or_else(cores) {
        0 => Err(Error::job("`workers` is 0; a job needs at least one worker")),
        workers if workers as u64 > crate::limits::WORKERS_MAX => {
            Err(Error::job(format!("`workers` is {workers}; at most {} are allowed", crate::limits::WORKERS_MAX)))
        }
        workers => Ok(workers),
    }
}

/// The sinks by number, each to be taken once by the worker that owns it.
pub(super) type OpenSinks = Vec<Option<Box<dyn sink::Sink>>>;

/// Opens the sinks, where this process owns them.
fn open_sinks(graph: &Graph, owned: bool, owner: Option<&Owner>, failure: &Failure) -> Result<OpenSinks> {
    let mut sinks = Vec::new();
    for spec in graph.spec.sinks.iter().filter(|_| owned) {
        sinks.push(Some(sink::open(spec, graph.union(&spec.from)?, &graph.spec.origin, owner, failure)?));
    }
    Ok(sinks)
}

/// Starts the worker threads; where there are several processes, as soon as all are there.
fn start_workers(
    running: &Arc<Running>,
    sockets: Option<Vec<Option<TcpStream>>>,
    first_thread: Arc<OnceLock<Thread>>,
) -> Result<WorkerGuards<()>> {
    let failed = |error: &dyn Display| Error::environment(format!("cannot start the workers: {error}"));
    let threads = running.workers;
    let (allocators, connections): (Vec<AllocatorBuilder>, Box<dyn Any + Send>) =
        match (&running.options.cluster, sockets) {
            (Some(cluster), Some(sockets)) => {
                let hooks = Hooks::default();
                let local = ProcessBuilder::new_typed_vector(threads, hooks.refill.clone(), None);
                let (allocators, connections) =
                    initialize_networking_from_sockets(local, sockets, cluster.process, threads, hooks)
                        .map_err(|error| failed(&error))?;
                (allocators.into_iter().map(AllocatorBuilder::Tcp).collect(), Box::new(connections))
            }
            _ => CommunicationConfig::Process(threads).try_build().map_err(|error| failed(&error))?,
        };
    let running = running.clone();
    timely::execute::execute_from(allocators, connections, WorkerConfig::default(), move |worker| {
        if worker.index() == running.first_worker {
            // The inboxes wake this thread when something arrives.
            let _ = first_thread.set(std::thread::current());
        }
        worker::drive(worker, &running);
    })
    .map_err(|error| failed(&error))
}
