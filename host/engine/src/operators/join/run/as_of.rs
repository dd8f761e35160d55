//! As-of joins in the graph: each row beside the latest row that the other input has at its time.

use super::by_side;
use super::on_time::OnTime;
use crate::checkpoint::changes::TableChanges;
use crate::operators::context::BuildContext;
use crate::operators::join::check::right_table;
use crate::operators::join::node::JoinNode;
use crate::operators::join::state::{AsOfJoin, Side};
use crate::operators::stage::StageNode;
use crate::state::StateTable;
use crate::state::table_checkpoint::{self, TableCheckpoint};
use crate::timely_ext::{BatchWork, Output};
use millstream_base::batch::part::Part;
use millstream_base::context::{BatchContext, Hold, Watermark};
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, PartOrder};
use millstream_metrics::{Counts, StateSize};

/// An as-of join on one worker.
pub struct AsOfWork {
    on_time: OnTime,
    state: AsOfJoin,
    checkpoints: Vec<Option<TableCheckpoint>>,
    held: StateSize,
    /// Whether rows of the last batch were late.
    put_out_late: bool,
}

impl AsOfWork {
    /// Goes on as the checkpoint that is loaded has it.
    pub fn new(stage: &StageNode, node: &JoinNode, metrics: Counts, build: &BuildContext<'_, '_>) -> Result<AsOfWork> {
        let as_of = node.as_of.clone().ok_or_else(|| Error::bug("an as-of join that is none"))?;
        let mut state = AsOfJoin::new(as_of)?;
        if build.budget.is_some() {
            state = state.spilling(|table| build.spilling(&stage.name, table))?;
        }
        let names = [stage.name.clone(), right_table(&stage.name)];
        let tables = names.iter().zip(state.tables());
        let checkpoints = tables.map(|(name, table)| build.restore(&stage.name, name, table)).collect::<Result<_>>()?;
        state.restored()?;
        let held = metrics.held(&stage.name);
        let on_time = OnTime::new(stage, node, build.index, metrics);
        Ok(AsOfWork { on_time, state, checkpoints, held, put_out_late: false })
    }
}

impl BatchWork for AsOfWork {
    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        let [first, second] = by_side(parts);
        let first = self.on_time.rows(context, Side::First, first, output)?;
        let second = self.on_time.rows(context, Side::Second, second, output)?;
        self.put_out_late = !output.rejected.is_empty();
        let rows = self.state.batch([first, second], context.watermark);
        let stage = &self.on_time.stage.name;
        let rows = rows.map_err(|error| error.within(format!("stage `{stage}`: batch {}", context.id)))?;
        self.state.settle()?;
        self.held.set_of_which(self.state.row_count() as u64, self.state.bytes(), self.state.kept_bytes());
        for (number, rows) in (0u64..).zip(rows) {
            self.on_time.metrics.add_rows(rows.num_rows());
            output.push(context, PartOrder::at(self.on_time.worker).then(number), rows);
        }
        Ok(())
    }

    fn hold(&mut self, watermark: Watermark, seen_us: Option<i64>) -> Hold {
        let from_us = watermark.now.map(|now| self.state.earliest().map_or(now, |time| time.min(now)));
        let late_us = seen_us.filter(|_| self.put_out_late);
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
