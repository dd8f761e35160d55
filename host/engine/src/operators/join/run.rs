//! Joins in the graph: rows go to the worker that owns the values of their `on` columns, and are matched there.

mod as_of;
mod changing;
mod intervals;
mod late_rows;

use crate::exchange::{parts_of, split_by_key};
use crate::operators::by_key::hashes;
use crate::operators::context::{BuildContext, Input, StageStreams, split_late};
use crate::operators::join::node::JoinNode;
use crate::operators::join::state::Side;
use crate::operators::stage::StageNode;
use crate::operators::{event_time, join};
use crate::timely_ext::{Output, Parts, each_batch, each_batch_with_holds, each_part};
use arrow::array::RecordBatch;
use intervals::Intervals;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::PartOrder;
use millstream_base::limits::PART_ROWS_MAX;
use millstream_metrics::Counts;
use millstream_rows::batch::keys::{canonical_column, has_floats};
use millstream_rows::batch::part::Part;

/// Builds the stage.
pub fn build<'s>(
    stage: &StageNode,
    node: &JoinNode,
    input: Input<'s>,
    build: &BuildContext<'s, '_>,
) -> Result<StageStreams<'s>> {
    let split = split(stage, node, input.parts, build);
    if let Some(changing) = &node.changing {
        return changing::build(stage, node, changing, split, build);
    }
    let metrics = build.metrics.counts(&stage.name);
    let failure = build.failure.clone();
    let timed = node.interval.is_some() || node.as_of.is_some();
    let Some(event_time) = stage.event_time.as_ref().filter(|_| timed) else {
        let work = PerBatch { name: stage.name.clone(), node: node.clone(), worker: build.index as u64, metrics };
        let work = move |context, parts, output: &mut Output| work.batch(context, parts, output);
        let (rows, rejected) = each_batch(split, build.ticks.clone(), &stage.name, failure, |part| part.to, work);
        return Ok(StageStreams::new(rows, rejected));
    };
    let Some(progress) = input.progress else { return Err(Error::bug("an interval join without event time")) };
    let time = Some((progress, event_time::reporting_clock(stage, event_time, build)?));
    let (column, ticks) = (build.graph.held_index(stage), build.ticks.clone());
    let (name, to) = (&stage.name, |part: &Part| part.to);
    let (rows, rejected, changes, holds) = if node.as_of.is_some() {
        let work = as_of::AsOfWork::new(stage, node, metrics, build)?;
        each_batch_with_holds(split, time, column, ticks, name, failure, to, work)
    } else {
        let work = Intervals::new(stage, node, metrics, build)?;
        each_batch_with_holds(split, time, column, ticks, name, failure, to, work)
    };
    let (rejected, late) = split_late(rejected);
    Ok(StageStreams {
        sides: vec![late],
        changes: vec![changes],
        holds: Some(holds),
        ..StageStreams::new(rows, rejected)
    })
}

/// Arranges rows for the join, and splits parts by the owner of their key.
fn split<'s>(stage: &StageNode, node: &JoinNode, parts: Parts<'s>, build: &BuildContext<'s, '_>) -> Parts<'s> {
    let (layouts, on, peers) = (node.layouts.clone(), node.on, build.peers);
    let name = format!("{} by key", stage.name);
    let (split, _) = each_part(parts, &name, build.failure.clone(), move |_, part, output| {
        let layout = layouts.get(part.input as usize).ok_or_else(|| Error::bug("a part of an unknown input"))?;
        let mut rows = part.rows.project(layout).map_err(Error::arrow)?;
        let floats = |rows: &RecordBatch| rows.columns().iter().take(on).any(|c| has_floats(c.data_type()));
        if floats(&rows) {
            // Equal keys have equal bytes, also after they were restored from a checkpoint.
            let columns = rows.columns().iter().enumerate();
            let columns = columns.map(|(column, c)| if column < on { canonical_column(c) } else { c.clone() });
            rows = RecordBatch::try_new(rows.schema(), columns.collect()).map_err(Error::arrow)?;
        }
        let split = split_by_key(&rows, &hashes(&first(on), &rows)?, peers).map_err(Error::arrow)?;
        output.rows.extend(parts_of(split, &part));
        Ok(())
    });
    split
}

/// Returns the indexes of the key columns in a layout.
fn first(on: usize) -> Vec<usize> {
    (0..on).collect()
}

/// Splits a part's rows by input side.
fn split_by_side(parts: Vec<Part>) -> [Vec<Part>; 2] {
    let (first, second) = parts.into_iter().partition(|part| part.input == Side::First as u32);
    [first, second]
}

/// A join of the rows of a batch, or of windows that end with it.
struct PerBatch {
    name: String,
    node: JoinNode,
    worker: u64,
    metrics: Counts,
}

impl PerBatch {
    fn batch(&self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        let sides = split_by_side(parts).map(|side| side.into_iter().map(|part| part.rows).collect::<Vec<_>>());
        let JoinNode { kind, on, windowed, joined, .. } = &self.node;
        let windows = join::state::windows(*kind, *on, *windowed, [&sides[0], &sides[1]])
            .map_err(|error| error.within(format!("stage `{}`: batch {}", self.name, context.id)))?;
        let [first, second] = [sides[0].iter().collect::<Vec<_>>(), sides[1].iter().collect()];
        for window in windows {
            let order = match window.bounds {
                None => PartOrder::at(self.worker),
                Some((end, start)) => PartOrder::at_window(end, start).then(self.worker),
            };
            for (number, pairs) in (0u64..).zip(window.pairs.chunks(PART_ROWS_MAX)) {
                let rows = joined.rows([&first, &second], pairs).map_err(Error::arrow)?;
                self.metrics.add_rows(rows.num_rows());
                output.push(context, order.clone().then(number), rows);
            }
        }
        Ok(())
    }
}

/// Returns the name of an input, and its rows with the original column order.
fn original_columns<'a>(
    stage: &'a StageNode,
    node: &JoinNode,
    side: Side,
    rows: &RecordBatch,
) -> Result<(&'a str, RecordBatch)> {
    let layout = &node.layouts[side.index()];
    let input = stage.inputs.get(side.index()).ok_or_else(|| Error::bug("a join without its inputs"))?;
    let indexes = (0..input.schema.fields().len()).filter_map(|column| layout.iter().position(|p| *p == column));
    let rows = rows.project(&indexes.collect::<Vec<_>>()).map_err(Error::arrow)?;
    Ok((&input.name, rows))
}
