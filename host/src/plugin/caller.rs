//! One call: an instance, its limits, arguments in, results out, and the story where it fails.

use super::bindings::{BatchOut, Context, Returned};
use super::failure::{self, Identity};
use super::imports::{Guest, Stage, Timers};
use super::load::{AggregateCalls, Calls, Loaded};
use super::lower::{self, Lowered};
use super::{
    CallContext, Cogrouped, Cogroups, Counted, Counters, Description, Groups, Processed, TimerChange, Updated,
    bindings, engine, lift,
};
use crate::error::{Error, Result};
use crate::ids::BatchId;
use crate::job::spec::{InstanceSpec, PluginLimits};
use crate::limits::{PLUGIN_CALLS_PER_INSTANCE_MAX, PLUGIN_TIMER_CHANGES_MAX};
use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;
use std::sync::Arc;
use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, ComponentNamedList, Instance, Lift, Lower};

/// Calls functions of one plugin under one set of limits, in instances that live as long as they should.
pub struct Instances {
    pub loaded: Arc<Loaded>,
    pub identity: Arc<Identity>,
    pub limits: PluginLimits,
    pub keep: bool,
    pub stage: Arc<Stage>,
    live: Option<Live>,
    /// Timers of the call: put in before, taken out after it.
    timers: Timers,
    counted: Counted,
}

struct Live {
    store: Store<Guest>,
    instance: Instance,
    calls: u64,
}

impl Instances {
    /// No instance yet.
    pub fn new(loaded: Arc<Loaded>, identity: Identity, stage: Stage, limits: PluginLimits, keep: bool) -> Instances {
        let (identity, stage) = (Arc::new(identity), Arc::new(stage));
        Instances {
            loaded,
            identity,
            limits,
            keep,
            stage,
            live: None,
            timers: Timers::default(),
            counted: Counted::new(),
        }
    }

    /// Calls the function at `index`, in `batch` or, without one, for `describe`.
    pub fn call<P, R>(&mut self, batch: Option<u64>, index: &ComponentExportIndex, arguments: P) -> Result<R>
    where
        P: ComponentNamedList + Lower,
        Returned<R>: ComponentNamedList + Lift,
    {
        let mut live = match self.live.take() {
            Some(live) => live,
            None => self.start(batch)?,
        };
        live.calls += 1;
        live.store.data_mut().begin(batch);
        live.store.data_mut().timers = std::mem::take(&mut self.timers);
        live.store.set_epoch_deadline(engine::ticks(self.limits.time_max));
        let called = live
            .instance
            .get_typed_func::<P, Returned<R>>(&mut live.store, index)
            .and_then(|function| function.call(&mut live.store, arguments));
        self.counted = live.store.data_mut().end();
        self.timers = std::mem::take(&mut live.store.data_mut().timers);
        match called {
            Ok((Ok(result),)) => {
                let memory_low = live.store.data().memory.bytes <= self.limits.memory_bytes_max / 2;
                if self.keep && memory_low && live.calls < PLUGIN_CALLS_PER_INSTANCE_MAX {
                    self.live = Some(live);
                }
                Ok(result)
            }
            Ok((Err(error),)) => Err(failure::returned(&self.identity, batch, error)),
            Err(error) => Err(failure::trapped(&self.identity, &self.limits, live.store.data(), &error)),
        }
    }

    /// Ends a call whose result was checked: only a call that succeeded counts, and leaves its instance alive.
    pub fn settle<T>(&mut self, batch: Option<u64>, counters: &Counters, checked: Result<T, String>) -> Result<T> {
        let counted = std::mem::take(&mut self.counted);
        match checked {
            Ok(result) => {
                counters.merge(BatchId(batch.unwrap_or_default()), counted);
                Ok(result)
            }
            Err(words) => {
                self.live = None;
                Err(failure::invalid(&self.identity, batch, &words))
            }
        }
    }

    fn start(&self, batch: Option<u64>) -> Result<Live> {
        let guest = Guest::new(self.identity.clone(), self.stage.clone(), self.limits.memory_bytes_max);
        let mut store = Store::new(self.loaded.pre.engine(), guest);
        store.limiter(|guest| guest);
        store.data_mut().begin(batch);
        store.set_epoch_deadline(engine::ticks(self.limits.time_max));
        // wasmtime counts what a call hands to the host before it copies it.
        store.set_hostcall_fuel(usize::try_from(self.limits.output_bytes_max).unwrap_or(usize::MAX));
        match self.loaded.pre.instantiate(&mut store) {
            Ok(instance) => Ok(Live { store, instance, calls: 0 }),
            Err(error) if store.data().memory.refused || error.is::<wasmtime::Trap>() => {
                Err(failure::trapped(&self.identity, &self.limits, store.data(), &error))
            }
            Err(error) => {
                let (who, when) = (self.identity.who(), failure::when(batch));
                Err(Error::environment(format!("{who}: no instance could be made {when}: {error:#}")))
            }
        }
    }
}

