//! The pattern of a stage on one worker. Rows wait until the watermark has passed their times; then each advances the matches of its key. All keys
//! advance one row at a time together, so that conditions are computed for many rows at a time.

use super::layout::Layout;
use super::matched_row::MatchedRow;
use super::matcher::DecidedMatches;
use super::plan::Plan;
use super::rows::PatternRows;
use super::value::{Item, Value};
use crate::event_time::END_US;
use crate::state::{Slot, StateTable};
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::limits::PART_ROWS_MAX;
use millstream_rows::batch::keys::{KeyHash, Keys, canonical_column};
use millstream_rows::batch::types::timestamps;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashSet};
use std::rc::Rc;

/// A pattern, checked by the graph.
#[derive(Clone)]
pub struct PatternNode {
    /// The definition of a match.
    pub plan: Plan,
    /// The columns that it reads.
    pub layout: Layout,
    /// Their indexes in the stage's input.
    pub indexes: Vec<usize>,
    /// The conditions on a row alone.
    pub of_row: Vec<Value>,
    /// The conditions on the rows of a match as well.
    pub of_match: Vec<Value>,
    /// The columns of a match after its key and times.
    pub measures: Vec<Value>,
    /// All columns of a match.
    pub output: SchemaRef,
    /// Maximum stored rows per key.
    pub rows_max: u64,
    /// Maximum partial matches per key.
    pub partials_max: u64,
}

/// The state of a pattern on one worker.
pub struct PatternState {
    node: PatternNode,
    rows: PatternRows,
    /// When keys are due. An entry that differs from the key's own record is obsolete.
    queue: BinaryHeap<Reverse<(i64, u32)>>,
    /// The times of the first rows held back, by key.
    looked_at_us: BTreeSet<(i64, u32)>,
    /// The newest time of the rows whose matches the last batch emitted.
    newest: Option<i64>,
    is_restored: bool,
    /// All rows older than this have been processed.
    advanced: Option<i64>,
}

/// A found match.
struct Match {
    key: u32,
    matched: Rc<MatchedRow>,
}

/// A condition to evaluate: for a row, and a match that it may extend.
struct Question {
    key: u32,
    slot: Slot,
    matched: Option<Rc<MatchedRow>>,
}

impl PatternState {
    /// Creates a state without rows.
    pub fn new(node: PatternNode) -> Result<PatternState> {
        let rows = PatternRows::new(&node.layout)?;
        let (queue, looked_at_us) = (BinaryHeap::new(), BTreeSet::new());
        Ok(PatternState { node, rows, queue, looked_at_us, newest: None, is_restored: false, advanced: None })
    }

    /// Returns the table of its rows, for checkpoints.
    pub fn table(&mut self) -> &mut StateTable {
        self.rows.table()
    }

    /// Lets rows spill to files; `spilling` converts the table, which must be empty.
    pub fn spilling(self, spilling: impl FnOnce(StateTable) -> Result<StateTable>) -> Result<PatternState> {
        Ok(PatternState { rows: self.rows.spilling(spilling)?, ..self })
    }

    /// Returns the number of stored rows, their memory, and the part of it that is never spilled.
    pub fn size(&self) -> (u64, u64, u64) {
        self.rows.size()
    }

    /// Spills rows after a batch, if needed.
    pub fn settle(&mut self) -> Result<()> {
        for (number, key) in self.rows.shrink()? {
            if let Some(time) = key.looked_at_us {
                self.looked_at_us.remove(&(time, number));
            }
            self.rows.spilled.add(key.hash, key.due, key.looked_at_us);
        }
        Ok(())
    }

