//! Windows of processing time on the worker that owns the keys.

use super::{WindowOutput, gather};
use crate::checkpoint::changes::TableChanges;
use crate::operators::context::{BuildContext, in_checkpoint};
use crate::operators::stage::StageNode;
use crate::operators::window::ends::WindowEnds;
use crate::operators::window::state::batches::BatchWindows;
use crate::operators::window::state::panes::Panes;
use crate::operators::window::state::partial::Window;
use crate::state::StateTable;
use crate::state::spill::stage_budget::StageBudget;
use crate::state::table_checkpoint::{self, TableCheckpoint};
use crate::timely_ext::{BatchWork, Output};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Field, SchemaRef};
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, BatchTime, PartOrder};
use millstream_metrics::StateSize;
use millstream_rows::batch::part::Part;
use millstream_sql::expression::Expression;
use std::sync::Arc;

/// The stage on one worker.
pub struct BatchWindowWork {
    name: String,
    windows: BatchWindows,
    /// Memory budget; present while all windows are in memory and may be spilled.
    budget: Option<StageBudget>,
    results: WindowOutput,
    partial: SchemaRef,
    keys: usize,
    /// Condition that keys with running totals must satisfy to stay.
    filter: Option<Expression>,
    checkpoint: Option<TableCheckpoint>,
    state_size: StateSize,
    ends: WindowEnds,
    /// The previous batch.
    last: (BatchId, BatchTime),
}

impl BatchWindowWork {
    /// Creates the stage, resuming from the loaded checkpoint.
    pub fn new(
        stage: &StageNode,
        size_us: i64,
        slide_us: i64,
        build: &BuildContext<'_, '_>,
    ) -> Result<BatchWindowWork> {
        let mut results = WindowOutput::new(stage, build)?;
        let inverse = stage.has_inverse();
        let keys: Vec<Arc<Field>> =
            stage.key.iter().filter_map(|position| stage.input.fields().get(*position)).cloned().collect();
        let mut table = Panes::table_of(&keys, results.functions.accumulators()?)?;
        if build.budget.is_some() {
            table = build.spilling(&stage.name, table.ordered_by(keys.len()))?;
        }
        let checkpoint = build.restore(&stage.name, &stage.name, &mut table)?;
        let mut windows = BatchWindows::new(size_us, inverse, &keys, table).map_err(in_checkpoint(&stage.name))?;
        let ends = WindowEnds::new(stage, (size_us, slide_us), build)?;
        let last = build.last_batch();
        if checkpoint.is_some()
            && let Some((origin_us, next_us)) = ends.origin_us().zip(ends.next_us())
        {
            // Sums are rebuilt from the restored rows, in the batch after the checkpoint's.
            let functions = &mut results.functions.for_batch(BatchContext::new(last.0, last.1).call());
            windows.rebuild(functions, origin_us, next_us).map_err(in_checkpoint(&stage.name))?;
        }
        Ok(BatchWindowWork {
            name: stage.name.clone(),
            budget: build.stage_budget(&stage.name).filter(|_| windows.bytes_in_memory().is_some()),
            windows,
            state_size: results.metrics.state_size(&stage.name),
            partial: results.functions.partial_schema(false),
            results,
            keys: stage.key.len(),
            filter: stage.shape.as_ref().and_then(|shape| shape.filter.clone()).filter(|_| inverse),
            checkpoint,
            ends,
            last,
        })
    }

    fn window(&mut self, context: BatchContext, parts: Vec<Part>) -> Result<Option<Vec<Window>>> {
        let last = std::mem::replace(&mut self.last, (context.id, context.time));
        if self.results.renew()?
            && let Some((origin_us, next_us)) = self.ends.origin_us().zip(self.ends.next_us())
        {
            let last = BatchContext::new(last.0, last.1).call();
            self.windows.rebuild(&mut self.results.functions.for_batch(last), origin_us, next_us)?;
        }
        let rows = gather(parts, &self.partial, self.keys)?;
        let batch = self.ends.batch(context)?;
        self.windows.batch(&mut self.results.functions.for_batch(context.call()), batch, rows)
    }

    /// Reports the memory in use. Above the budget, rows are spilled.
    fn settle(&mut self) -> Result<()> {
        let Some(bytes) = self.windows.bytes_in_memory() else {
            return self.windows.table().settle(&mut self.state_size);
        };
        if let Some(budget) = self.budget.as_ref().filter(|budget| budget.is_exceeded(bytes)) {
            self.windows.leave_memory(|table| budget.spilling(table))?;
            self.budget = None;
            return self.windows.table().settle(&mut self.state_size);
        }
        let kept = if self.budget.is_some() { 0 } else { bytes };
        let table = self.windows.table();
        self.state_size.set_partly_kept(table.len() as u64, bytes, kept);
        self.state_size.spread(|| table.spread());
        Ok(())
    }

    /// Emits a window, given in pieces.
    fn emit(&mut self, context: BatchContext, window: &[Window], output: &mut Output) -> Result<()> {
        if window.iter().all(|piece| piece.ids.is_empty()) {
            // Without a key there is a row even for no input. It belongs to worker 0.
            if !self.results.has_key
                && self.results.index == 0
                && let Some(nothing) = self.results.functions.empty_result()?
            {
                self.results.metrics.add_rows(1);
                output.push(context, PartOrder::at(0), nothing);
            }
            return Ok(());
        }
        let rows = self.results.rows(context, window)?;
        if let Some(filter) = &self.filter {
            let stays = filter.evaluate(context, &rows)?;
            let stays = stays.as_boolean_opt().ok_or_else(|| Error::bug("a filter without truth values"))?;
            let mut first = 0;
            for piece in window {
                let leaves = |row: &u32| {
                    let row = first + *row as usize;
                    row < stays.len() && !(stays.is_valid(row) && stays.value(row))
                };
                let leaving = (0..piece.ids.len() as u32).filter(leaves).collect();
                self.windows.remove_empty(piece, leaving)?;
                first += piece.ids.len();
            }
        }
        self.results.metrics.add_rows(rows.num_rows());
        output.push(context, PartOrder::at(self.results.index as u64), rows);
        Ok(())
    }
}

impl BatchWork for BatchWindowWork {
    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        let window = self.window(context, parts).and_then(|window| match window {
            Some(window) => self.emit(context, &window, output),
            None => Ok(()),
        });
        window
            .and_then(|()| self.settle())
            .map_err(|error| error.within(format!("stage `{}`: batch {}", self.name, context.id)))
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        vec![self.windows.table()]
    }

    fn barrier(&mut self, after: BatchId) -> Result<Vec<TableChanges>> {
        let panes = table_checkpoint::changes(&mut self.checkpoint, after, self.windows.table())?;
        Ok(panes.into_iter().chain(self.ends.barrier(after)?).collect())
    }
}
