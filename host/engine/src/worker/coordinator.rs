//! The coordinator on worker 0: it begins batches, and the barriers between them, by sending their ticks to all workers.

use super::announce::{Announcer, SourceState};
use super::barriers::{BarrierStep, Barriers};
use super::clock::JobClock;
use super::pace::{Pace, PaceInput, PaceStep};
use crate::checkpoint::resolve::PlannedBatch;
use crate::dataflow::{TickInput, empty_batches};
use crate::operators::window::state::empty_batches::EmptyBatches;
use crate::running::Running;
use crate::running::upgrade::DueUpgrade;
use millstream_base::context::Tick;
use millstream_base::error::Result;
use millstream_base::fault;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::limits::IDLE_MS;
use millstream_base::memory;
use millstream_job::spec::ClockSpec;
use millstream_metrics::batches::WaitCause;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often worker 0 checks whether sources are idle, if the job is to end when they are.
pub const IDLE_CHECK: Duration = Duration::from_millis(200);

/// Decides when batches and barriers begin, and sends their ticks.
pub struct Coordinator {
    begun: BegunBatches,
    schedule: BatchSchedule,
    between: BetweenBatches,
    /// The first batch that this run plans.
    first_new: BatchId,
    /// Why no batch begins, as last reported.
    wait_cause: Option<WaitCause>,
}

/// The batches that were begun, and the stream that carries the next one.
struct BegunBatches {
    /// `None` once no more batches come.
    ticks: Option<TickInput>,
    /// The last batch begun by this run; zero: none.
    last: BatchId,
    /// The time of the last batch of any run.
    last_time: BatchTime,
    /// The first batch that was never begun before.
    next: BatchId,
    /// Timestamps and times of batches that are not committed.
    in_flight: VecDeque<(u64, BatchTime)>,
}

/// Decides when a batch begins.
struct BatchSchedule {
    /// The batches to replay, which come first.
    replay: VecDeque<(BatchId, PlannedBatch)>,
    clock: JobClock,
    pace: Pace,
    /// The time of a batch that is due, if empty batches come before it.
    due: Option<BatchTime>,
    empty: EmptyBatches,
}

/// The barriers between batches, of checkpoints and of upgrades.
struct BetweenBatches {
    /// When a checkpoint is due, if the job writes any.
    checkpoints: Option<Barriers>,
    /// The timestamp of the last barrier of any kind. Each batch is followed by at most one barrier.
    last: u64,
    swap: Option<PendingSwap>,
    /// Set while migrated state is in no checkpoint: the timestamp of the barrier of the one that will hold it, zero before.
    unsaved: Option<u64>,
    /// A checkpoint is requested as soon as possible.
    soon: bool,
    /// The checkpoint of the current state that other processes wait for.
    handover: Option<RequestedCheckpoint>,
}

/// A checkpoint that other processes wait for.
#[derive(Clone, Copy)]
enum RequestedCheckpoint {
    /// Its barrier has not begun.
    Due,
    /// The timestamp of its barrier.
    Begun(u64),
}

/// A barrier after which a plugin is replaced. Nothing begins until everything up to it is done.
struct PendingSwap {
    upgrade: u64,
    after: BatchId,
    since: Instant,
}

