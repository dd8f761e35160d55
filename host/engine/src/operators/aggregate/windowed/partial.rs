//! What happens to rows before they reach the worker that owns their key: late ones leave, the others are aggregated.

use super::functions;
use crate::event_time::node::EventTimeNode;
use crate::exchange::{parts_of, split_by_key};
use crate::operators::aggregate::functions::Functions;
use crate::operators::context::BuildContext;
use crate::operators::event_time;
use crate::operators::event_time::take_times;
use crate::operators::late::LateRows;
use crate::operators::plugin::current::CurrentPlugin;
use crate::operators::plugin::run::WholeRows;
use crate::operators::stage::{Operator, StageNode};
use crate::operators::window::state::rows::{SlicePlace, Slices};
use crate::state::StateTable;
use crate::timely_ext::{BatchWork, Output, Parts, ProgressStream, each_batch_in_time, each_part};
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::kernels::numeric::neg;
use arrow::compute::{concat_batches, filter_record_batch};
use millstream_base::batch::keys::{KeyHash, Keys};
use millstream_base::batch::op::Op;
use millstream_base::batch::part::Part;
use millstream_base::batch::rejected::RefusedRow;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_metrics::Counts;

/// Processing time: partial results of each part, and rejected rows.
pub fn of_batches<'s>(
    stage: &StageNode,
    parts: Parts<'s>,
    build: &BuildContext<'s, '_>,
) -> Result<(Parts<'s>, Parts<'s>)> {
    let mut front = PartialStage::new(stage, build)?;
    let name = format!("{} partial", stage.name);
    Ok(each_part(parts, &name, build.failure.clone(), move |context, part, output| {
        let rows = front.whole(context, &part, output)?;
        let Some(op) = front.op else { return front.add(context, &rows, &part, output) };
        let (added, deleted) = front.by_op(context, op, &rows, &part, output)?;
        front.add(context, &added, &part, output)?;
        if deleted.num_rows() > 0 {
            let partial = front.functions.partial(context.call(), &deleted)?;
            front.send(negated(&partial, front.keys)?, &part, output)?;
        }
        Ok(())
    }))
}

/// Event time: partial results by slice, and rejected and late rows. It waits for a batch to be complete, because only then
/// is it known which of its rows are late.
pub fn of_times<'s>(
    stage: &StageNode,
    node: &EventTimeNode,
    slices: Slices,
    parts: Parts<'s>,
    progress: ProgressStream<'s>,
    build: &BuildContext<'s, '_>,
) -> Result<(Parts<'s>, Parts<'s>)> {
    let late = LateRows::of(stage, &build.metrics.of(&stage.name));
    let work = TimedFront { front: PartialStage::new(stage, build)?, slices, late };
    let (name, index) = (format!("{} partial", stage.name), build.index as u64);
    let (ticks, failure) = (build.ticks.clone(), build.failure.clone());
    // The stage's other operator has a clock that shows the same, and saves it for both.
    let time = Some((progress, event_time::clock(stage, node, build)?));
    let (rows, refused, _) = each_batch_in_time(parts, time, ticks, &name, failure, move |_| index, work);
    Ok((rows, refused))
}

struct PartialStage {
    stage: StageNode,
    functions: Functions,
    /// The column that says what a row does.
    op: Option<usize>,
    current: CurrentPlugin,
    metrics: Counts,
    /// Where a plugin aggregates: rejects the rows that it cannot read.
    whole: Option<WholeRows>,
    keys: usize,
    peers: usize,
}

impl PartialStage {
    fn new(stage: &StageNode, build: &BuildContext<'_, '_>) -> Result<PartialStage> {
        let metrics = build.metrics.of(&stage.name);
        let whole = match &stage.operator {
            Operator::Reduce(node) => Some(WholeRows::to_lift(stage, node, build)),
            _ => None,
        };
        let op = match &stage.operator {
            Operator::Aggregate(builtin) => builtin.op,
            _ => None,
        };
        Ok(PartialStage {
            stage: stage.clone(),
            functions: functions(stage, &metrics)?,
            op,
            current: CurrentPlugin::of(stage, build.versions),
            metrics,
            whole,
            keys: stage.key.len(),
            peers: build.peers,
        })
    }

    /// The rows that the functions can read.
    fn whole(&mut self, context: BatchContext, part: &Part, output: &mut Output) -> Result<RecordBatch> {
        if let Some(stage) = self.current.renewed() {
            self.functions = functions(&stage, &self.metrics)?;
        }
        match &mut self.whole {
            Some(whole) => whole.of(context, part, output),
            None => Ok(part.rows.clone()),
        }
    }

