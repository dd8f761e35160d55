//! A keyed stage with an `update` plugin (updateStateByKey and mapWithState). Groups the rows of a batch by key, passes them with the old states, and
//! stores the new states.

mod versions;

use crate::checkpoint::read;
use crate::event_time::END_US;
use crate::limits::{STATE_SLICE_MAX, TIMER_ROUNDS_MAX};
use crate::operators::context::in_checkpoint;
use crate::operators::plugin::node::PluginNode;
use crate::operators::update::node::UpdateNode;
use crate::state::table_checkpoint::TableCheckpoint;
use crate::state::timers::{self, TimerClock, Timers};
use crate::state::{OwnedKey, Slot, StateTable};
use crate::timely_ext::Output;
use arrow::array::{BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::ids::{BatchTime, PartOrder};
use millstream_base::limits::{PLUGIN_CALL_BYTES_MAX, PLUGIN_CALL_ROWS_MAX};
use millstream_base::memory::{self, Holder};
use millstream_base::units::show_size;
use millstream_job::spec::{UpdateEmit, UpdateOn};
use millstream_plugins::plugin::{Caller, DueTimes, Groups, Updated};
use millstream_rows::batch::group::sort_by_rank;
use millstream_rows::batch::keys::Keys;
use millstream_rows::batch::part::Part;
use millstream_rows::batch::rejected::RejectedRows;
use millstream_rows::batch::slices::RowBytes;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

/// Creates an empty table for a stage with these state columns.
fn state_table(node: &UpdateNode, key: &SchemaRef, state: SchemaRef, failure: &Failure) -> Result<StateTable> {
    let timeout_us = node.timeout.map(|timeout| i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX));
    let table = StateTable::new(key.fields().iter().cloned().collect(), state, timeout_us)
        .map_err(|e| Error::job(format!("stage `{}`: {e}", node.name)))?;
    table.spilling_within(node.budget.as_ref(), failure, &node.name)
}

/// The stage on one worker.
pub struct UpdateStage {
    node: UpdateNode,
    rejected: RejectedRows,
    caller: Caller,
    table: StateTable,
    /// The timers, if the plugin may set any.
    timers: Option<Timers>,
    worker: usize,
    peers: usize,
    /// The index of each slot among the groups of the batch; `NOT_CALLED` outside of a batch.
    group_index: Vec<u32>,
    key_schema: SchemaRef,
    began: bool,
    /// Reports the memory of the table and the timers.
    holder: Holder,
    /// The called keys; `None` if not requested.
    noted: Option<Vec<OwnedKey>>,
    /// At the end of event time: how often timers that were set by due timers have been called.
    round: u64,
    /// First error of the job.
    pub(super) failure: Failure,
}

/// Order of rows that the plugin rejects: after all rows rejected earlier for a null, which keep the order of their parts.
const REJECTED_ORDER: u64 = u64::MAX;
/// Added to the number of the round, for the order of rows emitted for timers that were set at the end of event time.
const ROUND_ORDER: u64 = 1 << 62;

const NOT_CALLED: u32 = u32::MAX;

/// The groups of one batch: slots in order of output, and the rows sorted by group.
struct CalledGroups {
    slots: Vec<Slot>,
    timed_out: Vec<bool>,
    /// Which would be timed out without rows.
    overdue: Vec<bool>,
    /// End of each group's rows.
    ends: Vec<u32>,
    /// All columns of the input, sorted by group.
    rows: RecordBatch,
    /// End of each group's due timers; empty if the stage has no timers.
    due_ends: Vec<u32>,
    /// Their times in microseconds.
    due_us: Vec<i64>,
}

impl CalledGroups {
    /// Returns the indexes of a group's rows.
    fn rows_of(&self, group: usize) -> Range<usize> {
        let end = |group: usize| self.ends.get(group).map_or(0, |end| *end as usize);
        group.checked_sub(1).map_or(0, end)..end(group)
    }

