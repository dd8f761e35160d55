//! One call of each function of a world: arguments in, results out and checked.

use super::allowance::{Allowance, Given};
use super::bindings::{self, BatchOut, Context};
use super::failure::{self, CallFailure, Fault, Identity};
use super::guest::{Stage, Timers};
use super::instances::Instances;
use super::load::{AggregateCalls, Calls, Loaded};
use super::lower::{self, Lowered};
use super::{Cogrouped, Cogroups, Counters, Description, Groups, Processed, StageUse, TimerChange, Updated, lift};
use crate::batch::slices::RowBytes;
use crate::context::CallContext;
use crate::error::Error;
use crate::job::spec::{InstanceSpec, PluginLimits};
use crate::limits::PLUGIN_TIMER_CHANGES_MAX;
use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use wasmtime::component::ComponentExportIndex;

/// Calls the functions of one plugin, once each, for one stage on one worker thread.
pub struct Attempts {
    /// Where it is called.
    pub instances: Instances,
    /// See [`StageUse::calls_are_fixed`].
    pub calls_are_fixed: bool,
    /// The stage's config, as JSON text.
    pub config: String,
    loaded: Arc<Loaded>,
    output: SchemaRef,
    state: SchemaRef,
    counters: Counters,
}

impl Attempts {
    /// For a stage.
    pub fn new(loaded: Arc<Loaded>, stage: StageUse, description: &Description) -> Attempts {
        let plugin = format!("{} {}", description.name, description.version);
        let identity = Identity { stage: Some(stage.stage), plugin, outside: "describe" };
        let keep = stage.instance == InstanceSpec::Worker;
        let about = Stage { grant: stage.grant, inputs: description.inputs.clone(), key: stage.key };
        let instances = Instances::new(loaded.clone(), identity, about, stage.limits, keep);
        let (output, state) = (description.output.clone(), description.state.clone());
        let calls_are_fixed = stage.calls_are_fixed;
        Attempts {
            instances,
            calls_are_fixed,
            loaded,
            config: stage.config,
            output,
            state,
            counters: Counters::default(),
        }
    }

    /// What the plugin counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// From now on calls count for these counters; returns those before.
    pub fn count_for(&mut self, counters: Counters) -> Counters {
        std::mem::replace(&mut self.counters, counters)
    }

    /// World `transform`.
    pub fn process(&mut self, context: CallContext, rows: &RecordBatch) -> Result<Processed, CallFailure> {
        let loaded = self.loaded.clone();
        let Calls::Transform { process } = &loaded.calls else { return Err(self.wrong_world("process")) };
        let input = self.lower_rows(rows)?;
        let columns = input.columns();
        let arguments = (record(context, &self.config), input.batch(&columns));
        self.instances.time_us = context.time.0;
        let given = Given::of([&input]);
        let output: bindings::Output = self.instances.call(Some(context.batch.0), process, given, arguments)?;
        self.instances.bill.returns_rows(&output.rows);
        let checked = self.rows(given, output.rows).and_then(|out| {
            Ok(Processed { rows: out, rejections: lift::rejections(rows.num_rows(), output.rejections)? })
        });
        self.instances.settle(Some(context.batch.0), &self.counters, checked)
    }

    /// World `update`.
    pub fn update(&mut self, context: CallContext, groups: &Groups) -> Result<Updated, CallFailure> {
        let loaded = self.loaded.clone();
        let Calls::Update { update, .. } = &loaded.calls else { return Err(self.wrong_world("update")) };
        let keys = self.lower_batch(&groups.keys)?;
        let (rows, states) = (self.lower_rows(&groups.rows)?, self.lower_batch(&groups.states)?);
        let (key_columns, row_columns, state_columns) = (keys.columns(), rows.columns(), states.columns());
        let (known, timed_out) = (lower::flags(&groups.known), lower::flags(&groups.timed_out));
        let arguments = bindings::Groups {
            keys: keys.batch(&key_columns),
            rows: rows.batch(&row_columns),
            ends: ends_of(&groups.ends),
            states: states.batch(&state_columns),
            known: known.as_slice(),
            timed_out: timed_out.as_slice(),
        };
        let arguments = (record(context, &self.config), arguments);
        self.instances.timers = Timers { due: groups.due.clone(), changes: Vec::new() };
        self.instances.time_us = context.time.0;
        let given = Given::of([&keys, &rows, &states]);
        let updated: bindings::Updated = self.instances.call(Some(context.batch.0), update, given, arguments)?;
        let timers = std::mem::take(&mut self.instances.timers).changes;
        self.instances.bill.returns(&updated.states);
        self.instances.bill.returns_rows(&updated.output);
        let checked = self.check_updated(given, groups, updated, timers);
        self.instances.settle(Some(context.batch.0), &self.counters, checked)
    }

