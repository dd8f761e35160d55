//! The shadow of a stage on one worker. The new version of its plugin receives the rows of the old one, and the outputs are compared. Nothing of it
//! leaves the stage, and an error ends the shadow alone.

use crate::exchange::split_by_key;
use crate::operators::plugin::current::CurrentPlugin;
use crate::operators::plugin::node::PluginNode;
use crate::operators::plugin::shadow::Shadow;
use crate::operators::plugin::shadow::compare::{Comparison, States};
use crate::operators::stage::{Operator, StageNode};
use crate::operators::update::node::UpdateNode;
use crate::operators::update::state::UpdateStage;
use crate::state::OwnedKey;
use crate::timely_ext::{Output, SHADOW};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::{BatchId, BatchTime};
use millstream_job::spec::OnError;
use millstream_plugins::plugin::reduce::{self, combine_by_key};
use millstream_plugins::plugin::{Account, Caller, Cogrouped, Cogroups, Processed};
use millstream_rows::batch::group::Grouper;
use millstream_rows::batch::keys::canonical_column;
use millstream_rows::batch::part::Part;
use millstream_rows::batch::rejected::{RejectedRow, merge_rejections, without_nulls};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A shadow in one operator on one worker. `T` calls the new version.
pub struct ShadowRun<T> {
    shadow: Arc<Shadow>,
    new: T,
    /// Accounts of the old and of the new version, and the reported part of each, in nanoseconds.
    accounts: [(Account, u64); 2],
}

impl<T> ShadowRun<T> {
    /// Creates a run. `old` is the account of the old version's caller. `new` creates what calls the new version.
    fn new(shadow: Arc<Shadow>, old: &Account, new: impl FnOnce(Caller) -> T) -> Result<ShadowRun<T>> {
        let node = plugin_of(shadow.node())?;
        // It has its own counters, which are ignored: counts and costs of the stage are those of the old version.
        let caller = node.plugin.caller(node.stage.clone(), &node.description);
        caller.mute();
        let accounts = [old.clone(), caller.account().clone()].map(|account| (account.clone(), account.cpu_ns()));
        Ok(ShadowRun { new: new(caller), shadow, accounts })
    }

    /// Returns whether both versions run this batch.
    fn runs_in(&self, context: BatchContext) -> bool {
        self.shadow.runs_in(context.id)
    }

    /// Runs the new version and compares, in a batch that both run. It runs after the old one, and reports the cost of both.
    fn run(&mut self, context: BatchContext, work: impl FnOnce(&mut T, &StageNode, &mut Comparison) -> Result<()>) {
        let mut compared = Comparison::default();
        let worked = work(&mut self.new, self.shadow.node(), &mut compared);
        [compared.cost_ns, compared.cost_new_ns] = self.costs();
        match worked {
            Ok(()) => self.shadow.add(context.id, compared),
            Err(error) => self.shadow.fail(context.id, error.message),
        }
    }

    /// Returns the costs of both since the last call, in nanoseconds.
    fn costs(&mut self) -> [u64; 2] {
        self.accounts.each_mut().map(|(account, reported_ns)| {
            let now_ns = account.cpu_ns();
            now_ns.saturating_sub(std::mem::replace(reported_ns, now_ns))
        })
    }

    /// Excludes costs of batches that only the old version ran.
    fn exclude_costs(&mut self) {
        self.costs();
    }
}

/// Creates the shadow of an operator whose own caller has this account.
pub type MakeShadow<T> = fn(Arc<Shadow>, &Account) -> Result<ShadowRun<T>>;

/// The shadow of an operator, if any.
pub struct ShadowSlot<T> {
    shadow: Option<Arc<Shadow>>,
    run: Option<ShadowRun<T>>,
}

impl<T> Default for ShadowSlot<T> {
    fn default() -> ShadowSlot<T> {
        ShadowSlot { shadow: None, run: None }
    }
}