impl Coordinator {
    /// Continues after the checkpoint that is loaded.
    pub fn new(mut ticks: TickInput, running: &Running) -> Result<Coordinator> {
        let checkpoints = running.checkpoints.as_ref();
        let next = checkpoints.map_or(BatchId(1), |checkpoints| checkpoints.replay.first_new);
        let last_time = checkpoints.map_or(BatchTime(i64::MIN), |checkpoints| checkpoints.loaded.last_batch.1);
        let replay = checkpoints.map(|checkpoints| checkpoints.replay.batches.clone());
        let replay: VecDeque<_> = replay.unwrap_or_default().into();
        ticks.advance_to(replay.front().map_or(next, |(batch, _)| *batch).stamp());
        let spec = &running.graph.spec;
        // Virtual time is unrelated to the machine's clock.
        let last_known = replay.back().map_or(last_time, |(_, planned)| last_time.max(planned.time));
        let virtual_time = spec.clock == ClockSpec::Manual;
        let mut clock = JobClock::new(if virtual_time { BatchTime(i64::MIN) } else { last_known });
        let now = clock.now();
        let unsaved = checkpoints.filter(|checkpoints| !checkpoints.loaded.old_columns.is_empty()).map(|_| 0);
        unsaved.iter().for_each(|_| running.plugins.upgrades.mark_unsaved());
        let written = checkpoints.filter(|_| !running.options.dry);
        let barriers = written.map(|checkpoints| {
            Barriers::new(checkpoints.every, spec.clock, now.min(checkpoints.replay.since), last_time)
        });
        let (pace, empty) = (Pace::new(spec, now), empty_batches::empty_batches(running)?);
        let in_flight = VecDeque::new();
        Ok(Coordinator {
            begun: BegunBatches { ticks: Some(ticks), last: BatchId(0), last_time, next, in_flight },
            schedule: BatchSchedule { replay, clock, pace, due: None, empty },
            between: BetweenBatches {
                checkpoints: barriers,
                last: 0,
                swap: None,
                unsaved,
                soon: false,
                handover: None,
            },
            first_new: next,
            wait_cause: None,
        })
    }

    /// Begins a batch or a checkpoint if one is due. Returns how long to sleep; `None`: until something happens. All timestamps before `committed`
    /// are committed. Before `finished`, the checkpoints and upgrades after them are done as well.
    pub fn poll(
        &mut self,
        running: &Running,
        announcer: &Announcer,
        committed: u64,
        finished: u64,
    ) -> Option<Duration> {
        self.begun.report_committed(running, committed);
        self.begun.ticks.as_ref()?;
        if self.between.waits_for_swap(running, finished) {
            self.report_wait(running, WaitCause::Upgrade);
            return None;
        }
        let sources = announcer.sources(running, self.begun.last.0);
        let now = self.schedule.clock.now();
        // If only some of the planned batches are replayed, nothing is received, so it is unknown.
        let unknown = running.options.replay_until.is_some();
        let leftover = unknown || sources.iter().any(|source| source.leftover);
        let replays = !self.schedule.replay.is_empty();
        let upgrade = running.plugins.upgrades.take_due();
        let upgrade = upgrade.filter(|_| !replays && !leftover && self.between.last < finished);
        if upgrade.is_some() && self.begun.last.barrier() > self.between.last && self.begun.last > BatchId(0) {
            self.send_barrier(upgrade, leftover);
            return None;
        }
        self.between.follow_handover(running, finished);
        // Leftover rows are only in logs until a new batch of this run has taken all of them. A checkpoint after a replayed batch records that they
        // are.
        let held_up = leftover && self.begun.last >= self.first_new;
        let barrier = self.between.checkpoint_step(now, self.begun.last_time, finished, held_up);
        if barrier == Some(BarrierStep::Begin) {
            self.send_barrier(None, leftover);
            return Some(Duration::ZERO);
        }
        let until_barrier = match barrier {
            Some(BarrierStep::Wait(sleep)) => sleep,
            _ => None,
        };
        if let Some((batch, planned)) = self.schedule.replay.front().copied() {
            let time = if fault::bug!("wrong-times") { now } else { planned.time };
            return self.replay_batch(running, batch, PlannedBatch { time, ..planned });
        }
        let full = self.begun.is_full(running);
        let facts = PaceInput {
            now,
            next_batch: self.begun.next.0,
            // If memory is tight, each batch waits until the previous one has released its memory.
            in_flight: if full { u64::MAX } else { self.begun.in_flight.len() as u64 },
            any_ready: Coordinator::any_source(running, &sources, |source| source.ready),
            // Windows of processing time end with batches that come at their time, including the last batch.
            backlog: self.schedule.empty.has_no_windows()
                && (Coordinator::any_source(running, &sources, |source| source.full)
                    || sources.iter().all(|source| source.last)),
            all_ready_or_finished: sources.iter().all(|source| source.ready || source.finished),
            all_finished: sources.iter().all(|source| source.finished),
            stop: running.stopping() || (running.options.until_idle && idle(&sources)),
            // No barrier can follow the last batch.
            requested: upgrade.is_some(),
        };
        if running.options.replay_until.is_some() {
            return self.step(running, PaceStep::Close, until_barrier, leftover);
        }
        let clock = running.graph.spec.clock;
        let step = match self.schedule.due {
            Some(_) if full => PaceStep::Wait(None),
            Some(due) => PaceStep::Begin(due),
            None => self.schedule.pace.step(&facts),
        };
        // Windows of processing time that have ended come first.
        let next_time = match step {
            PaceStep::Begin(time) => Some(time.max(self.begun.after_last())),
            // A stopped job that keeps checkpoints emits them when it resumes.
            PaceStep::Close
                if clock == ClockSpec::Wall && !(running.stopping() && self.between.checkpoints.is_some()) =>
            {
                Some(now)
            }
            PaceStep::Wait(_) | PaceStep::Close => None,
        };
        match step {
            _ if full => self.report_wait(running, full_cause()),
            PaceStep::Wait(Some(_)) => self.report_wait(running, WaitCause::Interval),
            PaceStep::Wait(None) => self.report_wait(running, WaitCause::Data),
            PaceStep::Begin(_) | PaceStep::Close => {}
        }
        let empty = &self.schedule.empty;
        let stopping = running.stopping();
        let empty_us = next_time.map_or_else(|| empty.waiting_end(), |time| empty.before(time.0, stopping));
        let Some(time_us) = empty_us.filter(|_| !full) else {
            return self.step(running, step, until_barrier, leftover);
        };
        if let PaceStep::Begin(time) = step {
            self.schedule.due = Some(time);
        }
        self.begin(running, BatchTime(time_us), true);
        Some(Duration::ZERO)
    }

