//! Joins of two changing tables; the output is deleted and inserted rows. Deletions of a batch precede all insertions, of all workers. So a consumer
//! that keeps rows by its own key sees the current version of a moved row last.

use super::{original_columns, split_by_side};
use crate::checkpoint::changes::TableChanges;
use crate::operators::context::{BuildContext, StageStreams};
use crate::operators::join::check::right_table;
use crate::operators::join::node::{ChangingNode, JoinNode};
use crate::operators::join::state::{ChangingJoin, Side};
use crate::operators::stage::StageNode;
use crate::state::StateTable;
use crate::state::table_checkpoint::{self, TableCheckpoint};
use crate::timely_ext::{BatchWork, Output, Parts, each_batch_with_state};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, PartOrder};
use millstream_metrics::{Counts, StateSize};
use millstream_rows::batch::op::{DELETE, INSERT};
use millstream_rows::batch::part::Part;
use millstream_rows::batch::rejected::RejectedRow;
use std::sync::Arc;

/// Builds the stage, for rows on the owners of their keys.
pub fn build<'s>(
    stage: &StageNode,
    node: &JoinNode,
    changing: &ChangingNode,
    split: Parts<'s>,
    build: &BuildContext<'s, '_>,
) -> Result<StageStreams<'s>> {
    let work = ChangingWork::new(stage, node, changing, build)?;
    let (ticks, failure) = (build.ticks.clone(), build.failure.clone());
    let (rows, rejected, changes) =
        each_batch_with_state(split, ticks, &stage.name, failure, |part: &Part| part.to, work);
    Ok(StageStreams { changes: vec![changes], ..StageStreams::new(rows, rejected) })
}

/// The stage on one worker.
struct ChangingWork {
    stage: StageNode,
    node: JoinNode,
    changing: ChangingNode,
    state: ChangingJoin,
    checkpoints: [Option<TableCheckpoint>; 2],
    worker: u64,
    metrics: Counts,
    state_size: StateSize,
}

impl ChangingWork {
    fn new(
        stage: &StageNode,
        node: &JoinNode,
        changing: &ChangingNode,
        build: &BuildContext<'_, '_>,
    ) -> Result<ChangingWork> {
        let mut state = ChangingJoin::new(changing.what.clone())?;
        if build.budget.is_some() {
            state = state.spilling(|table| build.spilling(&stage.name, table))?;
        }
        let first = build.restore(&stage.name, &stage.name, &mut state.tables()[0])?;
        let second = build.restore(&stage.name, &right_table(&stage.name), &mut state.tables()[1])?;
        state.restored()?;
        let metrics = build.metrics.counts(&stage.name);
        let state_size = metrics.state_size(&stage.name);
        Ok(ChangingWork {
            stage: stage.clone(),
            node: node.clone(),
            changing: changing.clone(),
            state,
            checkpoints: [first, second],
            worker: build.index as u64,
            metrics,
            state_size,
        })
    }

    /// Concatenates the rows of a side.
    fn concat(&self, side: Side, parts: Vec<Part>) -> Result<RecordBatch> {
        let columns = &self.node.columns[side.index()];
        concat_batches(columns, parts.iter().map(|part| &part.rows)).map_err(Error::arrow)
    }

    /// Emits rows with their operation as the last column.
    fn push(&self, context: BatchContext, rows: Vec<RecordBatch>, inserted: bool, output: &mut Output) -> Result<()> {
        let op_name = if inserted { INSERT } else { DELETE };
        let order = PartOrder::at(u64::from(inserted)).then(self.worker);
        for (number, rows) in (0u64..).zip(rows) {
            let op_names: ArrayRef =
                Arc::new(StringArray::from_iter_values(std::iter::repeat_n(op_name, rows.num_rows())));
            let columns = rows.columns().iter().cloned().chain([op_names]).collect();
            let rows = RecordBatch::try_new(self.changing.output.clone(), columns).map_err(Error::arrow)?;
            self.metrics.add_rows(rows.num_rows());
            output.push(context, order.clone().then(number), rows);
        }
        Ok(())
    }
}

impl BatchWork for ChangingWork {
    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        let [first, second] = split_by_side(parts);
        let rows = [self.concat(Side::First, first)?, self.concat(Side::Second, second)?];
        let joined = self.state.batch(context.time, [&rows[0], &rows[1]], self.changing.ops);
        let joined =
            joined.map_err(|error| error.within(format!("stage `{}`: batch {}", self.stage.name, context.id)))?;
        for side in Side::BOTH {
            let rejections = &joined.rejected[side.index()];
            if rejections.is_empty() {
                continue;
            }
            let rejections: Vec<RejectedRow> =
                rejections.iter().map(|(row, why)| RejectedRow::new(*row, why.clone())).collect();
            let (input, rows) = original_columns(&self.stage, &self.node, side, &rows[side.index()])?;
            let rejected = self.stage.rejected.rows(context.id, input, &rows, &rejections)?;
            self.metrics.add_rejected(rejected.num_rows());
            output.reject(context, PartOrder::at(side as u64).then(self.worker), rejected);
        }
        self.state.settle()?;
        self.state_size.set_partly_kept(self.state.row_count() as u64, self.state.bytes(), self.state.kept_bytes());
        self.push(context, joined.deleted, false, output)?;
        self.push(context, joined.inserted, true, output)
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        self.state.tables().iter_mut().collect()
    }

    fn barrier(&mut self, after: BatchId) -> Result<Vec<TableChanges>> {
        let mut changes = Vec::new();
        for (side, checkpoint) in Side::BOTH.into_iter().zip(&mut self.checkpoints) {
            changes.extend(table_checkpoint::changes(checkpoint, after, &mut self.state.tables()[side.index()])?);
        }
        Ok(changes)
    }
}
