//! Turns a checked job into running threads: sinks, receivers, workers.

use super::connect::{Liveness, Sealed};
use super::control::others::OtherProcesses;
use super::stopper::{JobResult, Stopper};
use super::traces::Traces;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::ids::Generation;
use millstream_base::memory::{self, Holder};
use millstream_base::owner::Owner;
use millstream_base::threads;
use millstream_base::threads::{is_connection_loss, lost_connection};
use millstream_connect::receiver;
use millstream_connect::sink;
use millstream_engine::checkpoint::JobCheckpoints;
use millstream_engine::checkpoint::counters::TABLE;
use millstream_engine::checkpoint::types::TableOf;
use millstream_engine::graph::{Graph, inbox_bytes_max};
use millstream_engine::operators::plugin::versions::Versions;
use millstream_engine::running::loads::Loads;
use millstream_engine::running::upgrade::Upgrades;
use millstream_engine::running::{
    JobEndpoints, JobRequests, Options, Running, RunningPlugins, SinkShares, WorkerThreads, workers,
};
use millstream_engine::worker;
use millstream_job::spec::{AtEnd, JobFacts, SourceStart};
use millstream_metrics::Metrics;
use millstream_rows::batch::position::{Positions, SOURCE_END};
use millstream_rows::inbox::Inbox;
use std::any::Any;
use std::fmt::Display;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::thread::{ScopedJoinHandle, Thread};
use std::time::{Duration, Instant};
use timely::communication::allocator::ProcessBuilder;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::{AllocatorBuilder, Hooks, WorkerGuards};
use timely::{CommunicationConfig, WorkerConfig};
use tokio::runtime::Handle;

/// The other processes of the job.
pub(super) struct Peers {
    /// Dataflow connections by process. `None` for this process.
    pub sockets: Vec<Option<Sealed>>,
    /// The generation that process 0 has reported.
    pub generation: Generation,
    /// Detects the loss of one of them.
    pub liveness: Liveness,
    /// Queries the other processes for their status.
    pub others: OtherProcesses,
}

