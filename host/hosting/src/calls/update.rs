//! World `update`: rows of a table by key, with a state for each key that is passed as a table and returned as one. Nothing is kept between calls:
//! the caller keeps it.

use super::{ResultRows, TableResult, batch, first, remove_unreadable, rest, take_rows};
use crate::cancel::CancelCheck;
use crate::fitting::ColumnSelection;
use crate::prepared::PreparedTables;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, filter_record_batch, take_arrays};
use arrow::datatypes::{Field, Schema, SchemaRef, TimestampMicrosecondType};
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::limits::{PLUGIN_CALL_BYTES_MAX, PLUGIN_CALL_ROWS_MAX};
use millstream_plugins::plugin::{Caller, DueTimes, Groups, TimerChange, Updated};
use millstream_rows::batch::group::{Grouped, Grouper, sort_by_rank};
use millstream_rows::batch::keys::{Keys as KeyBytes, canonical_column};
use millstream_rows::batch::slices::RowBytes;
use millstream_rows::batch::types::{ColumnType, timestamps, with_fields};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The time column of a table of timers.
const AT: &str = "at";

/// A table with its columns.
pub type Table = (SchemaRef, Vec<RecordBatch>);

/// Tables by key.
pub struct UpdateTables {
    /// The rows.
    pub rows: Vec<RecordBatch>,
    /// The state of an earlier call: key columns, state columns.
    pub states: Option<Table>,
    /// The timers that earlier calls set: key columns, `at`.
    pub timers: Option<Table>,
    /// Whether keys with a state but without rows are called.
    pub all: bool,
}

/// The results.
pub struct Updates {
    /// Rows, and rejected rows.
    pub result: TableResult,
    /// The new state: key columns, state columns.
    pub states: ResultRows,
    /// The pending timers: key columns, `at`.
    pub timers: ResultRows,
}

/// All that is known of the keys before the calls; groups of keys have numbers.
struct KnownKeys {
    groups: Grouped,
    /// The key columns of all: states, then rows, then timers.
    keys: RecordBatch,
    /// The state columns, and the row of each group in them.
    states: RecordBatch,
    state_of: Vec<Option<u32>>,
    /// The times of each group's timers.
    timers: Vec<BTreeSet<i64>>,
}

/// Calls the plugin with all keys that have rows or due timers.
pub fn update(
    prepared: &PreparedTables,
    caller: &mut Caller,
    context: BatchContext,
    tables: UpdateTables,
    wanted: &CancelCheck,
) -> Result<Updates> {
    let (reads, keys) = (first(&prepared.reads, "a table")?, first(&prepared.keys, "a table")?);
    let key_schema = keys.schema().clone();
    let output = prepared.description.output.clone();
    let mut result = TableResult::new(prepared, output);
    let table = prepared.tables.first().ok_or_else(|| Error::bug("a call without a table"))?;
    let own = concat_batches(table, &tables.rows).map_err(Error::arrow)?;
    let (read, nulls) = remove_unreadable(reads.fit(&own)?, prepared, 0)?;
    result.reject(prepared, context, ("", &own), &nulls)?;
    let own = rest(&own, &nulls)?;
    let (mut known, row_groups) = load_states(prepared, &key_schema, keys.fit(&own)?, &tables)?;
    let count = known.groups.count();
    let due = known.take_due(context.time.0);
    let mut called = vec![tables.all; count];
    row_groups.iter().for_each(|group| called[*group] = true);
    due.iter().enumerate().for_each(|(group, times)| called[group] |= !times.is_empty());
    // Keys that are called only because of `all` have a state.
    let mut order = known.sorted()?;
    order.retain(|group| called[*group as usize]);
    let mut rank = vec![0_u32; count];
    (0..).zip(&order).for_each(|(index, group)| rank[*group as usize] = index);
    let (ends, indexes) = sort_by_rank(row_groups.iter().map(|group| rank[*group]), order.len());
    let indexes = UInt32Array::from(indexes);
    let work = CalledKeys {
        prepared,
        context,
        own: take_rows(&own, &indexes)?,
        read: take_rows(&read, &indexes)?,
        ends,
        order,
        due,
    };
    let mut states_kept = Vec::new();
    let mut from = 0;
    while from < work.order.len() {
        wanted.check()?;
        let to = work.call_end(from);
        states_kept.push(work.call(caller, &mut known, (from, to), tables.all, &mut result)?);
        from = to;
    }
    let left = (0..count as u32).filter(|group| !called[*group as usize] && known.state_of[*group as usize].is_some());
    states_kept.push(known.states_of(&key_schema, &left.collect::<Vec<_>>())?);
    let mut states =
        ResultRows::new(with_fields(&key_schema, nullable(&known.states.schema()).fields().iter().cloned()));
    states_kept.into_iter().for_each(|rows| states.push(rows));
    let timers = known.timer_rows(&key_schema)?;
    Ok(Updates { result, states, timers })
}