/// Calls one plugin for one stage on one worker thread. Every error names stage, plugin, version and batch.
/// Batches passed in hold exactly the columns that the description names; see [`Description::input`].
pub struct Caller {
    instances: Instances,
    loaded: Arc<Loaded>,
    config: String,
    output: SchemaRef,
    state: SchemaRef,
    counters: Counters,
}

impl Caller {
    pub(super) fn new(loaded: Arc<Loaded>, stage: super::StageUse, description: &Description) -> Caller {
        let plugin = format!("{} {}", description.name, description.version);
        let identity = Identity { stage: Some(stage.stage), plugin };
        let keep = stage.instance == InstanceSpec::Worker;
        let about = Stage { files: stage.files, inputs: description.inputs.clone(), key: stage.key };
        let instances = Instances::new(loaded.clone(), identity, about, stage.limits, keep);
        let (output, state) = (description.output.clone(), description.state.clone());
        Caller { instances, loaded, config: stage.config, output, state, counters: Counters::default() }
    }

    /// What the plugin counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// World `transform`.
    pub fn process(&mut self, context: CallContext, rows: &RecordBatch) -> Result<Processed> {
        let loaded = self.loaded.clone();
        let Calls::Transform { process } = &loaded.calls else { return Err(self.wrong_world("process")) };
        let input = self.lower_batch(rows)?;
        let columns = input.columns();
        let arguments = (record(context, &self.config), input.batch(&columns));
        let output: bindings::Output = self.instances.call(Some(context.batch.0), process, arguments)?;
        let checked = lift::batch("the rows", &self.output, None, output.rows).and_then(|out| {
            Ok(Processed { rows: out, rejections: lift::rejections(rows.num_rows(), output.rejections)? })
        });
        self.instances.settle(Some(context.batch.0), &self.counters, checked)
    }

    /// World `update`.
    pub fn update(&mut self, context: CallContext, groups: &Groups) -> Result<Updated> {
        let loaded = self.loaded.clone();
        let Calls::Update { update } = &loaded.calls else { return Err(self.wrong_world("update")) };
        let keys = self.lower_batch(&groups.keys)?;
        let (rows, states) = (self.lower_batch(&groups.rows)?, self.lower_batch(&groups.states)?);
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
        let updated: bindings::Updated = self.instances.call(Some(context.batch.0), update, arguments)?;
        let timers = std::mem::take(&mut self.instances.timers).changes;
        let checked = self.check_updated(groups, updated, timers);
        self.instances.settle(Some(context.batch.0), &self.counters, checked)
    }

    fn check_updated(
        &self,
        groups: &Groups,
        updated: bindings::Updated,
        timers: Vec<TimerChange>,
    ) -> Result<Updated, String> {
        let count = groups.keys.num_rows();
        Ok(Updated {
            states: lift::batch("the new states", &self.state, Some(count), updated.states)?,
            kept: BooleanArray::new(lift::bits("kept", count, updated.kept)?, None),
            output: lift::batch("the rows", &self.output, None, updated.output)?,
            rejections: lift::rejections(groups.rows.num_rows(), updated.rejections)?,
            timers: check_timers(count, timers)?,
        })
    }

    /// World `cogroup`.
    pub fn cogroup(&mut self, context: CallContext, groups: &Cogroups) -> Result<Cogrouped> {
        let loaded = self.loaded.clone();
        let Calls::Cogroup { cogroup } = &loaded.calls else { return Err(self.wrong_world("cogroup")) };
        let keys = self.lower_batch(&groups.keys)?;
        let inputs = groups.inputs.iter().map(|(rows, _)| self.lower_batch(rows)).collect::<Result<Vec<_>>>()?;
        let (key_columns, columns) = (keys.columns(), inputs.iter().map(Lowered::columns).collect::<Vec<_>>());
        let inputs: Vec<_> = (inputs.iter().zip(&columns).zip(&groups.inputs))
            .map(|((lowered, columns), (_, ends))| bindings::CogroupInput {
                rows: lowered.batch(columns),
                ends: ends_of(ends),
            })
            .collect();
        let arguments = bindings::Cogroups { keys: keys.batch(&key_columns), inputs: &inputs };
        let arguments = (record(context, &self.config), arguments);
        let output: bindings::CogroupOutput = self.instances.call(Some(context.batch.0), cogroup, arguments)?;
        let checked = self.check_cogrouped(groups, output);
        self.instances.settle(Some(context.batch.0), &self.counters, checked)
    }

