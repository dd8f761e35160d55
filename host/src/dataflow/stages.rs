//! Stages in the graph: each becomes one or two operators with an exchange between them.

use crate::aggregate::builtin::Builtin;
use crate::aggregate::reduce::{self, combine_by_key};
use crate::batch::group::Grouper;
use crate::batch::keys::{KeyHash, Keys, canonical_column};
use crate::batch::part::Part;
use crate::batch::rejected::{rejected_rows, without_nulls};
use crate::checkpoint::types::{StateFile, TableOf};
use crate::checkpoint::{fold, read};
use crate::error::{Error, Result};
use crate::exchange::{by_key_group, parts_of, split_by_key};
use crate::graph::{Operator, PluginNode, StageNode, UpdateNode};
use crate::ids::{BatchId, PartOrder};
use crate::metrics::Counts;
use crate::plugin::{CallContext, Caller, Processed};
use crate::run::Running;
use crate::state::update::UpdateStage;
use crate::timely_ext::{
    BatchContext, BatchWork, Changes, ChangesStream, Output, Parts, Ticks, each_batch, each_batch_with_state, each_part,
};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use std::sync::Arc;
use timely::dataflow::operators::{Concat, Exchange};

/// Where a stage is built.
pub struct At<'s, 'r> {
    /// The ticks that this worker sees.
    pub ticks: Ticks<'s>,
    /// This worker.
    pub index: usize,
    /// How many workers there are.
    pub peers: usize,
    /// The job.
    pub running: &'r Running,
}

/// A stage's rows, its rejected rows, and what a checkpoint has to hold of its state, if it has one.
pub fn build<'s>(stage: &StageNode, input: Parts<'s>, at: At<'s, '_>) -> Result<StageStreams<'s>> {
    let (rows, rejected) = match &stage.operator {
        Operator::Union => {
            let metrics = at.running.metrics.of(&stage.name);
            each_part(input, &stage.name, at.running.failure.clone(), move |context, part, output| {
                metrics.add_rows(part.rows.num_rows());
                output.push(context, part.order, part.rows);
                Ok(())
            })
        }
        Operator::Transform(node) => transform(stage, node, by_key(stage, input, &at), &at),
        Operator::Aggregate(builtin) => aggregate(stage, builtin, input, at),
        Operator::Reduce(node) => reduce(stage, node, input, at)?,
        Operator::Update(node, update) => return update_state(stage, node, update, input, at),
    };
    Ok((rows, rejected, None))
}

/// See [`build`].
pub type StageStreams<'s> = (Parts<'s>, Parts<'s>, Option<ChangesStream<'s>>);

/// Brings rows to the worker that owns their key, where the stage has one. The rows of a part come out in the order of
/// their key groups, so that what the workers make of them stands in the same order however many workers there are.
fn by_key<'s>(stage: &StageNode, input: Parts<'s>, at: &At<'s, '_>) -> Parts<'s> {
    if stage.key.is_empty() {
        return input;
    }
    let (key, failure) = (stage.key.clone(), at.running.failure.clone());
    let (grouped, _) = each_part(input, &format!("{} group", stage.name), failure.clone(), move |_, part, output| {
        let rows = by_key_group(&part.rows, &hashes(&key, &part.rows)?).map_err(Error::arrow)?;
        output.rows.push(Part { rows, ..part });
        Ok(())
    });
    if at.peers == 1 {
        return grouped;
    }
    let (split, _) = split_parts(stage, grouped, at);
    let (peers, index) = (at.peers as u64, at.index as u64);
    let moved = split.exchange(|part: &Part| part.to);
    let (ordered, _) = each_part(moved, &format!("{} order", stage.name), failure, move |context, part, output| {
        output.push(context, PartOrder(part.order.0.saturating_mul(peers).saturating_add(index)), part.rows);
        Ok(())
    });
    ordered
}

fn hashes(key: &[usize], rows: &RecordBatch) -> Result<Vec<KeyHash>> {
    let columns: Vec<ArrayRef> = key.iter().map(|key| rows.column(*key).clone()).collect();
    Ok(Keys::encode(&columns, rows.num_rows()).map_err(Error::arrow)?.hashes())
}

/// Splits parts by key; where a part goes stands in it.
fn split_parts<'s>(stage: &StageNode, input: Parts<'s>, at: &At<'s, '_>) -> (Parts<'s>, Parts<'s>) {
    let (key, peers) = (stage.key.clone(), at.peers);
    each_part(input, &format!("{} by key", stage.name), at.running.failure.clone(), move |_, part, output| {
        let split = split_by_key(&part.rows, &hashes(&key, &part.rows)?, peers).map_err(Error::arrow)?;
        output.rows.extend(parts_of(split, &part));
        Ok(())
    })
}

