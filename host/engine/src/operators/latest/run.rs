//! Adds to each row the latest row of a stream with the same key. Both go to the worker that owns the key, which stores the stream's table. The
//! stream's rows of a batch are applied before the batch's rows are looked up. Then the rows return to their origin.

use crate::checkpoint::changes::TableChanges;
use crate::exchange::{parts_of, split_by_key};
use crate::operators::by_key::{hashes, keys};
use crate::operators::context::{BuildContext, StageStreams};
use crate::operators::latest::node::LatestNode;
use crate::operators::round_trip;
use crate::operators::round_trip::{MOVED_INPUT, placed};
use crate::operators::stage::StageNode;
use crate::state::table_checkpoint::{self, TableCheckpoint};
use crate::state::{Slot, StateTable};
use crate::timely_ext::{BatchWork, Output, Parts, each_batch_with_state, each_part};
use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, StringArray, UInt32Array};
use arrow::compute::{filter_record_batch, take_record_batch};
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use millstream_metrics::{Counts, StateSize};
use millstream_rows::batch::keys::KeyHash;
use millstream_rows::batch::op::Op;
use millstream_rows::batch::part::Part;
use millstream_rows::batch::rejected::RejectedRow;
use std::collections::BTreeMap;

/// Input number of the stream that makes up the table.
const TABLE: u32 = 1;

/// Builds the stage.
pub fn build<'s>(
    stage: &StageNode,
    node: &LatestNode,
    parts: Parts<'s>,
    build: &BuildContext<'s, '_>,
) -> Result<StageStreams<'s>> {
    let split = split(stage, node, parts, build);
    let work = Latest::new(stage, node, build)?;
    let (ticks, failure) = (build.ticks.clone(), build.failure.clone());
    let (rows, rejected, changes) =
        each_batch_with_state(split, ticks, &stage.name, failure.clone(), |part| part.to, work);
    let rows = round_trip::return_rows(stage, rows, build);
    Ok(StageStreams { changes: vec![changes], ..StageStreams::new(rows, rejected) })
}

/// Splits parts by the owner of their key. Rows that clear the table go to all workers.
fn split<'s>(stage: &StageNode, node: &LatestNode, parts: Parts<'s>, build: &BuildContext<'s, '_>) -> Parts<'s> {
    let (node, peers, mut mark) = (node.clone(), build.peers, round_trip::mark(build));
    let name = format!("{} by key", stage.name);
    let (split, _) = each_part(parts, &name, build.failure.clone(), move |_, mut part, output| {
        if part.input != TABLE {
            mark(&mut part)?;
        }
        let (columns, op) = if part.input == TABLE { (&node.key, node.op) } else { (&node.on, None) };
        output.rows.extend(parts_of(split_rows(&part.rows, columns, op, peers)?, &part));
        Ok(())
    });
    split
}

/// Splits parts by the owner of their key, as [`split`] does for the table.
pub fn split_by_op<'s>(
    stage: &str,
    key: Vec<usize>,
    op: Option<usize>,
    parts: Parts<'s>,
    build: &BuildContext<'s, '_>,
) -> Parts<'s> {
    let (name, peers) = (format!("{stage} by key"), build.peers);
    let (split, _) = each_part(parts, &name, build.failure.clone(), move |_, part, output| {
        output.rows.extend(parts_of(split_rows(&part.rows, &key, op, peers)?, &part));
        Ok(())
    });
    split
}

/// Splits rows by the owner of their key; those that clear the table go to every worker.
fn split_rows(rows: &RecordBatch, key: &[usize], op: Option<usize>, peers: usize) -> Result<Vec<(u64, RecordBatch)>> {
    let hashes = hashes(key, rows)?;
    let op_names = op_column(rows, op);
    let empties = |row: usize| Op::of_row(op_names, row) == Ok(Op::Truncate);
    if peers > 1 && (0..hashes.len()).any(empties) {
        return split_for_all(rows, &hashes, peers, empties);
    }
    split_by_key(rows, &hashes, peers).map_err(Error::arrow)
}

/// As [`split_by_key`], with some rows for every worker.
fn split_for_all(
    rows: &RecordBatch,
    hashes: &[KeyHash],
    peers: usize,
    for_all: impl Fn(usize) -> bool,
) -> Result<Vec<(u64, RecordBatch)>> {
    let of = |worker: usize| {
        let destination = |row: &u32| {
            hashes.get(*row as usize).is_some_and(|hash| hash.worker(peers) == worker) || for_all(*row as usize)
        };
        let rows_of: Vec<u32> = (0..hashes.len() as u32).filter(destination).collect();
        Ok((worker as u64, take_record_batch(rows, &UInt32Array::from(rows_of)).map_err(Error::arrow)?))
    };
    (0..peers).map(of).collect()
}

/// Returns the column with the operations on the table, if any.
fn op_column(rows: &RecordBatch, op: Option<usize>) -> Option<&StringArray> {
    rows.columns().get(op?)?.as_string_opt::<i32>()
}

/// The stage on one worker.
struct Latest {
    stage: StageNode,
    node: LatestNode,
    table: StateTable,
    checkpoint: Option<TableCheckpoint>,
    worker: u64,
    metrics: Counts,
    state_size: StateSize,
}

