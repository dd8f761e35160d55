//! Stages that aggregate the rows of one batch: on each part, then by key on the worker that owns it.

use crate::exchange::{parts_of, split_by_key};
use crate::operators::aggregate::builtin::Builtin;
use crate::operators::context::BuildContext;
use crate::operators::plugin::node::PluginNode;
use crate::operators::plugin::run::{OperatorPlugin, ReadableRows};
use crate::operators::plugin::shadow::run::{AggregateShadow, ShadowSlot};
use crate::operators::stage::StageNode;
use crate::timely_ext::{Parts, SHADOW, each_batch, each_part};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use millstream_base::error::{Error, Result};
use millstream_base::ids::PartOrder;
use millstream_plugins::plugin::reduce::{self, combine_by_key};
use millstream_rows::batch::group::Grouper;
use millstream_rows::batch::keys::canonical_column;
use millstream_rows::batch::part::Part;
use std::sync::Arc;

/// Runs built-in aggregates: a stream of rows, none rejected.
pub fn aggregate<'s>(
    stage: &StageNode,
    builtin: &Builtin,
    input: Parts<'s>,
    build: &BuildContext<'s, '_>,
) -> (Parts<'s>, Parts<'s>) {
    let failure = build.failure.clone();
    let metrics = build.metrics.counts(&stage.name);
    let (local, peers, mut grouper) = (builtin.clone(), build.peers, Grouper::default());
    let (partial, _) =
        each_part(input, &format!("{} partial", stage.name), failure.clone(), move |context, part, output| {
            let (partial, hashes) = local.partial(context, &part.rows, &mut grouper)?;
            let split = split_by_key(&partial, &hashes, peers).map_err(Error::arrow)?;
            output.rows.extend(parts_of(split, &part));
            Ok(())
        });
    let (builtin, index, name, mut grouper) = (builtin.clone(), build.index, stage.name.clone(), Grouper::default());
    each_batch(
        partial,
        build.ticks.clone(),
        &stage.name,
        failure,
        |part| part.to,
        move |context, parts, output| {
            // Without a key there is one row per batch, even if the batch is empty. It belongs to worker 0.
            if parts.is_empty() && (builtin.key_columns() > 0 || index > 0) {
                return Ok(());
            }
            let partials: Vec<RecordBatch> = parts.into_iter().map(|part| part.rows).collect();
            let rows = builtin
                .finish(&partials, &mut grouper)
                .map_err(|error| error.within(format!("stage `{name}`: batch {}", context.id)))?;
            metrics.add_rows(rows.num_rows());
            output.push(context, PartOrder::at(index as u64), rows);
            Ok(())
        },
    )
}

/// Runs an `aggregate` plugin: a stream of rows, and one of rejected rows.
pub fn reduce<'s>(
    stage: &StageNode,
    node: &PluginNode,
    input: Parts<'s>,
    build: &BuildContext<'s, '_>,
) -> Result<(Parts<'s>, Parts<'s>)> {
    let failure = build.failure.clone();
    let metrics = build.metrics.counts(&stage.name);
    let keys = stage.input.project(&stage.key).map_err(Error::arrow)?;
    let fields = keys.fields().iter().chain(node.description.state.fields()).cloned();
    let between: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));

    let mut lifting = OperatorPlugin::new(stage, node, build);
    let mut readable = ReadableRows::to_lift(stage, node, build);
    let (key, schema, peers, mut grouper) = (stage.key.clone(), between.clone(), build.peers, Grouper::default());
    let mut shadow = ShadowSlot::default();
    let (partial, rejected) =
        each_part(input, &format!("{} lift", stage.name), failure.clone(), move |context, part, output| {
            let lifting = lifting.renewed(&mut shadow, AggregateShadow::of_half)?;
            let rows = readable.select(context, &part, output)?;
            if let Some(run) = shadow.in_batch(context) {
                run.lift(context, &part, part.rows.num_rows() - rows.num_rows(), peers, output);
            }
            if rows.num_rows() == 0 {
                return Ok(());
            }
            let lifted = lifting.lift(context.call(), &rows.project(&readable.reads).map_err(Error::arrow)?)?;
            let keys: Vec<ArrayRef> = key.iter().map(|key| canonical_column(rows.column(*key))).collect();
            let reduced = combine_by_key(lifting, context.call(), &keys, lifted, &mut grouper)?;
            let rows = reduce::with_keys(&schema, &reduced.keys, &reduced.accumulators)?;
            match reduced.encoded {
                None => output.push(context, part.order.clone(), rows),
                Some(keys) => {
                    let split = split_by_key(&rows, &keys.hashes(), peers).map_err(Error::arrow)?;
                    output.rows.extend(parts_of(split, &part));
                }
            }
            Ok(())
        });

    let mut calling = OperatorPlugin::new(stage, node, build);
    let (stage_input, key, output_schema) = (stage.input.clone(), stage.key.clone(), stage.output.clone());
    let (index, mut grouper) = (build.index, Grouper::default());
    let mut shadow = ShadowSlot::default();
    let (rows, _) = each_batch(
        partial,
        build.ticks.clone(),
        &stage.name,
        failure,
        |part| part.to,
        move |context, parts, output| {
            let caller = calling.renewed(&mut shadow, AggregateShadow::of_half)?;
            let (of_shadow, parts): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(|part| part.input == SHADOW);
            if parts.is_empty() {
                let nothing = RecordBatch::new_empty(output_schema.clone());
                if let Some(shadow) = shadow.in_batch(context) {
                    shadow.lower(context, of_shadow, &nothing);
                }
                return Ok(());
            }
            let parts: Vec<RecordBatch> = parts.into_iter().map(|part| part.rows).collect();
            let (keys, accumulators) = reduce::split_keys(&parts, &between, key.len())?;
            let reduced = combine_by_key(caller, context.call(), &keys, accumulators, &mut grouper)?;
            let count = reduced.accumulators.num_rows();
            let keys = reduce::key_batch(&stage_input, &key, reduced.keys.clone(), count)?;
            let lowered = caller.lower(context.call(), &keys, &reduced.accumulators)?;
            metrics.add_rows(count);
            let rows = reduce::with_keys(&output_schema, &reduced.keys, &lowered)?;
            if let Some(shadow) = shadow.in_batch(context) {
                shadow.lower(context, of_shadow, &rows);
            }
            output.push(context, PartOrder::at(index as u64), rows);
            Ok(())
        },
    );
    Ok((rows, rejected))
}
