//! Stages in the graph. Each consists of, in the order of the rows:
//!
//! ```text
//! inputs -> [event time] -> [window] -> operator -> [filter, select]
//! ```

use super::by_key::by_key_in_order;
use crate::operators::context::{BuildContext, Input, StageStreams};
use crate::operators::simple::SimpleNode;
use crate::operators::stage::{Operator, StageNode};
use crate::operators::window::node::WindowNode;
use crate::operators::{
    aggregate, cogroup, deduplicate, distinct, enrich, event_time, join, latest, newest, pattern, plugin, ranking,
    repartition, sample, session, shape, split, sql, top, update, window,
};
use crate::timely_ext::{Parts, each_part};
use millstream_base::error::Result;

/// Builds a stage.
pub fn build<'s>(stage: &StageNode, parts: Parts<'s>, build: &BuildContext<'s, '_>) -> Result<StageStreams<'s>> {
    let Some(event_time) = &stage.event_time else {
        let input = Input { parts, progress: None };
        return shape::run::build(stage, operator(stage, input, build)?, build);
    };
    let timed = event_time::build(stage, event_time, parts, build);
    let input = Input { parts: timed.rows, progress: Some(timed.progress) };
    let streams = operator(stage, input, build)?.with_rejected(timed.rejected);
    shape::run::build(stage, streams, build)
}

fn operator<'s>(stage: &StageNode, input: Input<'s>, build: &BuildContext<'s, '_>) -> Result<StageStreams<'s>> {
    match (&stage.window, &stage.operator) {
        (Some(WindowNode::Session { .. }), Operator::Aggregate(_) | Operator::Reduce(_)) => {
            session::run::build(stage, input, build)
        }
        (Some(_), Operator::Aggregate(_) | Operator::Reduce(_)) => aggregate::windowed::build(stage, input, build),
        // Over all rows, which the operator stores itself.
        (Some(WindowNode::All), Operator::Simple(_) | Operator::Join(_)) => over_batches(stage, input, build),
        (Some(window), _) => {
            let windowed = window::run::build(stage, window, input, build)?;
            let input = Input { parts: windowed.rows, progress: None };
            let mut streams = over_batches(stage, input, build)?.with_rejected(windowed.rejected);
            streams.sides.splice(0..0, windowed.sides);
            streams.changes.extend(windowed.changes);
            streams.holds = windowed.holds;
            Ok(streams)
        }
        (None, _) => over_batches(stage, input, build),
    }
}

/// Builds an operator on the rows of a batch, or on those of windows that end with it.
fn over_batches<'s>(stage: &StageNode, input: Input<'s>, build: &BuildContext<'s, '_>) -> Result<StageStreams<'s>> {
    let parts = input.parts;
    let (rows, rejected) = match &stage.operator {
        Operator::Union => {
            let metrics = build.metrics.counts(&stage.name);
            each_part(parts, &stage.name, build.failure.clone(), move |context, part, output| {
                metrics.add_rows(part.rows.num_rows());
                output.push(context, part.order, part.rows);
                Ok(())
            })
        }
        Operator::Transform(node) => {
            let parts = by_key_in_order(stage, parts, build);
            plugin::run::transform(stage, node, parts, build)
        }
        Operator::Aggregate(builtin) => aggregate::run::aggregate(stage, builtin, parts, build),
        Operator::Reduce(node) => aggregate::run::reduce(stage, node, parts, build)?,
        Operator::Update(node, update) => {
            return update::run::build(stage, node, update, Input { parts, progress: input.progress }, build);
        }
        Operator::Cogroup(node) => {
            return cogroup::run::build(stage, node, Input { parts, progress: input.progress }, build);
        }
        Operator::Sql(node) => return sql::run::build(stage, node, parts, build),
        Operator::Join(node) => return join::run::build(stage, node, Input { parts, progress: input.progress }, build),
        Operator::Enrich(node) => return enrich::run::build(stage, node, parts, build),
        Operator::Latest(node) => return latest::run::build(stage, node, parts, build),
        Operator::Pattern(node) => {
            return pattern::run::build(stage, node, Input { parts, progress: input.progress }, build);
        }
        Operator::Simple(node) => {
            return simple_operator(stage, node, Input { parts, progress: input.progress }, build);
        }
    };
    Ok(StageStreams::new(rows, rejected))
}

/// Builds an operator that selects or distributes rows.
fn simple_operator<'s>(
    stage: &StageNode,
    node: &SimpleNode,
    input: Input<'s>,
    build: &BuildContext<'s, '_>,
) -> Result<StageStreams<'s>> {
    Ok(match node {
        SimpleNode::Top { n, by, ascending, bounds } => {
            let order = top::run::RowOrder { n: *n, by: *by, ascending: *ascending, bounds: *bounds };
            top::run::build(stage, order, input.parts, build)
        }
        SimpleNode::Ranking(node) => return ranking::run::build(stage, node, input.parts, build),
        SimpleNode::Newest(node) => return newest::run::build(stage, node, input.parts, build),
        SimpleNode::Distinct(columns) => distinct::run::build(stage, columns, input.parts, build),
        SimpleNode::Deduplicate { within_us } => return deduplicate::run::build(stage, *within_us, input, build),
        SimpleNode::Sample(below) => sample::run::build(stage, *below, input.parts, build),
        SimpleNode::Split(predicates) => split::run::build(stage, predicates, input.parts, build),
        SimpleNode::Repartition { partitions } => repartition::run::build(stage, *partitions, input.parts, build),
    })
}