    fn check_updated(
        &self,
        given: Given,
        groups: &Groups,
        updated: bindings::Updated,
        timers: Vec<TimerChange>,
    ) -> Result<Updated, Fault> {
        let (count, limits) = (groups.keys.num_rows(), &self.instances.limits);
        let states = self.lifted(given, "the new states", &self.state, Some(count), updated.states)?;
        check_states(&states, limits)?;
        Ok(Updated {
            states,
            kept: BooleanArray::new(lift::bits("kept", count, updated.kept)?, None),
            output: self.rows(given, updated.output)?,
            rejections: lift::rejections(groups.rows.num_rows(), updated.rejections)?,
            timers: check_timers(groups, timers, limits)?,
            untouched: Vec::new(),
            emptied: Vec::new(),
        })
    }

    /// World `cogroup`.
    pub fn cogroup(&mut self, context: CallContext, groups: &Cogroups) -> Result<Cogrouped, CallFailure> {
        let loaded = self.loaded.clone();
        let Calls::Cogroup { cogroup } = &loaded.calls else { return Err(self.wrong_world("cogroup")) };
        let keys = self.lower_batch(&groups.keys)?;
        let inputs =
            groups.inputs.iter().map(|(rows, _)| self.lower_rows(rows)).collect::<Result<Vec<_>, CallFailure>>()?;
        let (key_columns, columns) = (keys.columns(), inputs.iter().map(Lowered::columns).collect::<Vec<_>>());
        let given = Given::of(inputs.iter().chain([&keys]));
        let inputs: Vec<_> = (inputs.iter().zip(&columns).zip(&groups.inputs))
            .map(|((lowered, columns), (_, ends))| bindings::CogroupInput {
                rows: lowered.batch(columns),
                ends: ends_of(ends),
            })
            .collect();
        let arguments = bindings::Cogroups { keys: keys.batch(&key_columns), inputs: &inputs };
        let arguments = (record(context, &self.config), arguments);
        self.instances.time_us = context.time.0;
        let output: bindings::CogroupOutput = self.instances.call(Some(context.batch.0), cogroup, given, arguments)?;
        self.instances.bill.returns_rows(&output.rows);
        let checked = self.check_cogrouped(given, groups, output);
        self.instances.settle(Some(context.batch.0), &self.counters, checked)
    }

    fn check_cogrouped(
        &self,
        given: Given,
        groups: &Cogroups,
        output: bindings::CogroupOutput,
    ) -> Result<Cogrouped, Fault> {
        let (lists, inputs) = (output.rejections.len(), groups.inputs.len());
        if lists != inputs {
            return Err(format!("`rejections` has {lists} lists, and there are {inputs} inputs").into());
        }
        let rejections = output.rejections.into_iter().zip(&groups.inputs).enumerate();
        let rejections = rejections.map(|(place, (raw, (rows, _)))| {
            lift::rejections(rows.num_rows(), raw).map_err(|words| format!("input {place}: {words}"))
        });
        Ok(Cogrouped { rejections: rejections.collect::<Result<_, String>>()?, rows: self.rows(given, output.rows)? })
    }

    /// World `aggregate`: an accumulator for each row.
    pub fn lift(&mut self, context: CallContext, rows: &RecordBatch) -> Result<RecordBatch, CallFailure> {
        let loaded = self.loaded.clone();
        let lift = &self.aggregate(&loaded, "lift")?.lift;
        let input = self.lower_rows(rows)?;
        let columns = input.columns();
        let arguments = (record(context, &self.config), input.batch(&columns));
        self.instances.time_us = context.time.0;
        let given = Given::of([&input]);
        let made: BatchOut = self.instances.call(Some(context.batch.0), lift, given, arguments)?;
        self.instances.bill.returns(&made);
        let checked = self.lifted(given, "the accumulators", &self.state, Some(rows.num_rows()), made);
        self.instances.settle(Some(context.batch.0), &self.counters, checked)
    }

    /// World `aggregate`: accumulators combined pair by pair.
    pub fn combine(
        &mut self,
        context: CallContext,
        left: &RecordBatch,
        right: &RecordBatch,
    ) -> Result<RecordBatch, CallFailure> {
        let loaded = self.loaded.clone();
        let combine = &self.aggregate(&loaded, "combine")?.combine;
        self.pair(context, combine, left, right, "the combined accumulators", &self.state.clone())
    }