    /// Returns the timers of groups `start` up to and excluding `end`.
    fn due_times(&self, start: usize, end: usize) -> DueTimes {
        let Some(ends) = self.due_ends.get(start..end).filter(|_| !self.due_us.is_empty()) else {
            return DueTimes { ends: vec![0; end - start].into(), ..DueTimes::default() };
        };
        let first = start.checked_sub(1).and_then(|before| self.due_ends.get(before)).copied().unwrap_or_default();
        let last = ends.last().copied().unwrap_or(first);
        let times_us = self.due_us.get(first as usize..last as usize).unwrap_or_default().to_vec();
        DueTimes { ends: ends.iter().map(|end| end - first).collect(), times_us: times_us.into() }
    }
}

impl UpdateStage {
    /// Creates an empty stage, or one with the initial states that this worker owns (stored with the first batch).
    pub fn new(
        node: UpdateNode,
        rejected: RejectedRows,
        caller: Caller,
        (worker, peers): (usize, usize),
        failure: Failure,
    ) -> Result<UpdateStage> {
        let key_schema = Arc::new(node.input.project(&node.key).map_err(Error::arrow)?);
        let table = state_table(&node, &key_schema, node.description.state.clone(), &failure)?;
        let mut timers =
            node.timers.map(|clock| Timers::new(key_schema.fields(), clock)).transpose().map_err(Error::arrow)?;
        if let Some(budget) = &node.budget {
            timers = timers.map(|timers| timers.spilling(budget, &failure, &node.name));
        }
        let holder = Holder::new(format!("the state of stage `{}`", node.name));
        Ok(UpdateStage {
            node,
            rejected,
            caller,
            table,
            timers,
            worker,
            peers,
            group_index: Vec::new(),
            key_schema,
            began: false,
            holder,
            noted: None,
            round: 0,
            failure,
        })
    }

    /// Restores the state of a checkpoint, instead of initial states, and its timers, and records changes from now on. State of another plugin
    /// version is migrated, if its columns differ.
    pub fn restore(
        &mut self,
        plugin: &PluginNode,
        checkpoint: &TableCheckpoint,
        timers: Option<&TableCheckpoint>,
    ) -> Result<()> {
        let name = self.node.name.clone();
        let within = in_checkpoint(&name);
        let old = checkpoint.old();
        if let Some((old, _)) = old {
            let fields = read::fields(&old.state).map_err(&within)?;
            self.table = state_table(&self.node, &self.key_schema, Arc::new(Schema::new(fields)), &self.failure)?;
        }
        if checkpoint.restore(&mut self.table).map_err(&within)? {
            self.node.initial = None;
        }
        if let Some((old, time)) = old {
            self.migrate(plugin, &old.version, time)?;
        }
        if let (Some(timers), Some(checkpoint)) = (&mut self.timers, timers) {
            timers.restore(checkpoint).map_err(&within)?;
        }
        Ok(())
    }

    /// Returns the stage's name.
    pub fn name(&self) -> &str {
        &self.node.name
    }

    /// Returns its table, for checkpoints.
    pub fn table(&mut self) -> &mut StateTable {
        &mut self.table
    }

    /// Returns its timers, if any.
    pub fn timers(&mut self) -> Option<&mut Timers> {
        self.timers.as_mut()
    }

    /// Returns the tables of both.
    pub fn tables(&mut self) -> impl Iterator<Item = &mut StateTable> {
        [&mut self.table].into_iter().chain(self.timers.as_mut().map(Timers::table))
    }