impl<T> ShadowSlot<T> {
    /// Attaches or detaches a shadow. Call it at the beginning of a batch, after [`CurrentPlugin::renewed`]. `old` is the account of the operator's
    /// own caller.
    pub fn update(&mut self, current: &CurrentPlugin, old: &Account, make: MakeShadow<T>) {
        if self.shadow.as_ref().map(Arc::as_ptr) == current.shadow().map(Arc::as_ptr) {
            return;
        }
        self.shadow = current.shadow().cloned();
        self.run = self.shadow.clone().and_then(|shadow| match make(shadow.clone(), old) {
            Ok(run) => Some(run),
            Err(error) => {
                shadow.fail(BatchId(0), error.message);
                None
            }
        });
    }

    /// Returns the shadow, if it runs this batch.
    pub fn in_batch(&mut self, context: BatchContext) -> Option<&mut ShadowRun<T>> {
        // Its state is no longer needed; a copied state may be large.
        drop(self.run.take_if(|run| run.shadow.is_over(context.id)));
        let run = self.run.as_mut()?;
        let runs = run.runs_in(context);
        if !runs {
            run.exclude_costs();
        }
        runs.then_some(run)
    }
}

fn plugin_of(stage: &StageNode) -> Result<&PluginNode> {
    stage.plugin().ok_or_else(|| Error::bug(format!("stage `{}` has a shadow and no plugin", stage.name)))
}

fn row_numbers(bad_rows: &[RejectedRow]) -> Vec<u32> {
    bad_rows.iter().map(|rejection| rejection.row).collect()
}

/// A plugin that is called with the rows of a part, or with groups of them.
pub type CallerShadow = ShadowRun<Caller>;

impl ShadowRun<Caller> {
    /// Creates the shadow of a `transform` or `cogroup` stage.
    pub fn of_caller(shadow: Arc<Shadow>, old: &Account) -> Result<CallerShadow> {
        ShadowRun::new(shadow, old, |caller| caller)
    }

    /// World `transform`: compares the old version's output `made` for the rows of a part, and its rejected rows.
    pub fn transform(
        &mut self,
        context: BatchContext,
        rows: &RecordBatch,
        made: &RecordBatch,
        bad_rows: &[RejectedRow],
    ) {
        self.run(context, |caller, stage, compared| {
            let node = plugin_of(stage)?;
            let needs = &node.description.input;
            let (readable, nulls) = without_nulls(rows.clone(), &node.reads, needs).map_err(Error::arrow)?;
            let read = readable.project(&node.reads).map_err(Error::arrow)?;
            let Processed { rows: new, rejections } = caller.process(context.call(), &read)?;
            compared.rejected_rows_by_index(
                rows,
                &row_numbers(bad_rows),
                &row_numbers(&merge_rejections(nulls, rejections)),
            );
            compared.rows(made, &new)
        });
    }

    /// World `cogroup`: compares the old version's output for some groups. `rows` has all columns of the rows of each input.
    pub fn cogroup(&mut self, context: BatchContext, groups: &Cogroups, rows: &[RecordBatch], made: &Cogrouped) {
        self.run(context, |caller, stage, compared| {
            let Operator::Cogroup(node) = &stage.operator else {
                return Err(Error::bug("the shadow of a cogroup stage is of another kind"));
            };
            let mut inputs: Vec<(RecordBatch, UInt32Array)> = Vec::new();
            for ((input, rows), (_, ends)) in node.inputs.iter().zip(rows).zip(&groups.inputs) {
                let (readable, nulls) =
                    without_nulls(rows.clone(), &input.reads, &input.needs).map_err(Error::arrow)?;
                if let Some(null) = nulls.first() {
                    return Err(Error::plugin(format!("rows of `{}` cannot be compared: {}", input.name, null.reason)));
                }
                inputs.push((readable.project(&input.reads).map_err(Error::arrow)?, ends.clone()));
            }
            let keys = groups.keys.clone();
            let new = caller.cogroup(context.call(), &Cogroups { keys, inputs })?;
            for ((rows, old), new) in rows.iter().zip(&made.rejections).zip(&new.rejections) {
                compared.rejected_rows_by_index(rows, &row_numbers(old), &row_numbers(new));
            }
            compared.rows(&made.rows, &new.rows)
        });
    }
}

