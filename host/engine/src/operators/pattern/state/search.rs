//! The pattern of a stage on one worker: rows wait until the watermark has passed their times, then each moves the matches of its key
//! on. All keys take a step at a time together, so that conditions are computed for many of them at once.

use super::layout::Layout;
use super::matcher::DecidedMatches;
use super::plan::Plan;
use super::rows::PatternRows;
use super::taken::MatchedRow;
use super::value::{Item, Value};
use crate::event_time::END_US;
use crate::state::{Slot, StateTable};
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use millstream_base::batch::keys::{KeyHash, Keys, canonical_column};
use millstream_base::batch::types::timestamps;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::limits::PART_ROWS_MAX;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashSet};
use std::rc::Rc;

/// A pattern, as the graph has checked it.
#[derive(Clone)]
pub struct PatternNode {
    /// What a match is.
    pub plan: Plan,
    /// The columns that it looks at.
    pub layout: Layout,
    /// Where they are in the stage's input.
    pub places: Vec<usize>,
    /// The conditions that are about a row alone.
    pub of_row: Vec<Value>,
    /// Those that are about the rows of a match as well.
    pub of_match: Vec<Value>,
    /// The columns of a match behind its key and times.
    pub measures: Vec<Value>,
    /// All columns of a match.
    pub output: SchemaRef,
    /// Rows that one key may keep.
    pub rows_max: u64,
    /// Partial matches that one key may have.
    pub partials_max: u64,
}

/// The state of a pattern on one worker.
pub struct PatternState {
    node: PatternNode,
    rows: PatternRows,
    /// When keys are to be looked at. An entry that is not as the key says does not count.
    queue: BinaryHeap<Reverse<(i64, u32)>>,
    /// The times of the first rows that keys hold back.
    held: BTreeSet<(i64, u32)>,
    /// The newest time of the rows of which matches came out with the last batch.
    newest: Option<i64>,
    is_restored: bool,
    /// All rows have been looked at that are older.
    advanced: Option<i64>,
}

/// A match that has been found.
struct Match {
    key: u32,
    taken: Rc<MatchedRow>,
}

/// What a row asks: a condition for a match that may go on with it.
struct Question {
    key: u32,
    slot: Slot,
    taken: Option<Rc<MatchedRow>>,
}

impl PatternState {
    /// Without rows.
    pub fn new(node: PatternNode) -> Result<PatternState> {
        let rows = PatternRows::new(&node.layout)?;
        let (queue, held) = (BinaryHeap::new(), BTreeSet::new());
        Ok(PatternState { node, rows, queue, held, newest: None, is_restored: false, advanced: None })
    }

    /// The table of its rows, to restore it and to save its changes.
    pub fn table(&mut self) -> &mut StateTable {
        self.rows.table()
    }

    /// The same, without rows, of which some may lie in files, as `spilling` lets the table have them.
    pub fn spilling(self, spilling: impl FnOnce(StateTable) -> Result<StateTable>) -> Result<PatternState> {
        Ok(PatternState { rows: self.rows.spilling(spilling)?, ..self })
    }

    /// How many rows are kept, the memory that they take, and what of it never lies in files.
    pub fn size(&self) -> (u64, u64, u64) {
        self.rows.size()
    }

    /// Behind a batch: gives up rows where that is needed.
    pub fn settle(&mut self) -> Result<()> {
        for (number, key) in self.rows.shrink()? {
            if let Some(time) = key.held {
                self.held.remove(&(time, number));
            }
            self.rows.asleep.add(key.hash, key.due, key.held);
        }
        Ok(())
    }

