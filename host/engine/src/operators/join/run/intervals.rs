//! An interval join on one worker, with its checkpoint state. If the job limits the memory of its state, rows above the limit are spilled.

use super::late_rows::LateSplitter;
use super::split_by_side;
use crate::checkpoint::changes::TableChanges;
use crate::limits::STATE_SLICE_MAX;
use crate::operators::context::{BuildContext, in_checkpoint};
use crate::operators::join::check::right_table;
use crate::operators::join::node::JoinNode;
use crate::operators::join::state::{ColdIntervals, IntervalJoin, Side};
use crate::operators::stage::StageNode;
use crate::state::StateTable;
use crate::state::spill::stage_budget::StageBudget;
use crate::state::table_checkpoint::TableCheckpoint;
use crate::timely_ext::{BatchWork, Output};
use arrow::array::RecordBatch;
use millstream_base::context::{BatchContext, Hold, Watermark};
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, PartOrder};
use millstream_metrics::{Counts, StateSize};
use millstream_rows::batch::part::Part;

/// See the module.
pub struct Intervals {
    late_splitter: LateSplitter,
    state: IntervalStore,
    checkpoints: Option<[TableCheckpoint; 2]>,
    state_size: StateSize,
    /// Memory budget; present while all rows are in memory and may be spilled.
    budget: Option<StageBudget>,
    /// Whether the last batch had late rows.
    emitted_late: bool,
}

/// The waiting rows.
enum IntervalStore {
    /// In memory.
    Memory(Box<IntervalJoin>),
    /// Some may be in files.
    Files(Box<ColdIntervals>),
}

impl Intervals {
    /// Creates the join, resuming from the loaded checkpoint.
    pub fn new(stage: &StageNode, node: &JoinNode, metrics: Counts, build: &BuildContext<'_, '_>) -> Result<Intervals> {
        let interval = node.interval.clone().ok_or_else(|| Error::bug("an interval join without an interval"))?;
        let (first, second) = (&stage.name, &right_table(&stage.name));
        let checkpoints = build.table_checkpoint(first).zip(build.table_checkpoint(second));
        let checkpoints = checkpoints.map(|(first, second)| [first, second]);
        let (mut tables, mut restored) = (Vec::new(), false);
        for side in Side::BOTH {
            let mut table = match &build.budget {
                Some(_) => build.spilling(&stage.name, interval.table_in_files(side)?)?,
                None => interval.table(side)?,
            };
            if let Some(checkpoints) = &checkpoints {
                restored |= checkpoints[side.index()].restore(&mut table).map_err(in_checkpoint(&stage.name))?;
            }
            tables.push(table);
        }
        let tables = <[StateTable; 2]>::try_from(tables).map_err(|_| Error::bug("a join of two sides"))?;
        let state = if tables.iter().all(|table| table.cold().0 == 0) {
            let mut state = IntervalJoin::new(interval, checkpoints.is_some())?;
            for side in Side::BOTH.into_iter().filter(|_| restored) {
                state.restore(side, &tables[side.index()])?;
            }
            IntervalStore::Memory(Box::new(state))
        } else {
            IntervalStore::Files(Box::new(ColdIntervals::new(interval, tables).map_err(in_checkpoint(&stage.name))?))
        };
        let state_size = metrics.state_size(&stage.name);
        let late_splitter = LateSplitter::new(stage, node, build.index, metrics);
        let budget = build.stage_budget(&stage.name).filter(|_| matches!(state, IntervalStore::Memory(_)));
        Ok(Intervals { late_splitter, state, checkpoints, state_size, budget, emitted_late: false })
    }

    fn join(&mut self, id: BatchId, rows: [RecordBatch; 2], complete: Option<i64>) -> Result<Vec<RecordBatch>> {
        let found = match &mut self.state {
            IntervalStore::Memory(state) => state.batch(id, rows, complete)?,
            IntervalStore::Files(state) => state.batch(id, rows, complete)?,
        };
        self.settle()?;
        Ok(found)
    }

    /// Reports the memory in use. Above the budget, rows are spilled.
    fn settle(&mut self) -> Result<()> {
        if let IntervalStore::Memory(state) = &mut self.state {
            let (count, bytes) = (Side::BOTH.map(|side| state.len(side) as u64).iter().sum(), state.bytes());
            let Some(budget) = &self.budget else {
                self.state_size.set(count, bytes);
                return Ok(());
            };
            if !budget.is_exceeded(bytes) {
                self.state_size.set_partly_kept(count, bytes, 0);
                return Ok(());
            }
            let empty = IntervalJoin::new(state.interval().clone(), false)?;
            let files = std::mem::replace(&mut **state, empty).into_files(|table| budget.spilling(table))?;
            self.state = IntervalStore::Files(Box::new(files));
            self.budget = None;
        }
        if let IntervalStore::Files(state) = &mut self.state {
            state.settle()?;
            let (bytes, extra) = state.bytes();
            self.state_size.set_partly_kept(state.row_count() as u64, bytes + extra, extra);
        }
        Ok(())
    }
}

impl BatchWork for Intervals {
    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        let [first, second] = split_by_side(parts);
        let first = self.late_splitter.rows(context, Side::First, first, output)?;
        let second = self.late_splitter.rows(context, Side::Second, second, output)?;
        self.emitted_late = !output.rejected.is_empty();
        let rows = self.join(context.id, [first, second], context.watermark.now);
        let rows = rows.map_err(|error| {
            error.within(format!("stage `{}`: batch {}", self.late_splitter.stage.name, context.id))
        })?;
        for (number, rows) in (0u64..).zip(rows) {
            self.late_splitter.metrics.add_rows(rows.num_rows());
            output.push(context, PartOrder::at(self.late_splitter.worker).then(number), rows);
        }
        Ok(())
    }

    fn hold(&mut self, watermark: Watermark, seen_us: Option<i64>) -> Hold {
        let (earliest, newest) = match &mut self.state {
            IntervalStore::Memory(state) => (state.earliest(), state.newest()),
            IntervalStore::Files(state) => (state.earliest(), state.newest()),
        };
        let from_us = watermark.now.map(|now| earliest.map_or(now, |time| time.min(now)));
        let late_us = seen_us.filter(|_| self.emitted_late);
        Hold { from_us, until_us: newest.max(late_us) }
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        match &mut self.state {
            IntervalStore::Files(state) => state.tables().iter_mut().collect(),
            IntervalStore::Memory(_) => Vec::new(),
        }
    }

    fn barrier(&mut self, after: BatchId) -> Result<Vec<TableChanges>> {
        let mut changes = Vec::new();
        for (side, checkpoint) in Side::BOTH.into_iter().zip(self.checkpoints.iter_mut().flatten()) {
            changes.extend(match &mut self.state {
                IntervalStore::Files(state) => checkpoint.changes(after, &mut state.tables()[side.index()])?,
                IntervalStore::Memory(state) => {
                    let (changed, count) = (state.changed(side), state.len(side) as u64);
                    checkpoint.changes_of(after, changed, count, |base, to| {
                        state.changes(side, base, STATE_SLICE_MAX, &mut |slice| to.add(slice))
                    })?
                }
            });
        }
        Ok(changes)
    }
}
