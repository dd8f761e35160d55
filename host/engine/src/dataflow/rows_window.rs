//! Windows whose rows an operator works on: in the batch with which a window ends it gets all rows of the window, in the
//! order in which they came, and otherwise none.

use super::event_time::take_times;
use super::late::LateRows;
use super::stages::{BuildContext, Input, StageStreams, split_late};
use super::window_ends::WindowEnds;
use super::{event_time, sessions};
use crate::batch::part::Part;
use crate::batch::types::with_fields;
use crate::checkpoint::changes::Changes;
use crate::context::{BatchContext, Hold, Watermark};
use crate::error::{Error, Result};
use crate::graph::{StageNode, rows_table, with_bounds};
use crate::ids::{BatchId, ClockId, PartOrder};
use crate::limits::STATE_SLICE_MAX;
use crate::metrics::StateSize;
use crate::state::table_checkpoint::TableCheckpoint;
use crate::timely_ext::{BatchWork, Output, each_batch_that_holds, each_part};
use crate::window::WindowNode;
use crate::window::bounds;
use crate::window::rows::{PieceId, Pieces, SlicePlace, Slices};
use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, SchemaRef};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Builds the stage.
pub fn build<'s>(
    stage: &StageNode,
    window: &WindowNode,
    input: Input<'s>,
    build: &BuildContext<'s, '_>,
) -> Result<StageStreams<'s>> {
    let windows = match *window {
        WindowNode::Session { .. } => return sessions::build(stage, input, build),
        WindowNode::All => return Err(Error::bug("rows of a window without an end")),
        WindowNode::Batches { size_us, slide_us } => {
            Windows::Batches { size_us, ends: WindowEnds::new(&stage.name, (size_us, slide_us), build)? }
        }
        WindowNode::Sliding { size_us, slide_us, begin, .. } => {
            Windows::Sliding(Slices::new(size_us, slide_us).beginning(begin))
        }
    };
    let failure = build.running.failure.clone();
    let peers = build.peers;
    let (placed, _) = each_part(input.parts, &format!("{} place", stage.name), failure.clone(), {
        move |context, part, output| {
            let to = PieceId::hash(context.id, &part)?.worker(peers) as u64;
            output.rows.push(Part { to, ..part });
            Ok(())
        }
    });
    let time = event_time::of(stage, input.progress, build)?;
    let work = RowsWindow::new(stage, windows, build)?;
    let name = format!("{} window", stage.name);
    let (place, ticks) = (build.running.graph.held_place(stage), build.ticks.clone());
    let (rows, rejected, changes, holds) =
        each_batch_that_holds(placed, time, place, ticks, &name, failure, |part| part.to, work);
    let (rejected, late) = split_late(rejected);
    let sides = if window.of_event_time() { vec![late] } else { Vec::new() };
    Ok(StageStreams { sides, changes: vec![changes], holds: Some(holds), ..StageStreams::of(rows, rejected) })
}

/// The kinds of windows.
enum Windows {
    Batches { size_us: i64, ends: WindowEnds },
    Sliding(Slices),
}

/// The rows that a worker keeps for the windows of a stage.
struct RowsWindow {
    windows: Windows,
    pieces: Pieces,
    checkpoint: Option<TableCheckpoint>,
    late: LateRows,
    held: StateSize,
    /// The columns of rows as they come out, by input.
    bounded: Vec<SchemaRef>,
}

impl RowsWindow {
    fn new(stage: &StageNode, windows: Windows, build: &BuildContext<'_, '_>) -> Result<RowsWindow> {
        let checkpoint = build.table_checkpoint(&rows_table(&stage.name));
        let mut pieces = Pieces::new(checkpoint.is_some());
        if let Some(checkpoint) = &checkpoint {
            for rows in checkpoint.load()?.unwrap_or_default() {
                pieces.restore(&rows).map_err(|error| error.within(format!("stage `{}`", stage.name)))?;
            }
        }
        let bounded = stage.inputs.iter().map(|input| with_bounds(&input.schema)).collect();
        let metrics = build.running.metrics.of(&stage.name);
        let (late, held) = (LateRows::of(stage, &metrics), metrics.held(&stage.name));
        Ok(RowsWindow { windows, pieces, checkpoint, late, held, bounded })
    }
}

impl BatchWork for RowsWindow {
    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        let RowsWindow { windows, pieces, late, bounded, held, .. } = self;
        let parts = numbered(context.id, parts);
        match windows {
            Windows::Batches { size_us, ends } => {
                let batch = ends.batch(context.time)?;
                for (id, part) in parts.into_iter().filter(|_| batch.holds) {
                    pieces.insert(PieceId { time_us: context.time.0, ..id }, part.rows);
                }
                if let Some(end_us) = batch.end_us {
                    let from_us = end_us.saturating_sub(*size_us);
                    let inside = pieces.all().filter(|(id, _)| id.time_us > from_us && id.time_us <= end_us);
                    output.rows.extend(inside.map(|(id, rows)| piece_part(context, id, rows.clone())));
                }
                pieces.drop_while(|time_us| time_us <= batch.next_us.saturating_sub(*size_us));
            }
            Windows::Sliding(slices) => {
                for (id, part) in parts {
                    slice(slices, pieces, context, id, part, |part, rows| late.push(context, part, rows, output))?;
                }
                close(slices, pieces, context, bounded, output)?;
                pieces.drop_while(|slice| slices.done(slice, context.watermark.now));
            }
        }
        held.set(pieces.len(), pieces.bytes());
        Ok(())
    }

    fn hold(&mut self, watermark: Watermark, _: Option<i64>) -> Hold {
        match &self.windows {
            Windows::Sliding(slices) => slices.hold(watermark.now),
            Windows::Batches { .. } => Hold::default(),
        }
    }

    fn barrier(&mut self, after: BatchId) -> Result<Vec<Changes>> {
        let Some(checkpoint) = &mut self.checkpoint else { return Ok(Vec::new()) };
        let (changed, all) = (self.pieces.changed(), self.pieces.len());
        let mut changes: Vec<Changes> = checkpoint
            .changes_of(after, changed, all, |base, to| {
                self.pieces.changes(base, STATE_SLICE_MAX, &mut |slice| to.add(slice))
            })?
            .into_iter()
            .collect();
        if let Windows::Batches { ends, .. } = &mut self.windows {
            changes.extend(ends.barrier(after)?);
        }
        Ok(changes)
    }
}