    /// World `aggregate`: the output row of each accumulator.
    pub fn lower(
        &mut self,
        context: CallContext,
        keys: &RecordBatch,
        accumulators: &RecordBatch,
    ) -> Result<RecordBatch, CallFailure> {
        let loaded = self.loaded.clone();
        let lower = &self.aggregate(&loaded, "lower")?.lower;
        self.instances.bill.returns_a_row_each(accumulators);
        self.pair(context, lower, keys, accumulators, "the rows", &self.output.clone())
    }

    /// World `aggregate`: accumulators taken out again, pair by pair.
    pub fn inverse(
        &mut self,
        context: CallContext,
        whole: &RecordBatch,
        part: &RecordBatch,
    ) -> Result<RecordBatch, CallFailure> {
        let loaded = self.loaded.clone();
        let inverse = &self.aggregate(&loaded, "inverse")?.inverse;
        self.pair(context, inverse, whole, part, "the accumulators left", &self.state.clone())
    }

    fn pair(
        &mut self,
        context: CallContext,
        function: &ComponentExportIndex,
        left: &RecordBatch,
        right: &RecordBatch,
        what: &str,
        schema: &SchemaRef,
    ) -> Result<RecordBatch, CallFailure> {
        let (first, second) = (self.lower_batch(left)?, self.lower_batch(right)?);
        let (first_columns, second_columns) = (first.columns(), second.columns());
        let arguments = (record(context, &self.config), first.batch(&first_columns), second.batch(&second_columns));
        self.instances.time_us = context.time.0;
        let given = Given::of([&first, &second]);
        let made: BatchOut = self.instances.call(Some(context.batch.0), function, given, arguments)?;
        self.instances.bill.returns(&made);
        let checked = self.lifted(given, what, schema, Some(right.num_rows()), made);
        self.instances.settle(Some(context.batch.0), &self.counters, checked)
    }

    /// The rows that a call emits, of which it may return any number within its allowance. Their number is looked at before
    /// anything is made of them: rows without columns cost a guest nothing.
    fn rows(&self, given: Given, raw: BatchOut) -> Result<RecordBatch, Fault> {
        Allowance::new(self.instances.limits, given).check_rows(raw.rows)?;
        self.lifted(given, "the rows", &self.output, None, raw)
    }

    fn lifted(
        &self,
        given: Given,
        what: &str,
        schema: &SchemaRef,
        rows: Option<usize>,
        raw: BatchOut,
    ) -> Result<RecordBatch, Fault> {
        let batch = lift::batch(what, schema, rows, raw)?;
        Allowance::new(self.instances.limits, given).check_shared(&batch)?;
        Ok(batch)
    }

    fn aggregate<'a>(&self, loaded: &'a Loaded, function: &str) -> Result<&'a AggregateCalls, CallFailure> {
        match &loaded.calls {
            Calls::Aggregate(calls) => Ok(calls),
            _ => Err(self.wrong_world(function)),
        }
    }

    /// Rows of the stage's input.
    fn lower_rows(&mut self, rows: &RecordBatch) -> Result<Lowered, CallFailure> {
        self.instances.bill.passes_rows(rows.num_rows());
        self.lower_batch(rows)
    }

    fn lower_batch(&mut self, batch: &RecordBatch) -> Result<Lowered, CallFailure> {
        self.instances.bill.begin();
        let told = |words| Error::bug(format!("{}: {words}", self.instances.identity.who()));
        let lowered = Lowered::new(batch).map_err(|words| CallFailure::other(told(words)))?;
        self.instances.bill.passes(&lowered);
        Ok(lowered)
    }

    fn wrong_world(&self, function: &str) -> CallFailure {
        let (who, world) = (self.instances.identity.who(), self.loaded.calls.world());
        CallFailure::other(Error::bug(format!("{who} implements world `{world}`, which has no `{function}`")))
    }
}

/// Checks that no key's state is too large.
fn check_states(states: &RecordBatch, limits: &PluginLimits) -> Result<(), Fault> {
    let (bytes, most) = (RowBytes::of([states]), limits.state_bytes_per_key_max);
    let is_within = |rows: Range<usize>| bytes.of_range(&rows) as u64 <= most;
    if is_within(0..states.num_rows()) || (0..states.num_rows()).all(|row| is_within(row..row + 1)) {
        return Ok(());
    }
    let advice = "Raise `limits.state_per_key` of the stage, or mend the plugin if it should keep less.";
    Err((format!("the new state of a key is larger than its limit of {}", failure::bytes(most)), advice).into())
}

