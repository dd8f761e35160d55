//! Aggregates over sliding windows, of processing time and of event time. Rows are aggregated in each part, then by key and pane on the worker that
//! owns the key. Running totals are a window without an end.

mod batches;
mod changed;
mod partial;
mod times;
mod totals;
mod values;

use crate::operators::aggregate::functions::{Functions, Reducer};
use crate::operators::context::{BuildContext, Input, StageStreams, split_late};
use crate::operators::plugin::current::CurrentPlugin;
use crate::operators::plugin::run::caller;
use crate::operators::stage::{Operator, StageNode};
use crate::operators::window::check::aggregated;
use crate::operators::window::node::WindowNode;
use crate::operators::window::state::partial::{PartialRows, Window};
use crate::operators::window::state::rows::Slices;
use crate::timely_ext::{Output, each_batch_with_holds, each_batch_with_state};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{concat, concat_batches};
use arrow::datatypes::SchemaRef;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::PartOrder;
use millstream_base::limits::PART_ROWS_MAX;
use millstream_metrics::Counts;
use millstream_rows::batch::group::Grouper;
use millstream_rows::batch::part::Part;
use millstream_rows::batch::types::timestamps;

/// Builds the stage.
pub fn build<'s>(stage: &StageNode, input: Input<'s>, build: &BuildContext<'s, '_>) -> Result<StageStreams<'s>> {
    let failure = build.failure.clone();
    let ticks = build.ticks.clone();
    match (stage.window, &stage.event_time, input.progress) {
        (Some(WindowNode::Batches { size_us, slide_us }), _, _) => {
            let (parts, rejected) = partial::batch_partials(stage, input.parts, build)?;
            let work = batches::BatchWindowWork::new(stage, size_us, slide_us, build)?;
            let (rows, _, changes) =
                each_batch_with_state(parts, ticks, &stage.name, failure, |part: &Part| part.to, work);
            Ok(StageStreams { changes: vec![changes], ..StageStreams::new(rows, rejected) })
        }
        (Some(WindowNode::All), _, _) if !stage.keeps_totals() => values::build(stage, input.parts, build),
        (Some(WindowNode::All), _, _) => {
            let (parts, rejected) = partial::batch_partials(stage, input.parts, build)?;
            let work = totals::TotalsWork::new(stage, build)?;
            let (rows, _, changes) =
                each_batch_with_state(parts, ticks, &stage.name, failure, |part: &Part| part.to, work);
            Ok(StageStreams { changes: vec![changes], ..StageStreams::new(rows, rejected) })
        }
        (Some(WindowNode::Sliding { size_us, slide_us, begin, update }), Some(node), Some(progress)) => {
            let slices = Slices::new(size_us, slide_us).with_begin(begin);
            let (parts, rejections) =
                partial::time_partials(stage, node, slices, input.parts, progress.clone(), build)?;
            let clock = crate::operators::event_time::reporting_clock(stage, node, build)?;
            let work = times::TimeWindowWork::new(stage, slices, update, build)?;
            let time = Some((progress, clock));
            let position = build.graph.held_index(stage);
            let to = |part: &Part| part.to;
            let (rows, _, changes, holds) =
                each_batch_with_holds(parts, time, position, ticks, &stage.name, failure, to, work);
            let (rejected, late) = split_late(rejections);
            Ok(StageStreams { rows, rejected, sides: vec![late], changes: vec![changes], holds: Some(holds) })
        }
        _ => Err(Error::bug("an aggregate over windows without windows")),
    }
}

/// Creates the functions of a stage, for one operator on this worker.
pub fn functions(stage: &StageNode, metrics: &Counts) -> Result<Functions> {
    match &stage.operator {
        Operator::Aggregate(builtin) => Ok(Functions::builtin(builtin, stage.input.fields().len())),
        Operator::Reduce(node) => Ok(Functions::Plugin(Box::new(Reducer {
            caller: caller(node, metrics),
            input: stage.input.clone(),
            key: stage.key.clone(),
            reads: node.reads.clone(),
            state: node.description.state.clone(),
            grouper: Grouper::default(),
        }))),
        _ => Err(Error::bug("windows of a stage without an aggregate")),
    }
}