/// Parts with ids of their own, also where several have one place.
fn numbered(batch: BatchId, parts: Vec<Part>) -> Vec<(PieceId, Part)> {
    let mut seen: BTreeMap<(u32, PartOrder), u32> = BTreeMap::new();
    let mut number = |part: Part| {
        let next = seen.entry((part.input, part.order.clone())).or_default();
        let id = PieceId { time_us: 0, batch, order: part.order.clone(), input: part.input, number: *next };
        *next += 1;
        (id, part)
    };
    parts.into_iter().map(&mut number).collect()
}

/// A piece as it comes out in this batch.
fn piece_part(context: BatchContext, id: &PieceId, rows: RecordBatch) -> Part {
    let order = id.order.clone().then(id.number.into()).under(id.batch.0);
    Part { to: 0, order, clock_id: ClockId::MADE, input: id.input, time: context.time, rows }
}

/// The number of a row in its part, where the rows of a window are put together from slices.
const ROW: &str = "millstream_row";

/// Puts the rows of a part into slices.
fn slice(
    slices: &Slices,
    pieces: &mut Pieces,
    context: BatchContext,
    id: PieceId,
    part: Part,
    late: impl FnOnce(&Part, RecordBatch) -> Result<()>,
) -> Result<()> {
    let (rows, times) = take_times(&part)?;
    let mut places: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
    let mut late_rows = Vec::new();
    let mut placer = slices.placer(context.watermark.before);
    for (row, time) in (0u32..).zip(times.values()) {
        match placer.place(*time) {
            SlicePlace::Slice(slice) => places.entry(slice).or_default().push(row),
            SlicePlace::Late => late_rows.push(row),
            SlicePlace::Nowhere => {}
        }
    }
    for (time_us, indices) in places {
        let numbers = UInt32Array::from(indices);
        let whole = numbers.len() == rows.num_rows();
        let mut piece = if whole { rows.clone() } else { take_record_batch(&rows, &numbers).map_err(Error::arrow)? };
        if slices.shared() {
            piece = with_numbers(&piece, numbers)?;
        }
        pieces.insert(PieceId { time_us, ..id.clone() }, piece);
    }
    if late_rows.is_empty() {
        return Ok(());
    }
    late(&part, take_record_batch(&rows, &UInt32Array::from(late_rows)).map_err(Error::arrow)?)
}

fn with_numbers(rows: &RecordBatch, numbers: UInt32Array) -> Result<RecordBatch> {
    let schema = with_fields(rows.schema_ref(), [Arc::new(Field::new(ROW, DataType::UInt32, false))]);
    let numbers: ArrayRef = Arc::new(numbers);
    let columns = rows.columns().iter().cloned().chain([numbers]).collect();
    RecordBatch::try_new(schema, columns).map_err(Error::arrow)
}

/// Puts out the windows that are complete with this batch.
fn close(
    slices: &Slices,
    pieces: &Pieces,
    context: BatchContext,
    bounded: &[SchemaRef],
    output: &mut Output,
) -> Result<()> {
    let Watermark { before, now } = context.watermark;
    if before == now {
        return Ok(());
    }
    for (end, parts) in slices.closing(pieces.times().into_iter(), before, now) {
        let window = (slices.moment(slices.start_of(end)), slices.moment(end));
        let mut found: BTreeMap<PieceId, Vec<&RecordBatch>> = BTreeMap::new();
        for (id, rows) in parts.into_iter().flat_map(|slice| pieces.at(slice)) {
            found.entry(PieceId { time_us: 0, ..id.clone() }).or_default().push(rows);
        }
        for (id, rows) in found {
            let numbered = rows.iter().any(|rows| rows.schema_ref().column_with_name(ROW).is_some());
            let rows = if numbered { in_order(&rows)? } else { rows.into_iter().cloned().collect::<Vec<_>>() };
            let Some(schema) = bounded.get(id.input as usize) else { return Err(Error::bug("an unknown input")) };
            for rows in rows {
                let part = piece_part(context, &id, bounds::add(schema, &rows, window.0, window.1)?);
                output.rows.push(Part { order: part.order.under_time(end), ..part });
            }
        }
    }
    Ok(())
}

/// The rows of one part in their order, without their numbers.
fn in_order(pieces: &[&RecordBatch]) -> Result<Vec<RecordBatch>> {
    let Some(first) = pieces.first() else { return Ok(Vec::new()) };
    let numbers = first.num_columns().saturating_sub(1);
    let columns: Vec<usize> = (0..numbers).collect();
    let mut rows = (*first).clone();
    if pieces.len() > 1 {
        rows = concat_batches(first.schema_ref(), pieces.iter().copied()).map_err(Error::arrow)?;
        let order = sort_to_indices(rows.column(numbers), None, None).map_err(Error::arrow)?;
        rows = take_record_batch(&rows, &order).map_err(Error::arrow)?;
    }
    Ok(vec![rows.project(&columns).map_err(Error::arrow)?])
}