    /// Aggregates rows and sends what they make.
    fn add(&mut self, context: BatchContext, rows: &RecordBatch, part: &Part, output: &mut Output) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let partial = self.functions.partial(context.call(), rows)?;
        self.send(partial, part, output)
    }

    /// The rows that count and those that count no more; others are rejected.
    fn by_op(
        &self,
        context: BatchContext,
        op: usize,
        rows: &RecordBatch,
        part: &Part,
        output: &mut Output,
    ) -> Result<(RecordBatch, RecordBatch)> {
        let words = rows.column(op).as_string_opt::<i32>();
        let ops: Vec<_> = (0..rows.num_rows()).map(|row| Op::of_row(words, row)).collect();
        let refused: Vec<RefusedRow> = (0..)
            .zip(&ops)
            .filter_map(|(row, op)| match op {
                Ok(Op::Write | Op::Delete) => None,
                Ok(Op::Truncate) => Some(RefusedRow::new(row, "its `op` is `truncate`, which totals cannot follow")),
                Err(why) => Some(RefusedRow::new(row, why.clone())),
            })
            .collect();
        let name = self.stage.inputs.first().map_or("", |input| input.name.as_str());
        let rejected = self.stage.rejected.rows(context.id, name, rows, &refused)?;
        self.metrics.add_rejected(rejected.num_rows());
        output.reject(context, part.order.clone(), rejected);
        let of = |wanted: Op| {
            let mask: BooleanArray = ops.iter().map(|op| Some(*op == Ok(wanted))).collect();
            filter_record_batch(rows, &mask).map_err(Error::arrow)
        };
        Ok((of(Op::Write)?, of(Op::Delete)?))
    }

    /// Sends partial results to the workers that own their keys; without a key, to the first.
    fn send(&self, partial: RecordBatch, part: &Part, output: &mut Output) -> Result<()> {
        let split = if self.peers == 1 || self.keys == 0 {
            vec![(0, partial)]
        } else {
            split_by_key(&partial, &self.hashes(&partial)?, self.peers).map_err(Error::arrow)?
        };
        output.rows.extend(parts_of(split, part));
        Ok(())
    }

    fn hashes(&self, partial: &RecordBatch) -> Result<Vec<KeyHash>> {
        let keys = partial.columns().get(..self.keys).ok_or_else(|| Error::bug("partial results without a key"))?;
        Ok(Keys::encode(keys, partial.num_rows()).map_err(Error::arrow)?.hashes())
    }
}

/// Partial results that take out what these would add: counts and sums.
fn negated(partial: &RecordBatch, keys: usize) -> Result<RecordBatch> {
    let columns = partial.columns().iter().enumerate();
    let columns = columns.map(|(place, column)| if place < keys { Ok(column.clone()) } else { neg(column) });
    let columns = columns.collect::<std::result::Result<Vec<_>, _>>().map_err(Error::arrow)?;
    RecordBatch::try_new(partial.schema(), columns).map_err(Error::arrow)
}

struct TimedFront {
    front: PartialStage,
    slices: Slices,
    late: LateRows,
}

impl BatchWork for TimedFront {
    fn tables(&mut self) -> Vec<&mut StateTable> {
        Vec::new()
    }

    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        parts.into_iter().try_for_each(|part| self.part(context, part, output))
    }
}

impl TimedFront {
    fn part(&mut self, context: BatchContext, part: Part, output: &mut Output) -> Result<()> {
        let rows = self.front.whole(context, &part, output)?;
        let (slices, rows) = self.on_time(context, &Part { rows, ..part.clone() }, output)?;
        self.aggregate(context, &slices, &rows, &part, output)
    }

    fn aggregate(
        &mut self,
        context: BatchContext,
        slices: &[i64],
        rows: &RecordBatch,
        part: &Part,
        output: &mut Output,
    ) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let runs: Vec<(i64, usize)> =
            slices.chunk_by(|a, b| a == b).filter_map(|run| Some((*run.first()?, run.len()))).collect();
        let partials = self.front.functions.partial_by_pane(context.call(), rows, &runs)?;
        let schema = self.front.functions.partial_schema(true);
        let partial = match partials.as_slice() {
            [only] => only.clone(),
            partials => concat_batches(&schema, partials).map_err(Error::arrow)?,
        };
        self.front.send(partial, part, output)
    }

    /// Takes the time off the rows, and late rows out of them; those between windows go silently, as they were never to be
    /// in one. Returns the slice of each row left, and the rows.
    fn on_time(&self, context: BatchContext, part: &Part, output: &mut Output) -> Result<(Vec<i64>, RecordBatch)> {
        let (rows, times) = take_times(part)?;
        let mut placer = self.slices.placer(context.watermark.before);
        let places: Vec<SlicePlace> = times.values().iter().map(|time| placer.place(*time)).collect();
        let slice = |place: &SlicePlace| if let SlicePlace::Slice(slice) = place { Some(*slice) } else { None };
        let slices: Vec<i64> = places.iter().filter_map(slice).collect();
        if slices.len() == rows.num_rows() {
            return Ok((slices, rows));
        }
        let only = |wanted: &dyn Fn(&SlicePlace) -> bool| {
            let mask: BooleanArray = places.iter().map(|place| Some(wanted(place))).collect();
            filter_record_batch(&rows, &mask).map_err(Error::arrow)
        };
        let late = only(&|place| *place == SlicePlace::Late)?;
        if late.num_rows() > 0 {
            self.late.push(context, part, late, output)?;
        }
        Ok((slices, only(&|place| slice(place).is_some())?))
    }
}
