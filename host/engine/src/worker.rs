//! A worker thread: builds the graph, steps it, sleeps when there is nothing to do. Worker 0 also begins the batches.

mod announce;
mod barriers;
mod clock;
mod pace;

use crate::context::Tick;
use crate::dataflow::{self, Dataflow, TickInput, begun};
use crate::error::Result;
use crate::fault;
use crate::ids::{BatchId, BatchTime};
use crate::job::spec::ClockSpec;
use crate::limits::IDLE_MS;
use crate::memory;
use crate::running::Running;
use crate::running::upgrade::Due;
use crate::sql::budget;
use crate::threads;
use crate::window::made_up::MadeUp;
use announce::{Announcer, SourceState};
use barriers::{BarrierStep, Barriers};
use clock::JobClock;
use pace::{Facts, Pace, Step};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use timely::dataflow::operators::probe;
use timely::worker::Worker;

/// How often worker 0 looks whether sources are idle, when it is to stop then.
const IDLE_CHECK: Duration = Duration::from_millis(200);

/// Runs a worker until the job has ended. A failure ends it on all workers.
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
    if let Some(kept) = running.kept.as_ref().filter(|_| !running.options.dry) {
        kept.loaded_by_worker(running.workers);
    }
    let mut beginner = match (worker.index() == 0).then(|| Beginner::new(ticks, running)).transpose() {
        Ok(beginner) => beginner,
        Err(error) => return running.failure.set(error),
    };
    while !finished.done() && !running.failure.happened() {
        announcer.exchange(running);
        let sleep = match &mut beginner {
            Some(beginner) => beginner.poll(running, &announcer, reached(&committed), reached(&finished)),
            None if running.options.until_idle => Some(IDLE_CHECK),
            None => None,
        };
        worker.step_or_park(sleep);
    }
    announcer.finish(worker, running);
}

/// The first timestamp that is not done; all before are.
fn reached(probe: &probe::Handle<u64>) -> u64 {
    probe.with_frontier(|frontier| frontier.first().copied().unwrap_or(u64::MAX))
}

/// Worker 0's part: begins batches, and the checkpoints between them, by sending their ticks.
struct Beginner {
    /// `None` once no more batches come.
    ticks: Option<TickInput>,
    /// The batches to run again.
    replay: VecDeque<(BatchId, BatchTime)>,
    next_batch: BatchId,
    /// The last batch that this run began; zero: none.
    begun: BatchId,
    last_time: BatchTime,
    /// Timestamps and times of batches that are not committed.
    in_flight: VecDeque<(u64, BatchTime)>,
    clock: JobClock,
    pace: Pace,
    /// The time of a batch that is due, where others are made up before it.
    due: Option<BatchTime>,
    made_up: MadeUp,
    barriers: Option<Barriers>,
    /// The timestamp of the last barrier of any kind: only one can follow on a batch.
    barrier: u64,
    swap: Option<Swap>,
    /// State was migrated, and no checkpoint holds it yet: the timestamp of the barrier of the one that will, zero before.
    unsaved: Option<u64>,
    /// A checkpoint is wanted as soon as there can be one.
    soon: bool,
}

/// A barrier behind which a plugin is replaced: nothing begins until all up to it is done.
struct Swap {
    upgrade: u64,
    after: BatchId,
    since: Instant,
}

impl Beginner {
    fn new(mut ticks: TickInput, running: &Running) -> Result<Beginner> {
        let kept = running.kept.as_ref();
        let next_batch = kept.map_or(BatchId(1), |kept| kept.first);
        let last_time = kept.map_or(BatchTime(i64::MIN), |kept| kept.loaded.1);
        let replay: VecDeque<_> = kept.map(|kept| kept.replay.clone()).unwrap_or_default().into();
        ticks.advance_to(replay.front().map_or(next_batch, |(batch, _)| *batch).stamp());
        let spec = &running.graph.spec;
        // Virtual time says nothing about the machine's.
        let last_known = replay.back().map_or(last_time, |(_, time)| last_time.max(*time));
        let virtual_time = spec.clock == ClockSpec::Manual;
        let mut clock = JobClock::new(if virtual_time { BatchTime(i64::MIN) } else { last_known });
        let now = clock.now();
        let pace = Pace::new(spec, now);
        let unsaved = kept.filter(|kept| !kept.old.is_empty()).map(|_| 0);
        unsaved.iter().for_each(|_| running.upgrades.unsaved());
        Ok(Beginner {
            ticks: Some(ticks),
            replay,
            next_batch,
            begun: BatchId(0),
            last_time,
            in_flight: VecDeque::new(),
            clock,
            pace,
            due: None,
            made_up: begun::made_up(running)?,
            barriers: kept
                .filter(|_| !running.options.dry)
                .map(|kept| Barriers::new(kept.every, spec.clock, now, last_time)),
            barrier: 0,
            swap: None,
            unsaved,
            soon: false,
        })
    }

