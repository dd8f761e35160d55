//! The latest row of each key, kept in state; its changes are emitted as deleted and inserted rows. Deletions of a batch precede all insertions, of
//! all workers.

use crate::checkpoint::changes::TableChanges;
use crate::operators::by_key::keys;
use crate::operators::context::{BuildContext, StageStreams};
use crate::operators::latest::run::split_by_op;
use crate::operators::newest::node::NewestNode;
use crate::operators::stage::StageNode;
use crate::state::table_checkpoint::{self, TableCheckpoint};
use crate::state::{Slot, StateTable};
use crate::timely_ext::{BatchWork, Output, Parts, each_batch_with_state};
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, UInt32Array, make_comparator};
use arrow::compute::{SortOptions, concat_batches, take_record_batch};
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, PartOrder};
use millstream_base::limits::PART_ROWS_MAX;
use millstream_metrics::{Counts, StateSize};
use millstream_rows::batch::keys::{Keys, canonical_column};
use millstream_rows::batch::op::{DELETE, INSERT, Op};
use millstream_rows::batch::part::Part;
use millstream_rows::batch::rejected::RejectedRow;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

/// Input number of results that sessions replace.
const REPLACED: u32 = 1;

/// Builds the stage.
pub fn build<'s>(
    stage: &StageNode,
    node: &NewestNode,
    parts: Parts<'s>,
    build: &BuildContext<'s, '_>,
) -> Result<StageStreams<'s>> {
    let split = split_by_op(&stage.name, stage.key.clone(), node.op, parts, build);
    let work = NewestStage::new(stage, node, build)?;
    let (ticks, failure) = (build.ticks.clone(), build.failure.clone());
    let (rows, rejected, changes) =
        each_batch_with_state(split, ticks, &stage.name, failure, |part: &Part| part.to, work);
    Ok(StageStreams { changes: vec![changes], ..StageStreams::new(rows, rejected) })
}

/// The stage that stores the newest row of each key, on one worker.
struct NewestStage {
    stage: StageNode,
    node: NewestNode,
    table: StateTable,
    checkpoint: Option<TableCheckpoint>,
    worker: u64,
    metrics: Counts,
    state_size: StateSize,
}

/// A key with rows in a batch: its slot, and its previous and current row, by their indexes among all.
struct TouchedKey {
    slot: Slot,
    before: Option<u32>,
    now: Option<u32>,
}

impl NewestStage {
    fn new(stage: &StageNode, node: &NewestNode, build: &BuildContext<'_, '_>) -> Result<NewestStage> {
        let fields = stage.key.iter().filter_map(|index| stage.input.fields().get(*index)).cloned().collect();
        let table = StateTable::new(fields, node.stored_schema.clone(), None).map_err(Error::arrow)?;
        let mut table = build.spilling(&stage.name, table)?;
        let checkpoint = build.restore(&stage.name, &stage.name, &mut table)?;
        let metrics = build.metrics.counts(&stage.name);
        let (state_size, worker) = (metrics.state_size(&stage.name), build.index as u64);
        Ok(NewestStage { stage: stage.clone(), node: node.clone(), table, checkpoint, worker, metrics, state_size })
    }

    /// Returns the rows stored in these slots, with the columns that pass, and which slots have one.
    fn stored_rows(&self, rows: &RecordBatch, slots: &[Slot]) -> Result<(RecordBatch, Vec<Slot>)> {
        let known: Vec<Slot> = slots.iter().copied().filter(|slot| self.table.is_stored(*slot)).collect();
        let keys = self.table.keys(&known).map_err(Error::arrow)?;
        let (states, _) = self.table.states(&known).map_err(Error::arrow)?;
        let mut state_size = states.columns().iter().cloned();
        let column = |index: &usize| match self.stage.key.iter().position(|key| key == index) {
            Some(number) => keys.get(number).cloned().ok_or_else(|| Error::bug("a table without its key")),
            None => state_size.next().ok_or_else(|| Error::bug("a table without a column of its rows")),
        };
        let columns = self.node.passes.iter().map(column).collect::<Result<Vec<_>>>()?;
        let schema = Arc::new(rows.schema().project(&self.node.passes).map_err(Error::arrow)?);
        Ok((RecordBatch::try_new(schema, columns).map_err(Error::arrow)?, known))
    }

