//! The first of all rows ever received, for each key. They are kept in state, and their changes are emitted as deleted and inserted rows.

use crate::checkpoint::changes::TableChanges;
use crate::operators::by_key::{keys, split_parts};
use crate::operators::context::{BuildContext, StageStreams};
use crate::operators::ranking::node::RankingNode;
use crate::operators::stage::StageNode;
use crate::state::table_checkpoint::{self, TableCheckpoint};
use crate::state::{Slot, StateTable};
use crate::timely_ext::{BatchWork, Output, Parts, each_batch_with_state};
use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, UInt32Array, make_comparator,
};
use arrow::compute::{SortOptions, concat_batches, take, take_record_batch};
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, PartOrder};
use millstream_metrics::{Counts, StateSize};
use millstream_rows::batch::group::{Grouped, Grouper};
use millstream_rows::batch::keys::{Keys, canonical_column};
use millstream_rows::batch::op::{DELETE, INSERT, Op};
use millstream_rows::batch::part::Part;
use millstream_rows::batch::rejected::RejectedRow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Up to this many rows are searched linearly.
const LINEAR_MAX: usize = 32;

/// Builds the stage.
pub fn build<'s>(
    stage: &StageNode,
    node: &RankingNode,
    parts: Parts<'s>,
    build: &BuildContext<'s, '_>,
) -> Result<StageStreams<'s>> {
    let keyed = !stage.key.is_empty();
    let moved = if keyed { split_parts(stage, parts, build) } else { parts };
    let work = Ranking::new(stage, node, build)?;
    let (ticks, failure) = (build.ticks.clone(), build.failure.clone());
    let route = move |part: &Part| if keyed { part.to } else { 0 };
    let (rows, rejected, changes) = each_batch_with_state(moved, ticks, &stage.name, failure, route, work);
    Ok(StageStreams { changes: vec![changes], ..StageStreams::new(rows, rejected) })
}

/// The stage on one worker.
struct Ranking {
    stage: StageNode,
    node: RankingNode,
    /// By key and rank, from 0 on; a key has all ranks up to its last.
    table: StateTable,
    checkpoint: Option<TableCheckpoint>,
    grouper: Grouper,
    worker: u64,
    metrics: Counts,
    state_size: StateSize,
}

/// The stored rows of a batch's keys followed by the rows of the batch, without the operation column.
struct OldAndNewRows {
    rows: RecordBatch,
    /// The rows of each key: the stored ones first, in order.
    members: Vec<Vec<u32>>,
    /// How many of these are stored.
    kept: Vec<usize>,
    /// Their slots.
    slots: Vec<Vec<Slot>>,
    /// Total number of stored rows; the batch's row numbers begin after them.
    kept_rows: usize,
}

/// Rows that a ranking stores, with their slots.
#[derive(Default)]
struct StoredRows {
    slots: Vec<Slot>,
    rows: Vec<u32>,
    kept: Vec<bool>,
    /// Key groups and ranks without a slot yet, and their rows.
    new: Vec<(u32, i64, u32)>,
}

/// Output: rows, their ranks from 1 on, and whether they are inserted.
#[derive(Default)]
struct RankedRows {
    rows: Vec<u32>,
    ranks: Vec<i64>,
    inserted: Vec<bool>,
}

impl RankedRows {
    fn push(&mut self, row: u32, index: usize, inserted: bool) {
        self.rows.push(row);
        self.ranks.push(index as i64 + 1);
        self.inserted.push(inserted);
    }

    /// Adds the changes among the first rows of a key.
    fn changes(&mut self, before: &[u32], after: &[u32], ranked: bool) {
        for (rows, others, inserted) in [(before, after, false), (after, before, true)] {
            let all: Option<HashSet<u32>> = (others.len() > LINEAR_MAX).then(|| others.iter().copied().collect());
            let is_kept = |row: &u32| all.as_ref().map_or_else(|| others.contains(row), |all| all.contains(row));
            for (index, row) in rows.iter().enumerate() {
                let stays = if ranked { others.get(index) == Some(row) } else { is_kept(row) };
                if !stays {
                    self.push(*row, index, inserted);
                }
            }
        }
    }
}