    /// Processes the rows of a batch that this worker owns.
    pub fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        if !std::mem::replace(&mut self.began, true) {
            self.table.touch_restored(context.time)?;
            self.store_initial(context.time)?;
        }
        let mut calls = self.round(context, &parts, output)?;
        while self.has_ended(context) && self.round < TIMER_ROUNDS_MAX {
            self.round += 1;
            calls = self.round(context, &[], output)?;
        }
        self.round = 0;
        if self.has_ended(context) {
            tracing::warn!(
                "stage `{}`: its timers keep setting timers; the timers left after {TIMER_ROUNDS_MAX} rounds stay \
                 in its state",
                self.node.name
            );
        }
        if self.node.emit == UpdateEmit::State {
            let mut all: Vec<Slot> = self.table.all().collect();
            self.table.sort(&mut all);
            self.emit_states(context, calls, &all, output)?;
        }
        Ok(())
    }

    /// Returns whether event time has ended with timers set that no later batch will find due.
    fn has_ended(&self, context: BatchContext) -> bool {
        let ended = context.watermark.before != Some(END_US) && context.watermark.now == Some(END_US);
        let due = |timers: &Timers| timers.clock() == TimerClock::Watermark && timers.any_due(END_US);
        ended && self.node.on != UpdateOn::All && self.timers.as_ref().is_some_and(due)
    }

    /// Calls the plugin with these rows and with all that is due. Returns the number of calls.
    fn round(&mut self, context: BatchContext, parts: &[Part], output: &mut Output) -> Result<u64> {
        let (mut touched, called) = self.gather(context, parts)?;
        self.table.used(&called.slots);
        if let Some(timers) = &mut self.timers {
            timers.warm(called.slots.iter().map(|slot| self.table.hash_of(*slot)))?;
        }
        if let Some(noted) = &mut self.noted {
            noted.extend(called.slots.iter().map(|slot| self.table.owned_key(*slot)));
        }
        let mut emptied: HashSet<Slot> = HashSet::new();
        let mut start = GroupCursor::default();
        let mut order = 0;
        while start.group < called.slots.len() {
            let rows = RowBytes::of_columns(&called.rows, &self.node.reads);
            let end = start.next_call(&called.ends, |group| {
                let key_and_state = called.slots.get(group).map_or(0, |slot| self.table.bytes_of(*slot));
                rows.of_range(&called.rows_of(group)).saturating_add(key_and_state)
            });
            emptied.extend(self.call(context, &called, start, end, order, output)?);
            start = end;
            order += 1;
        }
        touched.retain(|slot| !emptied.contains(slot));
        self.table.touch(&touched, context.time);
        self.table.touch_untouched(&called.slots, context.time);
        Ok(order)
    }

    /// Collects the groups of a batch: keys with rows, all other keys if the stage processes them, idle keys, and keys with due timers.
    fn gather(&mut self, context: BatchContext, parts: &[Part]) -> Result<(Vec<Slot>, CalledGroups)> {
        let rows = concat_batches(&self.node.input, parts.iter().map(|part| &part.rows)).map_err(Error::arrow)?;
        let keys: Vec<_> = self.node.key.iter().map(|column| rows.column(*column).clone()).collect();
        let keys = Keys::encode(&keys, rows.num_rows()).map_err(Error::arrow)?;
        let keys = keys.view();
        let slot_of_row = self.table.warm_slots(keys, |row| keys.short(row).1)?;
        let (slot_of_due, due_us) = self.take_due(context)?;
        let idle = self.table.take_idle(context.time)?;
        self.group_index.resize(self.table.slots(), NOT_CALLED);

        let mut slots: Vec<Slot> = Vec::new();
        let add = |group_index: &mut [u32], slot: Slot, slots: &mut Vec<Slot>| {
            if group_index[slot as usize] == NOT_CALLED {
                group_index[slot as usize] = 0;
                slots.push(slot);
            }
        };
        slot_of_row.iter().for_each(|slot| add(&mut self.group_index, *slot, &mut slots));
        let touched = slots.clone();
        slot_of_due.iter().for_each(|slot| add(&mut self.group_index, *slot, &mut slots));
        idle.iter().for_each(|slot| add(&mut self.group_index, *slot, &mut slots));
        if self.node.on == UpdateOn::All {
            self.table.all().for_each(|slot| add(&mut self.group_index, slot, &mut slots));
        }
        self.table.sort(&mut slots);
        for (group_index, slot) in slots.iter().enumerate() {
            self.group_index[*slot as usize] = group_index as u32;
        }
        let ranks = slot_of_row.iter().map(|slot| self.group_index[*slot as usize]);
        let (ends, sorted) = sort_by_rank(ranks, slots.len());
        let (mut timed_out, mut overdue) = (vec![false; slots.len()], vec![false; slots.len()]);
        for group_index in idle.iter().map(|slot| self.group_index[*slot as usize] as usize) {
            let has_rows = ends[group_index] > group_index.checked_sub(1).map_or(0, |before| ends[before]);
            timed_out[group_index] = !has_rows;
            overdue[group_index] = has_rows;
        }
        let (mut due_ends, mut order) = (Vec::new(), Vec::new());
        if !slot_of_due.is_empty() {
            let ranks = slot_of_due.iter().map(|slot| self.group_index[*slot as usize]);
            (due_ends, order) = sort_by_rank(ranks, slots.len());
        }
        let due_us = order.into_iter().filter_map(|row| due_us.get(row as usize).copied()).collect();
        slots.iter().for_each(|slot| self.group_index[*slot as usize] = NOT_CALLED);
        let rows = take_record_batch(&rows, &UInt32Array::from(sorted)).map_err(Error::arrow)?;
        Ok((touched, CalledGroups { slots, timed_out, overdue, ends, rows, due_ends, due_us }))
    }

    /// Takes the due timers: the slots of their keys, and their times.
    fn take_due(&mut self, context: BatchContext) -> Result<(Vec<Slot>, Vec<i64>)> {
        let Some(timers) = &mut self.timers else { return Ok(Default::default()) };
        let now_us = match timers.clock() {
            TimerClock::Batch => Some(context.time.0),
            TimerClock::Watermark => context.watermark.now,
        };
        let timers::DueTimers { keys, times_us } = timers.take_due(now_us)?;
        if times_us.is_empty() {
            return Ok(Default::default());
        }
        let keys = Keys::encode(&keys, times_us.len()).map_err(Error::arrow)?;
        let (view, hashes) = (keys.view(), keys.hashes());
        self.table.warm(view)?;
        let slots = hashes.into_iter().enumerate().map(|(row, hash)| self.table.slot(view.get(row), hash));
        Ok((slots.collect(), times_us))
    }

    /// Spills rows between batches, if state exceeds its memory.
    pub fn shrink(&mut self) -> Result<()> {
        self.timers.as_mut().map_or(Ok(()), Timers::shrink)?;
        self.table.shrink()
    }

    /// Returns the memory of keys, states and timers.
    pub fn bytes(&self) -> u64 {
        self.table.bytes().saturating_add(self.timers.as_ref().map_or(0, Timers::bytes))
    }

    /// Returns the part of that memory that is never spilled.
    pub fn kept_bytes(&self) -> u64 {
        let bytes = self.table.bytes();
        self.table.kept_of(bytes).saturating_add(self.timers.as_ref().map_or(0, Timers::kept_bytes))
    }

    /// Reports the memory of the state. Fails if it exceeds the limit of the stage or of the job.
    fn check_bytes(&self) -> Result<()> {
        let bytes = self.bytes();
        self.holder.set(bytes);
        match self.node.state_bytes_max {
            Some(max) if bytes > max => Err(Error::plugin(format!(
                "stage `{}`: its state, with keys and timers, takes more than {} on one worker\n  Raise \
                 `limits.state` of the stage, run more workers, remove idle keys (`timeout`), or fix the plugin if \
                 it should keep less.",
                self.node.name,
                show_size(max)
            ))),
            _ => memory::check(),
        }
    }

    /// Calls the plugin with some of the groups, stores the states and emits rows. Returns the groups without remaining rows.
    fn call(
        &mut self,
        context: BatchContext,
        called: &CalledGroups,
        start: GroupCursor,
        end: GroupCursor,
        order: u64,
        output: &mut Output,
    ) -> Result<Vec<Slot>> {
        let slots = &called.slots[start.group..end.group];
        let all_rows = called.rows.slice(start.row as usize, (end.row - start.row) as usize);
        let groups = self.groups(called, start, end, &all_rows).map_err(Error::arrow)?;
        let Updated { states, kept, output: emitted, rejections, timers, untouched, emptied } =
            self.caller.update(context.call(), &groups)?;
        let kept: BooleanArray =
            (0..slots.len()).map(|row| Some(kept.value(row) && !groups.timed_out.value(row))).collect();
        self.table.store(slots, &states, &kept);
        if let Some(own) = &mut self.timers {
            own.apply(&groups.keys, &timers).map_err(Error::arrow)?;
            if own.count() > self.node.timers_max {
                return Err(Error::plugin(format!(
                    "stage `{}`: more than {} timers are set on one worker\n  Raise `limits.timers` of the stage, run more \
                     workers, or fix the plugin if it should set fewer.",
                    self.node.name, self.node.timers_max
                )));
            }
        }
        self.check_bytes()?;
        match self.node.emit {
            UpdateEmit::Rows => output.push(context, self.order(order), emitted),
            UpdateEmit::Changes => {
                let changed = |row: u32| kept.value(row as usize) && untouched.binary_search(&row).is_err();
                let changed = (0u32..).zip(slots).filter(|(row, _)| changed(*row)).map(|(_, slot)| *slot);
                self.emit_states(context, order, &changed.collect::<Vec<Slot>>(), output)?;
            }
            UpdateEmit::State => {}
        }
        let bad_rows = PartOrder::at(REJECTED_ORDER).then(self.worker as u64).then(order);
        let rejected = self.rejected.rows(context.id, "", &all_rows, &rejections)?;
        output.reject(context, bad_rows, rejected);
        Ok(emptied.into_iter().filter_map(|group| slots.get(group as usize).copied()).collect())
    }

    fn groups(
        &self,
        called: &CalledGroups,
        start: GroupCursor,
        end: GroupCursor,
        rows: &RecordBatch,
    ) -> Result<Groups, ArrowError> {
        let slots = &called.slots[start.group..end.group];
        let (states, known) = self.table.states(slots)?;
        let options = RecordBatchOptions::new().with_row_count(Some(slots.len()));
        let keys = RecordBatch::try_new_with_options(self.key_schema.clone(), self.table.keys(slots)?, &options)?;
        Ok(Groups {
            rows: rows.project(&self.node.reads)?,
            ends: called.ends[start.group..end.group].iter().map(|end| end - start.row).collect::<Vec<u32>>().into(),
            states,
            known,
            timed_out: BooleanArray::from(called.timed_out[start.group..end.group].to_vec()),
            overdue: BooleanArray::from(called.overdue[start.group..end.group].to_vec()),
            timers: match &self.timers {
                Some(timers) => timers.of_keys(&keys)?,
                None => Vec::new(),
            },
            keys,
            due: called.due_times(start.group, end.group),
            all: self.node.on == UpdateOn::All,
        })
    }

    fn order(&self, call: u64) -> PartOrder {
        let order = PartOrder::at(self.worker as u64).then(call);
        // After the output of all workers in previous rounds.
        if self.round == 0 { order } else { order.prefixed(ROUND_ORDER + self.round) }
    }

    fn emit_states(&self, context: BatchContext, order: u64, slots: &[Slot], output: &mut Output) -> Result<()> {
        let mut rest = slots;
        let mut call_number = 0;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(self.table.slice_of(rest, STATE_SLICE_MAX));
            let mut columns = self.table.keys(now).map_err(Error::arrow)?;
            columns.extend(self.table.states(now).map_err(Error::arrow)?.0.columns().iter().cloned());
            let rows = RecordBatch::try_new(self.node.output.clone(), columns).map_err(Error::arrow)?;
            output.push(context, self.order(order).then(call_number), rows);
            (rest, call_number) = (later, call_number + 1);
        }
        Ok(())
    }

    /// Stores the initial states of the keys that this worker owns. They count as touched at the first batch.
    fn store_initial(&mut self, time: BatchTime) -> Result<()> {
        let Some(initial) = self.node.initial.take() else { return Ok(()) };
        let key_count = self.key_schema.fields().len();
        let keys = Keys::encode(&initial.columns()[..key_count], initial.num_rows()).map_err(Error::arrow)?;
        let (mut rows, mut slots) = (Vec::new(), Vec::new());
        let view = keys.view();
        for (row, hash) in keys.hashes().into_iter().enumerate() {
            if hash.worker(self.peers) == self.worker {
                rows.push(row as u32);
                slots.push(self.table.slot(view.get(row), hash));
            }
        }
        let states = initial.project(&(key_count..initial.num_columns()).collect::<Vec<_>>()).map_err(Error::arrow)?;
        let states = take_record_batch(&states, &UInt32Array::from(rows)).map_err(Error::arrow)?;
        self.table.store(&slots, &states, &BooleanArray::from(vec![true; slots.len()]));
        self.table.touch(&slots, time);
        Ok(())
    }
}

