//! The two kinds of operators that stages consist of: one works on each part as it comes, and one waits until all parts of a batch have come.

mod pending;

use crate::checkpoint::changes::TableChanges;
use crate::event_time::EventClock;
use crate::state::StateTable;
use arrow::array::RecordBatch;
use millstream_base::context::{BatchContext, Event, Hold, Progress, Tick, Watermark};
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_base::ids::{BatchId, BatchTime, ClockId, PartOrder};
use millstream_base::memory::{self, mark_busy};
use millstream_metrics::work::OperatorWork;
use millstream_rows::batch::part::Part;
pub use pending::Pending;
use std::sync::{Arc, Mutex, PoisonError};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::scheduling::SyncActivator;

/// A stream of parts; the timestamp is that of the batch, see [`BatchId::stamp`].
pub type Parts<'s> = Stream<'s, u64, Vec<Part>>;
/// The stream of ticks that every worker receives.
pub type Ticks<'s> = Stream<'s, u64, Vec<Tick>>;
/// What stages and sources of this worker have to save at the barrier of a checkpoint.
pub type ChangesStream<'s> = Stream<'s, u64, Vec<TableChanges>>;

/// The progress of event time in a stage's input, one copy per worker.
pub type ProgressStream<'s> = Stream<'s, u64, Vec<Progress>>;

/// `Part::input` of late rows, if an operator emits them together with rejected ones.
pub const LATE: u32 = u32::MAX;
/// `Part::input` of accumulators that a version in a shadow made, between the operators of its stage.
pub const SHADOW: u32 = u32::MAX - 1;

/// Work that other threads have completed for an operator. It holds a capability for each item until it has taken it.
pub struct Completions<T> {
    completed: Mutex<Vec<(u64, T)>>,
    activator: Mutex<SyncActivator>,
}