impl Ranking {
    fn new(stage: &StageNode, node: &RankingNode, build: &BuildContext<'_, '_>) -> Result<Ranking> {
        let mut table =
            StateTable::new(node.rank_fields.clone(), node.stored_schema.clone(), None).map_err(Error::arrow)?;
        if stage.may_spill() && build.budget.is_some() {
            table = build.spilling(&stage.name, table.ordered_by(stage.key.len()))?;
        }
        let checkpoint = build.restore(&stage.name, &stage.name, &mut table)?;
        let metrics = build.metrics.counts(&stage.name);
        let (state_size, worker) = (metrics.state_size(&stage.name), build.index as u64);
        let (stage, node) = (stage.clone(), node.clone());
        Ok(Ranking { stage, node, table, checkpoint, grouper: Grouper::default(), worker, metrics, state_size })
    }

    /// Returns the table keys for keys of these rows and ranks, and their columns.
    fn table_keys(&self, rows: &RecordBatch, of: Vec<u32>, ranks: Vec<i64>) -> Result<(Keys, Vec<ArrayRef>)> {
        let (count, of) = (of.len(), UInt32Array::from(of));
        let key = self.stage.key.iter().map(|index| take(rows.column(*index), &of, None));
        let mut columns = key.collect::<Result<Vec<ArrayRef>, _>>().map_err(Error::arrow)?;
        columns.push(Arc::new(Int64Array::from(ranks)));
        Ok((Keys::encode(&columns, count).map_err(Error::arrow)?, columns))
    }

    /// Combines the stored rows of these rows' keys with the rows.
    fn with_kept(&self, rows: &RecordBatch, grouped: &Grouped) -> Result<OldAndNewRows> {
        let mut slots: Vec<Vec<Slot>> = vec![Vec::new(); grouped.count()];
        // Rank by rank, for the keys that have that many.
        let mut open: Vec<u32> = (0..grouped.count() as u32).collect();
        let first_row = |group: &u32| grouped.first_rows.get(*group as usize).copied().unwrap_or_default();
        for index in 0.. {
            if open.is_empty() {
                break;
            }
            let (keys, _) = self.table_keys(rows, open.iter().map(first_row).collect(), vec![index; open.len()])?;
            let view = keys.view();
            let mut number = 0;
            open.retain(|group| {
                let slot = self.table.find(view.get(number)).filter(|slot| self.table.is_stored(*slot));
                number += 1;
                match (slot, slots.get_mut(*group as usize)) {
                    (Some(slot), Some(slots)) => {
                        slots.push(slot);
                        true
                    }
                    _ => false,
                }
            });
        }
        let all: Vec<Slot> = slots.iter().flatten().copied().collect();
        let kept = self.kept_rows(rows, grouped, &slots, &all)?;
        let own = rows.project(&self.node.passes).map_err(Error::arrow)?;
        let rows = match all.is_empty() {
            true => own,
            false => concat_batches(own.schema_ref(), [&kept, &own]).map_err(Error::arrow)?,
        };
        let mut next = 0_u32;
        let mut members: Vec<Vec<u32>> = Vec::with_capacity(slots.len());
        for slots in &slots {
            members.push((next..next + slots.len() as u32).collect());
            next += slots.len() as u32;
        }
        for (row, group) in (next..).zip(&grouped.of_row) {
            if let Some(members) = members.get_mut(*group) {
                members.push(row);
            }
        }
        let kept = slots.iter().map(Vec::len).collect();
        Ok(OldAndNewRows { rows, members, kept, slots, kept_rows: all.len() })
    }

    /// Returns the rows in these slots, with the columns that pass.
    fn kept_rows(
        &self,
        rows: &RecordBatch,
        grouped: &Grouped,
        slots: &[Vec<Slot>],
        all: &[Slot],
    ) -> Result<RecordBatch> {
        let groups = slots.iter().zip(&grouped.first_rows);
        let key_rows = groups.flat_map(|(slots, row)| std::iter::repeat_n(*row, slots.len()));
        let key_rows = UInt32Array::from_iter_values(key_rows);
        let (states, _) = self.table.states(all).map_err(Error::arrow)?;
        let mut state_size = states.columns().iter().cloned();
        let column = |index: &usize| match self.stage.key.contains(index) {
            true => take(rows.column(*index), &key_rows, None).map_err(Error::arrow),
            false => state_size.next().ok_or_else(|| Error::bug("a table without a column of its rows")),
        };
        let columns = self.node.passes.iter().map(column).collect::<Result<Vec<_>>>()?;
        let schema = Arc::new(rows.schema().project(&self.node.passes).map_err(Error::arrow)?);
        RecordBatch::try_new(schema, columns).map_err(Error::arrow)
    }