fn transform<'s>(stage: &StageNode, node: &PluginNode, input: Parts<'s>, at: &At<'s, '_>) -> (Parts<'s>, Parts<'s>) {
    let metrics = at.running.metrics.of(&stage.name);
    let mut caller = caller(node, &metrics);
    let whole = WholeRows::new(stage, node, &metrics);
    each_part(input, &stage.name, at.running.failure.clone(), move |context, part, output| {
        let rows = whole.of(context, &part, output)?;
        let Processed { rows: made, rejections } =
            caller.process(call(context), &rows.project(&whole.reads).map_err(Error::arrow)?)?;
        metrics.add_rows(made.num_rows());
        output.push(context, part.order, made);
        whole.reject(context, part.order, &rows, rejections, output)
    })
}

fn aggregate<'s>(stage: &StageNode, builtin: &Builtin, input: Parts<'s>, at: At<'s, '_>) -> (Parts<'s>, Parts<'s>) {
    let failure = at.running.failure.clone();
    let metrics = at.running.metrics.of(&stage.name);
    let (local, peers, mut grouper) = (builtin.clone(), at.peers, Grouper::default());
    let (partial, _) = each_part(input, &format!("{} partial", stage.name), failure.clone(), move |_, part, output| {
        let (partial, hashes) = local.partial(&part.rows, &mut grouper)?;
        let split = split_by_key(&partial, &hashes, peers).map_err(Error::arrow)?;
        output.rows.extend(parts_of(split, &part));
        Ok(())
    });
    let (builtin, index, name, mut grouper) = (builtin.clone(), at.index, stage.name.clone(), Grouper::default());
    each_batch(
        partial,
        at.ticks,
        &stage.name,
        failure,
        |part| part.to,
        move |context, parts, output| {
            // Without a key there is one row a batch, also of nothing; it belongs to worker 0.
            if parts.is_empty() && (builtin.key_columns() > 0 || index > 0) {
                return Ok(());
            }
            let partials: Vec<RecordBatch> = parts.into_iter().map(|part| part.rows).collect();
            let rows = builtin
                .finish(&partials, &mut grouper)
                .map_err(|error| error.within(format!("stage `{name}`: batch {}", context.id)))?;
            metrics.add_rows(rows.num_rows());
            output.push(context, PartOrder(index as u64), rows);
            Ok(())
        },
    )
}

fn reduce<'s>(
    stage: &StageNode,
    node: &PluginNode,
    input: Parts<'s>,
    at: At<'s, '_>,
) -> Result<(Parts<'s>, Parts<'s>)> {
    let failure = at.running.failure.clone();
    let metrics = at.running.metrics.of(&stage.name);
    let keys = stage.input.project(&stage.key).map_err(Error::arrow)?;
    let fields = keys.fields().iter().chain(node.description.state.fields()).cloned();
    let between: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));

    let mut lifting = caller(node, &metrics);
    let whole = WholeRows::new(stage, node, &metrics);
    let (key, schema, peers, mut grouper) = (stage.key.clone(), between.clone(), at.peers, Grouper::default());
    let (partial, refused) =
        each_part(input, &format!("{} lift", stage.name), failure.clone(), move |context, part, output| {
            let rows = whole.of(context, &part, output)?;
            if rows.num_rows() == 0 {
                return Ok(());
            }
            let lifted = lifting.lift(call(context), &rows.project(&whole.reads).map_err(Error::arrow)?)?;
            let keys: Vec<ArrayRef> = key.iter().map(|key| canonical_column(rows.column(*key))).collect();
            let reduced = combine_by_key(&mut lifting, call(context), &keys, lifted, &mut grouper)?;
            let rows = reduce::with_keys(&schema, &reduced.keys, &reduced.accumulators)?;
            match reduced.encoded {
                None => output.push(context, part.order, rows),
                Some(keys) => {
                    let split = split_by_key(&rows, &keys.hashes(), peers).map_err(Error::arrow)?;
                    output.rows.extend(parts_of(split, &part));
                }
            }
            Ok(())
        });

    let mut caller = caller(node, &metrics);
    let (stage_input, key, output_schema) = (stage.input.clone(), stage.key.clone(), stage.output.clone());
    let (index, mut grouper) = (at.index, Grouper::default());
    let (rows, _) = each_batch(
        partial,
        at.ticks,
        &stage.name,
        failure,
        |part| part.to,
        move |context, parts, output| {
            if parts.is_empty() {
                return Ok(());
            }
            let parts: Vec<RecordBatch> = parts.into_iter().map(|part| part.rows).collect();
            let (keys, accumulators) = reduce::split_keys(&parts, &between, key.len())?;
            let reduced = combine_by_key(&mut caller, call(context), &keys, accumulators, &mut grouper)?;
            let count = reduced.accumulators.num_rows();
            let keys = reduce::key_batch(&stage_input, &key, reduced.keys.clone(), count)?;
            let lowered = caller.lower(call(context), &keys, &reduced.accumulators)?;
            metrics.add_rows(count);
            output.push(context, PartOrder(index as u64), reduce::with_keys(&output_schema, &reduced.keys, &lowered)?);
            Ok(())
        },
    );
    Ok((rows, refused))
}

