//! Stages in the graph: each becomes one or two operators with an exchange between them.

use crate::aggregate::builtin::Builtin;
use crate::aggregate::reduce::{self, combine_by_key};
use crate::batch::group::Grouper;
use crate::batch::keys::{KeyHash, Keys, canonical_column};
use crate::batch::part::Part;
use crate::batch::rejected::{rejected_rows, without_nulls};
use crate::error::{Error, Result};
use crate::exchange::{by_key_group, parts_of, split_by_key};
use crate::graph::{Operator, PluginNode, StageNode, UpdateNode};
use crate::ids::PartOrder;
use crate::plugin::{CallContext, Processed};
use crate::run::Running;
use crate::state::update::UpdateStage;
use crate::timely_ext::{BatchContext, Parts, Ticks, each_batch, each_part};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
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

/// A stage's rows and rejected rows.
pub fn build<'s>(stage: &StageNode, input: Parts<'s>, at: At<'s, '_>) -> Result<(Parts<'s>, Parts<'s>)> {
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
        Operator::Update(node, update) => update_state(stage, node, update, input, at)?,
    };
    Ok((rows, rejected))
}

/// Brings rows to the worker that owns their key, where the stage has one. The rows of a part come out in the order of
/// their key groups, so that what the workers make of them stands in the same order however many workers there are.
fn by_key<'s>(stage: &StageNode, input: Parts<'s>, at: &At<'s, '_>) -> Parts<'s> {
    if stage.key.is_empty() {
        return input;
    }
    let (key, failure) = (stage.key.clone(), at.running.failure.clone());
    let (grouped, _) = each_part(input, &format!("{} group", stage.name), failure.clone(), move |_, part, output| {
        let rows = by_key_group(&part.rows, &hashes(&key, &part.rows)?).map_err(arrow)?;
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
    Ok(Keys::encode(&columns, rows.num_rows()).map_err(arrow)?.hashes())
}

/// Splits parts by key; where a part goes stands in it.
fn split_parts<'s>(stage: &StageNode, input: Parts<'s>, at: &At<'s, '_>) -> (Parts<'s>, Parts<'s>) {
    let (key, peers) = (stage.key.clone(), at.peers);
    each_part(input, &format!("{} by key", stage.name), at.running.failure.clone(), move |_, part, output| {
        let split = split_by_key(&part.rows, &hashes(&key, &part.rows)?, peers).map_err(arrow)?;
        output.rows.extend(parts_of(split, &part));
        Ok(())
    })
}

fn transform<'s>(stage: &StageNode, node: &PluginNode, input: Parts<'s>, at: &At<'s, '_>) -> (Parts<'s>, Parts<'s>) {
    let metrics = at.running.metrics.of(&stage.name);
    let mut caller = node.plugin.caller(node.stage.clone(), &node.description);
    metrics.share_counters(caller.counters().clone());
    let (reads, needs) = (node.reads.clone(), node.description.input.clone());
    let rejected = stage.rejected.clone();
    each_part(input, &stage.name, at.running.failure.clone(), move |context, part, output| {
        let (rows, nulls) = without_nulls(part.rows.clone(), &reads, &needs).map_err(arrow)?;
        let Processed { rows: made, rejections } =
            caller.process(call(context), &rows.project(&reads).map_err(arrow)?)?;
        metrics.add_rows(made.num_rows());
        metrics.add_rejected(nulls.len() + rejections.len());
        output.push(context, part.order, made);
        if !nulls.is_empty() || !rejections.is_empty() {
            output.reject(context, part.order, rejected_rows(&rejected, &part.rows, nulls).map_err(arrow)?);
            output.reject(context, part.order, rejected_rows(&rejected, &rows, rejections).map_err(arrow)?);
        }
        Ok(())
    })
}