    /// Removes deleted rows from the members, and the deletions themselves. Returns the rejected rows of the batch.
    fn delete(&self, rows: &RecordBatch, together: &mut OldAndNewRows) -> Result<Vec<RejectedRow>> {
        let Some(op) = self.node.op else { return Ok(Vec::new()) };
        let op_names = rows.column(op).as_string_opt::<i32>();
        let same = Keys::encode(together.rows.columns(), together.rows.num_rows()).map_err(Error::arrow)?;
        let (same, first) = (same.view(), together.kept_rows as u32);
        let mut rejections = Vec::new();
        for (members, kept) in together.members.iter_mut().zip(&together.kept) {
            let mut left: Vec<u32> = members.drain(..*kept).collect();
            // Indexes in `left` of equal rows, in order.
            let mut ranks: HashMap<&[u8], Vec<usize>> = HashMap::new();
            let mut deleted = vec![false; left.len()];
            for (index, row) in left.iter().enumerate() {
                ranks.entry(same.get(*row as usize)).or_default().push(index);
            }
            for row in members.drain(..) {
                let number = row - first;
                match Op::of_row(op_names, number as usize) {
                    Ok(Op::Write) => {
                        ranks.entry(same.get(row as usize)).or_default().push(left.len());
                        left.push(row);
                        deleted.push(false);
                    }
                    Ok(Op::Delete) => match ranks.get_mut(same.get(row as usize)).and_then(Vec::pop) {
                        Some(index) => deleted.iter_mut().skip(index).take(1).for_each(|deleted| *deleted = true),
                        None => rejections.push(RejectedRow::new(number, "it deletes a row that does not exist")),
                    },
                    Ok(Op::Truncate) => {
                        rejections.push(RejectedRow::new(number, "its `op` is `truncate`, which `top` cannot process"))
                    }
                    Err(why) => rejections.push(RejectedRow::new(number, why)),
                }
            }
            let mut deleted = deleted.into_iter();
            left.retain(|_| !deleted.next().unwrap_or_default());
            *members = left;
        }
        Ok(rejections)
    }

    /// Applies rows to the table. Returns the changes and the rejected rows.
    fn apply(&mut self, rows: &RecordBatch) -> Result<(RecordBatch, Vec<RejectedRow>)> {
        let encoded = keys(&self.stage.key, rows)?;
        let hashes = encoded.hashes();
        self.table.warm_hashes(hashes.iter().copied())?;
        let (grouped, order) = match self.stage.key.is_empty() {
            true => (Grouped::one_group(rows.num_rows()), vec![0]),
            false => {
                let grouped = self.grouper.group(&encoded);
                let order = grouped.sorted(&encoded);
                (grouped, order)
            }
        };
        let mut together = self.with_kept(rows, &grouped)?;
        self.table.used(&together.slots.concat());
        let before: Vec<Vec<u32>> = match self.node.op {
            None => Vec::new(),
            Some(_) => together.members.iter().zip(&together.kept).map(|(all, kept)| all[..*kept].to_vec()).collect(),
        };
        let mut rejections = self.delete(rows, &mut together)?;
        // An order that does not depend on the worker.
        rejections
            .sort_by_key(|rejection| (hashes.get(rejection.row as usize).map(|hash| hash.group()), rejection.row));
        let by = self.node.passes.iter().position(|index| *index == self.node.by).unwrap_or_default();
        let column = canonical_column(together.rows.column(by));
        let options = SortOptions { descending: !self.node.ascending, nulls_first: false };
        let compare = make_comparator(&column, &column, options).map_err(Error::arrow)?;
        let (mut stored, mut changes) = (StoredRows::default(), RankedRows::default());
        let (n, ranked) = (self.node.n, self.node.rank.is_some());
        for group in order {
            let index = group as usize;
            let (Some(members), Some(kept), Some(slots)) =
                (together.members.get_mut(index), together.kept.get(index), together.slots.get(index))
            else {
                continue;
            };
            let was: Vec<u32> = match before.get(index) {
                Some(before) => before.clone(),
                None => members.iter().take(*kept).copied().collect(),
            };
            // Stable: of equal rows the first ones win.
            members.sort_by(|one, other| compare(*one as usize, *other as usize));
            if self.node.op.is_none() {
                members.truncate(n);
            }
            changes.changes(
                was.get(..n.min(was.len())).unwrap_or_default(),
                members.get(..n.min(members.len())).unwrap_or_default(),
                ranked,
            );
            stored.changes(group, &was, members, slots);
        }
        self.store(rows, &grouped, &together.rows, stored)?;
        Ok((self.with_op(&together.rows, changes)?, rejections))
    }