impl Latest {
    fn new(stage: &StageNode, node: &LatestNode, build: &BuildContext<'_, '_>) -> Result<Latest> {
        let key_fields = node.key_schema.fields().iter().cloned().collect();
        let table = StateTable::new(key_fields, node.stored_schema.clone(), None).map_err(Error::arrow)?;
        let mut table = build.spilling(&stage.name, table)?;
        let checkpoint = build.restore(&stage.name, &stage.name, &mut table)?;
        let metrics = build.metrics.counts(&stage.name);
        let (state_size, worker) = (metrics.state_size(&stage.name), build.index as u64);
        Ok(Latest { stage: stage.clone(), node: node.clone(), table, checkpoint, worker, metrics, state_size })
    }

    /// Applies rows to the table. Returns the rejected ones.
    fn apply(&mut self, rows: &RecordBatch) -> Result<Vec<RejectedRow>> {
        let keys = keys(&self.node.key, rows)?;
        let (view, hashes) = (keys.view(), keys.hashes());
        self.table.warm(view)?;
        let key_columns: Vec<_> = self.node.key.iter().map(|index| rows.column(*index)).collect();
        let op_names = op_column(rows, self.node.op);
        let mut rejections = Vec::new();
        // The last row of each key, and whether the key exists afterwards.
        let mut last: BTreeMap<Slot, (u32, bool)> = BTreeMap::new();
        for (row, hash) in hashes.iter().enumerate() {
            let number = row as u32;
            let op = match Op::of_row(op_names, row) {
                Ok(op) => op,
                Err(why) => {
                    rejections.push(RejectedRow::new(number, why));
                    continue;
                }
            };
            if op == Op::Truncate {
                self.store(rows, std::mem::take(&mut last))?;
                self.table.clear()?;
            } else if let Some(index) = key_columns.iter().position(|column| column.is_null(row)) {
                let name = self.node.key_schema.field(index).name();
                rejections
                    .push(RejectedRow::new(number, format!("its `{name}` is null, but is part of the table's key")));
            } else if op == Op::Delete {
                if let Some(slot) = self.table.find(view.get(row)) {
                    last.insert(slot, (number, false));
                }
            } else {
                last.insert(self.table.slot(view.get(row), *hash), (number, true));
            }
        }
        self.store(rows, last)?;
        // An order that does not depend on the worker.
        rejections.sort_by_key(|rejection| hashes.get(rejection.row as usize).map(|hash| hash.group()));
        Ok(rejections)
    }

    /// Stores these rows in their slots, or clears the slots.
    fn store(&mut self, rows: &RecordBatch, last: BTreeMap<Slot, (u32, bool)>) -> Result<()> {
        let slots: Vec<Slot> = last.keys().copied().collect();
        let (numbers, kept): (Vec<u32>, Vec<bool>) = last.into_values().unzip();
        let states = rows.project(&self.node.holds).map_err(Error::arrow)?;
        let states = take_record_batch(&states, &UInt32Array::from(numbers)).map_err(Error::arrow)?;
        self.table.store(&slots, &states, &BooleanArray::from(kept));
        self.table.used(&slots);
        Ok(())
    }

    /// Adds the table's columns to rows, and their origin if they have left their worker.
    fn enrich(&mut self, rows: &RecordBatch, moved: bool) -> Result<RecordBatch> {
        let keys = keys(&self.node.on, rows)?;
        let view = keys.view();
        self.table.warm(view)?;
        let find = |row| self.table.find(view.get(row)).filter(|slot| self.table.is_stored(*slot));
        let found: Vec<Option<Slot>> = (0..rows.num_rows()).map(find).collect();
        self.table.used(&found.iter().copied().flatten().collect::<Vec<Slot>>());
        let (states, known) = self.table.states_at(found).map_err(Error::arrow)?;
        let (own, indexes) = rows.columns().split_at(rows.num_columns() - usize::from(moved));
        let columns = own.iter().chain(states.columns()).chain(indexes).cloned().collect();
        let schema = if moved { placed(&self.node.output) } else { self.node.output.clone() };
        let rows = RecordBatch::try_new(schema, columns).map_err(Error::arrow)?;
        if !self.node.inner {
            return Ok(rows);
        }
        filter_record_batch(&rows, &known).map_err(Error::arrow)
    }
}

impl BatchWork for Latest {
    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        let (table, parts): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(|part| part.input == TABLE);
        for part in table {
            let rejections = self.apply(&part.rows)?;
            let name = self.stage.inputs.last().map_or("", |input| input.name.as_str());
            let rows = self.stage.rejected.rows(context.id, name, &part.rows, &rejections)?;
            self.metrics.add_rejected(rows.num_rows());
            output.clock_id = part.clock_id;
            output.reject(context, part.order.then(self.worker), rows);
        }
        for part in parts {
            let rows = self.enrich(&part.rows, part.input >= MOVED_INPUT)?;
            self.metrics.add_rows(rows.num_rows());
            (output.clock_id, output.input) = (part.clock_id, part.input);
            output.push(context, part.order, rows);
            // Not all looked-up rows need be in memory together.
            self.table.shrink()?;
        }
        self.table.settle(&mut self.state_size)
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        vec![&mut self.table]
    }

    fn barrier(&mut self, after: BatchId) -> Result<Vec<TableChanges>> {
        table_checkpoint::changes(&mut self.checkpoint, after, &mut self.table)
    }
}