/// The shadow of an update stage: it has a copy of the state, created when the first batch begins.
pub struct ShadowState {
    caller: Option<Caller>,
    state: Option<UpdateStage>,
}

impl ShadowRun<ShadowState> {
    /// Creates the shadow of an `update` stage.
    pub fn of_state(shadow: Arc<Shadow>, old: &Account) -> Result<ShadowRun<ShadowState>> {
        ShadowRun::new(shadow, old, |caller| ShadowState { caller: Some(caller), state: None })
    }

    /// Before the old version runs the first shared batch: copies its state.
    pub fn begin(&mut self, context: BatchContext, old: &mut UpdateStage) {
        old.record_calls();
        let Some(caller) = self.new.caller.take() else { return };
        let stage = self.shadow.node();
        match copied(old, stage, caller, context.time) {
            Ok(copy) => self.new.state = Some(copy),
            Err(error) => self.shadow.fail(context.id, error.message),
        }
    }

    /// After the old version ran: compares its output for these parts, and its states.
    pub fn batch(&mut self, context: BatchContext, parts: Vec<Part>, old: &mut UpdateStage, made: &Output) {
        let called = old.take_called();
        self.run(context, |new, stage, compared| {
            let Some(state) = &mut new.state else { return Err(Error::bug("a shadow without a state")) };
            state.record_calls();
            let node = plugin_of(stage)?;
            let mut output = Output::default();
            let parts = readable(parts, node, compared)?;
            state.batch(context, parts, &mut output)?;
            compared.rows(&together_rows(&made.rows, &stage.output)?, &together_rows(&output.rows, &stage.output)?)?;
            let own = |parts: &[Part]| {
                let rows = together_rows(parts, &stage.rejected.schema)?;
                rows.project(&(0..stage.rejected.reason_at()).collect::<Vec<_>>()).map_err(Error::arrow)
            };
            compared.rejected_rows(&own(&made.rejected)?, &own(&output.rejected)?)?;
            let keys = either(called, state.take_called());
            let of = |(rows, known)| States { rows, known };
            let states = [of(old.states_of(&keys)?), of(state.states_of(&keys)?)];
            compared.states(|| old.key_rows(&keys), &states[0], &states[1])?;
            state.shrink()
        });
    }
}

/// Returns a copy of the stage before a batch, with the new version. If that has other state columns, the state is migrated.
fn copied(old: &UpdateStage, stage: &StageNode, caller: Caller, time: BatchTime) -> Result<UpdateStage> {
    let Operator::Update(_, node) = &stage.operator else {
        return Err(Error::bug("the shadow of an update stage is of another kind"));
    };
    let migrated = old.migrated(stage, time)?;
    Ok(old.copied(UpdateNode::clone(node), stage.rejected.clone(), caller, migrated))
}

/// Returns the rows of parts that the new version can read. It alone rejects those with a null where only it needs a value.
fn readable(mut parts: Vec<Part>, node: &PluginNode, compared: &mut Comparison) -> Result<Vec<Part>> {
    for part in &mut parts {
        let rows = part.rows.clone();
        let (readable, nulls) = without_nulls(rows, &node.reads, &node.description.input).map_err(Error::arrow)?;
        compared.rejected_rows_by_index(&part.rows, &[], &row_numbers(&nulls));
        part.rows = readable;
    }
    Ok(parts)
}

fn together_rows(parts: &[Part], schema: &SchemaRef) -> Result<RecordBatch> {
    let schema = parts.first().map_or(schema, |part| part.rows.schema_ref());
    concat_batches(schema, parts.iter().map(|part| &part.rows)).map_err(Error::arrow)
}

/// Returns the distinct keys of both lists, which are mostly equal.
fn either(old: Vec<OwnedKey>, new: Vec<OwnedKey>) -> Vec<OwnedKey> {
    if old == new {
        return old;
    }
    old.into_iter().chain(new).collect::<BTreeSet<_>>().into_iter().collect()
}

/// One half of an aggregate: lifting on the worker with the rows, or combining and lowering on the owner of the keys.
pub type AggregateShadow = ShadowRun<(Caller, Grouper)>;

