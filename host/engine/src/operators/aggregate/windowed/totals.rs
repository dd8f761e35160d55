//! Running totals on the worker that owns the keys.

use super::{WindowOutput, changed, gather};
use crate::checkpoint::changes::TableChanges;
use crate::operators::context::BuildContext;
use crate::operators::stage::{Operator, StageNode};
use crate::operators::window::state::totals::Totals;
use crate::state::StateTable;
use crate::state::table_checkpoint::{self, TableCheckpoint};
use crate::timely_ext::{BatchWork, Output};
use arrow::datatypes::{Field, SchemaRef};
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, PartOrder};
use millstream_metrics::StateSize;
use millstream_rows::batch::part::Part;
use std::sync::Arc;

/// The stage on one worker.
pub struct TotalsWork {
    name: String,
    totals: Totals,
    results: WindowOutput,
    partial: SchemaRef,
    keys: usize,
    checkpoint: Option<TableCheckpoint>,
    /// The columns of changed totals.
    changes: Option<SchemaRef>,
    state_size: StateSize,
}

impl TotalsWork {
    /// Creates the stage, resuming from the loaded checkpoint.
    pub fn new(stage: &StageNode, build: &BuildContext<'_, '_>) -> Result<TotalsWork> {
        let results = WindowOutput::new(stage, build)?;
        let keys: Vec<Arc<Field>> =
            stage.key.iter().filter_map(|position| stage.input.fields().get(*position)).cloned().collect();
        let table = StateTable::new(keys.clone(), results.functions.accumulators()?, None).map_err(Error::arrow)?;
        let mut table = build.spilling(&stage.name, table)?;
        let checkpoint = build.restore(&stage.name, &stage.name, &mut table)?;
        let partial = results.functions.partial_schema(false);
        let changes = match &stage.operator {
            Operator::Aggregate(builtin) => builtin.changes.clone(),
            _ => None,
        };
        let state_size = results.metrics.state_size(&stage.name);
        Ok(TotalsWork {
            name: stage.name.clone(),
            totals: Totals::new(table),
            results,
            partial,
            keys: keys.len(),
            checkpoint,
            changes,
            state_size,
        })
    }

    fn work(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        // All totals are in the table, whichever version of a plugin computed them.
        self.results.renew()?;
        let Some(rows) = gather(parts, &self.partial, self.keys)?.filter(|rows| rows.rows > 0) else { return Ok(()) };
        let before = match &self.changes {
            Some(schema) => Some((schema.clone(), self.results.rows(context, &[self.totals.before(&rows)?])?)),
            None => None,
        };
        let totals = self.totals.batch(&mut self.results.functions.for_batch(context.call()), &rows)?;
        let rows = self.results.rows(context, std::slice::from_ref(&totals))?;
        if let Some((schema, before)) = before {
            let count = changed::push(context, (&before, &rows), &schema, self.results.index as u64, output)?;
            self.results.metrics.add_rows(count);
            return Ok(());
        }
        self.results.metrics.add_rows(rows.num_rows());
        output.push(context, PartOrder::at(self.results.index as u64), rows);
        Ok(())
    }
}

impl BatchWork for TotalsWork {
    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        let worked = self.work(context, parts, output);
        worked.map_err(|error| error.within(format!("stage `{}`: batch {}", self.name, context.id)))?;
        self.totals.table().settle(&mut self.state_size)
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        vec![self.totals.table()]
    }

    fn barrier(&mut self, after: BatchId) -> Result<Vec<TableChanges>> {
        table_checkpoint::changes(&mut self.checkpoint, after, self.totals.table())
    }
}
