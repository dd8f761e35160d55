//! The first rows of all that ever came, of each key: kept in state, and what changes among them is put out, as rows that are deleted
//! and inserted.

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
use millstream_base::batch::group::{Grouped, Grouper};
use millstream_base::batch::keys::{Keys, canonical_column};
use millstream_base::batch::op::{DELETE, INSERT, Op};
use millstream_base::batch::part::Part;
use millstream_base::batch::rejected::RefusedRow;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, PartOrder};
use millstream_metrics::{Counts, StateSize};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Up to so many rows are looked through one by one.
const FEW: usize = 32;

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
    Ok(StageStreams { changes: vec![changes], ..StageStreams::of(rows, rejected) })
}

/// The stage on one worker.
struct Ranking {
    stage: StageNode,
    node: RankingNode,
    /// By key and place, the first being 0; a key has all places up to its last.
    table: StateTable,
    checkpoint: Option<TableCheckpoint>,
    grouper: Grouper,
    worker: u64,
    metrics: Counts,
    held: StateSize,
}

/// The rows of a batch behind those that are kept of their keys, without the column that says what they do.
struct KeptAndNewRows {
    rows: RecordBatch,
    /// The rows of each key, those that are kept first, in their order.
    members: Vec<Vec<u32>>,
    /// How many of these are kept.
    kept: Vec<usize>,
    /// Their slots.
    slots: Vec<Vec<Slot>>,
    /// All that are kept, of all keys: row numbers of the batch begin behind them.
    kept_rows: usize,
}

/// Rows that a ranking stores, in which slots.
#[derive(Default)]
struct StoredRows {
    slots: Vec<Slot>,
    rows: Vec<u32>,
    kept: Vec<bool>,
    /// Key groups and places that have no slot yet, and the rows that go there.
    new: Vec<(u32, i64, u32)>,
}

/// What is to be put out: rows, their places from 1 on, and whether they are inserted.
#[derive(Default)]
struct RankedRows {
    rows: Vec<u32>,
    places: Vec<i64>,
    inserted: Vec<bool>,
}

impl RankedRows {
    fn push(&mut self, row: u32, place: usize, inserted: bool) {
        self.rows.push(row);
        self.places.push(place as i64 + 1);
        self.inserted.push(inserted);
    }

    /// What changed of the first rows of a key.
    fn changes(&mut self, before: &[u32], after: &[u32], ranked: bool) {
        for (rows, others, inserted) in [(before, after, false), (after, before, true)] {
            let all: Option<HashSet<u32>> = (others.len() > FEW).then(|| others.iter().copied().collect());
            let is_there = |row: &u32| all.as_ref().map_or_else(|| others.contains(row), |all| all.contains(row));
            for (place, row) in rows.iter().enumerate() {
                let stays = if ranked { others.get(place) == Some(row) } else { is_there(row) };
                if !stays {
                    self.push(*row, place, inserted);
                }
            }
        }
    }
}

impl Ranking {
    fn new(stage: &StageNode, node: &RankingNode, build: &BuildContext<'_, '_>) -> Result<Ranking> {
        let mut table =
            StateTable::new(node.place_fields.clone(), node.held_schema.clone(), None).map_err(Error::arrow)?;
        if stage.may_spill() && build.budget.is_some() {
            table = build.spilling(&stage.name, table.ordered_by(stage.key.len()))?;
        }
        let checkpoint = build.restore(&stage.name, &stage.name, &mut table)?;
        let metrics = build.metrics.of(&stage.name);
        let (held, worker) = (metrics.held(&stage.name), build.index as u64);
        let (stage, node) = (stage.clone(), node.clone());
        Ok(Ranking { stage, node, table, checkpoint, grouper: Grouper::default(), worker, metrics, held })
    }

    /// What tells keys with their places apart, of the keys of these rows: it, and the columns that it is made of.
    fn places(&self, rows: &RecordBatch, of: Vec<u32>, places: Vec<i64>) -> Result<(Keys, Vec<ArrayRef>)> {
        let (count, of) = (of.len(), UInt32Array::from(of));
        let key = self.stage.key.iter().map(|place| take(rows.column(*place), &of, None));
        let mut columns = key.collect::<Result<Vec<ArrayRef>, _>>().map_err(Error::arrow)?;
        columns.push(Arc::new(Int64Array::from(places)));
        Ok((Keys::encode(&columns, count).map_err(Error::arrow)?, columns))
    }