fn aggregate<'s>(stage: &StageNode, builtin: &Builtin, input: Parts<'s>, at: At<'s, '_>) -> (Parts<'s>, Parts<'s>) {
    let failure = at.running.failure.clone();
    let metrics = at.running.metrics.of(&stage.name);
    let (local, peers, mut grouper) = (builtin.clone(), at.peers, Grouper::default());
    let (partial, _) = each_part(input, &format!("{} partial", stage.name), failure.clone(), move |_, part, output| {
        let (partial, hashes) = local.partial(&part.rows, &mut grouper)?;
        let split = split_by_key(&partial, &hashes, peers).map_err(arrow)?;
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
    let keys = stage.input.project(&stage.key).map_err(arrow)?;
    let fields = keys.fields().iter().chain(node.description.state.fields()).cloned();
    let between: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));

    let mut caller = node.plugin.caller(node.stage.clone(), &node.description);
    metrics.share_counters(caller.counters().clone());
    let (key, reads, needs) = (stage.key.clone(), node.reads.clone(), node.description.input.clone());
    let (rejected, schema, peers) = (stage.rejected.clone(), between.clone(), at.peers);
    let (local_metrics, mut grouper) = (metrics.clone(), Grouper::default());
    let (partial, refused) =
        each_part(input, &format!("{} lift", stage.name), failure.clone(), move |context, part, output| {
            let (rows, nulls) = without_nulls(part.rows.clone(), &reads, &needs).map_err(arrow)?;
            if !nulls.is_empty() {
                local_metrics.add_rejected(nulls.len());
                output.reject(context, part.order, rejected_rows(&rejected, &part.rows, nulls).map_err(arrow)?);
            }
            if rows.num_rows() == 0 {
                return Ok(());
            }
            let lifted = caller.lift(call(context), &rows.project(&reads).map_err(arrow)?)?;
            let keys: Vec<ArrayRef> = key.iter().map(|key| canonical_column(rows.column(*key))).collect();
            let reduced = combine_by_key(&mut caller, call(context), &keys, lifted, &mut grouper)?;
            let rows = reduce::with_keys(&schema, &reduced.keys, &reduced.accumulators)?;
            match reduced.encoded {
                None => output.push(context, part.order, rows),
                Some(keys) => {
                    let split = split_by_key(&rows, &keys.hashes(), peers).map_err(arrow)?;
                    output.rows.extend(parts_of(split, &part));
                }
            }
            Ok(())
        });

    let mut caller = node.plugin.caller(node.stage.clone(), &node.description);
    metrics.share_counters(caller.counters().clone());
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
) -> Result<(Parts<'s>, Parts<'s>)> {
    let metrics = at.running.metrics.of(&stage.name);
    let caller = node.plugin.caller(node.stage.clone(), &node.description);
    metrics.share_counters(caller.counters().clone());
    let (reads, needs, rejected) = (node.reads.clone(), node.description.input.clone(), stage.rejected.clone());
    let checked_metrics = metrics.clone();
    let failure = at.running.failure.clone();
    let (whole, nulls) =
        each_part(input, &format!("{} nulls", stage.name), failure.clone(), move |context, part, output| {
            let (rows, nulls) = without_nulls(part.rows.clone(), &reads, &needs).map_err(arrow)?;
            if !nulls.is_empty() {
                checked_metrics.add_rejected(nulls.len());
                output.reject(context, part.order, rejected_rows(&rejected, &part.rows, nulls).map_err(arrow)?);
            }
            output.push(context, part.order, rows);
            Ok(())
        });
    let (split, _) = split_parts(stage, whole, &at);
    let mut state = UpdateStage::new(update.clone(), caller, at.index, at.peers)?;
    let (rows, refused) = each_batch(
        split,
        at.ticks,
        &stage.name,
        failure,
        |part| part.to,
        move |context, parts, output| {
            state.batch(context, parts, output)?;
            metrics.add_rows(output.rows.iter().map(|part| part.rows.num_rows()).sum());
            metrics.add_rejected(output.rejected.iter().map(|part| part.rows.num_rows()).sum());
            Ok(())
        },
    );
    Ok((rows, refused.concat(nulls)))
}

fn call(context: BatchContext) -> CallContext {
    CallContext { batch: context.id, time: context.time }
}

fn arrow(error: ArrowError) -> Error {
    Error::bug(error)
}
