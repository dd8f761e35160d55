//! Windows of event time on the worker that owns the keys.

use super::{WindowOutput, gather};
use crate::checkpoint::changes::TableChanges;
use crate::operators::context::{BuildContext, in_checkpoint};
use crate::operators::stage::StageNode;
use crate::operators::window::state::closing::TimeWindows;
use crate::operators::window::state::panes::Panes;
use crate::operators::window::state::rows::Slices;
use crate::state::StateTable;
use crate::state::spill::stage_budget::StageBudget;
use crate::state::table_checkpoint::{self, TableCheckpoint};
use crate::timely_ext::{BatchWork, Output};
use arrow::datatypes::{Field, SchemaRef};
use millstream_base::context::{BatchContext, Hold, Watermark};
use millstream_base::error::Result;
use millstream_base::ids::BatchId;
use millstream_metrics::StateSize;
use millstream_rows::batch::part::Part;
use std::sync::Arc;

/// The stage on one worker.
pub struct TimeWindowWork {
    name: String,
    windows: TimeWindows,
    /// Memory budget; present while all windows are in memory and may be spilled.
    budget: Option<StageBudget>,
    slices: Slices,
    update: bool,
    results: WindowOutput,
    partial: SchemaRef,
    /// Number of key columns, including the pane.
    keys: usize,
    checkpoint: Option<TableCheckpoint>,
    state_size: StateSize,
}

impl TimeWindowWork {
    /// Creates the stage, resuming from the loaded checkpoint.
    pub fn new(
        stage: &StageNode,
        slices: Slices,
        update: bool,
        build: &BuildContext<'_, '_>,
    ) -> Result<TimeWindowWork> {
        let results = WindowOutput::new(stage, build)?;
        let keys: Vec<Arc<Field>> =
            stage.key.iter().filter_map(|index| stage.input.fields().get(*index)).cloned().collect();
        let mut table = Panes::table_of(&keys, results.functions.accumulators()?)?;
        if build.budget.is_some() {
            table = build.spilling(&stage.name, table.ordered_by(keys.len()))?;
        }
        let checkpoint = build.restore(&stage.name, &stage.name, &mut table)?;
        let windows = TimeWindows::new(slices, update, &keys, table).map_err(in_checkpoint(&stage.name))?;
        Ok(TimeWindowWork {
            name: stage.name.clone(),
            budget: build.stage_budget(&stage.name).filter(|_| windows.bytes_in_memory().is_some()),
            slices,
            update,
            windows,
            state_size: results.metrics.state_size(&stage.name),
            partial: results.functions.partial_schema(true),
            results,
            keys: stage.key.len() + 1,
            checkpoint,
        })
    }

    fn work(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        if self.results.renew()? {
            self.windows.remake()?;
        }
        let rows = gather(parts, &self.partial, self.keys)?;
        let (before, now) = (context.watermark.before, context.watermark.now);
        let functions = &mut self.results.functions.for_batch(context.call());
        let windows = self.windows.batch(functions, before, now, rows)?;
        self.settle()?;
        self.results.emit(context, &windows, output)
    }

    /// Reports the memory in use. Above the budget, rows are spilled.
    fn settle(&mut self) -> Result<()> {
        let Some(budget) = &self.budget else { return self.windows.table().settle(&mut self.state_size) };
        let bytes = self.windows.bytes_in_memory().unwrap_or_default();
        if budget.is_exceeded(bytes) {
            self.windows.leave_memory(|table| budget.spilling(table))?;
            self.budget = None;
            return self.windows.table().settle(&mut self.state_size);
        }
        let table = self.windows.table();
        self.state_size.set_partly_kept(table.len() as u64, bytes, 0);
        self.state_size.spread(|| table.spread());
        Ok(())
    }
}

impl BatchWork for TimeWindowWork {
    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        let worked = self.work(context, parts, output);
        worked.map_err(|error| error.within(format!("stage `{}`: batch {}", self.name, context.id)))
    }

    fn hold(&mut self, watermark: Watermark, seen_us: Option<i64>) -> Hold {
        let hold = self.slices.hold(watermark.now);
        // Refined results include all rows received.
        if self.update { Hold { until_us: seen_us, ..hold } } else { hold }
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        vec![self.windows.table()]
    }

    fn barrier(&mut self, after: BatchId) -> Result<Vec<TableChanges>> {
        table_checkpoint::changes(&mut self.checkpoint, after, self.windows.table())
    }
}
