//! As-of joins in the graph: each row with the latest row of the other input at its time.

use super::late_rows::LateSplitter;
use super::split_by_side;
use crate::checkpoint::changes::TableChanges;
use crate::operators::context::BuildContext;
use crate::operators::join::check::right_table;
use crate::operators::join::node::JoinNode;
use crate::operators::join::state::{AsOfJoin, Side};
use crate::operators::stage::StageNode;
use crate::state::StateTable;
use crate::state::table_checkpoint::{self, TableCheckpoint};
use crate::timely_ext::{BatchWork, Output};
use millstream_base::context::{BatchContext, Hold, Watermark};
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, PartOrder};
use millstream_metrics::{Counts, StateSize};
use millstream_rows::batch::part::Part;

/// An as-of join on one worker.
pub struct AsOfWork {
    late_splitter: LateSplitter,
    state: AsOfJoin,
    checkpoints: Vec<Option<TableCheckpoint>>,
    state_size: StateSize,
    /// Whether the last batch had late rows.
    emitted_late: bool,
}

impl AsOfWork {
    /// Creates the join, resuming from the loaded checkpoint.
    pub fn new(stage: &StageNode, node: &JoinNode, metrics: Counts, build: &BuildContext<'_, '_>) -> Result<AsOfWork> {
        let as_of = node.as_of.clone().ok_or_else(|| Error::bug("a join that is not an as-of join"))?;
        let mut state = AsOfJoin::new(as_of)?;
        if build.budget.is_some() {
            state = state.spilling(|table| build.spilling(&stage.name, table))?;
        }
        let names = [stage.name.clone(), right_table(&stage.name)];
        let tables = names.iter().zip(state.tables());
        let checkpoints = tables.map(|(name, table)| build.restore(&stage.name, name, table)).collect::<Result<_>>()?;
        state.restored()?;
        let state_size = metrics.state_size(&stage.name);
        let late_splitter = LateSplitter::new(stage, node, build.index, metrics);
        Ok(AsOfWork { late_splitter, state, checkpoints, state_size, emitted_late: false })
    }
}

impl BatchWork for AsOfWork {
    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        let [first, second] = split_by_side(parts);
        let first = self.late_splitter.rows(context, Side::First, first, output)?;
        let second = self.late_splitter.rows(context, Side::Second, second, output)?;
        self.emitted_late = !output.rejected.is_empty();
        let rows = self.state.batch([first, second], context.watermark);
        let stage = &self.late_splitter.stage.name;
        let rows = rows.map_err(|error| error.within(format!("stage `{stage}`: batch {}", context.id)))?;
        self.state.settle()?;
        self.state_size.set_partly_kept(self.state.row_count() as u64, self.state.bytes(), self.state.kept_bytes());
        for (number, rows) in (0u64..).zip(rows) {
            self.late_splitter.metrics.add_rows(rows.num_rows());
            output.push(context, PartOrder::at(self.late_splitter.worker).then(number), rows);
        }
        Ok(())
    }

    fn hold(&mut self, watermark: Watermark, seen_us: Option<i64>) -> Hold {
        let from_us = watermark.now.map(|now| self.state.earliest().map_or(now, |time| time.min(now)));
        let late_us = seen_us.filter(|_| self.emitted_late);
        Hold { from_us, until_us: self.state.newest().max(late_us) }
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        self.state.tables().iter_mut().collect()
    }

    fn barrier(&mut self, after: BatchId) -> Result<Vec<TableChanges>> {
        let mut changes = Vec::new();
        for (table, checkpoint) in self.state.tables().iter_mut().zip(&mut self.checkpoints) {
            changes.extend(table_checkpoint::changes(checkpoint, after, table)?);
        }
        Ok(changes)
    }
}
