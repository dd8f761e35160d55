//! Stages with a query.

use crate::exchange::{parts_of, sort_by_key_group, split_by_key};
use crate::operators::by_key::hashes;
use crate::operators::context::{BuildContext, StageStreams};
use crate::operators::sql::node::SqlNode;
use crate::operators::stage::StageNode;
use crate::operators::window::node::WindowNode;
use crate::operators::window::state::bounds;
use crate::timely_ext::{Output, Parts, each_batch, each_part};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::PartOrder;
use millstream_metrics::Counts;
use millstream_rows::batch::part::Part;
use millstream_sql::placement::QueryPlacement;
use millstream_sql::query::Prepared;
use std::collections::BTreeMap;

/// Builds the stage.
pub fn build<'s>(
    stage: &StageNode,
    node: &SqlNode,
    parts: Parts<'s>,
    build: &BuildContext<'s, '_>,
) -> Result<StageStreams<'s>> {
    let metrics = build.metrics.counts(&stage.name);
    let functions: Vec<_> = node.functions.iter().map(|function| function.callable(Some(metrics.clone()))).collect();
    let query = StageQuery {
        stage: stage.clone(),
        node: node.clone(),
        prepared: node.query.prepare(&stage.name, &functions, node.limits)?,
        metrics,
    };
    let (name, failure) = (stage.name.as_str(), build.failure.clone());
    let (rows, rejected) = match node.query.placement() {
        QueryPlacement::Parts => {
            each_part(parts, name, failure, move |context, part, output| query.part(context, part, output))
        }
        QueryPlacement::ByKey(_) => {
            let parts = split(node, parts, build);
            let collected = CollectedQuery { query, worker: build.index as u64 };
            each_batch(
                parts,
                build.ticks.clone(),
                name,
                failure,
                |part| part.to,
                move |context, parts, output| {
                    // Without rows there are no keys.
                    if parts.is_empty() { Ok(()) } else { collected.batch(context, &parts, output) }
                },
            )
        }
        QueryPlacement::One(_) => {
            // The query also runs on a batch without rows, but not on a window without rows: most batches end no window.
            let (is_first, windowed) = (build.index == 0, stage.window.is_some());
            let collected = CollectedQuery { query, worker: 0 };
            each_batch(
                parts,
                build.ticks.clone(),
                name,
                failure,
                |_| 0,
                move |context, parts, output| {
                    if is_first && !(windowed && parts.is_empty()) {
                        collected.batch(context, &parts, output)
                    } else {
                        Ok(())
                    }
                },
            )
        }
    };
    Ok(StageStreams::new(rows, rejected))
}

/// Sends rows to the worker that owns their key. The query result for a key depends only on its rows and their order, so nothing else is needed.
fn split<'s>(node: &SqlNode, parts: Parts<'s>, build: &BuildContext<'s, '_>) -> Parts<'s> {
    let (keys, peers) = (node.keys.clone(), build.peers);
    if peers == 1 {
        return parts;
    }
    let (parts, _) = each_part(parts, "sql by key", build.failure.clone(), move |_, part, output| {
        let Some(key) = keys.get(part.input as usize) else { return Err(Error::bug("a part of an unknown input")) };
        let split = split_by_key(&part.rows, &hashes(key, &part.rows)?, peers).map_err(Error::arrow)?;
        output.rows.extend(parts_of(split, &part));
        Ok(())
    });
    parts
}

/// The query of a stage on one worker.
struct StageQuery {
    stage: StageNode,
    node: SqlNode,
    prepared: Prepared,
    metrics: Counts,
}

impl StageQuery {
    /// Runs it over a single part.
    fn part(&self, context: BatchContext, part: Part, output: &mut Output) -> Result<()> {
        let mut tables: Vec<RecordBatch> = self.empty();
        if let Some(table) = tables.get_mut(part.input as usize) {
            *table = part.rows;
        }
        output.input = 0;
        let branches = self.prepared.run(context, tables)?;
        let alone = branches.len() == 1;
        for (branch, rows) in (0u64..).zip(branches) {
            self.metrics.add_rows(rows.num_rows());
            // As in a union: all rows of a branch before those of the next.
            let order = if alone { part.order.clone() } else { part.order.clone().prefixed(branch) };
            output.push(context, order, rows);
        }
        Ok(())
    }

    fn empty(&self) -> Vec<RecordBatch> {
        self.node.query.inputs().iter().map(|(_, schema)| RecordBatch::new_empty(schema.clone())).collect()
    }
}

/// A query over all rows of a batch or window on this worker.
struct CollectedQuery {
    query: StageQuery,
    worker: u64,
}

impl CollectedQuery {
    fn batch(&self, context: BatchContext, parts: &[Part], output: &mut Output) -> Result<()> {
        let mut tables = Vec::new();
        for (position, (_, schema)) in self.query.node.query.inputs().iter().enumerate() {
            let of_input = parts.iter().filter(|part| part.input as usize == position);
            let rows: Vec<&RecordBatch> = of_input.map(|part| &part.rows).collect();
            tables.push(match rows.as_slice() {
                [one] => (*one).clone(),
                many => concat_batches(schema, many.iter().copied()).map_err(Error::arrow)?,
            });
        }
        if self.query.stage.window.as_ref().is_some_and(WindowNode::of_event_time) {
            return self.windows(context, &tables, output);
        }
        self.run(context, tables, PartOrder::at(self.worker), output)
    }

    /// Returns the indexes of the key columns in the query's rows.
    fn by_key(&self) -> Option<&[usize]> {
        match self.query.node.query.placement() {
            QueryPlacement::ByKey(indexes) => Some(indexes),
            _ => None,
        }
    }

    /// Runs the query over each window separately, ordered by their ends. A session is a window of its key alone.
    fn windows(&self, context: BatchContext, tables: &[RecordBatch], output: &mut Output) -> Result<()> {
        let key: &[usize] = match self.query.stage.window {
            Some(WindowNode::Session { .. }) => &self.query.stage.key,
            _ => &[],
        };
        let mut windows: BTreeMap<_, Vec<Vec<u32>>> = BTreeMap::new();
        for (position, table) in tables.iter().enumerate() {
            for (window, indexes) in bounds::by_window_and_key(table, key)? {
                let rows = windows.entry(window).or_insert_with(|| vec![Vec::new(); tables.len()]);
                if let Some(rows) = rows.get_mut(position) {
                    *rows = indexes;
                }
            }
        }
        for ((end, start, key), rows) in windows {
            let taken =
                tables.iter().zip(rows).map(|(table, rows)| bounds::take(table, rows)).collect::<Result<_>>()?;
            let position = PartOrder::at_window(end, start);
            let position = match key {
                Some(key) => position.then(key.hash.0),
                None => position,
            };
            self.run(context, taken, position.then(self.worker), output)?;
        }
        Ok(())
    }

    fn run(
        &self,
        context: BatchContext,
        tables: Vec<RecordBatch>,
        order: PartOrder,
        output: &mut Output,
    ) -> Result<()> {
        let branches = self.query.prepared.run(context, tables)?;
        let schema = self.query.node.query.output();
        let mut rows = match branches.as_slice() {
            [one] => one.clone(),
            many => concat_batches(&schema, many).map_err(Error::arrow)?,
        };
        if let Some(key) = self.by_key() {
            rows = sort_by_key_group(&rows, &hashes(key, &rows)?).map_err(Error::arrow)?;
        }
        self.query.metrics.add_rows(rows.num_rows());
        output.push(context, order, rows);
        Ok(())
    }
}