    /// Applies rows to the table. Returns the deleted, the inserted and the rejected rows. Rows from index `replaced` on are replaced, that is
    /// deleted.
    fn apply(&mut self, rows: &RecordBatch, replaced: usize) -> Result<(RecordBatch, RecordBatch, Vec<RejectedRow>)> {
        let encoded = keys(&self.stage.key, rows)?;
        let (view, hashes) = (encoded.view(), encoded.hashes());
        self.table.warm(view)?;
        let op_names =
            self.node.op.and_then(|op| rows.columns().get(op)).and_then(|op_names| op_names.as_string_opt::<i32>());
        let op = |row| if row < replaced { Op::of_row(op_names, row) } else { Ok(Op::Delete) };
        let ops: Vec<Result<Op, String>> = (0..rows.num_rows()).map(op).collect();
        let mut rejections = Vec::new();
        let mut slots: Vec<Slot> = Vec::new();
        let mut index_of_slot: HashMap<Slot, usize> = HashMap::new();
        let mut slot_of_row: Vec<Option<Slot>> = Vec::with_capacity(rows.num_rows());
        if ops.contains(&Ok(Op::Truncate)) {
            self.table.warm_all()?;
            slots.extend(self.table.all());
            index_of_slot.extend(slots.iter().enumerate().map(|(index, slot)| (*slot, index)));
        }
        for ((row, op), hash) in ops.iter().enumerate().zip(&hashes) {
            let slot = match op {
                Ok(Op::Write) => Some(self.table.slot(view.get(row), *hash)),
                Ok(Op::Delete) => self.table.find(view.get(row)),
                Ok(Op::Truncate) => None,
                Err(why) => {
                    rejections.push(RejectedRow::new(row as u32, why.clone()));
                    None
                }
            };
            slot_of_row.push(slot);
            if let Some(slot) = slot {
                index_of_slot.entry(slot).or_insert_with(|| {
                    slots.push(slot);
                    slots.len() - 1
                });
            }
        }
        // An order that does not depend on the worker.
        rejections.sort_by_key(|rejection| hashes.get(rejection.row as usize).map(|hash| hash.group()));
        let (kept, known) = self.stored_rows(rows, &slots)?;
        let own = rows.project(&self.node.passes).map_err(Error::arrow)?;
        let all = concat_batches(kept.schema_ref(), [&kept, &own]).map_err(Error::arrow)?;
        let mut touched: Vec<TouchedKey> =
            slots.iter().map(|slot| TouchedKey { slot: *slot, before: None, now: None }).collect();
        for (row, slot) in (0u32..).zip(&known) {
            if let Some(touched) = index_of_slot.get(slot).and_then(|index| touched.get_mut(*index)) {
                (touched.before, touched.now) = (Some(row), Some(row));
            }
        }
        let is_later = self.is_later(&all)?;
        for ((row, op), slot) in (known.len() as u32..).zip(&ops).zip(&slot_of_row) {
            if op == &Ok(Op::Truncate) {
                touched.iter_mut().for_each(|touched| touched.now = None);
            }
            let index = slot.as_ref().and_then(|slot| index_of_slot.get(slot));
            let Some(touched) = index.and_then(|index| touched.get_mut(*index)) else { continue };
            match op {
                Ok(Op::Delete) => touched.now = None,
                _ if touched.now.is_none_or(|now| is_later(row, now)) => touched.now = Some(row),
                _ => {}
            }
        }
        let same = Keys::encode(all.columns(), all.num_rows()).map_err(Error::arrow)?;
        let same = same.view();
        let (mut deleted, mut come) = (Vec::new(), Vec::new());
        let mut order = slots.clone();
        self.table.sort(&mut order);
        for touched in order.iter().filter_map(|slot| index_of_slot.get(slot)).filter_map(|index| touched.get(*index)) {
            let is_same = match (touched.before, touched.now) {
                (Some(before), Some(now)) => same.get(before as usize) == same.get(now as usize),
                (before, now) => before == now,
            };
            if !is_same {
                deleted.extend(touched.before);
                come.extend(touched.now);
            }
        }
        self.store(&all, &touched)?;
        Ok((self.with_op(&all, deleted, DELETE)?, self.with_op(&all, come, INSERT)?, rejections))
    }

