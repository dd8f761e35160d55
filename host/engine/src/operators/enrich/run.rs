//! Joins rows with a lookup table. Every worker holds all of the table. A new table takes effect with the batch in which it arrives, so that rows
//! need not move.

use crate::checkpoint::changes::TableChanges;
use crate::checkpoint::positions::ALL_GROUPS;
use crate::checkpoint::types::{REMOVED, TableOf};
use crate::operators::context::{BuildContext, StageStreams};
use crate::operators::enrich::check::content_table;
use crate::operators::enrich::node::EnrichNode;
use crate::operators::stage::StageNode;
use crate::state::StateTable;
use crate::timely_ext::{BatchWork, Output, Parts, each_batch_with_state};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, RecordBatch};
use arrow::compute::{filter, filter_record_batch, is_not_null, take};
use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use millstream_connect::receiver::table::Lookup;
use millstream_metrics::Counts;
use millstream_rows::batch::part::Part;
use std::sync::Arc;
use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Concat, Exchange};

/// Input number of parts with a table.
const TABLE: u32 = 1;

/// Builds the stage.
pub fn build<'s>(
    stage: &StageNode,
    node: &EnrichNode,
    parts: Parts<'s>,
    build: &BuildContext<'s, '_>,
) -> Result<StageStreams<'s>> {
    let (index, peers) = (build.index as u64, build.peers as u64);
    let tables = build.table.clone().ok_or_else(|| Error::bug("a stage without its table"))?;
    let tables = tables.flat_map(move |part| (0..peers).map(move |to| Part { to, input: TABLE, ..part.clone() }));
    let rows = parts.map(move |part: Part| Part { to: index, ..part });
    let work = Enrich::new(stage, node, build)?;
    let (rows, rejected, changes) = each_batch_with_state(
        rows.concat(tables.exchange(|part: &Part| part.to)),
        build.ticks.clone(),
        &stage.name,
        build.failure.clone(),
        |part| part.to,
        work,
    );
    Ok(StageStreams { changes: vec![changes], ..StageStreams::new(rows, rejected) })
}

/// The stage on one worker.
struct Enrich {
    stage: String,
    node: EnrichNode,
    /// The table in effect, or why it is unusable.
    table: Result<Lookup, String>,
    metrics: Counts,
    /// Content for the next checkpoint; only worker 0 of a job with checkpoints writes it.
    unsaved: Option<UnsavedTable>,
}

/// Content for the next checkpoint.
struct UnsavedTable {
    /// Index among the job's tables.
    table: usize,
    /// The content, if no checkpoint has it yet.
    changed: Option<Bytes>,
}

impl Enrich {
    fn new(stage: &StageNode, node: &EnrichNode, build: &BuildContext<'_, '_>) -> Result<Enrich> {
        let name = content_table(&stage.name);
        let mut table = Err("it does not exist".to_owned());
        if let Some(checkpoint) = build.table_checkpoint(&name)
            && let Some(saved) = checkpoint.load_all()?
            && let Some(content) = saved.last().and_then(content)
        {
            table = Lookup::read(&node.enrich, &content).map_err(|message| {
                format!("the table in the checkpoint no longer fits the job ({message}); restore its columns")
            });
        }
        let loaded = build.checkpoints.map(|checkpoints| &checkpoints.loaded);
        let table_index = loaded.and_then(|loaded| loaded.index_of(TableOf::Stage, &name));
        Ok(Enrich {
            stage: stage.name.clone(),
            node: node.clone(),
            table,
            metrics: build.metrics.counts(&stage.name),
            unsaved: table_index.filter(|_| build.index == 0).map(|table| UnsavedTable { table, changed: None }),
        })
    }

    /// Replaces the table.
    fn replace(&mut self, part: &Part) -> Result<()> {
        let content = content(&part.rows).ok_or_else(|| Error::bug("a part without a table"))?;
        // The receiver has parsed it before, so it is invalid only in a job with other columns.
        self.table = Lookup::read(&self.node.enrich, &content);
        if let Some(unsaved) = &mut self.unsaved {
            unsaved.changed = Some(content);
        }
        Ok(())
    }

    /// Adds the table's columns to rows.
    fn enrich(&self, batch: BatchId, rows: &RecordBatch) -> Result<RecordBatch> {
        let table = self.table.as_ref().map_err(|message| {
            Error::environment(format!("stage `{}`: batch {batch}: its table cannot be used: {message}", self.stage))
        })?;
        let keys: Vec<ArrayRef> = self.node.on.iter().map(|position| rows.column(*position).clone()).collect();
        let found = table.find(&keys, rows.num_rows()).map_err(Error::arrow)?;
        let (mut rows, mut found): (RecordBatch, ArrayRef) = (rows.clone(), Arc::new(found));
        if self.node.inner && found.null_count() > 0 {
            let known = is_not_null(&found).map_err(Error::arrow)?;
            rows = filter_record_batch(&rows, &known).map_err(Error::arrow)?;
            found = filter(&found, &known).map_err(Error::arrow)?;
        }
        let mut columns = rows.columns().to_vec();
        for position in &self.node.adds {
            columns.push(take(table.rows().column(*position), &found, None).map_err(Error::arrow)?);
        }
        RecordBatch::try_new(self.node.output.clone(), columns).map_err(Error::arrow)
    }
}

/// Returns the content of a row: its first column, a binary.
fn content(rows: &RecordBatch) -> Option<Bytes> {
    let contents = rows.columns().first()?.as_binary_opt::<i32>()?;
    let last = contents.len().checked_sub(1)?;
    Some(Bytes::copy_from_slice(contents.value(last)))
}

impl BatchWork for Enrich {
    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        if let Some(table) = parts.iter().rfind(|part| part.input == TABLE) {
            self.replace(table)?;
        }
        for part in parts.into_iter().filter(|part| part.input != TABLE) {
            let rows = self.enrich(context.id, &part.rows)?;
            self.metrics.add_rows(rows.num_rows());
            output.clock_id = part.clock_id;
            output.push(context, part.order, rows);
        }
        Ok(())
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        Vec::new()
    }

    fn barrier(&mut self, _after: BatchId) -> Result<Vec<TableChanges>> {
        let Some(UnsavedTable { table, changed }) = &mut self.unsaved else { return Ok(Vec::new()) };
        let Some(content) = changed.take() else { return Ok(Vec::new()) };
        let schema = Schema::new(vec![
            Field::new("content", DataType::Binary, true),
            Field::new(REMOVED, DataType::Boolean, false),
        ]);
        let columns: Vec<ArrayRef> =
            vec![Arc::new(BinaryArray::from_iter_values([content])), Arc::new(BooleanArray::from(vec![false]))];
        let rows = RecordBatch::try_new(Arc::new(schema), columns).map_err(Error::arrow)?;
        Ok(vec![TableChanges::small(*table, ALL_GROUPS, true, rows)])
    }
}
