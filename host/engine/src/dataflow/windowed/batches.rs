//! Windows of processing time on the worker that owns the keys.

use super::{WindowOutput, gather};
use crate::batch::part::Part;
use crate::checkpoint::changes::Changes;
use crate::context::BatchContext;
use crate::dataflow::stages::{BuildContext, in_checkpoint};
use crate::dataflow::window_ends::WindowEnds;
use crate::error::{Error, Result};
use crate::graph::{Operator, StageNode};
use crate::ids::{BatchId, BatchTime, PartOrder};
use crate::metrics::StateSize;
use crate::sql::expression::Expression;
use crate::state::table_checkpoint::{self, TableCheckpoint};
use crate::timely_ext::{BatchWork, Output};
use crate::window::batches::{BatchWindows, Window};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Field, SchemaRef};
use std::sync::Arc;

/// The stage on one worker.
pub struct BatchWindowWork {
    name: String,
    windows: BatchWindows,
    results: WindowOutput,
    partial: SchemaRef,
    keys: usize,
    /// What keys with running totals must fulfil to stay.
    filter: Option<Expression>,
    checkpoint: Option<TableCheckpoint>,
    held: StateSize,
    ends: WindowEnds,
    /// The batch before.
    last: (BatchId, BatchTime),
}

impl BatchWindowWork {
    /// Goes on as the checkpoint that is loaded has it.
    pub fn new(
        stage: &StageNode,
        size_us: i64,
        slide_us: i64,
        build: &BuildContext<'_, '_>,
    ) -> Result<BatchWindowWork> {
        let mut results = WindowOutput::new(stage, build)?;
        let inverse = match &stage.operator {
            Operator::Aggregate(builtin) => builtin.inverse,
            Operator::Reduce(node) => node.description.inverse,
            _ => false,
        };
        let keys: Vec<Arc<Field>> =
            stage.key.iter().filter_map(|place| stage.input.fields().get(*place)).cloned().collect();
        let mut windows = BatchWindows::new(size_us, inverse, &keys, &results.functions.accumulators()?)?;
        let checkpoint = build.restore(&stage.name, &stage.name, windows.panes().table())?;
        let ends = WindowEnds::new(&stage.name, (size_us, slide_us), build)?;
        let last = build.last_batch();
        if checkpoint.is_some()
            && let Some((origin_us, next_us)) = ends.origin_us().zip(ends.next_us())
        {
            // Sums are made of what was there, in the batch after the one that the checkpoint holds.
            let functions = &mut results.functions.within(BatchContext::new(last.0, last.1).call());
            windows.restored(functions, origin_us, next_us).map_err(in_checkpoint(&stage.name))?;
        }
        Ok(BatchWindowWork {
            name: stage.name.clone(),
            windows,
            held: results.metrics.held(&stage.name),
            partial: results.functions.partial_schema(false),
            results,
            keys: stage.key.len(),
            filter: stage.shape.as_ref().and_then(|shape| shape.filter.clone()).filter(|_| inverse),
            checkpoint,
            ends,
            last,
        })
    }

    fn window(&mut self, context: BatchContext, parts: Vec<Part>) -> Result<Option<Window>> {
        let last = std::mem::replace(&mut self.last, (context.id, context.time));
        if self.results.renew()?
            && let Some((origin_us, next_us)) = self.ends.origin_us().zip(self.ends.next_us())
        {
            let last = BatchContext::new(last.0, last.1).call();
            self.windows.remade(&mut self.results.functions.within(last), origin_us, next_us)?;
        }
        let rows = gather(parts, &self.partial, self.keys)?;
        let batch = self.ends.batch(context.time)?;
        self.windows.batch(&mut self.results.functions.within(context.call()), batch, rows)
    }

    fn put_out(&mut self, context: BatchContext, window: Window, output: &mut Output) -> Result<()> {
        if window.ids.is_empty() {
            // Without a key there is a row also of nothing; it belongs to worker 0.
            if !self.results.has_key
                && self.results.index == 0
                && let Some(nothing) = self.results.functions.of_nothing()?
            {
                self.results.metrics.add_rows(1);
                output.push(context, PartOrder::at(0), nothing);
            }
            return Ok(());
        }
        let rows = self.results.rows(context, std::slice::from_ref(&window))?;
        if let Some(filter) = &self.filter {
            let stays = filter.evaluate(context, &rows)?;
            let stays = stays.as_boolean_opt().ok_or_else(|| Error::bug("a filter without truth values"))?;
            let leaves = |row: &usize| !stays.is_valid(*row) || !stays.value(*row);
            let leaving = (0..rows.num_rows()).filter(leaves).filter_map(|row| window.ids.get(row).copied());
            self.windows.panes().forget_empty(leaving);
        }
        self.results.metrics.add_rows(rows.num_rows());
        output.push(context, PartOrder::at(self.results.index as u64), rows);
        Ok(())
    }
}

impl BatchWork for BatchWindowWork {
    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        let window = self.window(context, parts).and_then(|window| match window {
            Some(window) => self.put_out(context, window, output),
            None => Ok(()),
        });
        let panes = self.windows.panes().table();
        self.held.set(panes.len() as u64, panes.bytes());
        self.held.spread(|| panes.spread());
        window.map_err(|error| error.within(format!("stage `{}`: batch {}", self.name, context.id)))
    }

    fn barrier(&mut self, after: BatchId) -> Result<Vec<Changes>> {
        let panes = table_checkpoint::changes(&mut self.checkpoint, after, self.windows.panes().table())?;
        Ok(panes.into_iter().chain(self.ends.barrier(after)?).collect())
    }
}
