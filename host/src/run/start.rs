//! Starting a job: checks, sinks, receivers, workers.

use super::liveness::{self, Liveness};
use super::{Done, Failure, Options, Running, Stopper, connect};
use crate::error::{Error, Result};
use crate::graph::{Graph, inbox_bytes_max};
use crate::ids::Generation;
use crate::job::spec::JobSpec;
use crate::metrics::Metrics;
use crate::plugin::PluginHost;
use crate::receiver::{self, inbox::Inbox};
use crate::timely_ext::{is_lost_connection, lost_connection};
use crate::{sink, worker};
use std::any::Any;
use std::fmt::Display;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use timely::communication::allocator::ProcessBuilder;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::{AllocatorBuilder, Hooks, WorkerGuards};
use timely::{CommunicationConfig, WorkerConfig};

/// Starts a job. What can be wrong is found before anything runs or is written.
pub fn start(spec: JobSpec, options: Options) -> Result<Stopper> {
    let (process, processes) = options.cluster.as_ref().map_or((0, 1), |c| (c.process, c.hosts.len()));
    let graph = Graph::resolve(spec, &PluginHost::new()?, process == 0)?;
    let workers = workers(&graph.spec, &options)?;
    let listener = options.cluster.as_ref().map(connect::listen).transpose()?;

    let first_thread = Arc::new(OnceLock::<Thread>::new());
    let mut inboxes = Vec::new();
    for (number, source) in graph.spec.sources.iter().enumerate() {
        let thread = first_thread.clone();
        let wake = Box::new(move || thread.get().into_iter().for_each(Thread::unpark));
        let bytes_max = inbox_bytes_max(&graph.spec, source.bytes_per_batch_max);
        inboxes.push((number % processes == process).then(|| Arc::new(Inbox::new(bytes_max, wake))));
    }
    let sinks = if process == 0 { open_sinks(&graph)? } else { Vec::new() };
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
        failure: Failure::default(),
        metrics: Metrics::default(),
        batches: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        sinks: Mutex::new(sinks),
    });
    for (source, inbox) in running.graph.spec.sources.iter().zip(&running.inboxes) {
        if let Some(inbox) = inbox {
            receiver::start(source, &running.graph.spec.origin, inbox.clone(), receivers.handle());
        }
    }
    let (guards, liveness) = start_workers(&running, listener, first_thread)?;
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

fn open_sinks(graph: &Graph) -> Result<Vec<Option<Box<dyn sink::Sink>>>> {
    let mut sinks = Vec::new();
    for spec in &graph.spec.sinks {
        sinks.push(Some(sink::open(spec, graph.union(&spec.from)?, &graph.spec.origin)?));
    }
    Ok(sinks)
}

/// Starts the worker threads; where there are several processes, as soon as all are there.
fn start_workers(
    running: &Arc<Running>,
    listener: Option<TcpListener>,
    first_thread: Arc<OnceLock<Thread>>,
) -> Result<(WorkerGuards<()>, Option<Liveness>)> {
    let failed = |error: &dyn Display| Error::environment(format!("cannot start the workers: {error}"));
    let threads = running.workers;
    let mut liveness = None;
    let (allocators, connections): (Vec<AllocatorBuilder>, Box<dyn Any + Send>) =
        match (&running.options.cluster, listener) {
            (Some(cluster), Some(listener)) => {
                let hooks = Hooks::default();
                let local = ProcessBuilder::new_typed_vector(threads, hooks.refill.clone(), None);
                let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
                let own = connect::Hello {
                    process: number(cluster.process),
                    processes: number(cluster.hosts.len()),
                    workers: number(threads),
                    job: running.graph.digest(),
                    generation: Generation(0),
                };
                let connect::Connected { sockets, links, .. } = connect::connect(cluster, own, &listener)?;
                let failure = running.failure.clone();
                let watch = liveness::watch(links, move || failure.set(lost_connection()));
                liveness = Some(watch.map_err(|error| failed(&error))?);
                let (allocators, connections) =
                    initialize_networking_from_sockets(local, sockets, cluster.process, threads, hooks)
                        .map_err(|error| failed(&error))?;
                (allocators.into_iter().map(AllocatorBuilder::Tcp).collect(), Box::new(connections))
            }
            _ => CommunicationConfig::Process(threads).try_build().map_err(|error| failed(&error))?,
        };
    let running = running.clone();
    let guards = timely::execute::execute_from(allocators, connections, WorkerConfig::default(), move |worker| {
        if worker.index() == running.first_worker {
            // The inboxes wake this thread when something arrives.
            let _ = first_thread.set(std::thread::current());
        }
        worker::drive(worker, &running);
    })
    .map_err(|error| failed(&error))?;
    Ok((guards, liveness))
}
