//! Joins of two tables that change: what comes out is told as rows that are deleted and inserted. Those of a batch that go stand
//! before all that come, of all workers, so whoever keeps rows by a key of their own sees a row that moved last where it is now.

use super::{as_they_came, by_side};
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
use millstream_base::batch::op::{DELETE, INSERT};
use millstream_base::batch::part::Part;
use millstream_base::batch::rejected::RefusedRow;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, PartOrder};
use millstream_metrics::{Counts, StateSize};
use std::sync::Arc;

/// Builds the stage, of rows that are with the owners of their keys.
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
    Ok(StageStreams { changes: vec![changes], ..StageStreams::of(rows, rejected) })
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
    held: StateSize,
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
        let metrics = build.metrics.of(&stage.name);
        let held = metrics.held(&stage.name);
        Ok(ChangingWork {
            stage: stage.clone(),
            node: node.clone(),
            changing: changing.clone(),
            state,
            checkpoints: [first, second],
            worker: build.index as u64,
            metrics,
            held,
        })
    }

    /// The rows of a side in one piece.
    fn together(&self, side: Side, parts: Vec<Part>) -> Result<RecordBatch> {
        let columns = &self.node.columns[side.place()];
        concat_batches(columns, parts.iter().map(|part| &part.rows)).map_err(Error::arrow)
    }

    /// Puts out rows with what they do behind them.
    fn push(&self, context: BatchContext, rows: Vec<RecordBatch>, inserted: bool, output: &mut Output) -> Result<()> {
        let word = if inserted { INSERT } else { DELETE };
        let order = PartOrder::at(u64::from(inserted)).then(self.worker);
        for (number, rows) in (0u64..).zip(rows) {
            let words: ArrayRef = Arc::new(StringArray::from_iter_values(std::iter::repeat_n(word, rows.num_rows())));
            let columns = rows.columns().iter().cloned().chain([words]).collect();
            let rows = RecordBatch::try_new(self.changing.output.clone(), columns).map_err(Error::arrow)?;
            self.metrics.add_rows(rows.num_rows());
            output.push(context, order.clone().then(number), rows);
        }
        Ok(())
    }
}

impl BatchWork for ChangingWork {
    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        let [first, second] = by_side(parts);
        let rows = [self.together(Side::First, first)?, self.together(Side::Second, second)?];
        let told = self.state.batch(context.time, [&rows[0], &rows[1]], self.changing.ops);
        let told = told.map_err(|error| error.within(format!("stage `{}`: batch {}", self.stage.name, context.id)))?;
        for side in Side::BOTH {
            let refused = &told.refused[side.place()];
            if refused.is_empty() {
                continue;
            }
            let refused: Vec<RefusedRow> =
                refused.iter().map(|(row, why)| RefusedRow::new(*row, why.clone())).collect();
            let (input, rows) = as_they_came(&self.stage, &self.node, side, &rows[side.place()])?;
            let rejected = self.stage.rejected.rows(context.id, input, &rows, &refused)?;
            self.metrics.add_rejected(rejected.num_rows());
            output.reject(context, PartOrder::at(side as u64).then(self.worker), rejected);
        }
        self.state.settle()?;
        self.held.set_of_which(self.state.row_count() as u64, self.state.bytes(), self.state.kept_bytes());
        self.push(context, told.deleted, false, output)?;
        self.push(context, told.inserted, true, output)
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        self.state.tables().iter_mut().collect()
    }

    fn barrier(&mut self, after: BatchId) -> Result<Vec<TableChanges>> {
        let mut changes = Vec::new();
        for (side, checkpoint) in Side::BOTH.into_iter().zip(&mut self.checkpoints) {
            changes.extend(table_checkpoint::changes(checkpoint, after, &mut self.state.tables()[side.place()])?);
        }
        Ok(changes)
    }
}
