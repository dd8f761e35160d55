//! Windows whose rows an operator processes. In the batch with which a window ends, the operator gets all rows of the window, in the order of
//! arrival; in other batches none.

use crate::checkpoint::changes::TableChanges;
use crate::operators::context::{BuildContext, Input, StageStreams, in_checkpoint, split_late};
use crate::operators::event_time::take_times;
use crate::operators::late::LateRows;
use crate::operators::stage::StageNode;
use crate::operators::window::check::{rows_table, with_bounds};
use crate::operators::window::ends::WindowEnds;
use crate::operators::window::node::WindowNode;
use crate::operators::window::state::bounds;
use crate::operators::window::state::rows::{self, PieceId, RowSlice, Slices};
use crate::operators::{event_time, session};
use crate::state::StateTable;
use crate::state::store::Store;
use crate::state::table_checkpoint::TableCheckpoint;
use crate::timely_ext::{BatchWork, Output, each_batch_with_holds, each_part};
use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, SchemaRef};
use millstream_base::context::{BatchContext, Hold, Watermark};
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, ClockId, PartOrder};
use millstream_metrics::StateSize;
use millstream_rows::batch::part::Part;
use millstream_rows::batch::types::with_fields;
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
        WindowNode::Session { .. } => return session::run::build(stage, input, build),
        WindowNode::All => return Err(Error::bug("rows of a window without an end")),
        WindowNode::Batches { size_us, slide_us } => {
            Windows::Batches { size_us, ends: Box::new(WindowEnds::new(stage, (size_us, slide_us), build)?) }
        }
        WindowNode::Sliding { size_us, slide_us, begin, .. } => {
            Windows::Sliding(Slices::new(size_us, slide_us).with_begin(begin))
        }
    };
    let failure = build.failure.clone();
    let peers = build.peers;
    let (placed, _) = each_part(input.parts, &format!("{} place", stage.name), failure.clone(), {
        move |context, part, output| {
            let to = PieceId::hash(context.id, &part)?.worker(peers) as u64;
            output.rows.push(Part { to, ..part });
            Ok(())
        }
    });
    let time = event_time::progress_and_clock(stage, input.progress, build)?;
    let work = RowsWindow::new(stage, windows, build)?;
    let name = format!("{} window", stage.name);
    let (index, ticks) = (build.graph.held_index(stage), build.ticks.clone());
    let (rows, rejected, changes, holds) =
        each_batch_with_holds(placed, time, index, ticks, &name, failure, |part| part.to, work);
    let (rejected, late) = split_late(rejected);
    let sides = if window.of_event_time() { vec![late] } else { Vec::new() };
    Ok(StageStreams { sides, changes: vec![changes], holds: Some(holds), ..StageStreams::new(rows, rejected) })
}

/// The kinds of windows.
enum Windows {
    Batches { size_us: i64, ends: Box<WindowEnds> },
    Sliding(Slices),
}

/// The stored rows, by the time of a batch or the start of a slice.
type Pieces = Store<RecordBatch>;

/// The rows that a worker stores for the windows of a stage.
struct RowsWindow {
    name: String,
    windows: Windows,
    pieces: Pieces,
    checkpoint: Option<TableCheckpoint>,
    late: LateRows,
    state_size: StateSize,
    /// The output columns, by input.
    bounded: Vec<SchemaRef>,
}

impl RowsWindow {
    fn new(stage: &StageNode, windows: Windows, build: &BuildContext<'_, '_>) -> Result<RowsWindow> {
        let mut table = build.spilling(&stage.name, rows::table()?)?;
        let checkpoint = build.restore(&stage.name, &rows_table(&stage.name), &mut table)?;
        let pieces = Store::new(table, build.stage_budget(&stage.name)).map_err(in_checkpoint(&stage.name))?;
        let metrics = build.metrics.counts(&stage.name);
        Ok(RowsWindow {
            name: stage.name.clone(),
            windows,
            pieces,
            checkpoint,
            late: LateRows::new(stage, &metrics),
            state_size: metrics.state_size(&stage.name),
            bounded: stage.inputs.iter().map(|input| with_bounds(&input.schema)).collect(),
        })
    }

    fn work(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        let RowsWindow { windows, pieces, late, bounded, .. } = self;
        let parts = with_ids(context.id, parts);
        match windows {
            Windows::Batches { size_us, ends } => {
                let batch = ends.batch(context)?;
                for (id, part) in parts.into_iter().filter(|_| batch.holds) {
                    pieces.insert(PieceId { time_us: context.time.0, ..id }, part.rows);
                }
                let is_inside =
                    |time_us| batch.end_us.is_some_and(|end| time_us > end.saturating_sub(*size_us) && time_us <= end);
                let inside = pieces.take(is_inside, |time_us| time_us <= batch.next_us.saturating_sub(*size_us))?;
                output.rows.extend(inside.into_iter().map(|(id, rows)| piece_part(context, &id, rows)));
            }
            Windows::Sliding(slices) => {
                for (id, part) in parts {
                    slice(slices, pieces, context, id, part, |part, rows| late.push(context, part, rows, output))?;
                }
                close(slices, pieces, context, bounded, output)?;
            }
        }
        self.pieces.settle(&mut self.state_size)
    }
}