/// Concatenates the parts of a batch on this worker.
fn gather(parts: Vec<Part>, schema: &SchemaRef, keys: usize) -> Result<Option<PartialRows>> {
    let parts: Vec<RecordBatch> = parts.into_iter().map(|part| part.rows).collect();
    let all = match parts.as_slice() {
        [] => return Ok(None),
        [only] => only.clone(),
        parts => concat_batches(schema, parts).map_err(Error::arrow)?,
    };
    let (keys, partial) = all.columns().split_at_checked(keys).ok_or_else(|| Error::bug("a part without its key"))?;
    Ok(Some(PartialRows { keys: keys.to_vec(), partial: partial.to_vec(), rows: all.num_rows() }))
}

/// Builds the rows of windows and emits them.
struct WindowOutput {
    functions: Functions,
    /// The columns of the operator's rows.
    output: SchemaRef,
    of_event_time: bool,
    has_key: bool,
    index: usize,
    metrics: Counts,
    current: CurrentPlugin,
}

impl WindowOutput {
    fn new(stage: &StageNode, build: &BuildContext<'_, '_>) -> Result<WindowOutput> {
        let metrics = build.metrics.counts(&stage.name);
        Ok(WindowOutput {
            functions: functions(stage, &metrics)?,
            output: aggregated(stage)?,
            of_event_time: stage.event_time.is_some(),
            has_key: !stage.key.is_empty(),
            index: build.index,
            metrics,
            current: CurrentPlugin::new(stage, build.versions),
        })
    }

    /// Starts a batch. Returns whether the functions changed since the previous batch. In that case, results that are in no checkpoint must be
    /// recomputed. A job resumed from the checkpoint between both batches would use the new functions.
    fn renew(&mut self) -> Result<bool> {
        let Some(stage) = self.current.renewed() else { return Ok(false) };
        self.functions = functions(&stage, &self.metrics)?;
        Ok(true)
    }

    /// Returns the rows of windows, concatenated.
    fn rows(&mut self, context: BatchContext, windows: &[Window]) -> Result<RecordBatch> {
        let keys = columns_of(windows)?;
        let accumulators = match windows {
            [only] => only.accumulators.clone(),
            all => {
                let schema = self.functions.accumulators()?;
                concat_batches(&schema, all.iter().map(|window| &window.accumulators)).map_err(Error::arrow)?
            }
        };
        let count = accumulators.num_rows();
        let results = self.functions.lower(context.call(), &keys, &accumulators)?;
        let mut columns = keys;
        if self.of_event_time {
            let starts = windows.iter().flat_map(|window| std::iter::repeat_n(window.start, window.ids.len()));
            let ends = windows.iter().flat_map(|window| std::iter::repeat_n(window.end, window.ids.len()));
            columns.push(timestamps(starts));
            columns.push(timestamps(ends));
        }
        columns.extend(results.columns().iter().cloned());
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(self.output.clone(), columns, &options).map_err(Error::arrow)
    }

    /// Emits windows of event time.
    fn emit(&mut self, context: BatchContext, windows: &[Window], output: &mut Output) -> Result<()> {
        // Few plugin calls; each is within the size limit unless a single window is larger.
        let mut rest = windows;
        // One window may have several pieces.
        let mut number = 0;
        while !rest.is_empty() {
            let mut rows = 0;
            let fits = |window: &&Window| {
                rows += window.ids.len();
                rows <= PART_ROWS_MAX
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (windows, others) = rest.split_at(count);
            rest = others;
            let rows = self.rows(context, windows)?;
            self.metrics.add_rows(rows.num_rows());
            let mut start = 0;
            for window in windows {
                let order = PartOrder::at_window(window.end, window.start).then(self.index as u64).then(number);
                number += 1;
                output.push(context, order, rows.slice(start, window.ids.len()));
                start += window.ids.len();
            }
        }
        Ok(())
    }
}

/// Returns the key columns of windows, concatenated.
fn columns_of(windows: &[Window]) -> Result<Vec<ArrayRef>> {
    match windows {
        [only] => Ok(only.keys.clone()),
        all => {
            let count = all.first().map_or(0, |window| window.keys.len());
            let column = |position: usize| {
                let columns: Vec<&dyn arrow::array::Array> =
                    all.iter().filter_map(|window| window.keys.get(position)).map(|column| column.as_ref()).collect();
                concat(&columns).map_err(Error::arrow)
            };
            (0..count).map(column).collect()
        }
    }
}
