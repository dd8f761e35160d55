//! Windows of event time on the worker that owns the keys.

use super::{WindowOutput, gather};
use crate::batch::part::Part;
use crate::checkpoint::changes::Changes;
use crate::context::{BatchContext, Hold, Watermark};
use crate::dataflow::stages::{BuildContext, in_checkpoint};
use crate::error::Result;
use crate::graph::StageNode;
use crate::ids::BatchId;
use crate::metrics::StateSize;
use crate::state::table_checkpoint::{self, TableCheckpoint};
use crate::timely_ext::{BatchWork, Output};
use crate::window::closing::TimeWindows;
use crate::window::rows::Slices;
use arrow::datatypes::{Field, SchemaRef};
use std::sync::Arc;

/// The stage on one worker.
pub struct TimeWindowWork {
    name: String,
    windows: TimeWindows,
    slices: Slices,
    update: bool,
    results: WindowOutput,
    partial: SchemaRef,
    /// Key columns and the pane.
    keys: usize,
    checkpoint: Option<TableCheckpoint>,
    held: StateSize,
}

impl TimeWindowWork {
    /// Goes on as the checkpoint that is loaded has it.
    pub fn new(
        stage: &StageNode,
        slices: Slices,
        update: bool,
        build: &BuildContext<'_, '_>,
    ) -> Result<TimeWindowWork> {
        let results = WindowOutput::new(stage, build)?;
        let keys: Vec<Arc<Field>> =
            stage.key.iter().filter_map(|place| stage.input.fields().get(*place)).cloned().collect();
        let mut windows = TimeWindows::new(slices, update, &keys, &results.functions.accumulators()?)?;
        let checkpoint = build.restore(&stage.name, &stage.name, windows.panes().table())?;
        windows.panes().restored().map_err(in_checkpoint(&stage.name))?;
        Ok(TimeWindowWork {
            name: stage.name.clone(),
            slices,
            update,
            windows,
            held: results.metrics.held(&stage.name),
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
        let functions = &mut self.results.functions.within(context.call());
        let windows = self.windows.batch(functions, before, now, rows)?;
        let panes = self.windows.panes().table();
        self.held.set(panes.len() as u64, panes.bytes());
        self.held.spread(|| panes.spread());
        self.results.put_out(context, &windows, output)
    }
}

impl BatchWork for TimeWindowWork {
    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        let worked = self.work(context, parts, output);
        worked.map_err(|error| error.within(format!("stage `{}`: batch {}", self.name, context.id)))
    }

    fn hold(&mut self, watermark: Watermark, seen_us: Option<i64>) -> Hold {
        let hold = self.slices.hold(watermark.now);
        // Refined results are made of all that came.
        if self.update { Hold { until_us: seen_us, ..hold } } else { hold }
    }

    fn barrier(&mut self, after: BatchId) -> Result<Vec<Changes>> {
        table_checkpoint::changes(&mut self.checkpoint, after, self.windows.panes().table())
    }
}
