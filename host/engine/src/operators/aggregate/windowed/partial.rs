//! Processing of rows before the exchange by key: late rows are removed, the others are aggregated.

use super::functions;
use crate::event_time::node::EventTimeNode;
use crate::exchange::{parts_of, split_by_key};
use crate::operators::aggregate::functions::Functions;
use crate::operators::context::BuildContext;
use crate::operators::event_time;
use crate::operators::event_time::take_times;
use crate::operators::late::LateRows;
use crate::operators::plugin::current::CurrentPlugin;
use crate::operators::plugin::run::ReadableRows;
use crate::operators::stage::{Operator, StageNode};
use crate::operators::window::state::rows::{RowSlice, Slices};
use crate::state::StateTable;
use crate::timely_ext::{BatchWork, Output, Parts, ProgressStream, each_batch_with_event_time, each_part};
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::kernels::numeric::neg;
use arrow::compute::{concat_batches, filter_record_batch};
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_metrics::Counts;
use millstream_rows::batch::keys::{KeyHash, Keys};
use millstream_rows::batch::op::Op;
use millstream_rows::batch::part::Part;
use millstream_rows::batch::rejected::RejectedRow;

/// Processing time: partial results of each part, and rejected rows.
pub fn batch_partials<'s>(
    stage: &StageNode,
    parts: Parts<'s>,
    build: &BuildContext<'s, '_>,
) -> Result<(Parts<'s>, Parts<'s>)> {
    let mut front = PartialStage::new(stage, build)?;
    let name = format!("{} partial", stage.name);
    Ok(each_part(parts, &name, build.failure.clone(), move |context, part, output| {
        let rows = front.readable(context, &part, output)?;
        let Some(op) = front.op else { return front.add(context, &rows, &part, output) };
        let (added, deleted) = front.split_by_op(context, op, &rows, &part, output)?;
        front.add(context, &added, &part, output)?;
        if deleted.num_rows() > 0 {
            let partial = front.functions.partial(context.call(), &deleted)?;
            front.send(negated(&partial, front.keys)?, &part, output)?;
        }
        Ok(())
    }))
}

/// Event time: partial results by slice, and rejected and late rows. It waits until a batch is complete, because only then the late rows are known.
pub fn time_partials<'s>(
    stage: &StageNode,
    node: &EventTimeNode,
    slices: Slices,
    parts: Parts<'s>,
    progress: ProgressStream<'s>,
    build: &BuildContext<'s, '_>,
) -> Result<(Parts<'s>, Parts<'s>)> {
    let late = LateRows::new(stage, &build.metrics.counts(&stage.name));
    let work = TimedFront { front: PartialStage::new(stage, build)?, slices, late };
    let (name, index) = (format!("{} partial", stage.name), build.index as u64);
    let (ticks, failure) = (build.ticks.clone(), build.failure.clone());
    // The stage's other operator has an identical clock, and saves it for both.
    let time = Some((progress, event_time::create_clock(stage, node, build)?));
    let (rows, rejections, _) = each_batch_with_event_time(parts, time, ticks, &name, failure, move |_| index, work);
    Ok((rows, rejections))
}

struct PartialStage {
    stage: StageNode,
    functions: Functions,
    /// The column with each row's operation.
    op: Option<usize>,
    current: CurrentPlugin,
    metrics: Counts,
    /// For a plugin: rejects the rows that it cannot read.
    readable: Option<ReadableRows>,
    keys: usize,
    peers: usize,
}