/// A position between two groups.
#[derive(Clone, Copy, Default)]
pub struct GroupCursor {
    /// Number of groups before it.
    pub group: usize,
    /// Number of rows before it.
    pub row: u32,
}

impl GroupCursor {
    /// Returns the end of a call that begins here: after at least one group, and before the maximum rows, groups or bytes of a call. `ends` has the
    /// ends of all groups; `bytes` returns the bytes of one group with its rows.
    pub fn next_call(self, ends: &[u32], bytes: impl Fn(usize) -> usize) -> GroupCursor {
        let groups_max = self.group.saturating_add(PLUGIN_CALL_ROWS_MAX).min(ends.len());
        let (mut group, mut sum) = (self.group, 0_usize);
        while group < groups_max {
            sum = sum.saturating_add(bytes(group));
            let fits = ends[group] - self.row <= PLUGIN_CALL_ROWS_MAX as u32 && sum <= PLUGIN_CALL_BYTES_MAX;
            if !fits && group > self.group {
                break;
            }
            group += 1;
        }
        GroupCursor { group, row: ends[group - 1] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the number of groups of each call.
    fn calls(groups: &[(u32, usize)]) -> Vec<usize> {
        let ends: Vec<u32> =
            groups.iter().scan(0, |end, (rows, _)| Some(std::mem::replace(end, *end + rows) + rows)).collect();
        let (mut start, mut calls) = (GroupCursor::default(), Vec::new());
        while start.group < ends.len() {
            let end = start.next_call(&ends, |group| groups[group].1);
            assert_eq!(end.row, ends[end.group - 1]);
            calls.push(end.group - start.group);
            start = end;
        }
        calls
    }

    #[test]
    fn a_call_has_so_many_groups_rows_and_bytes_but_at_least_one_group() {
        let (rows, bytes) = (PLUGIN_CALL_ROWS_MAX, PLUGIN_CALL_BYTES_MAX);
        assert_eq!(calls(&vec![(0, 1); rows + 1]), [rows, 1]);
        assert_eq!(calls(&[(rows as u32 - 1, 1), (1, 1), (1, 1)]), [2, 1]);
        assert_eq!(calls(&[(1, 1), (rows as u32 + 7, 1), (1, 1)]), [1, 1, 1]);
        assert_eq!(calls(&[(1, bytes / 2), (1, bytes / 2), (1, 1)]), [2, 1]);
        assert_eq!(calls(&[(1, bytes + 1), (0, bytes + 1), (1, 0), (1, bytes)]), [1, 1, 2]);
        assert_eq!(calls(&[]), [0; 0]);
    }
}
