//! One call of each function of a world: arguments in, results out and checked.

mod keys;

use super::allowance::{Allowance, InputSize};
use super::bindings::{self, BatchOut, Context};
use super::counters::Counters;
use super::description::{Description, WrittenColumns, WrittenOut};
use super::failure::{CallFailure, OutputFault};
use super::groups::{Cogrouped, Cogroups, Groups, Processed, TimerChange, Updated};
use super::guest::CallTimers;
use super::identity::{CallIdentity, DESCRIBE, Role};
use super::instances::Instances;
use super::lift;
use super::lift::ExpectedBatch;
use super::load::{AggregateCalls, Calls, Loaded};
use super::lower::{self, Lowered};
use super::stage::{Stage, StageUse};
use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;
use keys::{check_states, check_timers};
use millstream_base::context::CallContext;
use millstream_base::error::Error;
use millstream_job::spec::InstanceSpec;
use std::sync::Arc;
use wasmtime::component::ComponentExportIndex;

/// Calls the functions of one plugin, once each, for one stage on one worker thread.
pub struct Attempts {
    /// The instances that are called.
    pub instances: Instances,
    /// See [`StageUse::calls_are_fixed`].
    pub calls_are_fixed: bool,
    /// The stage's config, as JSON text.
    pub config: String,
    loaded: Arc<Loaded>,
    output: SchemaRef,
    state: SchemaRef,
    written: Arc<WrittenColumns>,
    /// Which columns of keys are written out.
    key: Arc<WrittenOut>,
    counters: Counters,
    makes_calls: bool,
}