impl<T> Completions<T> {
    /// Creates it for the operator that is being built in this scope.
    pub fn new<'s>(scope: Scope<'s, u64>, builder: &OperatorBuilder<'s, u64>) -> Arc<Completions<T>> {
        let activator = scope.worker().sync_activator_for(builder.operator_info().address.to_vec());
        Arc::new(Completions { completed: Mutex::default(), activator: Mutex::new(activator) })
    }

    /// Reports from any thread that the work begun at this timestamp is done. Wakes the operator's worker.
    pub fn complete(&self, stamp: u64, result: T) {
        self.completed.lock().unwrap_or_else(PoisonError::into_inner).push((stamp, result));
        // It fails if the worker has ended; then no one waits.
        let _ = self.activator.lock().unwrap_or_else(PoisonError::into_inner).activate();
    }

    /// Returns what was completed since the previous call.
    pub fn take(&self) -> Vec<(u64, T)> {
        std::mem::take(&mut *self.completed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The output of an operator for one batch.
pub struct Output {
    /// Rows for the next stages.
    pub rows: Vec<Part>,
    /// Rejected rows, and late ones with [`LATE`] as their input.
    pub rejected: Vec<Part>,
    /// The clock of the rows that are pushed.
    pub clock_id: ClockId,
    /// The input from which the rows are pushed.
    pub input: u32,
}

impl Default for Output {
    fn default() -> Output {
        Output { rows: Vec::new(), rejected: Vec::new(), clock_id: ClockId::MADE, input: 0 }
    }
}

impl Output {
    /// Adds rows for the next stages, if there are any.
    pub fn push(&mut self, context: BatchContext, order: PartOrder, rows: RecordBatch) {
        if rows.num_rows() > 0 {
            self.rows.push(self.part(self.input, context, order, rows));
        }
    }

    /// Adds rejected rows, if there are any.
    pub fn reject(&mut self, context: BatchContext, order: PartOrder, rows: RecordBatch) {
        if rows.num_rows() > 0 {
            self.rejected.push(self.part(0, context, order, rows));
        }
    }

    /// Adds late rows, if there are any.
    pub fn late(&mut self, context: BatchContext, order: PartOrder, rows: RecordBatch) {
        if rows.num_rows() > 0 {
            self.rejected.push(self.part(LATE, context, order, rows));
        }
    }

    fn part(&self, input: u32, context: BatchContext, order: PartOrder, rows: RecordBatch) -> Part {
        Part { to: 0, order, clock_id: self.clock_id, input, time: context.time, rows }
    }
}

/// Builds an operator that works on each part on its own, as it comes. An error fails the job.
pub fn each_part<'s>(
    parts: Parts<'s>,
    name: &str,
    failure: Failure,
    mut work: impl FnMut(BatchContext, Part, &mut Output) -> Result<()> + 'static,
) -> (Parts<'s>, Parts<'s>) {
    let mut builder = OperatorBuilder::new(name.to_owned(), parts.scope());
    let mut input = builder.new_input(parts, Pipeline);
    let (rows, rows_stream) = builder.new_output::<Vec<Part>>();
    let (rejected, rejected_stream) = builder.new_output::<Vec<Part>>();
    let mut rows = PartOutput::from(rows);
    let mut rejected = PartOutput::from(rejected);
    builder.build(move |_| {
        // Parts left undone because the job failed: no other process may take their batch for complete.
        let mut stuck = Vec::new();
        let (operator, operator_work) = (leak_name(name), OperatorWork::of_built());
        move |_| {
            let _at_work = mark_busy(operator);
            input.for_each(|capability, parts| {
                let begun = operator_work.begin();
                let mut output = Output::default();
                for part in parts.drain(..) {
                    let context = BatchContext::new(BatchId::of_stamp(*capability.time()).0, part.time);
                    (output.clock_id, output.input) = (part.clock_id, part.input);
                    if !failure.happened()
                        && let Err(error) = memory::check().and_then(|()| work(context, part, &mut output))
                    {
                        failure.set(error.in_operator(operator));
                    }
                    if failure.happened() {
                        stuck.push((capability.retain(0), capability.retain(1)));
                        return;
                    }
                }
                let batch = BatchId::of_stamp(*capability.time()).0;
                operator_work.end(batch, begun);
                rows.activate().session(&capability).give_iterator(output.rows.drain(..));
                if !output.rejected.is_empty() {
                    output
                        .rejected
                        .iter()
                        .for_each(|part| operator_work.record_rejected(batch, &part.rows, part.input == LATE));
                    rejected.activate().session(&capability).give_iterator(output.rejected.drain(..));
                }
            });
        }
    });
    (rows_stream, rejected_stream)
}

/// The work of an operator on complete batches.
pub trait BatchWork {
    /// Works on the parts of a batch that reached this worker, in order.
    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()>;

    /// Returns how old the rows may be that are still to be emitted after a batch. For operators with event time that hold back rows. `seen_us`: the
    /// newest time of its input.
    fn hold(&mut self, _watermark: Watermark, _seen_us: Option<i64>) -> Hold {
        Hold::default()
    }

    /// Returns the tables that [`BatchWork::barrier`] saves. Their rows may be frozen after it. Some are then copied whenever the operator is idle,
    /// and its part of the checkpoint is complete when all are.
    fn tables(&mut self) -> Vec<&mut StateTable>;

    /// Saves the state: all batches up to this one are done. Returns what the checkpoint has to hold.
    fn barrier(&mut self, _after: BatchId) -> Result<Vec<TableChanges>> {
        Ok(Vec::new())
    }

    /// Takes part in an upgrade at the barrier that was just passed, unless a process objects. `_time`: of the last batch.
    fn swap(&mut self, _id: u64, _time: BatchTime) {}
}

impl<F: FnMut(BatchContext, Vec<Part>, &mut Output) -> Result<()>> BatchWork for F {
    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        self(context, parts, output)
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        Vec::new()
    }
}

/// Builds an operator without state that waits until a batch is complete and then works on all its parts that reached this worker, in order. It is
/// called for every batch, even without parts. `route` returns the worker to which a part goes.
pub fn each_batch<'s>(
    parts: Parts<'s>,
    ticks: Ticks<'s>,
    name: &str,
    failure: Failure,
    route: impl Fn(&Part) -> u64 + 'static,
    work: impl FnMut(BatchContext, Vec<Part>, &mut Output) -> Result<()> + 'static,
) -> (Parts<'s>, Parts<'s>) {
    let (rows, rejected, _) = each_batch_with_state(parts, ticks, name, failure, route, work);
    (rows, rejected)
}