    /// Processes the rows of a batch, none of which is late, in the columns of the stage's input. Returns the matches that are decided, as no more
    /// rows older than the watermark will come.
    pub fn batch(&mut self, context: BatchContext, rows: &RecordBatch, times: &[i64]) -> Result<Vec<RecordBatch>> {
        if !std::mem::replace(&mut self.is_restored, true) {
            self.advanced = context.watermark.before;
            let PatternState { node, rows, .. } = self;
            if rows.spills() {
                rows.mark_spilled(node.plan.within_us, END_US - 1, context.watermark.before)?;
            } else {
                let slots: Vec<Slot> = rows.table().all().collect();
                let restored = rows.enter(&slots, |rows| row_conditions(node, context, rows))?;
                restored.into_iter().for_each(|key| self.enqueue(key));
            }
        }
        if rows.num_rows() > 0 {
            let rows = rows.project(&self.node.indexes).map_err(Error::arrow)?;
            let canonical = |(index, column): (usize, &ArrayRef)| match index < self.node.layout.key {
                true => canonical_column(column),
                false => column.clone(),
            };
            let columns = rows.columns().iter().enumerate().map(canonical).collect();
            let rows = self.node.layout.rows(columns, rows.num_rows())?;
            if self.rows.spills() {
                let keys = rows.columns().get(..self.node.layout.key).unwrap_or_default();
                let keys = Keys::encode(keys, rows.num_rows()).map_err(Error::arrow)?;
                self.load(context, self.rows.not_loaded(&keys))?;
            }
            let own = row_conditions(&self.node, context, &rows)?;
            for key in self.rows.add(context.id, &rows, times, &own)? {
                self.check(key)?;
                self.enqueue(key);
            }
        }
        self.newest = None;
        let Some(now) = context.watermark.now else { return Ok(Vec::new()) };
        self.advance(context, now)
    }

    /// Brings all rows of keys with these hashes into memory.
    fn load(&mut self, context: BatchContext, hashes: HashSet<KeyHash>) -> Result<()> {
        let PatternState { node, rows, advanced, .. } = self;
        let woken = rows.load(hashes, *advanced, |rows| row_conditions(node, context, rows))?;
        woken.into_iter().for_each(|key| self.enqueue(key));
        Ok(())
    }

    /// Returns a time such that no pending match has an older row; `None` if no row waits.
    pub fn earliest(&self) -> Option<i64> {
        self.looked_at_us.first().map(|(time, _)| *time).into_iter().chain(self.rows.spilled.earliest()).min()
    }

    /// Returns the newest time of the rows whose matches the last batch emitted.
    pub fn newest(&self) -> Option<i64> {
        self.newest
    }

    /// Records when a key is due, and what it holds back.
    fn enqueue(&mut self, number: u32) {
        let Some(key) = self.rows.key_mut(number) else { return };
        let attempt = key.matcher.first().map(|(_, start)| match self.node.plan.within_us {
            Some(within) => start.saturating_add(within).min(END_US - 1),
            None => END_US - 1,
        });
        let due = key.next().map(|(_, row)| row.time).into_iter().chain(attempt).min();
        if key.due != due {
            key.due = due;
            self.queue.extend(due.map(|due| Reverse((due, number))));
        }
        let looked_at_us = key.first_looked_at();
        if key.looked_at_us != looked_at_us {
            let before = std::mem::replace(&mut key.looked_at_us, looked_at_us);
            before.map(|time| self.looked_at_us.remove(&(time, number)));
            looked_at_us.map(|time| self.looked_at_us.insert((time, number)));
        }
    }