    /// Returns a comparison: whether one row replaces another, by their indexes.
    fn is_later(&self, all: &RecordBatch) -> Result<Box<dyn Fn(u32, u32) -> bool>> {
        let by = self.node.passes.iter().position(|index| Some(*index) == self.node.by);
        let Some(by) = by.and_then(|by| all.columns().get(by)) else { return Ok(Box::new(|_, _| true)) };
        let column = canonical_column(by);
        let options = SortOptions { descending: false, nulls_first: true };
        let compare = make_comparator(&column, &column, options).map_err(Error::arrow)?;
        // Of rows with the same time, the last one wins.
        Ok(Box::new(move |row, other| compare(row as usize, other as usize) != Ordering::Less))
    }

    fn store(&mut self, all: &RecordBatch, touched: &[TouchedKey]) -> Result<()> {
        let state_size: Vec<usize> = (0..self.node.passes.len())
            .filter(|number| self.node.passes.get(*number).is_some_and(|index| !self.stage.key.contains(index)))
            .collect();
        let state_size = all.project(&state_size).map_err(Error::arrow)?;
        let changed = || touched.iter().filter(|touched| touched.now.is_none() || touched.now != touched.before);
        let slots: Vec<Slot> = changed().map(|touched| touched.slot).collect();
        let kept: BooleanArray = changed().map(|touched| Some(touched.now.is_some())).collect();
        // Any row if none is stored.
        let rows = UInt32Array::from_iter_values(changed().map(|touched| touched.now.unwrap_or_default()));
        let states = take_record_batch(&state_size, &rows).map_err(Error::arrow)?;
        self.table.store(&slots, &states, &kept);
        self.table.used(&touched.iter().map(|touched| touched.slot).collect::<Vec<Slot>>());
        Ok(())
    }

    /// Returns emitted rows with their operation.
    fn with_op(&self, all: &RecordBatch, rows: Vec<u32>, op_name: &str) -> Result<RecordBatch> {
        let op_names: ArrayRef = Arc::new(StringArray::from_iter_values(std::iter::repeat_n(op_name, rows.len())));
        let rows = take_record_batch(all, &UInt32Array::from(rows)).map_err(Error::arrow)?;
        let columns = rows.columns().iter().cloned().chain([op_names]).collect();
        RecordBatch::try_new(self.node.output.clone(), columns).map_err(Error::arrow)
    }
}

impl BatchWork for NewestStage {
    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        // A session that replaces others never has the key of one of them.
        let replaces = |part: &Part| self.node.replaces && part.input == REPLACED;
        let (replaced, rows): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(replaces);
        let own = rows.iter().map(|part| part.rows.num_rows()).sum();
        let parts = rows.iter().chain(&replaced).map(|part| &part.rows);
        let all = concat_batches(&self.stage.input, parts).map_err(Error::arrow)?;
        if all.num_rows() == 0 {
            return Ok(());
        }
        let (deleted, come, rejections) = self.apply(&all, own)?;
        let name = self.stage.inputs.first().map_or("", |input| input.name.as_str());
        let rejected = self.stage.rejected.rows(context.id, name, &all, &rejections)?;
        self.metrics.add_rejected(rejected.num_rows());
        output.reject(context, PartOrder::at(self.worker), rejected);
        self.table.settle(&mut self.state_size)?;
        for (index, rows) in [(0, deleted), (1, come)] {
            self.metrics.add_rows(rows.num_rows());
            for (number, first) in (0u64..).zip((0..rows.num_rows()).step_by(PART_ROWS_MAX)) {
                let some = rows.slice(first, PART_ROWS_MAX.min(rows.num_rows() - first));
                output.push(context, PartOrder::at(index).then(self.worker).then(number), some);
            }
        }
        Ok(())
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        vec![&mut self.table]
    }

    fn barrier(&mut self, after: BatchId) -> Result<Vec<TableChanges>> {
        table_checkpoint::changes(&mut self.checkpoint, after, &mut self.table)
    }
}
