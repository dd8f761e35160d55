//! Drops rows whose key was seen within a time. The kept row counts: dropped rows do not restart the time. With event time rows may arrive out of
//! order. A row is then dropped if it is that near to a kept row, before or after it. Rows that pass keep their order.

use crate::checkpoint::changes::TableChanges;
use crate::event_time::END_US;
use crate::operators::by_key::{keys, split_marked};
use crate::operators::context::{BuildContext, Input, StageStreams, split_late};
use crate::operators::deduplicate::state::KeyTimes;
use crate::operators::stage::StageNode;
use crate::operators::{event_time, round_trip};
use crate::state::StateTable;
use crate::state::table_checkpoint::{self, TableCheckpoint};
use crate::timely_ext::{BatchWork, Output, each_batch_with_holds};
use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use millstream_base::context::{BatchContext, Hold, Watermark};
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, PartOrder};
use millstream_metrics::{Counts, StateSize};
use millstream_rows::batch::group::Grouper;
use millstream_rows::batch::group::sort_by_rank;
use millstream_rows::batch::part::Part;

/// Builds the stage, on the workers that own the keys.
pub fn build<'s>(
    stage: &StageNode,
    within_us: i64,
    input: Input<'s>,
    build: &BuildContext<'s, '_>,
) -> Result<StageStreams<'s>> {
    let split = split_marked(stage, input.parts, build, round_trip::mark(build));
    let time = event_time::progress_and_clock(stage, input.progress, build)?;
    let timed = time.is_some();
    let work = Deduplicate::new(stage, within_us, timed, build)?;
    let (failure, ticks) = (build.failure.clone(), build.ticks.clone());
    let position = build.graph.held_index(stage);
    let (rows, rejected_and_late, changes, holds) =
        each_batch_with_holds(split, time, position, ticks, &stage.name, failure, |part| part.to, work);
    let rows = round_trip::return_rows(stage, rows, build);
    let (rejected, late) = split_late(rejected_and_late);
    let sides = if timed { vec![late] } else { Vec::new() };
    Ok(StageStreams { sides, changes: vec![changes], holds: Some(holds), ..StageStreams::new(rows, rejected) })
}

/// The stage on one worker.
struct Deduplicate {
    schema: SchemaRef,
    key: Vec<usize>,
    timed: bool,
    /// Whether rows have left their worker and carry their origin.
    moved: bool,
    seen: KeyTimes,
    grouper: Grouper,
    worker: u64,
    metrics: Counts,
    state_size: StateSize,
    checkpoint: Option<TableCheckpoint>,
}

impl Deduplicate {
    fn new(stage: &StageNode, within_us: i64, timed: bool, build: &BuildContext<'_, '_>) -> Result<Deduplicate> {
        let key_fields = stage.input.project(&stage.key).map_err(Error::arrow)?;
        let mut seen = KeyTimes::new(key_fields.fields().iter().cloned().collect(), within_us)?;
        seen = seen.spilling(build.budget, build.failure, &stage.name)?;
        let checkpoint = build.restore(&stage.name, &stage.name, seen.table())?;
        Ok(Deduplicate {
            schema: stage.input.clone(),
            key: stage.key.clone(),
            timed,
            moved: build.peers > 1,
            seen,
            grouper: Grouper::default(),
            worker: build.index as u64,
            state_size: build.metrics.counts(&stage.name).state_size(&stage.name),
            metrics: build.metrics.counts(&stage.name),
            checkpoint,
        })
    }

    /// Returns the rows of a batch by their key hashes, with the time of each if the stage has event time.
    fn gather(&self, parts: &[Part]) -> Result<(RecordBatch, Option<ArrayRef>)> {
        let columns: Vec<usize> = (0..self.schema.fields().len()).collect();
        let rows = parts.iter().map(|part| part.rows.project(&columns)).collect::<Result<Vec<_>, _>>();
        let rows = concat_batches(&self.schema, &rows.map_err(Error::arrow)?).map_err(Error::arrow)?;
        if !self.timed || parts.is_empty() {
            return Ok((rows, None));
        }
        let times: Vec<&dyn arrow::array::Array> = parts
            .iter()
            .filter_map(|part| part.rows.columns().get(columns.len()))
            .map(|times| times.as_ref())
            .collect();
        Ok((rows, Some(arrow::compute::concat(&times).map_err(Error::arrow)?)))
    }