    /// Begins a batch or a checkpoint if one is due, and says how long to sleep; `None`: until something happens.
    fn poll(&mut self, running: &Running, announcer: &Announcer, committed: u64, finished: u64) -> Option<Duration> {
        while let Some((stamp, time)) = self.in_flight.pop_front_if(|(stamp, _)| *stamp < committed) {
            running.metrics.committed(BatchId::of_stamp(stamp).0, time);
        }
        self.ticks.as_ref()?;
        if let Some(swap) = self.swap.take_if(|swap| swap.after.barrier() < finished)
            && running.upgrades.done(swap.upgrade, swap.after, swap.since.elapsed())
        {
            match &self.barriers {
                Some(_) => (self.unsaved, self.soon) = (Some(0), true),
                None => running.upgrades.saved(),
            }
        }
        if self.swap.is_some() && !fault::bug!("begin-early") {
            return None;
        }
        if self.unsaved.take_if(|stamp| *stamp > 0 && *stamp < finished).is_some() {
            running.upgrades.saved();
        }
        let sources = announcer.sources(running, self.begun.0);
        let now = self.clock.now();
        let leftover = !self.replay.is_empty() || sources.iter().any(|source| source.leftover);
        let upgrade = running.upgrades.due().filter(|_| !leftover && self.barrier < finished);
        if upgrade.is_some() && self.begun.barrier() > self.barrier && self.begun > BatchId(0) {
            self.send_barrier(upgrade);
            return None;
        }
        let barrier =
            self.barriers.as_mut().map(|barriers| barriers.step(now, self.last_time, finished, leftover, self.soon));
        if barrier == Some(BarrierStep::Begin) {
            self.send_barrier(None);
            return Some(Duration::ZERO);
        }
        let until_barrier = match barrier {
            Some(BarrierStep::Wait(sleep)) => sleep,
            _ => None,
        };
        if let Some((batch, time)) = self.replay.front().copied() {
            return self.run_again(running, batch, if fault::bug!("wrong-times") { now } else { time });
        }
        let full = self.in_flight.len() as u64 >= in_flight_max(running);
        let facts = Facts {
            now,
            next_batch: self.next_batch.0,
            // Where memory is tight each batch waits until the one before has given back its own.
            in_flight: if full { u64::MAX } else { self.in_flight.len() as u64 },
            any_ready: sources.iter().any(|source| source.ready),
            all_ready_or_finished: sources.iter().all(|source| source.ready || source.finished),
            all_finished: sources.iter().all(|source| source.finished),
            stop: running.stopping() || (running.options.until_idle && idle(&sources)),
            // No barrier can follow on the last batch any more.
            wanted: upgrade.is_some(),
        };
        if running.options.replay_until.is_some() {
            return self.step(running, Step::Close, until_barrier);
        }
        let clock = running.graph.spec.clock;
        let step = match self.due {
            Some(_) if full => Step::Wait(None),
            Some(due) => Step::Begin(due),
            None => self.pace.step(&facts),
        };
        // Windows of processing time that have ended come first.
        let behind = match step {
            Step::Begin(time) => Some(time.max(self.after_last())),
            // A job that was told to stop and keeps checkpoints puts them out when it goes on.
            Step::Close if clock == ClockSpec::Wall && !(running.stopping() && self.barriers.is_some()) => Some(now),
            Step::Wait(_) | Step::Close => None,
        };
        let made_up = behind.map_or_else(|| self.made_up.waiting(), |time| self.made_up.before(time.0));
        let Some(time_us) = made_up.filter(|_| !full) else { return self.step(running, step, until_barrier) };
        if let Step::Begin(time) = step {
            self.due = Some(time);
        }
        self.begin(running, BatchTime(time_us), true);
        Some(Duration::ZERO)
    }