    /// What is kept of the keys of these rows, and these.
    fn together(&self, rows: &RecordBatch, grouped: &Grouped) -> Result<KeptAndNewRows> {
        let mut slots: Vec<Vec<Slot>> = vec![Vec::new(); grouped.count()];
        // Place by place, of the keys that have so many.
        let mut open: Vec<u32> = (0..grouped.count() as u32).collect();
        let first_row = |group: &u32| grouped.first_rows.get(*group as usize).copied().unwrap_or_default();
        for place in 0.. {
            if open.is_empty() {
                break;
            }
            let (keys, _) = self.places(rows, open.iter().map(first_row).collect(), vec![place; open.len()])?;
            let view = keys.view();
            let mut number = 0;
            open.retain(|group| {
                let slot = self.table.find(view.get(number)).filter(|slot| self.table.known(*slot));
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
        Ok(KeptAndNewRows { rows, members, kept, slots, kept_rows: all.len() })
    }

    /// The rows in these slots, with the columns that pass.
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
        let mut held = states.columns().iter().cloned();
        let column = |place: &usize| match self.stage.key.contains(place) {
            true => take(rows.column(*place), &key_rows, None).map_err(Error::arrow),
            false => held.next().ok_or_else(|| Error::bug("a table without a column of its rows")),
        };
        let columns = self.node.passes.iter().map(column).collect::<Result<Vec<_>>>()?;
        let schema = Arc::new(rows.schema().project(&self.node.passes).map_err(Error::arrow)?);
        RecordBatch::try_new(schema, columns).map_err(Error::arrow)
    }

    /// Takes out of the members the rows that others delete, and these. Returns the rows of the batch that cannot be understood.
    fn delete(&self, rows: &RecordBatch, together: &mut KeptAndNewRows) -> Result<Vec<RefusedRow>> {
        let Some(op) = self.node.op else { return Ok(Vec::new()) };
        let words = rows.column(op).as_string_opt::<i32>();
        let same = Keys::encode(together.rows.columns(), together.rows.num_rows()).map_err(Error::arrow)?;
        let (same, first) = (same.view(), together.kept_rows as u32);
        let mut refused = Vec::new();
        for (members, kept) in together.members.iter_mut().zip(&together.kept) {
            let mut left: Vec<u32> = members.drain(..*kept).collect();
            // The places in `left` of rows that are equal, the last one last.
            let mut places: HashMap<&[u8], Vec<usize>> = HashMap::new();
            let mut gone = vec![false; left.len()];
            for (place, row) in left.iter().enumerate() {
                places.entry(same.get(*row as usize)).or_default().push(place);
            }
            for row in members.drain(..) {
                let number = row - first;
                match Op::of_row(words, number as usize) {
                    Ok(Op::Write) => {
                        places.entry(same.get(row as usize)).or_default().push(left.len());
                        left.push(row);
                        gone.push(false);
                    }
                    Ok(Op::Delete) => match places.get_mut(same.get(row as usize)).and_then(Vec::pop) {
                        Some(place) => gone.iter_mut().skip(place).take(1).for_each(|gone| *gone = true),
                        None => refused.push(RefusedRow::new(number, "it deletes a row that does not exist")),
                    },
                    Ok(Op::Truncate) => {
                        refused.push(RefusedRow::new(number, "its `op` is `truncate`, which `top` cannot follow"))
                    }
                    Err(why) => refused.push(RefusedRow::new(number, why)),
                }
            }
            let mut gone = gone.into_iter();
            left.retain(|_| !gone.next().unwrap_or_default());
            *members = left;
        }
        Ok(refused)
    }

    /// Brings the table to where it is behind these rows, and says what changed.
    fn apply(&mut self, rows: &RecordBatch) -> Result<(RecordBatch, Vec<RefusedRow>)> {
        let encoded = keys(&self.stage.key, rows)?;
        let hashes = encoded.hashes();
        self.table.warm_hashes(hashes.iter().copied())?;
        let (grouped, order) = match self.stage.key.is_empty() {
            true => (Grouped::whole(rows.num_rows()), vec![0]),
            false => {
                let grouped = self.grouper.group(&encoded);
                let order = grouped.sorted(&encoded);
                (grouped, order)
            }
        };
        let mut together = self.together(rows, &grouped)?;
        self.table.used(&together.slots.concat());
        let before: Vec<Vec<u32>> = match self.node.op {
            None => Vec::new(),
            Some(_) => together.members.iter().zip(&together.kept).map(|(all, kept)| all[..*kept].to_vec()).collect(),
        };
        let mut refused = self.delete(rows, &mut together)?;
        // In an order that does not depend on which worker has them.
        refused.sort_by_key(|refusal| (hashes.get(refusal.row as usize).map(|hash| hash.group()), refusal.row));
        let by = self.node.passes.iter().position(|place| *place == self.node.by).unwrap_or_default();
        let column = canonical_column(together.rows.column(by));
        let options = SortOptions { descending: !self.node.ascending, nulls_first: false };
        let compare = make_comparator(&column, &column, options).map_err(Error::arrow)?;
        let (mut stored, mut told) = (StoredRows::default(), RankedRows::default());
        let (n, ranked) = (self.node.n, self.node.rank.is_some());
        for group in order {
            let place = group as usize;
            let (Some(members), Some(kept), Some(slots)) =
                (together.members.get_mut(place), together.kept.get(place), together.slots.get(place))
            else {
                continue;
            };
            let was: Vec<u32> = match before.get(place) {
                Some(before) => before.clone(),
                None => members.iter().take(*kept).copied().collect(),
            };
            // Stable: of equal rows those count that came first.
            members.sort_by(|one, other| compare(*one as usize, *other as usize));
            if self.node.op.is_none() {
                members.truncate(n);
            }
            told.changes(
                was.get(..n.min(was.len())).unwrap_or_default(),
                members.get(..n.min(members.len())).unwrap_or_default(),
                ranked,
            );
            stored.changes(group, &was, members, slots);
        }
        self.store(rows, &grouped, &together.rows, stored)?;
        Ok((self.told(&together.rows, told)?, refused))
    }

    fn store(
        &mut self,
        rows: &RecordBatch,
        grouped: &Grouped,
        all: &RecordBatch,
        mut stored: StoredRows,
    ) -> Result<()> {
        let of = |(group, _, _): &(u32, i64, u32)| grouped.first_rows.get(*group as usize).copied().unwrap_or_default();
        let (of, places) = (stored.new.iter().map(of).collect(), stored.new.iter().map(|new| new.1).collect());
        let (keys, columns) = self.places(rows, of, places)?;
        let (view, hashes) = (keys.view(), self.table.hashes_of(&columns, &keys).map_err(Error::arrow)?);
        for ((number, hash), (_, _, row)) in hashes.iter().enumerate().zip(&stored.new) {
            stored.slots.push(self.table.slot(view.get(number), *hash));
            stored.rows.push(*row);
            stored.kept.push(true);
        }
        let held: Vec<usize> = (0..self.node.passes.len())
            .filter(|number| self.node.passes.get(*number).is_some_and(|place| !self.stage.key.contains(place)))
            .collect();
        let held = all.project(&held).map_err(Error::arrow)?;
        let states = take_record_batch(&held, &UInt32Array::from(stored.rows)).map_err(Error::arrow)?;
        self.table.store(&stored.slots, &states, &BooleanArray::from(stored.kept));
        Ok(())
    }

    /// The rows that are put out.
    fn told(&self, all: &RecordBatch, told: RankedRows) -> Result<RecordBatch> {
        let rows = take_record_batch(all, &UInt32Array::from(told.rows)).map_err(Error::arrow)?;
        let mut columns = rows.columns().to_vec();
        if self.node.rank.is_some() {
            columns.push(Arc::new(Int64Array::from(told.places)));
        }
        let word = |inserted: &bool| if *inserted { INSERT } else { DELETE };
        columns.push(Arc::new(StringArray::from_iter_values(told.inserted.iter().map(word))));
        RecordBatch::try_new(self.node.output.clone(), columns).map_err(Error::arrow)
    }
}

impl StoredRows {
    /// What changed of the rows that are kept of a key.
    fn changes(&mut self, group: u32, before: &[u32], after: &[u32], slots: &[Slot]) {
        for (place, row) in after.iter().enumerate() {
            match slots.get(place) {
                Some(_) if before.get(place) == Some(row) => {}
                Some(slot) => {
                    self.slots.push(*slot);
                    self.rows.push(*row);
                    self.kept.push(true);
                }
                None => self.new.push((group, place as i64, *row)),
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
        let (rows, refused) = self.apply(&all)?;
        let name = self.stage.inputs.first().map_or("", |input| input.name.as_str());
        let rejected = self.stage.rejected.rows(context.id, name, &all, &refused)?;
        self.metrics.add_rejected(rejected.num_rows());
        output.reject(context, PartOrder::at(self.worker), rejected);
        self.table.settle(&mut self.held)?;
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