impl ShadowRun<(Caller, Grouper)> {
    /// Creates the shadow of an `aggregate` stage.
    pub fn of_half(shadow: Arc<Shadow>, old: &Account) -> Result<AggregateShadow> {
        ShadowRun::new(shadow, old, |caller| (caller, Grouper::default()))
    }

    /// Lifts the rows of a part, of which the old version rejected `refused`. Sends the new version's accumulators to the same workers as the old
    /// one's, marked by [`SHADOW`].
    pub fn lift(&mut self, context: BatchContext, part: &Part, bad_rows: usize, peers: usize, output: &mut Output) {
        self.run(context, |(caller, grouper), stage, compared| {
            let node = plugin_of(stage)?;
            let needs = &node.description.input;
            let (rows, nulls) = without_nulls(part.rows.clone(), &node.reads, needs).map_err(Error::arrow)?;
            let (rows, guilty) = liftable(caller, context, node, rows)?;
            compared.rejected_counts(bad_rows, nulls.len() + guilty);
            if rows.num_rows() == 0 {
                return Ok(());
            }
            let lifted = caller.lift(context.call(), &rows.project(&node.reads).map_err(Error::arrow)?)?;
            let keys: Vec<ArrayRef> = stage.key.iter().map(|key| canonical_column(rows.column(*key))).collect();
            let reduced = combine_by_key(caller, context.call(), &keys, lifted, grouper)?;
            let rows = reduce::with_keys(&transit_schema(stage)?, &reduced.keys, &reduced.accumulators)?;
            let split = match reduced.encoded {
                None => vec![(0, rows)],
                Some(keys) => split_by_key(&rows, &keys.hashes(), peers).map_err(Error::arrow)?,
            };
            let part = |(to, rows)| Part { to, rows, input: SHADOW, ..part.clone() };
            output.rows.extend(split.into_iter().map(part).filter(|part| part.rows.num_rows() > 0));
            Ok(())
        });
    }

    /// Combines and lowers accumulators that [`ShadowRun::lift`] sent, and compares them with the old version's rows.
    pub fn lower(&mut self, context: BatchContext, parts: Vec<Part>, made: &RecordBatch) {
        self.run(context, |(caller, grouper), stage, compared| {
            let keys = stage.key.len();
            let parts: Vec<RecordBatch> = parts.into_iter().map(|part| part.rows).collect();
            if parts.is_empty() {
                return compared.rows(made, &RecordBatch::new_empty(made.schema()));
            }
            let (keys, accumulators) = reduce::split_keys(&parts, &transit_schema(stage)?, keys)?;
            let reduced = combine_by_key(caller, context.call(), &keys, accumulators, grouper)?;
            let count = reduced.accumulators.num_rows();
            let keys = reduce::key_batch(&stage.input, &stage.key, reduced.keys.clone(), count)?;
            let lowered = caller.lower(context.call(), &keys, &reduced.accumulators)?;
            compared.rows(made, &reduce::with_keys(&made.schema(), &reduced.keys, &lowered)?)
        });
    }
}

/// Returns the rows that the new version converts to accumulators, and the number of the others.
fn liftable(
    caller: &mut Caller,
    context: BatchContext,
    node: &PluginNode,
    rows: RecordBatch,
) -> Result<(RecordBatch, usize)> {
    if node.stage.on_error == OnError::Fail {
        return Ok((rows, 0));
    }
    let bad_rows = caller.find_rejected(context.call(), &rows.project(&node.reads).map_err(Error::arrow)?)?;
    let bad_rows: BTreeSet<u32> = row_numbers(&bad_rows).into_iter().collect();
    let keep: BooleanArray = (0..rows.num_rows() as u32).map(|row| Some(!bad_rows.contains(&row))).collect();
    Ok((filter_record_batch(&rows, &keep).map_err(Error::arrow)?, bad_rows.len()))
}

/// Returns the columns of accumulators in transit: keys, then state.
pub fn transit_schema(stage: &StageNode) -> Result<SchemaRef> {
    let keys = stage.input.project(&stage.key).map_err(Error::arrow)?;
    let fields = keys.fields().iter().chain(plugin_of(stage)?.description.state.fields()).cloned();
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}