    /// Emits these rows of a batch, by their numbers in it, as parts at their original positions.
    fn push(&self, mut kept: Vec<u32>, parts: Vec<Part>, context: BatchContext, output: &mut Output) -> Result<()> {
        kept.sort_unstable();
        let mut columns: Vec<usize> = (0..self.schema.fields().len()).collect();
        let (mut left, mut first) = (kept.as_slice(), 0);
        for part in parts {
            let end = first + part.rows.num_rows() as u32;
            let (of_part, suffix) = left.split_at(left.partition_point(|row| *row < end));
            let chosen = of_part.iter().map(|row| row - first).collect();
            columns.truncate(self.schema.fields().len());
            if !self.timed {
                output.clock_id = part.clock_id;
            }
            if self.moved {
                columns.push(part.rows.num_columns().saturating_sub(1));
                output.input = part.input;
            }
            let rows = part.rows.project(&columns).map_err(Error::arrow)?;
            output.push(context, part.order, Deduplicate::take(&rows, chosen)?);
            (left, first) = (suffix, end);
        }
        Ok(())
    }

    fn take(rows: &RecordBatch, chosen: Vec<u32>) -> Result<RecordBatch> {
        take_record_batch(rows, &UInt32Array::from(chosen)).map_err(Error::arrow)
    }
}

impl BatchWork for Deduplicate {
    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        // Times before this can have no more duplicates.
        let complete = if self.timed { context.watermark.before } else { Some(context.time.0) };
        if let Some(complete) = complete {
            self.seen.drop_expired(complete)?;
        }
        let (rows, times) = self.gather(&parts)?;
        let keys = keys(&self.key, &rows)?;
        let grouped = self.grouper.group(&keys);
        let order = grouped.sorted(&keys);
        let mut rank = vec![0_u32; grouped.count()];
        for (position, group) in (0_u32..).zip(&order) {
            rank[*group as usize] = position;
        }
        let (ends, sorted) = sort_by_rank(grouped.of_row.iter().map(|group| rank[*group]), grouped.count());
        let times = times.as_ref().and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
        let time_of = |row: u32| times.map_or(context.time.0, |times| times.value(row as usize));

        let slots = self.seen.slots(&keys, order.iter().map(|group| grouped.first_rows[*group as usize]))?;
        let mut known = self.seen.times(&slots, complete.unwrap_or(i64::MIN))?;
        let (mut kept, mut late) = (Vec::new(), Vec::new());
        let mut start = 0;
        for (end, known) in ends.iter().zip(&mut known) {
            for row in sorted.get(start..*end as usize).unwrap_or_default() {
                let time = time_of(*row);
                if self.timed && context.watermark.before.is_some_and(|before| time < before) {
                    late.push(*row);
                } else if self.seen.is_new(known, time) {
                    kept.push(*row);
                }
            }
            start = *end as usize;
        }
        self.seen.store(&slots, &known)?;
        if self.timed && context.watermark.now == Some(END_US) {
            self.seen.drop_expired(END_US)?;
        }
        self.seen.table().settle(&mut self.state_size)?;
        self.metrics.add_rows(kept.len());
        self.push(kept, parts, context, output)?;
        output.late(context, PartOrder::at(self.worker), Deduplicate::take(&rows, late)?);
        Ok(())
    }

    /// It holds no row back. But a source that lags behind the others may still send rows as old as the watermark.
    fn hold(&mut self, watermark: Watermark, seen_us: Option<i64>) -> Hold {
        Hold { from_us: watermark.now, until_us: seen_us }
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        vec![self.seen.table()]
    }

    fn barrier(&mut self, after: BatchId) -> Result<Vec<TableChanges>> {
        table_checkpoint::changes(&mut self.checkpoint, after, self.seen.table())
    }
}