/// States may be missing even if the plugin declares them not null.
fn nullable(schema: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| field.as_ref().clone().with_nullable(true);
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

fn load_states(
    prepared: &PreparedTables,
    key_schema: &SchemaRef,
    rows: RecordBatch,
    tables: &UpdateTables,
) -> Result<(KnownKeys, Vec<usize>)> {
    let state_schema = nullable(&prepared.description.state);
    let both = |more: &Schema| with_fields(key_schema, more.fields().iter().cloned());
    let at = Schema::new(vec![Field::new(AT, ColumnType::Timestamp.arrow(), true)]);
    let state_rows = fit_table(tables.states.as_ref(), &both(&state_schema), "a table of states")?;
    let timer_rows = fit_table(tables.timers.as_ref(), &both(&at), "a table of timers")?;
    let count = key_schema.fields().len();
    let columns_of = |rows: &RecordBatch, from: usize, to: usize| {
        rows.project(&(from..to).collect::<Vec<_>>()).map_err(Error::arrow)
    };
    let parts = [columns_of(&state_rows, 0, count)?, rows, columns_of(&timer_rows, 0, count)?];
    let canonical = parts.iter().map(|part| {
        let columns: Vec<ArrayRef> = part.columns().iter().map(canonical_column).collect();
        batch(key_schema, columns, part.num_rows())
    });
    let keys = concat_batches(key_schema, &canonical.collect::<Result<Vec<_>>>()?).map_err(Error::arrow)?;
    let encoded = KeyBytes::encode(keys.columns(), keys.num_rows()).map_err(Error::arrow)?;
    let groups = Grouper::default().group(&encoded);
    let (mut state_of, mut timers) = (vec![None; groups.count()], vec![BTreeSet::new(); groups.count()]);
    let (of_states, timer_and_row_groups) = groups.of_row.split_at(state_rows.num_rows());
    for (row, group) in (0..).zip(of_states) {
        if state_of[*group].replace(row).is_some() {
            return Err(Error::job("a key appears twice in the table of states; each key may have one state"));
        }
    }
    let (of_rows, of_timers) = timer_and_row_groups.split_at(parts[1].num_rows());
    let times = timer_rows.columns().last().and_then(|at| at.as_primitive_opt::<TimestampMicrosecondType>());
    for (row, group) in of_timers.iter().enumerate() {
        timers[*group].extend(times.filter(|times| times.is_valid(row)).map(|times| times.value(row)));
    }
    let of_rows = of_rows.to_vec();
    let states = batch(
        &state_schema,
        columns_of(&state_rows, count, state_rows.num_columns())?.columns().to_vec(),
        state_rows.num_rows(),
    )?;
    Ok((KnownKeys { groups, keys, states, state_of, timers }, of_rows))
}

/// Returns the columns of an optional table.
fn fit_table(table: Option<&Table>, schema: &SchemaRef, reader_name: &str) -> Result<RecordBatch> {
    let Some((has, rows)) = table else { return Ok(RecordBatch::new_empty(schema.clone())) };
    let joined = concat_batches(has, rows).map_err(Error::arrow)?;
    ColumnSelection::select(schema, has, reader_name)?.fit(&joined)
}

impl KnownKeys {
    /// Returns the groups in the order of the hashes of their keys.
    fn sorted(&self) -> Result<Vec<u32>> {
        let encoded = KeyBytes::encode(self.keys.columns(), self.keys.num_rows()).map_err(Error::arrow)?;
        Ok(self.groups.sorted(&encoded))
    }

    /// Takes the due timers of each group.
    fn take_due(&mut self, now_us: i64) -> Vec<Vec<i64>> {
        let take = |timers: &mut BTreeSet<i64>| {
            let later = now_us.checked_add(1).map_or_else(BTreeSet::new, |next| timers.split_off(&next));
            std::mem::replace(timers, later).into_iter().collect()
        };
        self.timers.iter_mut().map(take).collect()
    }

    fn keys_of(&self, schema: &SchemaRef, groups: &[u32]) -> Result<RecordBatch> {
        let rows: Vec<u32> = groups.iter().map(|group| self.groups.first_rows[*group as usize]).collect();
        let columns = take_arrays(self.keys.columns(), &UInt32Array::from(rows), None).map_err(Error::arrow)?;
        batch(schema, columns, groups.len())
    }

    fn old_states(&self, groups: &[u32]) -> Result<(RecordBatch, BooleanArray)> {
        let rows: UInt32Array = groups.iter().map(|group| self.state_of[*group as usize]).collect();
        let columns = take_arrays(self.states.columns(), &rows, None).map_err(Error::arrow)?;
        let known = BooleanArray::from_iter(rows.iter().map(|row| Some(row.is_some())));
        Ok((batch(&self.states.schema(), columns, groups.len())?, known))
    }

    /// Returns key and state of these groups.
    fn states_of(&self, key_schema: &SchemaRef, groups: &[u32]) -> Result<RecordBatch> {
        joined_columns(&self.keys_of(key_schema, groups)?, &self.old_states(groups)?.0)
    }

    /// Sets and cancels timers. The last change wins.
    fn apply(&mut self, groups: &[u32], changes: Vec<TimerChange>) {
        for TimerChange { group, at_us, is_set } in changes {
            let timers = groups.get(group as usize).and_then(|group| self.timers.get_mut(*group as usize));
            match timers {
                Some(timers) if is_set => drop(timers.insert(at_us)),
                Some(timers) => drop(timers.remove(&at_us)),
                None => {}
            }
        }
    }

    fn timer_rows(&self, key_schema: &SchemaRef) -> Result<ResultRows> {
        let (mut groups, mut times_us) = (Vec::new(), Vec::new());
        for (group, timers) in (0_u32..).zip(&self.timers) {
            groups.extend(timers.iter().map(|_| group));
            times_us.extend(timers);
        }
        let at = batch(
            &Arc::new(Schema::new(vec![Field::new(AT, ColumnType::Timestamp.arrow(), true)])),
            vec![timestamps(times_us)],
            groups.len(),
        )?;
        let rows = joined_columns(&self.keys_of(key_schema, &groups)?, &at)?;
        let mut result = ResultRows::new(rows.schema());
        result.push(rows);
        Ok(result)
    }
}

/// Returns the columns of both, concatenated.
fn joined_columns(keys: &RecordBatch, right: &RecordBatch) -> Result<RecordBatch> {
    let schema = with_fields(&keys.schema(), right.schema().fields().iter().cloned());
    let columns = keys.columns().iter().chain(right.columns()).cloned().collect();
    batch(&schema, columns, keys.num_rows())
}

/// The keys that are called, in order.
struct CalledKeys<'a> {
    prepared: &'a PreparedTables,
    context: BatchContext,
    /// All columns of the rows, and those that the plugin reads, sorted by group.
    own: RecordBatch,
    read: RecordBatch,
    ends: Vec<u32>,
    /// The numbers of the groups.
    order: Vec<u32>,
    /// The due times of each group, by its number.
    due: Vec<Vec<i64>>,
}