/// Builds an operator like [`each_batch`], with state that is saved at barriers.
pub fn each_batch_with_state<'s>(
    parts: Parts<'s>,
    ticks: Ticks<'s>,
    name: &str,
    failure: Failure,
    route: impl Fn(&Part) -> u64 + 'static,
    work: impl BatchWork + 'static,
) -> (Parts<'s>, Parts<'s>, ChangesStream<'s>) {
    each_batch_with_event_time(parts, None, ticks, name, failure, route, work)
}

/// Builds an operator like [`each_batch_with_state`], with event time if `time` is set: the progress of the input, and this worker's clock, which
/// shows the same on every worker. Late rows are emitted with the rejected ones, see [`LATE`].
pub fn each_batch_with_event_time<'s>(
    parts: Parts<'s>,
    time: Option<(ProgressStream<'s>, EventClock)>,
    ticks: Ticks<'s>,
    name: &str,
    failure: Failure,
    route: impl Fn(&Part) -> u64 + 'static,
    work: impl BatchWork + 'static,
) -> (Parts<'s>, Parts<'s>, ChangesStream<'s>) {
    let (rows, rejected, changes, _) = each_batch_with_holds(parts, time, None, ticks, name, failure, route, work);
    (rows, rejected, changes)
}

/// Builds an operator like [`each_batch_with_event_time`] that emits rows later than the rows they are computed from. The last stream reports its
/// progress to downstream stages. `stage`: its index in the job, if one of them needs it.
#[expect(clippy::too_many_arguments, reason = "as those of the functions above, and one more")]
pub fn each_batch_with_holds<'s>(
    parts: Parts<'s>,
    time: Option<(ProgressStream<'s>, EventClock)>,
    stage: Option<u32>,
    ticks: Ticks<'s>,
    name: &str,
    failure: Failure,
    route: impl Fn(&Part) -> u64 + 'static,
    mut work: impl BatchWork + 'static,
) -> (Parts<'s>, Parts<'s>, ChangesStream<'s>, ProgressStream<'s>) {
    let peers = parts.scope().peers() as u64;
    let mut builder = OperatorBuilder::new(name.to_owned(), parts.scope());
    let activator = parts.scope().activator_for(builder.operator_info().address);
    let mut input = builder.new_input(parts, Exchange::new(route));
    let mut ticks = builder.new_input(ticks, Pipeline);
    let (progress, mut event_clock) = time.unzip();
    let mut progress = progress.map(|progress| builder.new_input(progress, Exchange::new(|p: &Progress| p.to)));
    let (rows, rows_stream) = builder.new_output::<Vec<Part>>();
    let (rejected, rejected_stream) = builder.new_output::<Vec<Part>>();
    let (changes, changes_stream) = builder.new_output::<Vec<TableChanges>>();
    let (holds_output, holds_stream) = builder.new_output::<Vec<Progress>>();
    let mut holds_output = OutputBuilder::<u64, CapacityContainerBuilder<Vec<Progress>>>::from(holds_output);
    let mut rows = PartOutput::from(rows);
    let mut rejected = PartOutput::from(rejected);
    let mut changes = OutputBuilder::<u64, CapacityContainerBuilder<Vec<TableChanges>>>::from(changes);
    builder.build(move |_| {
        let mut pending: Pending<PendingBatch> = Pending::default();
        // The checkpoint of which rows are still to be copied.
        let mut for_frozen = None;
        let (operator, operator_work) = (leak_name(name), OperatorWork::of_built());
        move |frontiers| {
            let _at_work = mark_busy(operator);
            input.for_each(|capability, parts| {
                pending.at(*capability.time()).parts.append(parts);
            });
            ticks.for_each(|capability, ticks| {
                pending.at(*capability.time()).start = ticks.first().map(|tick| BatchStart {
                    tick: *tick,
                    for_rows: capability.retain(0),
                    for_rejected: capability.retain(1),
                    for_changes: capability.retain(2),
                    for_held: capability.retain(3),
                });
            });
            if let Some(progress) = &mut progress {
                progress.for_each(|capability, progress| {
                    pending.at(*capability.time()).progress.append(progress);
                });
            }
            pending.each_complete(frontiers, &failure, |stamp, batch| {
                let Some(start) = &batch.start else { return Ok(()) };
                let parts = std::mem::take(&mut batch.parts);
                let begun = operator_work.begin();
                let complete = || complete(&mut work, &mut event_clock, stamp, start.tick, parts, &batch.progress);
                let completed = memory::check().and_then(|()| complete());
                let (output, saved) = completed.map_err(|error| error.in_operator(operator))?;
                let (id, barrier) = BatchId::of_stamp(stamp);
                if !barrier {
                    operator_work.end(id, begun);
                }
                output
                    .rejected
                    .iter()
                    .for_each(|part| operator_work.record_rejected(id, &part.rows, part.input == LATE));
                event_clock.iter().for_each(|event_clock| {
                    operator_work.watermark(event_clock.watermark().now, || event_clock.partitions())
                });
                if let (Some(stage), Some(event_clock), false) = (stage, &event_clock, barrier) {
                    let hold = work.hold(event_clock.watermark(), event_clock.seen_us());
                    let progress = |to| Progress { to, what: Event::Held { stage, hold } };
                    holds_output.activate().session(&start.for_held).give_iterator((0..peers).map(progress));
                }
                rows.activate().session(&start.for_rows).give_iterator(output.rows.into_iter());
                rejected.activate().session(&start.for_rejected).give_iterator(output.rejected.into_iter());
                changes.activate().session(&start.for_changes).give_iterator(saved.into_iter());
                if barrier && work.tables().iter().any(|table| table.is_frozen()) {
                    for_frozen = batch.start.take().map(|start| start.for_changes);
                }
                Ok(())
            });
            if for_frozen.is_some() && !failure.happened() {
                match thaw_some(&mut work) {
                    Ok(true) => activator.activate(),
                    Ok(false) => for_frozen = None,
                    // The checkpoint must not be taken for complete.
                    Err(error) => failure.set(error.in_operator(operator)),
                }
            }
        }
    });
    (rows_stream, rejected_stream, changes_stream, holds_stream)
}