/// Starts receivers and workers.
pub(super) fn launch(
    graph: Graph,
    options: Options,
    checkpoints: Option<JobCheckpoints>,
    sinks: OpenSinks,
    failure: Failure,
    mut peers: Option<Peers>,
) -> Result<Stopper> {
    for stage in graph.stages.iter().filter(|stage| stage.window.is_some_and(|window| window.leaves_gaps())) {
        tracing::warn!(
            "stage `{}`: its windows are shorter than the distance between them; rows between windows are dropped",
            stage.name
        );
    }
    let (process, processes) = options.process_and_count();
    let workers = workers(&graph.spec, &options)?;
    let first_thread = Arc::new(OnceLock::<Thread>::new());
    let mut inboxes = Vec::new();
    for (number, source) in graph.spec.sources.iter().enumerate() {
        let thread = first_thread.clone();
        let wake = Box::new(move || thread.get().into_iter().for_each(Thread::unpark));
        let bytes_max = inbox_bytes_max(&graph.spec, source.bytes_per_batch_max);
        // Implicit sources, which are not in the job file, have no rows of their own.
        let written = !source.kind.is_hidden();
        let share = source.kind.share(number, (process, processes));
        let rows_max = options.limit.filter(|_| written);
        if rows_max.is_some() && processes > 1 && source.kind.is_spread() {
            return Err(Error::job(format!(
                "source `{}`: {processes} processes share its partitions, so its rows cannot be limited; start the \
                 job in one process",
                source.name
            )));
        }
        let rows_max = rows_max.unwrap_or(u64::MAX);
        let (goes_on, holder) =
            (checkpoints.is_some(), Holder::new(format!("the waiting rows of source `{}`", source.name)));
        // Without a limit in the job file, the number of rows only bounds memory use, as the number of bytes does.
        let is_configured = source.rows_per_batch_max != millstream_base::limits::ROWS_PER_BATCH_MAX;
        let batch_rows_max = match source.kind.is_batch_source() {
            // Each line of the source is a batch with its own time.
            true => 0,
            false if is_configured => source.rows_per_batch_max,
            false => u64::MAX,
        };
        let inbox =
            || Inbox::new(bytes_max, wake).limited(rows_max, goes_on).in_batches_of(batch_rows_max).held_by(holder);
        let inbox = || if graph.spec.is_sample() { inbox().for_preview() } else { inbox() };
        let has_others = processes > 1 && source.kind.is_spread();
        let inbox = || if has_others { inbox().with_peers() } else { inbox() };
        let of_share = |share| if source.kind.spreads_files() { inbox().with_files(share) } else { inbox() };
        inboxes.push(share.map(|share| Arc::new(of_share(share))));
    }
    let receivers = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("millstream-receivers")
        .enable_all()
        .build()
        .map_err(|e| Error::environment(format!("cannot start the receivers: {e}")))?;
    let owner = checkpoints.as_ref().map(|checkpoints| &checkpoints.owner);
    fault::point("start.shares");
    let shares = open_shares(&graph, process * workers..(process + 1) * workers, owner, &failure)?;
    let loads = Loads::new(workers * processes, graph.spec.sources.len());
    let running = Arc::new(Running {
        loads,
        plugins: RunningPlugins { versions: Versions::new(&graph.stages), upgrades: Upgrades::default() },
        graph,
        options,
        threads: WorkerThreads { count: workers, first: process * workers },
        endpoints: JobEndpoints::new(inboxes, sinks, shares),
        failure,
        metrics: Metrics::default(),
        batches: AtomicU64::new(0),
        checkpoints: checkpoints.map(Arc::new),
        requests: JobRequests::default(),
    });
    running.metrics.batches().of_parts(running.parts());
    // Set before counting begins: sources are read before the workers start.
    if running
        .checkpoints
        .as_ref()
        .is_some_and(|checkpoints| checkpoints.loaded.index_of(TableOf::Stage, TABLE).is_some())
    {
        running.metrics.keep_counted_batches();
    }
    for (name, source) in &running.graph.readers {
        source.node().share_tally(&running.metrics.counts(name));
    }
    for (name, sink) in &running.graph.writers {
        sink.node().share_tally(&running.metrics.counts(&running.graph.spec.counts_of_sink(name)));
    }
    let job = running.failure.clone();
    memory::set_limit_handler(move |error| job.set(error));
    if running.options.replay_until.is_none() {
        let received = receive(&running, receivers.handle());
        if let Err(error) = received {
            running.endpoints.close_inboxes();
            receivers.shutdown_background();
            return Err(error);
        }
    }
    let sockets = peers.as_mut().map(|peers| std::mem::take(&mut peers.sockets));
    let traces = Traces::start(&running);
    let guards = start_workers(&running, sockets, first_thread)?;
    let mut workers = Workers { guards: Some(guards), failure: running.failure.clone() };
    let (liveness, others) = match peers {
        Some(peers) => (Some(peers.liveness), peers.others),
        None => (None, OtherProcesses::default()),
    };
    let done = Arc::new(JobResult::default());
    let stopper = Stopper { running: running.clone(), done: done.clone(), others: Arc::new(others) };
    let (ending, failing) = (done.clone(), done);
    threads::start(
        "millstream-end",
        "the thread that stops the job",
        move |error| failing.set(Err(error)),
        move || {
            // timely passes panics of its connections on to the thread that waits for the workers.
            let joined =
                catch_unwind(AssertUnwindSafe(|| workers.join().into_iter().find_map(std::result::Result::err)));
            let ended = match joined {
                Ok(Some(message)) if !is_connection_loss(&message) => Some(Error::bug(message)),
                Ok(None) => None,
                Ok(Some(_)) | Err(_) => Some(lost_connection()),
            };
            running.endpoints.close_inboxes();
            // Answer the clients whose rows are durable first, then reject the others.
            await_responses(&running);
            running.endpoints.inboxes.iter().flatten().for_each(|inbox| inbox.ended());
            await_responses(&running);
            receivers.shutdown_background();
            traces.into_iter().for_each(Traces::end);
            let error = running.failure.error().or(ended);
            if let (Some(liveness), None) = (liveness, &error) {
                liveness.goodbye();
            }
            ending.set(error.map_or(Ok(()), Err));
        },
    )?;
    Ok(stopper)
}

/// How long a job waits at its end for clients that are being answered, and for clients that send nothing.
const RESPONSE_TIME_MAX: Duration = Duration::from_millis(500);