    /// Works on the rows of a batch, none of which is late, in the columns of the stage's input: returns the matches that are decided
    /// when nothing comes any more that is older than the watermark.
    pub fn batch(&mut self, context: BatchContext, rows: &RecordBatch, times: &[i64]) -> Result<Vec<RecordBatch>> {
        if !std::mem::replace(&mut self.is_restored, true) {
            self.advanced = context.watermark.before;
            let PatternState { node, rows, .. } = self;
            if rows.spills() {
                rows.sleep(node.plan.within_us, END_US - 1, context.watermark.before)?;
            } else {
                let slots: Vec<Slot> = rows.table().all().collect();
                let restored = rows.enter(&slots, |rows| own(node, context, rows))?;
                restored.into_iter().for_each(|key| self.enqueue(key));
            }
        }
        if rows.num_rows() > 0 {
            let rows = rows.project(&self.node.places).map_err(Error::arrow)?;
            let canonical = |(place, column): (usize, &ArrayRef)| match place < self.node.layout.key {
                true => canonical_column(column),
                false => column.clone(),
            };
            let columns = rows.columns().iter().enumerate().map(canonical).collect();
            let rows = self.node.layout.rows(columns, rows.num_rows())?;
            if self.rows.spills() {
                let keys = rows.columns().get(..self.node.layout.key).unwrap_or_default();
                let keys = Keys::encode(keys, rows.num_rows()).map_err(Error::arrow)?;
                self.wake(context, self.rows.not_awake(&keys))?;
            }
            let own = own(&self.node, context, &rows)?;
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
    fn wake(&mut self, context: BatchContext, hashes: HashSet<KeyHash>) -> Result<()> {
        let PatternState { node, rows, advanced, .. } = self;
        let woken = rows.wake(hashes, *advanced, |rows| own(node, context, rows))?;
        woken.into_iter().for_each(|key| self.enqueue(key));
        Ok(())
    }

    /// A time that nothing is older than of which a match is still to come; `None`: no row waits.
    pub fn earliest(&self) -> Option<i64> {
        self.held.first().map(|(time, _)| *time).into_iter().chain(self.rows.asleep.earliest()).min()
    }

    /// The newest time of the rows of which matches came out with the last batch.
    pub fn newest(&self) -> Option<i64> {
        self.newest
    }

    /// When a key is to be looked at next, and what it holds back.
    fn enqueue(&mut self, number: u32) {
        let Some(key) = self.rows.of(number) else { return };
        let attempt = key.matcher.first().map(|(_, start)| match self.node.plan.within_us {
            Some(within) => start.saturating_add(within).min(END_US - 1),
            None => END_US - 1,
        });
        let due = key.next().map(|(_, row)| row.time).into_iter().chain(attempt).min();
        if key.due != due {
            key.due = due;
            self.queue.extend(due.map(|due| Reverse((due, number))));
        }
        let held = key.first_looked_at();
        if key.held != held {
            let before = std::mem::replace(&mut key.held, held);
            before.map(|time| self.held.remove(&(time, number)));
            held.map(|time| self.held.insert((time, number)));
        }
    }

    /// Looks at all rows that are older than `now`.
    fn advance(&mut self, context: BatchContext, now: i64) -> Result<Vec<RecordBatch>> {
        let sleeping = self.rows.asleep.take_due(now);
        if !sleeping.is_empty() {
            self.wake(context, sleeping.into_iter().collect())?;
        }
        let due = self.due(now);
        let mut found: Vec<Match> = Vec::new();
        let mut closed: Vec<(u32, Vec<u64>)> = due.iter().map(|key| (*key, Vec::new())).collect();
        let mut active: Vec<usize> = (0..due.len()).collect();
        while !active.is_empty() {
            active.retain(|place| self.begin(now, &mut closed[*place], &mut found));
            let asking: Vec<u32> = active.iter().map(|place| due[*place]).collect();
            let answers = self.answers(context, &asking)?;
            let mut answers: Vec<_> = answers.iter().map(BooleanArray::iter).collect();
            for place in &active {
                let (key, closed) = &mut closed[*place];
                self.step(*key, closed, &mut found, |condition| {
                    answers.get_mut(condition).and_then(Iterator::next).flatten().unwrap_or(false)
                });
                self.check(*key)?;
            }
        }
        for (key, closed) in &mut closed {
            self.expire(*key, now, closed, &mut found);
        }
        let rows = self.put_out(context, found)?;
        let (mut slots, mut gone) = (Vec::new(), Vec::new());
        for (key, places) in &closed {
            self.rows.close(*key, places, &mut slots, &mut gone);
            self.enqueue(*key);
        }
        self.rows.store(slots, gone)?;
        self.advanced = Some(now);
        Ok(rows)
    }

    /// The keys that have something to be looked at before this time.
    fn due(&mut self, now: i64) -> Vec<u32> {
        let mut keys = Vec::new();
        while let Some(Reverse((due, number))) = self.queue.peek().copied().filter(|Reverse((due, _))| *due < now) {
            self.queue.pop();
            if let Some(key) = self.rows.of(number)
                && key.due == Some(due)
            {
                key.due = None;
                keys.push(number);
            }
        }
        keys
    }

    /// The next row of a key may begin a match; `false`: there is none before `now`.
    fn begin(&mut self, now: i64, (number, closed): &mut (u32, Vec<u64>), found: &mut Vec<Match>) -> bool {
        let Some(key) = self.rows.of(*number) else { return false };
        let Some((place, row)) = key.next().filter(|(_, row)| row.time < now) else { return false };
        self.expire(*number, row.time, closed, found);
        let Some(key) = self.rows.of(*number) else { return false };
        if row.open && !key.matcher.begin(&self.node.plan, place, row.time, row.own) {
            closed.push(place);
        }
        true
    }

    /// Computes what the next rows of these keys ask, by condition.
    fn answers(&self, context: BatchContext, keys: &[u32]) -> Result<Vec<BooleanArray>> {
        let mut questions: Vec<Vec<Question>> = self.node.of_match.iter().map(|_| Vec::new()).collect();
        for number in keys.iter().filter(|_| !self.node.of_match.is_empty()) {
            let Some(key) = self.rows.get(*number) else { continue };
            let Some((_, row)) = key.next() else { continue };
            key.matcher.wanted(&self.node.plan, |condition, taken| {
                if let Some(questions) = questions.get_mut(condition) {
                    questions.push(Question { key: *number, slot: row.slot, taken: taken.cloned() });
                }
            });
        }
        let answers = |(condition, questions): (&Value, &Vec<Question>)| {
            if questions.is_empty() {
                return Ok(BooleanArray::from(Vec::<bool>::new()));
            }
            let items: Vec<Item<'_>> =
                questions.iter().map(|of| Item { key: of.key, slot: of.slot, taken: of.taken.as_deref() }).collect();
            boolean(&condition.of_matches(context, &self.rows, &items)?)
        };
        self.node.of_match.iter().zip(&questions).map(answers).collect()
    }

    /// The next row of a key moves its matches on.
    fn step(&mut self, number: u32, closed: &mut Vec<u64>, found: &mut Vec<Match>, answer: impl FnMut(usize) -> bool) {
        let Some(key) = self.rows.of(number) else { return };
        let Some((place, row)) = key.next() else { return };
        key.matcher.row(&self.node.plan, place, row.own, answer);
        key.step();
        self.decide(number, closed, found);
    }

    /// Nothing comes any more that is older than `time`.
    fn expire(&mut self, number: u32, time: i64, closed: &mut Vec<u64>, found: &mut Vec<Match>) {
        let Some(key) = self.rows.of(number) else { return };
        key.matcher.expire(&self.node.plan, time, time >= END_US);
        self.decide(number, closed, found);
    }

    fn decide(&mut self, number: u32, closed: &mut Vec<u64>, found: &mut Vec<Match>) {
        let Some(key) = self.rows.of(number) else { return };
        let mut decided = DecidedMatches::default();
        key.matcher.decide(&self.node.plan, &mut decided);
        closed.extend(decided.closed);
        found.extend(decided.found.into_iter().map(|taken| Match { key: number, taken }));
    }

    /// An error where a key keeps more than it may.
    fn check(&self, number: u32) -> Result<()> {
        let Some(key) = self.rows.get(number) else { return Ok(()) };
        let node = &self.node;
        let (rows, partials) = (key.len() as u64, key.matcher.partials() as u64);
        if rows <= node.rows_max && partials <= node.partials_max {
            return Ok(());
        }
        let (what, most, set) = match rows > node.rows_max {
            true => (format!("{rows} rows"), node.rows_max, "rows_max"),
            false => (format!("{partials} partial matches"), node.partials_max, "partials_max"),
        };
        Err(Error::memory(format!(
            "a key keeps {what} for matches that may still come, and may keep {most}; say in `pattern` how long a match may take \
             (`within`), drop rows that cannot matter in a stage before (`filter`), make conditions stricter, or raise `{set}`"
        )))
    }

    /// The rows of matches, in the order of their keys' hashes, then as they were found.
    fn put_out(&mut self, context: BatchContext, mut found: Vec<Match>) -> Result<Vec<RecordBatch>> {
        let rows = &self.rows;
        let order = |found: &Match| rows.get(found.key).map(|key| (key.hash, &key.key));
        found.sort_by(|a, b| order(a).cmp(&order(b)));
        let mut made = Vec::new();
        for found in found.chunks(PART_ROWS_MAX) {
            let ends: Vec<(Slot, i64, i64)> = found
                .iter()
                .filter_map(|found| {
                    let key = rows.get(found.key)?;
                    let (first, last) = (key.at(found.taken.start())?, key.at(found.taken.row)?);
                    Some((last.slot, first.time, last.time))
                })
                .collect();
            if ends.len() != found.len() {
                return Err(Error::bug("a match of rows that are not kept any more"));
            }
            let slots: Vec<Slot> = ends.iter().map(|(slot, _, _)| *slot).collect();
            let pairs = found.iter().zip(&slots);
            let items: Vec<Item<'_>> =
                pairs.map(|(found, slot)| Item { key: found.key, slot: *slot, taken: Some(&found.taken) }).collect();
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

/// Which conditions each row fulfils by itself.
fn own(node: &PatternNode, context: BatchContext, rows: &RecordBatch) -> Result<Vec<u64>> {
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