    /// Returns whether a condition holds for any source that a batch takes from. In a handover, sources that can be read again are left to the
    /// successors.
    fn any_source(running: &Running, sources: &[SourceState], is_so: impl Fn(&SourceState) -> bool) -> bool {
        let specs = &running.graph.spec.sources;
        let is_left = |number: usize| {
            running.requests.handover.is_last() && specs.get(number).is_some_and(|spec| !spec.kind.keeps_rows())
        };
        sources.iter().enumerate().any(|(number, source)| is_so(source) && !is_left(number))
    }

    /// Carries out the decision.
    fn step(
        &mut self,
        running: &Running,
        step: PaceStep,
        until_barrier: Option<Duration>,
        leftover: bool,
    ) -> Option<Duration> {
        match step {
            PaceStep::Begin(time) => {
                self.schedule.due = None;
                self.begin(running, time, false);
                Some(Duration::ZERO)
            }
            PaceStep::Wait(sleep) => {
                let idle_check = running.options.until_idle.then_some(IDLE_CHECK);
                [sleep, until_barrier, idle_check].into_iter().flatten().min()
            }
            PaceStep::Close => {
                if self.between.checkpoints.as_ref().is_some_and(Barriers::has_unsaved_batches) {
                    self.send_barrier(None, leftover);
                }
                if running.requests.handover.is_last() {
                    fault::point("handover.barrier");
                }
                running.plugins.upgrades.close("the job has ended");
                self.begun.ticks = None;
                Some(Duration::ZERO)
            }
        }
    }

    /// Begins the next batch. `made_up`: it only closes windows, and takes nothing from sources.
    fn begin(&mut self, running: &Running, time: BatchTime, made_up: bool) {
        let time = time.max(self.begun.after_last());
        let late_us = match running.graph.spec.clock {
            ClockSpec::Wall => self.schedule.clock.now().0.saturating_sub(time.0),
            ClockSpec::Manual => 0,
        };
        self.send(running, self.begun.next, time, made_up);
        self.schedule.empty.batch(time.0, made_up, late_us);
        self.begun.next = self.begun.next.next();
    }