impl CalledKeys<'_> {
    fn end_of(&self, index: usize) -> usize {
        index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end as usize)
    }

    fn call_end(&self, from: usize) -> usize {
        let bytes = RowBytes::measure([&self.read]);
        let (start, most) = (self.end_of(from), self.order.len().min(from + PLUGIN_CALL_ROWS_MAX));
        let fits = |to: usize| {
            let rows = start..self.end_of(to);
            rows.len() <= PLUGIN_CALL_ROWS_MAX && bytes.of_range(&rows) <= PLUGIN_CALL_BYTES_MAX
        };
        // More groups never have fewer rows.
        let (mut good, mut bad) = (from + 1, most + 1);
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            if fits(middle) { good = middle } else { bad = middle }
        }
        good
    }

    /// Calls the plugin with some of the groups; returns key and state of those that keep one.
    fn call(
        &self,
        caller: &mut Caller,
        known: &mut KnownKeys,
        (from, to): (usize, usize),
        all: bool,
        result: &mut TableResult,
    ) -> Result<RecordBatch> {
        let groups = self.order.get(from..to).unwrap_or_default();
        let (start, end) = (self.end_of(from), self.end_of(to));
        let key_schema = known.keys.schema();
        let keys = known.keys_of(&key_schema, groups)?;
        let (states, has_state) = known.old_states(groups)?;
        let never = BooleanArray::from(vec![false; groups.len()]);
        let mut due = (Vec::new(), Vec::new());
        for group in groups {
            due.1.extend(self.due[*group as usize].iter().copied());
            due.0.push(due.1.len() as u32);
        }
        let request = Groups {
            keys: keys.clone(),
            rows: self.read.slice(start, end - start),
            ends: (from..to).map(|index| (self.end_of(index + 1) - start) as u32).collect::<Vec<_>>().into(),
            states,
            known: has_state,
            timed_out: never.clone(),
            overdue: never,
            timers: groups.iter().map(|group| known.timers[*group as usize].len() as u32).collect(),
            due: DueTimes { ends: due.0.into(), times_us: due.1.into() },
            all,
        };
        let Updated { states, kept, output, rejections, timers, .. } = caller.update(self.context.call(), &request)?;
        result.rows.push(output);
        let own = self.own.slice(start, end - start);
        result.reject(self.prepared, self.context, ("", &own), &rejections)?;
        known.apply(groups, timers);
        let states = batch(&nullable(&states.schema()), states.columns().to_vec(), states.num_rows())?;
        filter_record_batch(&joined_columns(&keys, &states)?, &kept).map_err(Error::arrow)
    }
}