    /// Does what was decided.
    fn step(&mut self, running: &Running, step: Step, until_barrier: Option<Duration>) -> Option<Duration> {
        match step {
            Step::Begin(time) => {
                self.due = None;
                self.begin(running, time, false);
                Some(Duration::ZERO)
            }
            Step::Wait(sleep) => {
                let idle_check = running.options.until_idle.then_some(IDLE_CHECK);
                [sleep, until_barrier, idle_check].into_iter().flatten().min()
            }
            Step::Close => {
                if self.barriers.as_ref().is_some_and(Barriers::owing) {
                    self.send_barrier(None);
                }
                running.upgrades.close("the job has come to its end");
                self.ticks = None;
                Some(Duration::ZERO)
            }
        }
    }

    /// The least time that the next batch can have.
    fn after_last(&self) -> BatchTime {
        BatchTime(self.last_time.0.saturating_add(1))
    }

    /// Begins the next batch.
    fn begin(&mut self, running: &Running, time: BatchTime, made_up: bool) {
        self.send(running, self.next_batch, time.max(self.after_last()), made_up);
        self.next_batch = self.next_batch.next();
    }

    /// Begins a planned batch with its time of then, as soon as one more may be in flight.
    fn run_again(&mut self, running: &Running, batch: BatchId, time: BatchTime) -> Option<Duration> {
        if self.in_flight.len() as u64 >= in_flight_max(running) {
            return None;
        }
        self.replay.pop_front();
        fault::point("replay.batch");
        self.send(running, batch, time, false);
        Some(Duration::ZERO)
    }

    fn send(&mut self, running: &Running, batch: BatchId, time: BatchTime, made_up: bool) {
        if let Some(ticks) = &mut self.ticks {
            let start = running.kept.as_ref().and_then(|kept| kept.resumed.range(..=batch).next_back());
            let resumed = start.is_some_and(|(first, _)| *first == batch);
            let wall = running.graph.spec.clock == ClockSpec::Wall;
            let stopped = wall && !resumed && start.is_some_and(|(_, started_us)| self.last_time.0 < *started_us);
            ticks.advance_to(batch.stamp());
            ticks.send(Tick { to: 0, time, resumed, stopped, made_up, swap: None, shadow: None });
            // The barrier after it may still come.
            ticks.advance_to(batch.barrier());
        }
        self.last_time = time;
        self.made_up.batch(time.0, made_up);
        self.begun = batch;
        self.in_flight.push_back((batch.stamp(), time));
        if let Some(barriers) = &mut self.barriers {
            barriers.batch_begun();
        }
        running.batches.fetch_add(1, Ordering::Relaxed);
    }

    /// A barrier after the last batch that was begun: for a checkpoint, where the job keeps some, and for an upgrade.
    fn send_barrier(&mut self, upgrade: Option<Due>) {
        let Some(ticks) = &mut self.ticks else { return };
        let swap = upgrade.filter(|due| due.shadow_batches == 0).map(|due| due.upgrade);
        let shadow = upgrade.filter(|due| due.shadow_batches > 0).map(|due| (due.upgrade, due.shadow_batches));
        ticks.send(Tick { to: 0, time: self.last_time, resumed: false, stopped: false, made_up: false, swap, shadow });
        ticks.advance_to(self.begun.next().stamp());
        self.barrier = self.begun.barrier();
        self.unsaved = self.unsaved.map(|_| self.barrier);
        self.soon = false;
        if let Some(barriers) = &mut self.barriers {
            barriers.barrier_begun(self.barrier, self.clock.now(), self.last_time);
        }
        if let Some(due) = upgrade {
            self.swap = Some(Swap { upgrade: due.upgrade, after: self.begun, since: Instant::now() });
            if due.shadow_batches == 0 {
                fault::point("upgrade.barrier");
            }
        }
    }
}

/// How many batches may be in flight now.
fn in_flight_max(running: &Running) -> u64 {
    if memory::tight() { 1 } else { running.graph.spec.in_flight_max }
}

fn idle(sources: &[SourceState]) -> bool {
    sources.iter().all(|source| !source.ready && (source.finished || source.idle_ms >= IDLE_MS))
}