/// Checks what a call asked of its timers. A key's timers that were set before and those that the call sets count.
fn check_timers(groups: &Groups, changes: Vec<TimerChange>, limits: &PluginLimits) -> Result<Vec<TimerChange>, Fault> {
    let count = groups.keys.num_rows();
    if changes.len() > PLUGIN_TIMER_CHANGES_MAX {
        return Err(format!("it sets or cancels more than {PLUGIN_TIMER_CHANGES_MAX} timers in one call").into());
    }
    if let Some(wrong) = changes.iter().find(|change| change.group as usize >= count) {
        let words = format!("a timer is for group {}, but there are {count} groups (they count from 0)", wrong.group);
        return Err(words.into());
    }
    let most = limits.timers_per_key_max;
    let mut last: BTreeMap<(u32, i64), bool> = BTreeMap::new();
    last.extend(changes.iter().map(|change| ((change.group, change.at_us), change.is_set)));
    let mut set: BTreeMap<u32, u64> = BTreeMap::new();
    for ((group, _), _) in last.into_iter().filter(|(_, is_set)| *is_set) {
        let before = groups.timers.get(group as usize).copied().unwrap_or_default();
        let timers = set.entry(group).or_insert_with(|| before.into());
        *timers += 1;
        if *timers > most {
            let advice = "Raise `limits.timers_per_key` of the stage, or mend the plugin if it should set fewer.";
            return Err((format!("it sets more than {most} timers of one key"), advice).into());
        }
    }
    Ok(changes)
}

fn ends_of(ends: &UInt32Array) -> &[u8] {
    ends.values().inner().as_slice()
}

fn record(context: CallContext, config: &str) -> Context<'_> {
    Context { batch: context.batch.0, time: context.time.0, watermark: context.watermark, config }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, StringArray};

    fn groups(timers: &[u32]) -> Groups {
        let none: ArrayRef = Arc::new(Int64Array::from(vec![0; timers.len()]));
        let rows = RecordBatch::try_from_iter([("key", none)]).unwrap();
        let flags = BooleanArray::from(vec![false; timers.len()]);
        Groups {
            keys: rows.clone(),
            rows: rows.slice(0, 0),
            ends: UInt32Array::from(vec![0; timers.len()]),
            states: rows,
            known: flags.clone(),
            timed_out: flags.clone(),
            overdue: flags,
            timers: timers.to_vec(),
            due: Default::default(),
            all: false,
        }
    }

    fn words(groups: &Groups, changes: Vec<TimerChange>, limits: &PluginLimits) -> String {
        match check_timers(groups, changes, limits).unwrap_err() {
            Fault::Invalid(words) | Fault::TooMuch(words, _) => words,
        }
    }

    #[test]
    fn timers_are_for_groups_that_there_are_and_not_without_end() {
        let (limits, two) = (PluginLimits::default(), groups(&[0, 0]));
        let change = |group| TimerChange { group, at_us: i64::MIN, is_set: true };
        assert_eq!(check_timers(&two, vec![change(1), change(0)], &limits).unwrap().len(), 2);
        let told = words(&two, vec![change(1), change(2)], &limits);
        assert_eq!(told, "a timer is for group 2, but there are 2 groups (they count from 0)");
        let told = words(&groups(&[0]), vec![change(0); PLUGIN_TIMER_CHANGES_MAX + 1], &limits);
        assert_eq!(told, "it sets or cancels more than 1000000 timers in one call");
    }

    #[test]
    fn a_key_has_so_many_timers_those_before_included() {
        let limits = PluginLimits { timers_per_key_max: 3, ..PluginLimits::default() };
        let set = |group, at_us| TimerChange { group, at_us, is_set: true };
        let cancel = |group, at_us| TimerChange { group, at_us, is_set: false };
        let groups = groups(&[2, 0]);
        let may = [set(0, 1), set(1, 1), set(1, 2), set(1, 3), set(1, 3), set(0, 5), cancel(0, 5)];
        assert!(check_timers(&groups, may.to_vec(), &limits).is_ok());
        assert_eq!(words(&groups, vec![set(0, 1), set(0, 2)], &limits), "it sets more than 3 timers of one key");
    }

    #[test]
    fn a_state_has_so_many_bytes() {
        let limits = PluginLimits { state_bytes_per_key_max: 100, ..PluginLimits::default() };
        let texts = |lengths: &[usize]| {
            let texts: ArrayRef = Arc::new(StringArray::from_iter_values(lengths.iter().map(|n| "x".repeat(*n))));
            RecordBatch::try_from_iter([("state", texts)]).unwrap()
        };
        assert!(check_states(&texts(&[90, 96, 90]), &limits).is_ok());
        let Err(Fault::TooMuch(words, _)) = check_states(&texts(&[1, 97]), &limits) else { panic!("it is too large") };
        assert_eq!(words, "the new state of a key is larger than its limit of 100 bytes");
    }
}