impl PartialStage {
    fn new(stage: &StageNode, build: &BuildContext<'_, '_>) -> Result<PartialStage> {
        let metrics = build.metrics.counts(&stage.name);
        let readable = match &stage.operator {
            Operator::Reduce(node) => Some(ReadableRows::to_lift(stage, node, build)),
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
            current: CurrentPlugin::new(stage, build.versions),
            metrics,
            readable,
            keys: stage.key.len(),
            peers: build.peers,
        })
    }

    /// Returns the rows that the functions can read.
    fn readable(&mut self, context: BatchContext, part: &Part, output: &mut Output) -> Result<RecordBatch> {
        if let Some(stage) = self.current.renewed() {
            self.functions = functions(&stage, &self.metrics)?;
        }
        match &mut self.readable {
            Some(readable) => readable.select(context, part, output),
            None => Ok(part.rows.clone()),
        }
    }

    /// Aggregates rows and sends the partial results.
    fn add(&mut self, context: BatchContext, rows: &RecordBatch, part: &Part, output: &mut Output) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let partial = self.functions.partial(context.call(), rows)?;
        self.send(partial, part, output)
    }

    /// Splits rows into inserted and deleted ones; others are rejected.
    fn split_by_op(
        &self,
        context: BatchContext,
        op: usize,
        rows: &RecordBatch,
        part: &Part,
        output: &mut Output,
    ) -> Result<(RecordBatch, RecordBatch)> {
        let op_names = rows.column(op).as_string_opt::<i32>();
        let ops: Vec<_> = (0..rows.num_rows()).map(|row| Op::of_row(op_names, row)).collect();
        let rejections: Vec<RejectedRow> = (0..)
            .zip(&ops)
            .filter_map(|(row, op)| match op {
                Ok(Op::Write | Op::Delete) => None,
                Ok(Op::Truncate) => Some(RejectedRow::new(row, "its `op` is `truncate`, which totals cannot process")),
                Err(why) => Some(RejectedRow::new(row, why.clone())),
            })
            .collect();
        let name = self.stage.inputs.first().map_or("", |input| input.name.as_str());
        let rejected = self.stage.rejected.rows(context.id, name, rows, &rejections)?;
        self.metrics.add_rejected(rejected.num_rows());
        output.reject(context, part.order.clone(), rejected);
        let of = |wanted: Op| {
            let mask: BooleanArray = ops.iter().map(|op| Some(*op == Ok(wanted))).collect();
            filter_record_batch(rows, &mask).map_err(Error::arrow)
        };
        Ok((of(Op::Write)?, of(Op::Delete)?))
    }

    /// Sends partial results to the workers that own their keys; without a key, to the first worker.
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

/// Negates partial results of counts and sums, so that adding them subtracts.
fn negated(partial: &RecordBatch, keys: usize) -> Result<RecordBatch> {
    let columns = partial.columns().iter().enumerate();
    let columns = columns.map(|(position, column)| if position < keys { Ok(column.clone()) } else { neg(column) });
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
        let rows = self.front.readable(context, &part, output)?;
        let (slices, rows) = self.drop_late(context, &Part { rows, ..part.clone() }, output)?;
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

    /// Removes the time column and the late rows. Rows between windows are dropped without a report, as no window includes them. Returns the slice of
    /// each remaining row, and the rows.
    fn drop_late(&self, context: BatchContext, part: &Part, output: &mut Output) -> Result<(Vec<i64>, RecordBatch)> {
        let (rows, times) = take_times(part)?;
        let mut assigner = self.slices.assigner(context.watermark.before);
        let row_slices: Vec<RowSlice> = times.values().iter().map(|time| assigner.slice_of(*time)).collect();
        let slice = |row_slice: &RowSlice| if let RowSlice::Slice(slice) = row_slice { Some(*slice) } else { None };
        let slices: Vec<i64> = row_slices.iter().filter_map(slice).collect();
        if slices.len() == rows.num_rows() {
            return Ok((slices, rows));
        }
        let only = |wanted: &dyn Fn(&RowSlice) -> bool| {
            let mask: BooleanArray = row_slices.iter().map(|row_slice| Some(wanted(row_slice))).collect();
            filter_record_batch(&rows, &mask).map_err(Error::arrow)
        };
        let late = only(&|row_slice| *row_slice == RowSlice::Late)?;
        if late.num_rows() > 0 {
            self.late.push(context, part, late, output)?;
        }
        Ok((slices, only(&|row_slice| slice(row_slice).is_some())?))
    }
}