    fn check_cogrouped(&self, groups: &Cogroups, output: bindings::CogroupOutput) -> Result<Cogrouped, String> {
        let (given, inputs) = (output.rejections.len(), groups.inputs.len());
        if given != inputs {
            return Err(format!("`rejections` has {given} lists, and there are {inputs} inputs"));
        }
        let rejections = output.rejections.into_iter().zip(&groups.inputs).enumerate();
        let rejections = rejections.map(|(place, (raw, (rows, _)))| {
            lift::rejections(rows.num_rows(), raw).map_err(|words| format!("input {place}: {words}"))
        });
        Ok(Cogrouped {
            rejections: rejections.collect::<Result<_, _>>()?,
            rows: lift::batch("the rows", &self.output, None, output.rows)?,
        })
    }

    /// World `aggregate`: an accumulator for each row.
    pub fn lift(&mut self, context: CallContext, rows: &RecordBatch) -> Result<RecordBatch> {
        let loaded = self.loaded.clone();
        let lift = &self.aggregate(&loaded, "lift")?.lift;
        let input = self.lower_batch(rows)?;
        let columns = input.columns();
        let arguments = (record(context, &self.config), input.batch(&columns));
        let made: BatchOut = self.instances.call(Some(context.batch.0), lift, arguments)?;
        let checked = lift::batch("the accumulators", &self.state, Some(rows.num_rows()), made);
        self.instances.settle(Some(context.batch.0), &self.counters, checked)
    }

    /// World `aggregate`: accumulators combined pair by pair.
    pub fn combine(&mut self, context: CallContext, left: &RecordBatch, right: &RecordBatch) -> Result<RecordBatch> {
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
    ) -> Result<RecordBatch> {
        let loaded = self.loaded.clone();
        let lower = &self.aggregate(&loaded, "lower")?.lower;
        self.pair(context, lower, keys, accumulators, "the rows", &self.output.clone())
    }

    /// World `aggregate`: accumulators taken out again, pair by pair.
    pub fn inverse(&mut self, context: CallContext, whole: &RecordBatch, part: &RecordBatch) -> Result<RecordBatch> {
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
    ) -> Result<RecordBatch> {
        let (first, second) = (self.lower_batch(left)?, self.lower_batch(right)?);
        let (first_columns, second_columns) = (first.columns(), second.columns());
        let arguments = (record(context, &self.config), first.batch(&first_columns), second.batch(&second_columns));
        let made: BatchOut = self.instances.call(Some(context.batch.0), function, arguments)?;
        let checked = lift::batch(what, schema, Some(right.num_rows()), made);
        self.instances.settle(Some(context.batch.0), &self.counters, checked)
    }

    fn aggregate<'a>(&self, loaded: &'a Loaded, function: &str) -> Result<&'a AggregateCalls> {
        match &loaded.calls {
            Calls::Aggregate(calls) => Ok(calls),
            _ => Err(self.wrong_world(function)),
        }
    }

    fn lower_batch(&self, batch: &RecordBatch) -> Result<Lowered> {
        Lowered::new(batch).map_err(|words| Error::bug(format!("{}: {words}", self.instances.identity.who())))
    }

    fn wrong_world(&self, function: &str) -> Error {
        let (who, world) = (self.instances.identity.who(), self.loaded.calls.world());
        Error::bug(format!("{who} implements world `{world}`, which has no `{function}`"))
    }
}

/// Checks what a call asked of its timers.
fn check_timers(groups: usize, changes: Vec<TimerChange>) -> Result<Vec<TimerChange>, String> {
    if changes.len() > PLUGIN_TIMER_CHANGES_MAX {
        return Err(format!("it sets or cancels more than {PLUGIN_TIMER_CHANGES_MAX} timers in one call"));
    }
    match changes.iter().find(|change| change.group as usize >= groups) {
        Some(wrong) => {
            Err(format!("a timer is for group {}, but there are {groups} groups (they count from 0)", wrong.group))
        }
        None => Ok(changes),
    }
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

    #[test]
    fn timers_are_for_groups_that_there_are_and_not_without_end() {
        let change = |group| TimerChange { group, at_us: i64::MIN, is_set: true };
        assert_eq!(check_timers(2, vec![change(1), change(0)]).unwrap().len(), 2);
        let words = check_timers(2, vec![change(1), change(2)]).unwrap_err();
        assert_eq!(words, "a timer is for group 2, but there are 2 groups (they count from 0)");
        let words = check_timers(1, vec![change(0); PLUGIN_TIMER_CHANGES_MAX + 1]).unwrap_err();
        assert_eq!(words, "it sets or cancels more than 1000000 timers in one call");
    }
}