    fn store(
        &mut self,
        rows: &RecordBatch,
        grouped: &Grouped,
        all: &RecordBatch,
        mut stored: StoredRows,
    ) -> Result<()> {
        let of = |(group, _, _): &(u32, i64, u32)| grouped.first_rows.get(*group as usize).copied().unwrap_or_default();
        let (of, ranks) = (stored.new.iter().map(of).collect(), stored.new.iter().map(|new| new.1).collect());
        let (keys, columns) = self.table_keys(rows, of, ranks)?;
        let (view, hashes) = (keys.view(), self.table.hashes_of(&columns, &keys).map_err(Error::arrow)?);
        for ((number, hash), (_, _, row)) in hashes.iter().enumerate().zip(&stored.new) {
            stored.slots.push(self.table.slot(view.get(number), *hash));
            stored.rows.push(*row);
            stored.kept.push(true);
        }
        let state_size: Vec<usize> = (0..self.node.passes.len())
            .filter(|number| self.node.passes.get(*number).is_some_and(|index| !self.stage.key.contains(index)))
            .collect();
        let state_size = all.project(&state_size).map_err(Error::arrow)?;
        let states = take_record_batch(&state_size, &UInt32Array::from(stored.rows)).map_err(Error::arrow)?;
        self.table.store(&stored.slots, &states, &BooleanArray::from(stored.kept));
        Ok(())
    }

    /// Returns the rows to emit.
    fn with_op(&self, all: &RecordBatch, changes: RankedRows) -> Result<RecordBatch> {
        let rows = take_record_batch(all, &UInt32Array::from(changes.rows)).map_err(Error::arrow)?;
        let mut columns = rows.columns().to_vec();
        if self.node.rank.is_some() {
            columns.push(Arc::new(Int64Array::from(changes.ranks)));
        }
        let op_name = |inserted: &bool| if *inserted { INSERT } else { DELETE };
        columns.push(Arc::new(StringArray::from_iter_values(changes.inserted.iter().map(op_name))));
        RecordBatch::try_new(self.node.output.clone(), columns).map_err(Error::arrow)
    }
}

impl StoredRows {
    /// Adds the changes of the stored rows of a key.
    fn changes(&mut self, group: u32, before: &[u32], after: &[u32], slots: &[Slot]) {
        for (index, row) in after.iter().enumerate() {
            match slots.get(index) {
                Some(_) if before.get(index) == Some(row) => {}
                Some(slot) => {
                    self.slots.push(*slot);
                    self.rows.push(*row);
                    self.kept.push(true);
                }
                None => self.new.push((group, index as i64, *row)),
            }
        }
        for slot in slots.iter().skip(after.len()) {
            self.slots.push(*slot);
            // Any row: it is not stored.
            self.rows.push(before.first().copied().unwrap_or_default());
            self.kept.push(false);
        }
    }
}

impl BatchWork for Ranking {
    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        let all = concat_batches(&self.stage.input, parts.iter().map(|part| &part.rows)).map_err(Error::arrow)?;
        if all.num_rows() == 0 {
            return Ok(());
        }
        let (rows, rejections) = self.apply(&all)?;
        let name = self.stage.inputs.first().map_or("", |input| input.name.as_str());
        let rejected = self.stage.rejected.rows(context.id, name, &all, &rejections)?;
        self.metrics.add_rejected(rejected.num_rows());
        output.reject(context, PartOrder::at(self.worker), rejected);
        self.table.settle(&mut self.state_size)?;
        self.metrics.add_rows(rows.num_rows());
        output.push(context, PartOrder::at(self.worker), rows);
        Ok(())
    }

    fn tables(&mut self) -> Vec<&mut StateTable> {
        vec![&mut self.table]
    }

    fn barrier(&mut self, after: BatchId) -> Result<Vec<TableChanges>> {
        table_checkpoint::changes(&mut self.checkpoint, after, &mut self.table)
    }
}