impl BatchWork for RowsWindow {
    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        let worked = self.work(context, parts, output);
        worked.map_err(|error| error.within(format!("stage `{}`: batch {}", self.name, context.id)))
    }

    fn hold(&mut self, watermark: Watermark, _: Option<i64>) -> Hold {
        match &self.windows {
            Windows::Sliding(slices) => slices.hold(watermark.now),
            Windows::Batches { .. } => Hold::default(),
        }
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        vec![self.pieces.table()]
    }

    fn barrier(&mut self, after: BatchId) -> Result<Vec<TableChanges>> {
        let Some(checkpoint) = &mut self.checkpoint else { return Ok(Vec::new()) };
        let mut changes: Vec<TableChanges> = self.pieces.barrier(after, checkpoint)?.into_iter().collect();
        if let Windows::Batches { ends, .. } = &mut self.windows {
            changes.extend(ends.barrier(after)?);
        }
        Ok(changes)
    }
}

/// Gives parts unique ids, even if several have the same order.
fn with_ids(batch: BatchId, parts: Vec<Part>) -> Vec<(PieceId, Part)> {
    let mut seen: BTreeMap<(u32, PartOrder), u32> = BTreeMap::new();
    let mut number = |part: Part| {
        let next = seen.entry((part.input, part.order.clone())).or_default();
        let id = PieceId { time_us: 0, batch, order: part.order.clone(), input: part.input, number: *next };
        *next += 1;
        (id, part)
    };
    parts.into_iter().map(&mut number).collect()
}

/// Returns a piece as an output part of this batch.
fn piece_part(context: BatchContext, id: &PieceId, rows: RecordBatch) -> Part {
    let order = id.order.clone().then(id.number.into()).prefixed(id.batch.0);
    Part { to: 0, order, clock_id: ClockId::MADE, input: id.input, time: context.time, rows }
}

/// The number of a row in its part, if the rows of a window are assembled from slices.
const ROW: &str = "millstream_row";

/// Splits the rows of a part into slices.
fn slice(
    slices: &Slices,
    pieces: &mut Pieces,
    context: BatchContext,
    id: PieceId,
    part: Part,
    late: impl FnOnce(&Part, RecordBatch) -> Result<()>,
) -> Result<()> {
    let (rows, times) = take_times(&part)?;
    let mut indexes: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
    let mut late_rows = Vec::new();
    let mut assigner = slices.assigner(context.watermark.before);
    for (row, time) in (0u32..).zip(times.values()) {
        match assigner.slice_of(*time) {
            RowSlice::Slice(slice) => indexes.entry(slice).or_default().push(row),
            RowSlice::Late => late_rows.push(row),
            RowSlice::InGap => {}
        }
    }
    for (time_us, indices) in indexes {
        let numbers = UInt32Array::from(indices);
        let complete = numbers.len() == rows.num_rows();
        let mut piece =
            if complete { rows.clone() } else { take_record_batch(&rows, &numbers).map_err(Error::arrow)? };
        if slices.has_shared_slices() {
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

/// Emits the windows that are complete with this batch, and drops what no other window needs.
fn close(
    slices: &Slices,
    pieces: &mut Pieces,
    context: BatchContext,
    bounded: &[SchemaRef],
    output: &mut Output,
) -> Result<()> {
    let Watermark { before, now } = context.watermark;
    if before == now {
        return Ok(());
    }
    let closing = slices.closing_windows(pieces.subs(), before, now);
    let last = closing.keys().next_back().copied();
    for (end, parts) in closing {
        let window = (slices.from_grid(slices.start_of(end)), slices.from_grid(end));
        let mut found: BTreeMap<PieceId, Vec<RecordBatch>> = BTreeMap::new();
        let is_last = Some(end) == last;
        for (id, rows) in
            pieces.take(|slice| parts.binary_search(&slice).is_ok(), |slice| is_last && slices.done(slice, now))?
        {
            found.entry(PieceId { time_us: 0, ..id }).or_default().push(rows);
        }
        for (id, rows) in found {
            let numbered = rows.iter().any(|rows| rows.schema_ref().column_with_name(ROW).is_some());
            let rows = if numbered { in_order(&rows)? } else { rows };
            let Some(schema) = bounded.get(id.input as usize) else { return Err(Error::bug("an unknown input")) };
            for rows in rows {
                let part = piece_part(context, &id, bounds::add(schema, &rows, window.0, window.1)?);
                output.rows.push(Part { order: part.order.under_time(end), ..part });
            }
        }
    }
    Ok(())
}

/// Returns the rows of one part in order, without their numbers.
fn in_order(pieces: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
    let Some(first) = pieces.first() else { return Ok(Vec::new()) };
    let numbers = first.num_columns().saturating_sub(1);
    let columns: Vec<usize> = (0..numbers).collect();
    let mut rows = first.clone();
    if pieces.len() > 1 {
        rows = concat_batches(first.schema_ref(), pieces).map_err(Error::arrow)?;
        let order = sort_to_indices(rows.column(numbers), None, None).map_err(Error::arrow)?;
        rows = take_record_batch(&rows, &order).map_err(Error::arrow)?;
    }
    Ok(vec![rows.project(&columns).map_err(Error::arrow)?])
}
