//! A worker thread: builds the graph, steps it, and sleeps when it is idle. Worker 0 also begins the batches.

mod announce;
mod barriers;
mod clock;
mod coordinator;
mod pace;

use crate::dataflow::{self, Dataflow};
use crate::running::Running;
use announce::Announcer;
use coordinator::{Coordinator, IDLE_CHECK};
use millstream_base::fault;
use millstream_base::threads;
use millstream_sql::budget;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use timely::dataflow::operators::probe;
use timely::worker::Worker;

/// Runs a worker until the job has ended. A failure ends the job on all workers.
pub fn drive(worker: &mut Worker, running: &Arc<Running>) {
    running.failure.register_worker();
    let job = running.clone();
    budget::of_job(move || job.stopping() || job.failure.happened());
    let drove = catch_unwind(AssertUnwindSafe(|| {
        fault::thread("worker");
        step_until_done(worker, running);
    }));
    if let Err(panic) = drove {
        running.failure.set(threads::panicked(&format!("worker {}", worker.index()), &*panic));
    }
    if running.failure.happened() {
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
    }
}

fn step_until_done(worker: &mut Worker, running: &Arc<Running>) {
    let mut announcer = Announcer::build(worker, running);
    let Dataflow { ticks, committed, finished } = match dataflow::build(worker, running) {
        Ok(built) => built,
        Err(error) => return running.failure.set(error),
    };
    running.options.ahead.iter().for_each(|ahead| ahead.release(worker.index()));
    if let Some(checkpoints) = running.checkpoints.as_ref().filter(|_| !running.options.dry) {
        checkpoints.record_worker_loaded(running.threads.count);
    }
    let mut coordinator = match (worker.index() == 0).then(|| Coordinator::new(ticks, running)).transpose() {
        Ok(coordinator) => coordinator,
        Err(error) => return running.failure.set(error),
    };
    while !finished.done() && !running.failure.happened() {
        announcer.exchange(running);
        let sleep = match &mut coordinator {
            Some(coordinator) => {
                coordinator.poll(running, &announcer, first_incomplete(&committed), first_incomplete(&finished))
            }
            None if running.options.until_idle => Some(IDLE_CHECK),
            None => None,
        };
        worker.step_or_park(announcer.sleep(sleep));
        running.loads.record_step(worker.index());
    }
    if let Some(coordinator) = &mut coordinator {
        coordinator.end(running, first_incomplete(&committed));
    }
    announcer.finish(worker, running);
}

/// Returns the first timestamp that is not done; all earlier ones are.
fn first_incomplete(probe: &probe::Handle<u64>) -> u64 {
    probe.with_frontier(|frontier| frontier.first().copied().unwrap_or(u64::MAX))
}