impl Attempts {
    /// For a stage.
    pub fn new(loaded: Arc<Loaded>, stage: StageUse, description: &Description) -> Attempts {
        let plugin = format!("{} {}", description.name, description.version);
        let identity = CallIdentity { stage: Some(stage.stage), role: Role::Stage, plugin, outside: DESCRIBE };
        let keep = stage.instance == InstanceSpec::Worker;
        let key = match description.key {
            Some(_) => description.written.key.clone(),
            None => WrittenOut::of_named(&stage.key),
        };
        let makes_calls = stage.grant.http.is_some() || !stage.grant.tcp.is_empty();
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
            written: description.written.clone(),
            key: Arc::new(key),
            counters: Counters::default(),
            makes_calls,
        }
    }

    /// The plugin's counters so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// From now on calls count for these counters; returns those before.
    pub fn count_for(&mut self, counters: Counters) -> Counters {
        std::mem::replace(&mut self.counters, counters)
    }

    /// Whether the plugin may send requests to other systems, which must not be repeated unnecessarily.
    pub fn makes_calls(&self) -> bool {
        self.makes_calls
    }

    /// World `transform`.
    pub fn process(&mut self, context: CallContext, rows: &RecordBatch) -> Result<Processed, CallFailure> {
        let loaded = self.loaded.clone();
        let Calls::Transform { process } = &loaded.calls else { return Err(self.wrong_world("process")) };
        let input = self.lower_rows(rows, 0)?;
        let columns = input.columns();
        let arguments = (record(context, &self.config), input.batch(&columns));
        self.instances.time_us = context.time.0;
        let given = InputSize::measure([&input]);
        let output: bindings::WitOutput = self.instances.call(Some(context.batch.0), process, given, arguments)?;
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
        let (written, key) = (self.written.clone(), self.key.clone());
        let keys = self.lower_batch(&groups.keys, &key)?;
        let (rows, states) = (self.lower_rows(&groups.rows, 0)?, self.lower_batch(&groups.states, &written.state)?);
        let (key_columns, row_columns, state_columns) = (keys.columns(), rows.columns(), states.columns());
        let (known, timed_out) = (lower::flags(&groups.known), lower::flags(&groups.timed_out));
        let arguments = bindings::WitGroups {
            keys: keys.batch(&key_columns),
            rows: rows.batch(&row_columns),
            ends: ends_of(&groups.ends),
            states: states.batch(&state_columns),
            known: known.as_slice(),
            timed_out: timed_out.as_slice(),
        };
        let arguments = (record(context, &self.config), arguments);
        self.instances.timers = CallTimers { due: groups.due.clone(), changes: Vec::new() };
        self.instances.time_us = context.time.0;
        let given = InputSize::measure([&keys, &rows, &states]);
        let updated: bindings::WitUpdated = self.instances.call(Some(context.batch.0), update, given, arguments)?;
        let timers = std::mem::take(&mut self.instances.timers).changes;
        self.instances.bill.returns(&updated.states);
        self.instances.bill.returns_rows(&updated.output);
        let checked = self.check_updated(given, groups, updated, timers);
        self.instances.settle(Some(context.batch.0), &self.counters, checked)
    }

    fn check_updated(
        &self,
        given: InputSize,
        groups: &Groups,
        updated: bindings::WitUpdated,
        timers: Vec<TimerChange>,
    ) -> Result<Updated, OutputFault> {
        let (count, limits) = (groups.keys.num_rows(), &self.instances.callee.limits);
        let kept = lift::bits("kept", count, updated.kept)?;
        let promised = ExpectedBatch { counts: Some(&kept), ..self.states("the new states", count) };
        let states = self.lift_batch(given, promised, updated.states)?;
        check_states(&states, limits)?;
        Ok(Updated {
            states,
            kept: BooleanArray::new(kept, None),
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
        let key = self.key.clone();
        let keys = self.lower_batch(&groups.keys, &key)?;
        let inputs = groups.inputs.iter().enumerate();
        let inputs = inputs.map(|(index, (rows, _))| self.lower_rows(rows, index));
        let inputs = inputs.collect::<Result<Vec<_>, CallFailure>>()?;
        let (key_columns, columns) = (keys.columns(), inputs.iter().map(Lowered::columns).collect::<Vec<_>>());
        let given = InputSize::measure(inputs.iter().chain([&keys]));
        let inputs: Vec<_> = (inputs.iter().zip(&columns).zip(&groups.inputs))
            .map(|((lowered, columns), (_, ends))| bindings::WitCogroupInput {
                rows: lowered.batch(columns),
                ends: ends_of(ends),
            })
            .collect();
        let arguments = bindings::WitCogroups { keys: keys.batch(&key_columns), inputs: &inputs };
        let arguments = (record(context, &self.config), arguments);
        self.instances.time_us = context.time.0;
        let output: bindings::CogroupOutput = self.instances.call(Some(context.batch.0), cogroup, given, arguments)?;
        self.instances.bill.returns_rows(&output.rows);
        let checked = self.check_cogrouped(given, groups, output);
        self.instances.settle(Some(context.batch.0), &self.counters, checked)
    }

    fn check_cogrouped(
        &self,
        given: InputSize,
        groups: &Cogroups,
        output: bindings::CogroupOutput,
    ) -> Result<Cogrouped, OutputFault> {
        let (lists, inputs) = (output.rejections.len(), groups.inputs.len());
        if lists != inputs {
            return Err(format!("`rejections` has {lists} lists for {inputs} inputs").into());
        }
        let rejections = output.rejections.into_iter().zip(&groups.inputs).enumerate();
        let rejections = rejections.map(|(index, (raw, (rows, _)))| {
            lift::rejections(rows.num_rows(), raw).map_err(|message| format!("input {index}: {message}"))
        });
        Ok(Cogrouped { rejections: rejections.collect::<Result<_, String>>()?, rows: self.rows(given, output.rows)? })
    }

    /// World `aggregate`: an accumulator for each row.
    pub fn lift(&mut self, context: CallContext, rows: &RecordBatch) -> Result<RecordBatch, CallFailure> {
        let loaded = self.loaded.clone();
        let lift = &self.aggregate(&loaded, "lift")?.lift;
        let input = self.lower_rows(rows, 0)?;
        let columns = input.columns();
        let arguments = (record(context, &self.config), input.batch(&columns));
        self.instances.time_us = context.time.0;
        let given = InputSize::measure([&input]);
        let made: BatchOut = self.instances.call(Some(context.batch.0), lift, given, arguments)?;
        self.instances.bill.returns(&made);
        let checked = self.lift_batch(given, self.states("the accumulators", rows.num_rows()), made);
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
        self.pair(context, combine, (left, right), "the combined accumulators", false)
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
        self.pair(context, lower, (keys, accumulators), "the rows", true)
    }

    /// World `aggregate`: accumulators taken out again, pair by pair.
    pub fn inverse(
        &mut self,
        context: CallContext,
        all_rows: &RecordBatch,
        part: &RecordBatch,
    ) -> Result<RecordBatch, CallFailure> {
        let loaded = self.loaded.clone();
        let inverse = &self.aggregate(&loaded, "inverse")?.inverse;
        self.pair(context, inverse, (all_rows, part), "the accumulators left", false)
    }

    /// A call with pairs: of keys and accumulators, which makes rows (`is_last`), or of two accumulators, which makes others.
    fn pair(
        &mut self,
        context: CallContext,
        function: &ComponentExportIndex,
        (left, right): (&RecordBatch, &RecordBatch),
        what: &str,
        is_last: bool,
    ) -> Result<RecordBatch, CallFailure> {
        let (written, key) = (self.written.clone(), self.key.clone());
        let of_left = if is_last { &key } else { &written.state };
        let (first, second) = (self.lower_batch(left, of_left)?, self.lower_batch(right, &written.state)?);
        let (first_columns, second_columns) = (first.columns(), second.columns());
        let arguments = (record(context, &self.config), first.batch(&first_columns), second.batch(&second_columns));
        self.instances.time_us = context.time.0;
        let given = InputSize::measure([&first, &second]);
        let made: BatchOut = self.instances.call(Some(context.batch.0), function, given, arguments)?;
        self.instances.bill.returns(&made);
        let rows = right.num_rows();
        let promised = if is_last { self.output(what, Some(rows)) } else { self.states(what, rows) };
        let checked = self.lift_batch(given, promised, made);
        self.instances.settle(Some(context.batch.0), &self.counters, checked)
    }

    /// Takes the rows that a call emits, up to its allowance. Their number is checked before anything is built: rows without columns cost a
    /// guest nothing.
    fn rows(&self, given: InputSize, raw: BatchOut) -> Result<RecordBatch, OutputFault> {
        Allowance::new(self.instances.callee.limits, given).check_rows(raw.rows)?;
        self.lift_batch(given, self.output("the rows", None), raw)
    }

    fn output<'a>(&'a self, what: &'a str, rows: Option<usize>) -> ExpectedBatch<'a> {
        ExpectedBatch { what, schema: &self.output, written: &self.written.output, rows, counts: None }
    }

    fn states<'a>(&'a self, what: &'a str, rows: usize) -> ExpectedBatch<'a> {
        ExpectedBatch { what, schema: &self.state, written: &self.written.state, rows: Some(rows), counts: None }
    }

    fn lift_batch(
        &self,
        given: InputSize,
        promised: ExpectedBatch<'_>,
        raw: BatchOut,
    ) -> Result<RecordBatch, OutputFault> {
        let batch = lift::batch(promised, raw)?;
        Allowance::new(self.instances.callee.limits, given).check_shared(&batch)?;
        Ok(batch)
    }

    fn aggregate<'a>(&self, loaded: &'a Loaded, function: &str) -> Result<&'a AggregateCalls, CallFailure> {
        match &loaded.calls {
            Calls::Aggregate(calls) => Ok(calls),
            _ => Err(self.wrong_world(function)),
        }
    }

    /// Rows of an input of the stage.
    fn lower_rows(&mut self, rows: &RecordBatch, input: usize) -> Result<Lowered, CallFailure> {
        self.instances.bill.passes_rows(rows.num_rows());
        let written = self.written.clone();
        self.lower_batch(rows, written.inputs.get(input).unwrap_or(&WrittenOut::default()))
    }

    fn lower_batch(&mut self, batch: &RecordBatch, written: &WrittenOut) -> Result<Lowered, CallFailure> {
        self.instances.bill.begin();
        let to_error = |message| Error::bug(format!("{}: {message}", self.instances.callee.identity.description()));
        let lowered = Lowered::new(batch, written).map_err(|message| CallFailure::from_error(to_error(message)))?;
        self.instances.bill.passes(&lowered);
        Ok(lowered)
    }

    fn wrong_world(&self, function: &str) -> CallFailure {
        let (who, world) = (self.instances.callee.identity.description(), self.loaded.calls.world());
        CallFailure::from_error(Error::bug(format!("{who} implements world `{world}`, which has no `{function}`")))
    }
}

fn ends_of(ends: &UInt32Array) -> &[u8] {
    ends.values().inner().as_slice()
}

fn record(context: CallContext, config: &str) -> Context<'_> {
    Context { batch: context.batch.0, time: context.time.0, watermark: context.watermark, config }
}