/// Waits until known responses are written, before the job exits.
fn await_responses(running: &Running) {
    let began = Instant::now();
    while running.endpoints.inboxes.iter().flatten().any(|inbox| inbox.has_open_response())
        && began.elapsed() < RESPONSE_TIME_MAX
    {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The workers of this process. When dropped without being joined, they end.
struct Workers {
    guards: Option<WorkerGuards<()>>,
    failure: Failure,
}

impl Workers {
    /// Waits for all workers.
    fn join(&mut self) -> Vec<std::result::Result<(), String>> {
        self.guards.take().map(|guards| guards.join()).unwrap_or_default()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        if self.guards.is_some() {
            self.failure.set(Error::bug("no thread waits for the workers"));
        }
    }
}

/// Starts the receivers of this process, where their sources continue. A port that cannot be opened is an error before
/// anything runs.
fn receive(running: &Running, runtime: &Handle) -> Result<()> {
    for (number, (source, inbox)) in running.graph.spec.sources.iter().zip(&running.endpoints.inboxes).enumerate() {
        let Some((inbox, share)) = inbox.as_ref().zip(source.kind.share(number, running.options.process_and_count()))
        else {
            continue;
        };
        let mut from = Positions::new();
        let start = running.checkpoints.as_ref().and_then(|checkpoints| checkpoints.sources.for_receiver(number));
        if let Some(start) = start {
            from = start.positions;
            inbox.put_back(start.leftovers, start.leftovers_moved);
        }
        // The end of a source belongs in a batch if it advances the event time of a stage. Topics have no end. A source
        // of a job that continues later has none either: the end would be saved in the checkpoint and not be sent
        // again.
        let times = running.graph.stages.iter().filter_map(|stage| stage.event_time.as_ref());
        let counts = times.flat_map(|time| time.clock_ends.values()).any(|sources| sources.contains(&(number as u32)));
        // For a source that is spread, one process reports the end for all.
        if counts && share.reports_clocks() {
            let flush = running.graph.spec.at_end == AtEnd::Flush;
            let end = from.get(SOURCE_END).filter(|_| !source.kind.names_files());
            inbox.set_end_mark(flush, end.is_some_and(|end| end.mark != 0));
        }
        // The same holds for the ends of topic partitions, if a stage ignores idle ones.
        let idle_us = running.graph.stages.iter().filter_map(|stage| stage.event_time.as_ref()?.idle_us).min();
        if let Some(idle_us) = idle_us.filter(|_| source.kind.can_report_ends()) {
            inbox.enable_end_marks(&from, share, Duration::from_micros(idle_us.unsigned_abs()));
        }
        let (graph, owner) = (&running.graph, running.checkpoints.as_ref().map(|kept| &kept.owner));
        let (_, processes) = running.options.process_and_count();
        let job = JobFacts { owner, servers: graph.servers, processes };
        let (origin, from) = (&graph.spec.origin, &from);
        let start = SourceStart { source, origin, inbox: inbox.clone(), runtime, from, share, job };
        match graph.readers.get(&source.name) {
            Some(slot) => receiver::polled::start(start, slot.readers()),
            None => receiver::start(start)?,
        }
    }
    Ok(())
}

/// The sinks by number. The worker that owns a sink takes it once.
pub(super) type OpenSinks = Vec<Option<Box<dyn millstream_rows::batch::sink::Sink>>>;

/// Opens the sinks if this process owns them.
pub(super) fn open_sinks(
    graph: &Graph,
    options: &Options,
    owned: bool,
    owner: Option<&Owner>,
    failure: &Failure,
) -> Result<OpenSinks> {
    let mut sinks = Vec::new();
    for spec in graph.spec.sinks.iter().filter(|_| owned) {
        sinks.push(Some(match graph.writers.get(&spec.name) {
            Some(slot) => {
                let of = (graph.spec.name.as_str(), owner);
                sink::plugin::open(spec, slot.writer()?, of, options.start_until, failure)?
            }
            None => sink::open(spec, graph.union(&spec.from)?, &graph.spec.origin, owner, failure, graph.servers)?,
        }));
    }
    Ok(sinks)
}

/// Opens these workers' shares of the sinks that each worker commits to. They open concurrently, since each server
/// takes time.
fn open_shares(graph: &Graph, workers: Range<usize>, owner: Option<&Owner>, failure: &Failure) -> Result<SinkShares> {
    let mut shares = SinkShares::new();
    for (number, spec) in graph.spec.sinks.iter().enumerate().filter(|(_, spec)| spec.kind.by_worker()) {
        let schema = graph.union(&spec.from)?;
        let (origin, servers) = (&graph.spec.origin, graph.servers);
        let open = |worker| sink::open_share(spec, schema.clone(), origin, owner, worker, failure, servers);
        let opened: Vec<_> = std::thread::scope(|scope| {
            let open = &open;
            let opening: Vec<_> = workers.clone().map(|worker| scope.spawn(move || open(worker))).collect();
            let what = format!("a thread that opened the sink `{}`", spec.name);
            let ended = |thread: ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| Err(threads::panicked(&what, &*panic)))
            };
            opening.into_iter().map(ended).collect()
        });
        for (worker, share) in workers.clone().zip(opened) {
            shares.insert((number, worker), share?);
        }
    }
    Ok(shares)
}

/// Starts the worker threads. With several processes, they start when all are connected.
fn start_workers(
    running: &Arc<Running>,
    sockets: Option<Vec<Option<Sealed>>>,
    first_thread: Arc<OnceLock<Thread>>,
) -> Result<WorkerGuards<()>> {
    let failed = |error: &dyn Display| Error::environment(format!("cannot start the workers: {error}"));
    let threads = running.threads.count;
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
        if worker.index() == running.threads.first {
            // The inboxes wake this thread when input arrives.
            let _ = first_thread.set(std::thread::current());
        }
        worker::drive(worker, &running);
    })
    .map_err(|error| failed(&error))
}