    /// Replays a planned batch with its original time, as soon as another batch may be in flight.
    fn replay_batch(&mut self, running: &Running, batch: BatchId, planned: PlannedBatch) -> Option<Duration> {
        if self.begun.is_full(running) {
            self.report_wait(running, full_cause());
            return None;
        }
        self.schedule.replay.pop_front();
        fault::point("replay.batch");
        let PlannedBatch { time, made_up, .. } = planned;
        self.send(running, batch, time, made_up);
        self.schedule.empty.batch(time.0, made_up, 0);
        Some(Duration::ZERO)
    }

    /// Ends the coordinator once nothing is in progress. Reports the last batches, all before `committed`.
    pub fn end(&mut self, running: &Running, committed: u64) {
        self.begun.report_committed(running, committed);
    }

    fn send(&mut self, running: &Running, batch: BatchId, time: BatchTime, made_up: bool) {
        self.wait_cause = None;
        running.metrics.batches().record_begin(batch, time);
        self.begun.send(running, batch, time, made_up);
        if let Some(barriers) = &mut self.between.checkpoints {
            barriers.record_batch();
        }
        running.batches.fetch_add(1, Ordering::Relaxed);
    }

    /// Reports why nothing begins.
    fn report_wait(&mut self, running: &Running, cause: WaitCause) {
        if self.wait_cause.replace(cause) != Some(cause) {
            running.metrics.batches().wait_for(Some(cause));
        }
    }

    /// Sends a barrier after the last batch begun: for a checkpoint, if the job keeps any, and for an upgrade.
    fn send_barrier(&mut self, upgrade: Option<DueUpgrade>, leftover: bool) {
        if self.begun.send_barrier(upgrade, leftover) {
            self.between.record_barrier(self.begun.last, upgrade, self.schedule.clock.now(), self.begun.last_time);
        }
    }
}

impl BegunBatches {
    /// Reports the batches that are committed now.
    fn report_committed(&mut self, running: &Running, committed: u64) {
        while let Some((stamp, time)) = self.in_flight.pop_front_if(|(stamp, _)| *stamp < committed) {
            running.metrics.committed(BatchId::of_stamp(stamp).0, time);
        }
    }

    /// Returns whether no more batches may be in flight now.
    fn is_full(&self, running: &Running) -> bool {
        let in_flight_max = if memory::tight() { 1 } else { running.graph.spec.in_flight_max };
        self.in_flight.len() as u64 >= in_flight_max
    }

    /// Returns the least time that the next batch can have.
    fn after_last(&self) -> BatchTime {
        BatchTime(self.last_time.0.saturating_add(1))
    }

    fn send(&mut self, running: &Running, batch: BatchId, time: BatchTime, made_up: bool) {
        if let Some(ticks) = &mut self.ticks {
            let starts = running.checkpoints.as_ref().map(|checkpoints| &checkpoints.replay.starts);
            let start = starts.and_then(|starts| starts.range(..=batch).next_back());
            let resumed = start.is_some_and(|(first, _)| *first == batch);
            let wall = running.graph.spec.clock == ClockSpec::Wall;
            let stopped = wall && !resumed && start.is_some_and(|(_, started_us)| self.last_time.0 < *started_us);
            ticks.advance_to(batch.stamp());
            ticks.send(Tick { to: 0, time, resumed, stopped, made_up, swap: None, shadow: None, leftover: false });
            // The barrier after it may still come.
            ticks.advance_to(batch.barrier());
        }
        self.last_time = time;
        self.last = batch;
        self.in_flight.push_back((batch.stamp(), time));
    }

