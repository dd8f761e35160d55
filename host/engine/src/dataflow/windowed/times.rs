//! Windows of event time on the worker that owns the keys.

use super::{Results, gather};
use crate::batch::part::Part;
use crate::checkpoint::changes::Changes;
use crate::context::{BatchContext, Hold, Watermark};
use crate::dataflow::stages::BuildContext;
use crate::error::{Error, Result};
use crate::graph::StageNode;
use crate::ids::BatchId;
use crate::metrics::Held;
use crate::state::keeper::TableCheckpoint;
use crate::timely_ext::{BatchWork, Output};
use crate::window::closing::TimeWindows;
use crate::window::rows::Slices;
use arrow::datatypes::{Field, SchemaRef};
use std::sync::Arc;

/// The stage on one worker.
pub struct Work {
    name: String,
    windows: TimeWindows,
    slices: Slices,
    update: bool,
    results: Results,
    partial: SchemaRef,
    /// Key columns and the pane.
    keys: usize,
    keeper: Option<TableCheckpoint>,
    held: Held,
}

impl Work {
    /// As the checkpoint that is loaded has it.
    pub fn new(stage: &StageNode, slices: Slices, update: bool, at: &BuildContext<'_, '_>) -> Result<Work> {
        let results = Results::new(stage, at)?;
        let keys: Vec<Arc<Field>> =
            stage.key.iter().filter_map(|place| stage.input.fields().get(*place)).cloned().collect();
        let mut windows = TimeWindows::new(slices, update, &keys, &results.functions.accumulators()?)?;
        let keeper = TableCheckpoint::open(at.running.kept.as_ref(), &stage.name, at.index, at.peers);
        if let Some(keeper) = &keeper {
            let told = |error: Error| error.within(format!("stage `{}`: its state in the checkpoint", stage.name));
            keeper.restore(windows.panes().table()).map_err(told)?;
            windows.panes().restored().map_err(told)?;
        }
        Ok(Work {
            name: stage.name.clone(),
            slices,
            update,
            windows,
            held: results.metrics.held(&stage.name),
            partial: results.functions.partial_schema(true),
            results,
            keys: stage.key.len() + 1,
            keeper,
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
        self.results.put_out(context, &windows, output)
    }
}

impl BatchWork for Work {
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
        let Some(keeper) = &mut self.keeper else { return Ok(Vec::new()) };
        Ok(keeper.changes(after, self.windows.panes().table())?.into_iter().collect())
    }
}