    /// Processes all rows older than `now`.
    fn advance(&mut self, context: BatchContext, now: i64) -> Result<Vec<RecordBatch>> {
        let sleeping = self.rows.spilled.take_due(now);
        if !sleeping.is_empty() {
            self.load(context, sleeping.into_iter().collect())?;
        }
        let due = self.take_due(now);
        let mut found: Vec<Match> = Vec::new();
        let mut closed: Vec<(u32, Vec<u64>)> = due.iter().map(|key| (*key, Vec::new())).collect();
        let mut active: Vec<usize> = (0..due.len()).collect();
        while !active.is_empty() {
            active.retain(|index| self.begin(now, &mut closed[*index], &mut found));
            let pending: Vec<u32> = active.iter().map(|index| due[*index]).collect();
            let results = self.evaluate(context, &pending)?;
            let mut results: Vec<_> = results.iter().map(BooleanArray::iter).collect();
            for index in &active {
                let (key, closed) = &mut closed[*index];
                self.step(*key, closed, &mut found, |condition| {
                    results.get_mut(condition).and_then(Iterator::next).flatten().unwrap_or(false)
                });
                self.check(*key)?;
            }
        }
        for (key, closed) in &mut closed {
            self.expire(*key, now, closed, &mut found);
        }
        let rows = self.emit(context, found)?;
        let (mut slots, mut removed) = (Vec::new(), Vec::new());
        for (key, indexes) in &closed {
            self.rows.close(*key, indexes, &mut slots, &mut removed);
            self.enqueue(*key);
        }
        self.rows.store(slots, removed)?;
        self.advanced = Some(now);
        Ok(rows)
    }

    /// Returns the keys that are due before this time.
    fn take_due(&mut self, now: i64) -> Vec<u32> {
        let mut keys = Vec::new();
        while let Some(Reverse((due, number))) = self.queue.peek().copied().filter(|Reverse((due, _))| *due < now) {
            self.queue.pop();
            if let Some(key) = self.rows.key_mut(number)
                && key.due == Some(due)
            {
                key.due = None;
                keys.push(number);
            }
        }
        keys
    }

    /// Begins an attempt with the next row of a key; `false` if it has no row before `now`.
    fn begin(&mut self, now: i64, (number, closed): &mut (u32, Vec<u64>), found: &mut Vec<Match>) -> bool {
        let Some(key) = self.rows.key_mut(*number) else { return false };
        let Some((index, row)) = key.next().filter(|(_, row)| row.time < now) else { return false };
        self.expire(*number, row.time, closed, found);
        let Some(key) = self.rows.key_mut(*number) else { return false };
        if row.open && !key.matcher.begin(&self.node.plan, index, row.time, row.own) {
            closed.push(index);
        }
        true
    }

    /// Evaluates the conditions for the next rows of these keys, by condition.
    fn evaluate(&self, context: BatchContext, keys: &[u32]) -> Result<Vec<BooleanArray>> {
        let mut questions: Vec<Vec<Question>> = self.node.of_match.iter().map(|_| Vec::new()).collect();
        for number in keys.iter().filter(|_| !self.node.of_match.is_empty()) {
            let Some(key) = self.rows.get(*number) else { continue };
            let Some((_, row)) = key.next() else { continue };
            key.matcher.list_conditions(&self.node.plan, |condition, matched| {
                if let Some(questions) = questions.get_mut(condition) {
                    questions.push(Question { key: *number, slot: row.slot, matched: matched.cloned() });
                }
            });
        }
        let results = |(condition, questions): (&Value, &Vec<Question>)| {
            if questions.is_empty() {
                return Ok(BooleanArray::from(Vec::<bool>::new()));
            }
            let items: Vec<Item<'_>> = questions
                .iter()
                .map(|of| Item { key: of.key, slot: of.slot, matched: of.matched.as_deref() })
                .collect();
            boolean(&condition.of_matches(context, &self.rows, &items)?)
        };
        self.node.of_match.iter().zip(&questions).map(results).collect()
    }

    /// Advances the matches of a key by its next row.
    fn step(&mut self, number: u32, closed: &mut Vec<u64>, found: &mut Vec<Match>, result: impl FnMut(usize) -> bool) {
        let Some(key) = self.rows.key_mut(number) else { return };
        let Some((index, row)) = key.next() else { return };
        key.matcher.row(&self.node.plan, index, row.own, result);
        key.step();
        self.decide(number, closed, found);
    }

    /// Ends attempts of a key: no more rows older than `time` will come.
    fn expire(&mut self, number: u32, time: i64, closed: &mut Vec<u64>, found: &mut Vec<Match>) {
        let Some(key) = self.rows.key_mut(number) else { return };
        key.matcher.expire(&self.node.plan, time, time >= END_US);
        self.decide(number, closed, found);
    }