/// Returns the name of an operator as a static string. It is leaked: there is one for each operator of a job.
pub fn leak_name(name: &str) -> &'static String {
    Box::leak(Box::new(name.to_owned()))
}

/// Copies some of the frozen rows. Returns whether more are left.
fn thaw_some(work: &mut impl BatchWork) -> Result<bool> {
    let frozen = work.tables().into_iter().find(|table| table.is_frozen());
    frozen.map_or(Ok(false), |table| table.thaw_some().map(|_| true))
}

/// Works on a complete batch, or on the barrier after it.
fn complete(
    work: &mut impl BatchWork,
    event_clock: &mut Option<EventClock>,
    stamp: u64,
    tick: Tick,
    mut parts: Vec<Part>,
    progress: &[Progress],
) -> Result<(Output, Vec<TableChanges>)> {
    let (id, barrier) = BatchId::of_stamp(stamp);
    let mut output = Output::default();
    if barrier {
        let mut saved = work.barrier(id)?;
        if let Some(event_clock) = event_clock {
            saved.extend(event_clock.barrier(id)?);
        }
        if let Some(upgrade) = tick.swap {
            // The tables may change at the swap.
            work.tables().into_iter().try_for_each(StateTable::thaw)?;
            work.swap(upgrade, tick.time);
        }
        return Ok((output, saved));
    }
    // Stable: rows that a transform rejected for a null come before those that its plugin rejected.
    parts.sort_by(|a, b| a.order.cmp(&b.order));
    let watermark = event_clock.as_mut().map(|event_clock| event_clock.batch(tick, progress)).unwrap_or_default();
    work.batch(
        BatchContext { watermark, made_up: tick.made_up, ..BatchContext::new(id, tick.time) },
        parts,
        &mut output,
    )?;
    Ok((output, Vec::new()))
}

type PartOutput = OutputBuilder<u64, CapacityContainerBuilder<Vec<Part>>>;

/// What an `each_batch` operator holds of an incomplete batch.
#[derive(Default)]
struct PendingBatch {
    parts: Vec<Part>,
    progress: Vec<Progress>,
    start: Option<BatchStart>,
}

/// The tick of a batch, and the capability for its output.
struct BatchStart {
    tick: Tick,
    for_rows: Capability<u64>,
    for_rejected: Capability<u64>,
    for_changes: Capability<u64>,
    for_held: Capability<u64>,
}
