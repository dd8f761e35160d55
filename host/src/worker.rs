//! A worker thread: builds the graph, steps it, sleeps when there is nothing to do. Worker 0 also begins the batches.

mod announce;
mod pace;

use crate::dataflow::{self, Dataflow, TickInput};
use crate::error::Error;
use crate::ids::BatchTime;
use crate::limits::IDLE_MS;
use crate::run::Running;
use crate::time;
use crate::timely_ext::{Tick, is_lost_connection, lost_connection};
use announce::{Announcer, SourceState};
use pace::{Facts, Pace, Step};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;
use timely::worker::Worker;

/// How often worker 0 looks whether sources are idle, when it is to stop then.
const IDLE_CHECK: Duration = Duration::from_millis(200);

/// Runs a worker until the job has ended. A failure ends it on all workers.
pub fn drive(worker: &mut Worker, running: &Running) {
    running.failure.register_worker();
    let drove = catch_unwind(AssertUnwindSafe(|| step_until_done(worker, running)));
    if let Err(panic) = drove {
        running.failure.set(match panic_words(&*panic) {
            words if is_lost_connection(words) => lost_connection(),
            words => Error::bug(format!("worker {} panicked: {words}", worker.index())),
        });
    }
    if running.failure.happened() {
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
    }
}

fn panic_words(panic: &dyn Any) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

fn step_until_done(worker: &mut Worker, running: &Running) {
    let mut announcer = Announcer::build(worker, running);
    let Dataflow { ticks, committed } = match dataflow::build(worker, running) {
        Ok(built) => built,
        Err(error) => return running.failure.set(error),
    };
    let mut beginner = (worker.index() == 0).then(|| Beginner::new(ticks, running));
    while !committed.done() && !running.failure.happened() {
        announcer.exchange(running);
        let sleep = match &mut beginner {
            Some(beginner) => {
                let in_flight = in_flight(&committed, beginner.next_batch);
                beginner.poll(running, &announcer, in_flight)
            }
            None if running.options.until_idle => Some(IDLE_CHECK),
            None => None,
        };
        worker.step_or_park(sleep);
    }
    announcer.finish(worker, running);
}

/// How many batches before `next` are begun and not committed.
fn in_flight(committed: &timely::dataflow::operators::probe::Handle<u64>, next: u64) -> u64 {
    committed.with_frontier(|frontier| frontier.first().map_or(0, |first| next.saturating_sub((*first).max(1))))
}

/// Worker 0's part: begins batches by sending their ticks.
struct Beginner {
    /// `None` once no more batches come.
    ticks: Option<TickInput>,
    next_batch: u64,
    last_time: BatchTime,
    pace: Pace,
}

impl Beginner {
    fn new(mut ticks: TickInput, running: &Running) -> Beginner {
        ticks.advance_to(1);
        let pace = Pace::new(&running.graph.spec, time::now());
        Beginner { ticks: Some(ticks), next_batch: 1, last_time: BatchTime(i64::MIN), pace }
    }

    /// Begins a batch if one is due, and says how long to sleep; `None`: until something happens.
    fn poll(&mut self, running: &Running, announcer: &Announcer, in_flight: u64) -> Option<Duration> {
        let ticks = self.ticks.as_mut()?;
        let sources = announcer.sources(running, self.next_batch - 1);
        let facts = Facts {
            now: time::now(),
            next_batch: self.next_batch,
            in_flight,
            any_ready: sources.iter().any(|source| source.ready),
            all_ready_or_finished: sources.iter().all(|source| source.ready || source.finished),
            all_finished: sources.iter().all(|source| source.finished),
            stop: running.stopping() || (running.options.until_idle && idle(&sources)),
        };
        match self.pace.step(&facts) {
            Step::Begin(at) => {
                let time = BatchTime(at.0.max(self.last_time.0.saturating_add(1)));
                ticks.send(Tick { to: 0, time });
                self.last_time = time;
                running.batches.store(self.next_batch, Ordering::Relaxed);
                self.next_batch += 1;
                ticks.advance_to(self.next_batch);
                Some(Duration::ZERO)
            }
            Step::Wait(sleep) if running.options.until_idle => {
                Some(sleep.map_or(IDLE_CHECK, |sleep| sleep.min(IDLE_CHECK)))
            }
            Step::Wait(sleep) => sleep,
            Step::Close => {
                self.ticks = None;
                Some(Duration::ZERO)
            }
        }
    }
}

fn idle(sources: &[SourceState]) -> bool {
    sources.iter().all(|source| source.finished || (source.idle_ms >= IDLE_MS && !source.ready))
}
