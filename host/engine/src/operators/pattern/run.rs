//! Patterns, on the worker that owns their key. Matches are emitted in the order of the hashes of their keys.

use crate::checkpoint::changes::TableChanges;
use crate::operators::by_key::by_key;
use crate::operators::context::{BuildContext, Input, StageStreams, in_checkpoint, split_late};
use crate::operators::event_time;
use crate::operators::event_time::take_times;
use crate::operators::late::LateRows;
use crate::operators::pattern::state::{PatternNode, PatternState};
use crate::operators::stage::StageNode;
use crate::state::StateTable;
use crate::state::table_checkpoint::{self, TableCheckpoint};
use crate::timely_ext::{BatchWork, Output, each_batch_with_holds};
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch, not};
use arrow::datatypes::SchemaRef;
use millstream_base::context::{BatchContext, Hold, Watermark};
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, PartOrder};
use millstream_metrics::{Counts, StateSize};
use millstream_rows::batch::part::Part;

/// Builds the stage.
pub fn build<'s>(
    stage: &StageNode,
    node: &PatternNode,
    input: Input<'s>,
    build: &BuildContext<'s, '_>,
) -> Result<StageStreams<'s>> {
    let keyed = by_key(stage, input.parts, build);
    let time = event_time::progress_and_clock(stage, input.progress, build)?;
    let work = PatternWork::new(stage, node, build)?;
    // Without a key, one worker has all rows.
    let to = if stage.key.is_empty() { 0 } else { build.index as u64 };
    let (position, ticks) = (build.graph.held_index(stage), build.ticks.clone());
    let failure = build.failure.clone();
    let (rows, rejected, changes, holds) =
        each_batch_with_holds(keyed, time, position, ticks, &stage.name, failure, move |_| to, work);
    let (rejected, late) = split_late(rejected);
    Ok(StageStreams {
        sides: vec![late],
        changes: vec![changes],
        holds: Some(holds),
        ..StageStreams::new(rows, rejected)
    })
}

/// The pattern of a stage on one worker.
struct PatternWork {
    name: String,
    state: PatternState,
    checkpoint: Option<TableCheckpoint>,
    input: SchemaRef,
    late: LateRows,
    /// Whether the last batch had late rows.
    emitted_late: bool,
    worker: u64,
    metrics: Counts,
    state_size: StateSize,
}

impl PatternWork {
    fn new(stage: &StageNode, node: &PatternNode, build: &BuildContext<'_, '_>) -> Result<PatternWork> {
        let metrics = build.metrics.counts(&stage.name);
        let mut state = PatternState::new(node.clone()).map_err(in_checkpoint(&stage.name))?;
        if stage.may_spill() && build.budget.is_some() {
            state = state.spilling(|table| build.spilling(&stage.name, table))?;
        }
        let checkpoint = build.restore(&stage.name, &stage.name, state.table())?;
        Ok(PatternWork {
            name: stage.name.clone(),
            state,
            checkpoint,
            input: stage.input.clone(),
            late: LateRows::new(stage, &metrics),
            emitted_late: false,
            worker: build.index as u64,
            state_size: metrics.state_size(&stage.name),
            metrics,
        })
    }

    /// Returns the rows that are not late, with their times; the others are emitted.
    fn on_time(
        &mut self,
        context: BatchContext,
        parts: &[Part],
        output: &mut Output,
    ) -> Result<(RecordBatch, Vec<i64>)> {
        let (mut rows, mut times) = (Vec::new(), Vec::new());
        self.emitted_late = false;
        for part in parts {
            let (own, own_times) = take_times(part)?;
            let own_times = own_times.values();
            let Some(before) = context.watermark.before.filter(|before| own_times.iter().any(|time| time < before))
            else {
                rows.push(own);
                times.extend_from_slice(own_times);
                continue;
            };
            let on_time: BooleanArray = own_times.iter().map(|time| Some(*time >= before)).collect();
            rows.push(filter_record_batch(&own, &on_time).map_err(Error::arrow)?);
            times.extend(own_times.iter().filter(|time| **time >= before));
            let is_late = not(&on_time).map_err(Error::arrow)?;
            let late = filter_record_batch(&own, &is_late).map_err(Error::arrow)?;
            self.late.push(context, part, late, output)?;
            self.emitted_late = true;
        }
        Ok((concat_batches(&self.input, &rows).map_err(Error::arrow)?, times))
    }

    fn work(&mut self, context: BatchContext, parts: &[Part], output: &mut Output) -> Result<()> {
        let (rows, times) = self.on_time(context, parts, output)?;
        let matches = self.state.batch(context, &rows, &times)?;
        self.state.settle()?;
        let (rows, bytes, kept) = self.state.size();
        self.state_size.set_partly_kept(rows, bytes, kept);
        for (number, rows) in (0u64..).zip(matches) {
            self.metrics.add_rows(rows.num_rows());
            output.push(context, PartOrder::at(self.worker).then(number), rows);
        }
        Ok(())
    }
}

impl BatchWork for PatternWork {
    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        let worked = self.work(context, &parts, output);
        worked.map_err(|error| error.within(format!("stage `{}`: batch {}", self.name, context.id)))
    }

    fn hold(&mut self, watermark: Watermark, seen_us: Option<i64>) -> Hold {
        let from_us = watermark.now.map(|now| self.state.earliest().map_or(now, |time| time.min(now)));
        let late_us = seen_us.filter(|_| self.emitted_late);
        Hold { from_us, until_us: self.state.newest().max(late_us) }
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        vec![self.state.table()]
    }

    fn barrier(&mut self, after: BatchId) -> Result<Vec<TableChanges>> {
        table_checkpoint::changes(&mut self.checkpoint, after, self.state.table())
    }
}