fn update_state<'s>(
    stage: &StageNode,
    node: &PluginNode,
    update: &UpdateNode,
    input: Parts<'s>,
    at: At<'s, '_>,
) -> Result<StageStreams<'s>> {
    let metrics = at.running.metrics.of(&stage.name);
    let caller = caller(node, &metrics);
    let whole = WholeRows::new(stage, node, &metrics);
    let failure = at.running.failure.clone();
    let (checked, nulls) =
        each_part(input, &format!("{} nulls", stage.name), failure.clone(), move |context, part, output| {
            let rows = whole.of(context, &part, output)?;
            output.push(context, part.order, rows);
            Ok(())
        });
    let (split, _) = split_parts(stage, checked, &at);
    let state = UpdateStage::new(update.clone(), caller, at.index, at.peers)?;
    let work = StateWork::new(stage, state, metrics, &at)?;
    let (rows, refused, changes) = each_batch_with_state(split, at.ticks, &stage.name, failure, |part| part.to, work);
    Ok((rows, refused.concat(nulls), Some(changes)))
}

/// An update stage on one worker, with what checkpoints hold of it.
struct StateWork {
    state: UpdateStage,
    metrics: Counts,
    /// The place of its table among the job's, and the files that make up this worker's part of it.
    kept: Option<(usize, Vec<StateFile>)>,
    groups: (u32, u32),
}

impl StateWork {
    fn new(stage: &StageNode, mut state: UpdateStage, metrics: Counts, at: &At<'_, '_>) -> Result<StateWork> {
        let groups = fold::group_range(at.index, at.peers);
        let mut kept = None;
        if let Some(shared) = &at.running.kept
            && let Some(place) = shared.table(TableOf::Stage, &stage.name)
            && let Some(table) = shared.tables.get(place)
        {
            state.track_changes();
            if shared.held.contains(&place) {
                let (first, end) = groups;
                state.restore(read::load_table(&*shared.store, table, first, end, None)?)?;
                shared.restored.add(state.len());
            }
            kept = Some((place, table.files.clone()));
        }
        Ok(StateWork { state, metrics, kept, groups })
    }
}

impl BatchWork for StateWork {
    fn batch(&mut self, context: BatchContext, parts: Vec<Part>, output: &mut Output) -> Result<()> {
        self.state.batch(context, parts, output)?;
        self.metrics.add_rows(output.rows.iter().map(|part| part.rows.num_rows()).sum());
        self.metrics.add_rejected(output.rejected.iter().map(|part| part.rows.num_rows()).sum());
        Ok(())
    }

    fn barrier(&mut self, after: BatchId) -> Result<Vec<Changes>> {
        let Some((table, files)) = &mut self.kept else { return Ok(Vec::new()) };
        let (first, end) = self.groups;
        let changed = self.state.changed();
        if changed == 0 {
            return Ok(Vec::new());
        }
        let base = fold::base_due(files, first, end, changed, self.state.len() as u64);
        let rows = self.state.changes(base)?;
        fold::note(files, after, self.groups, base, rows.num_rows() as u64);
        Ok(vec![Changes { table: *table, groups: self.groups, base, rows }])
    }
}

/// A caller of the stage's plugin, whose counters are the stage's.
fn caller(node: &PluginNode, metrics: &Counts) -> Caller {
    let caller = node.plugin.caller(node.stage.clone(), &node.description);
    metrics.share_counters(caller.counters().clone());
    caller
}

/// Takes the rows that a plugin can read out of a part; those with a null where it needs a value are rejected.
struct WholeRows {
    /// Places of the columns that the plugin reads.
    reads: Vec<usize>,
    needs: SchemaRef,
    rejected: SchemaRef,
    metrics: Counts,
}

impl WholeRows {
    fn new(stage: &StageNode, node: &PluginNode, metrics: &Counts) -> WholeRows {
        let (reads, needs) = (node.reads.clone(), node.description.input.clone());
        WholeRows { reads, needs, rejected: stage.rejected.clone(), metrics: metrics.clone() }
    }

    fn of(&self, context: BatchContext, part: &Part, output: &mut Output) -> Result<RecordBatch> {
        let (rows, nulls) = without_nulls(part.rows.clone(), &self.reads, &self.needs).map_err(Error::arrow)?;
        self.reject(context, part.order, &part.rows, nulls, output)?;
        Ok(rows)
    }

    fn reject(
        &self,
        context: BatchContext,
        order: PartOrder,
        rows: &RecordBatch,
        rejections: Vec<(u32, String)>,
        output: &mut Output,
    ) -> Result<()> {
        if !rejections.is_empty() {
            self.metrics.add_rejected(rejections.len());
            output.reject(context, order, rejected_rows(&self.rejected, rows, rejections).map_err(Error::arrow)?);
        }
        Ok(())
    }
}

fn call(context: BatchContext) -> CallContext {
    CallContext { batch: context.id, time: context.time }
}