    fn decide(&mut self, number: u32, closed: &mut Vec<u64>, found: &mut Vec<Match>) {
        let Some(key) = self.rows.key_mut(number) else { return };
        let mut decided = DecidedMatches::default();
        key.matcher.decide(&self.node.plan, &mut decided);
        closed.extend(decided.closed);
        found.extend(decided.found.into_iter().map(|matched| Match { key: number, matched }));
    }

    /// Fails if a key exceeds its limits.
    fn check(&self, number: u32) -> Result<()> {
        let Some(key) = self.rows.get(number) else { return Ok(()) };
        let node = &self.node;
        let (rows, partials) = (key.len() as u64, key.matcher.partials() as u64);
        if rows <= node.rows_max && partials <= node.partials_max {
            return Ok(());
        }
        let (what, largest, set) = match rows > node.rows_max {
            true => (format!("{rows} rows"), node.rows_max, "rows_max"),
            false => (format!("{partials} partial matches"), node.partials_max, "partials_max"),
        };
        Err(Error::memory(format!(
            "a key keeps {what} for possible matches; the limit is {largest}; set the maximum duration of a match \
             (`within` of `pattern`), drop irrelevant rows in a previous stage (`filter`), make conditions \
             stricter, or raise `{set}`"
        )))
    }

    /// Returns the rows of matches, in the order of their keys' hashes, then of discovery.
    fn emit(&mut self, context: BatchContext, mut found: Vec<Match>) -> Result<Vec<RecordBatch>> {
        let rows = &self.rows;
        let order = |found: &Match| rows.get(found.key).map(|key| (key.hash, &key.key));
        found.sort_by(|a, b| order(a).cmp(&order(b)));
        let mut made = Vec::new();
        for found in found.chunks(PART_ROWS_MAX) {
            let ends: Vec<(Slot, i64, i64)> = found
                .iter()
                .filter_map(|found| {
                    let key = rows.get(found.key)?;
                    let (first, last) = (key.at(found.matched.start())?, key.at(found.matched.row)?);
                    Some((last.slot, first.time, last.time))
                })
                .collect();
            if ends.len() != found.len() {
                return Err(Error::bug("a match of rows that are no longer kept"));
            }
            let slots: Vec<Slot> = ends.iter().map(|(slot, _, _)| *slot).collect();
            let pairs = found.iter().zip(&slots);
            let items: Vec<Item<'_>> = pairs
                .map(|(found, slot)| Item { key: found.key, slot: *slot, matched: Some(&found.matched) })
                .collect();
            let mut columns = rows.keys(&slots)?;
            columns.push(timestamps(ends.iter().map(|(_, start, _)| *start)));
            columns.push(timestamps(ends.iter().map(|(_, _, end)| *end)));
            for measure in &self.node.measures {
                columns.push(measure.of_matches(context, rows, &items)?);
            }
            made.push(RecordBatch::try_new(self.node.output.clone(), columns).map_err(Error::arrow)?);
            self.newest = self.newest.max(ends.iter().map(|(_, _, end)| *end).max());
        }
        Ok(made)
    }
}

/// Returns the row conditions that each row satisfies.
fn row_conditions(node: &PatternNode, context: BatchContext, rows: &RecordBatch) -> Result<Vec<u64>> {
    let mut own = vec![0_u64; rows.num_rows()];
    for (bit, condition) in node.of_row.iter().enumerate() {
        let holds = boolean(&condition.of_rows(context, rows)?)?;
        for (own, holds) in own.iter_mut().zip(&holds) {
            *own |= u64::from(holds.unwrap_or(false)) << bit;
        }
    }
    Ok(own)
}

fn boolean(values: &ArrayRef) -> Result<BooleanArray> {
    values.as_boolean_opt().cloned().ok_or_else(|| Error::bug("a condition that is neither true nor false"))
}
