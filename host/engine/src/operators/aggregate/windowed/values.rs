//! Running totals of changelog rows, with stored values; rows go to the worker that owns their key.

use super::changed;
use crate::checkpoint::changes::TableChanges;
use crate::operators::aggregate::builtin::{Builtin, Tally};
use crate::operators::aggregate::check::values_table;
use crate::operators::by_key::split_parts;
use crate::operators::context::{BuildContext, StageStreams};
use crate::operators::stage::{Operator, StageNode};
use crate::state::StateTable;
use crate::state::table_checkpoint::{self, TableCheckpoint};
use crate::timely_ext::{BatchWork, Output, Parts, each_batch_with_state};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, PartOrder};
use millstream_metrics::{Counts, StateSize};
use millstream_rows::batch::part::Part;
use millstream_rows::batch::rejected::RejectedRow;

/// Builds the stage.
pub fn build<'s>(stage: &StageNode, parts: Parts<'s>, build: &BuildContext<'s, '_>) -> Result<StageStreams<'s>> {
    let Operator::Aggregate(functions) = &stage.operator else { return Err(Error::bug("totals without functions")) };
    let keyed = !stage.key.is_empty();
    let moved = if keyed { split_parts(stage, parts, build) } else { parts };
    let work = ValuesWork::new(stage, functions, build)?;
    let (ticks, failure) = (build.ticks.clone(), build.failure.clone());
    let route = move |part: &Part| if keyed { part.to } else { 0 };
    let (rows, rejected, changes) = each_batch_with_state(moved, ticks, &stage.name, failure, route, work);
    Ok(StageStreams { changes: vec![changes], ..StageStreams::new(rows, rejected) })
}

/// The stage on one worker.
struct ValuesWork {
    stage: StageNode,
    op: Option<usize>,
    /// The columns of changed totals.
    changes: Option<SchemaRef>,
    totals: Tally,
    checkpoints: Vec<Option<TableCheckpoint>>,
    worker: u64,
    metrics: Counts,
    state_size: StateSize,
}

impl ValuesWork {
    fn new(stage: &StageNode, functions: &Builtin, build: &BuildContext<'_, '_>) -> Result<ValuesWork> {
        let mut totals = Tally::new(functions, &stage.input)?;
        let mut checkpoints = Vec::new();
        for (number, table) in totals.tables().enumerate() {
            let name = if number == 0 { stage.name.clone() } else { values_table(&stage.name, number) };
            checkpoints.push(build.restore(&stage.name, &name, table)?);
        }
        totals.restored()?;
        let metrics = build.metrics.counts(&stage.name);
        let (state_size, worker) = (metrics.state_size(&stage.name), build.index as u64);
        Ok(ValuesWork {
            stage: stage.clone(),
            op: functions.op,
            changes: functions.changes.clone(),
            totals,
            checkpoints,
            worker,
            metrics,
            state_size,
        })
    }
}

impl BatchWork for ValuesWork {
    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        let all = concat_batches(&self.stage.input, parts.iter().map(|part| &part.rows)).map_err(Error::arrow)?;
        if all.num_rows() == 0 {
            return Ok(());
        }
        let tallied = self.totals.batch(context, &all, self.op);
        let tallied =
            tallied.map_err(|error| error.within(format!("stage `{}`: batch {}", self.stage.name, context.id)))?;
        let rejections: Vec<RejectedRow> =
            tallied.rejected.into_iter().map(|(row, why)| RejectedRow::new(row, why)).collect();
        let name = self.stage.inputs.first().map_or("", |input| input.name.as_str());
        let rejected = self.stage.rejected.rows(context.id, name, &all, &rejections)?;
        self.metrics.add_rejected(rejected.num_rows());
        output.reject(context, PartOrder::at(self.worker), rejected);
        self.state_size.set(self.totals.row_count() as u64, self.totals.bytes());
        if let (Some(before), Some(schema)) = (&tallied.before, &self.changes) {
            let count = changed::push(context, (before, &tallied.rows), schema, self.worker, output)?;
            self.metrics.add_rows(count);
            return Ok(());
        }
        self.metrics.add_rows(tallied.rows.num_rows());
        output.push(context, PartOrder::at(self.worker), tallied.rows);
        Ok(())
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        self.totals.tables().collect()
    }

    fn barrier(&mut self, after: BatchId) -> Result<Vec<TableChanges>> {
        let mut changes = Vec::new();
        for (table, checkpoint) in self.totals.tables().zip(&mut self.checkpoints) {
            changes.extend(table_checkpoint::changes(checkpoint, after, table)?);
        }
        Ok(changes)
    }
}