    /// Sends the barrier after the last batch. Returns `false` if nothing can be sent any longer.
    fn send_barrier(&mut self, upgrade: Option<DueUpgrade>, leftover: bool) -> bool {
        let Some(ticks) = &mut self.ticks else { return false };
        let swap = upgrade.filter(|due| due.shadow_batches == 0).map(|due| due.upgrade);
        let shadow = upgrade.filter(|due| due.shadow_batches > 0).map(|due| (due.upgrade, due.shadow_batches));
        let time = self.last_time;
        ticks.send(Tick { to: 0, time, resumed: false, stopped: false, made_up: false, swap, shadow, leftover });
        ticks.advance_to(self.last.next().stamp());
        true
    }
}

impl BetweenBatches {
    /// Returns whether a plugin is being replaced, so that nothing may begin. Records whether that, and the checkpoint with migrated state, is done
    /// by now.
    fn waits_for_swap(&mut self, running: &Running, finished: u64) -> bool {
        let upgrades = &running.plugins.upgrades;
        if let Some(swap) = self.swap.take_if(|swap| swap.after.barrier() < finished)
            && upgrades.complete(swap.upgrade, swap.after, swap.since.elapsed())
        {
            match &self.checkpoints {
                Some(_) => (self.unsaved, self.soon) = (Some(0), true),
                None => upgrades.mark_saved(),
            }
        }
        if self.swap.is_some() && !fault::bug!("begin-early") {
            return true;
        }
        if self.unsaved.take_if(|stamp| *stamp > 0 && *stamp < finished).is_some() {
            upgrades.mark_saved();
        }
        false
    }

    /// Makes the checkpoint that other processes wait for, and reports when it is written. Stops the job when they take it over.
    fn follow_handover(&mut self, running: &Running, finished: u64) {
        let requests = &running.requests.handover;
        if requests.take_checkpoint_request() {
            self.handover = Some(match &self.checkpoints {
                Some(barriers) if barriers.has_unsaved_batches() => RequestedCheckpoint::Due,
                // Nothing was begun since the last one, which may be in progress.
                _ => RequestedCheckpoint::Begun(self.last),
            });
        }
        if self
            .handover
            .take_if(|request| matches!(request, RequestedCheckpoint::Begun(stamp) if *stamp < finished))
            .is_some()
        {
            requests.report_saved();
        }
        if requests.is_last() && !running.stopping() && self.last < finished {
            running.request_stop();
        }
    }

    /// Returns the state of the next checkpoint; `None` if the job writes none.
    fn checkpoint_step(
        &mut self,
        now: BatchTime,
        last_time: BatchTime,
        finished: u64,
        held_up: bool,
    ) -> Option<BarrierStep> {
        let soon = self.soon || matches!(self.handover, Some(RequestedCheckpoint::Due));
        self.checkpoints.as_mut().map(|barriers| barriers.step(now, last_time, finished, held_up, soon))
    }

    /// Records that the barrier after this batch was begun.
    fn record_barrier(&mut self, after: BatchId, upgrade: Option<DueUpgrade>, now: BatchTime, last_time: BatchTime) {
        self.last = after.barrier();
        self.unsaved = self.unsaved.map(|_| self.last);
        self.soon = false;
        self.handover = self.handover.map(|_| RequestedCheckpoint::Begun(self.last));
        if let Some(barriers) = &mut self.checkpoints {
            barriers.record_barrier(self.last, now, last_time);
        }
        if let Some(due) = upgrade {
            self.swap = Some(PendingSwap { upgrade: due.upgrade, after, since: Instant::now() });
            if due.shadow_batches == 0 {
                fault::point("upgrade.barrier");
            }
        }
    }
}

/// Returns why no more batches may be in flight.
fn full_cause() -> WaitCause {
    if memory::tight() { WaitCause::Memory } else { WaitCause::InFlight }
}

fn idle(sources: &[SourceState]) -> bool {
    sources.iter().all(|source| !source.ready && (source.finished || source.idle_ms >= IDLE_MS))
}
