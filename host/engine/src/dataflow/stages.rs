//! Stages in the graph. What each is made of, in the order of the rows:
//!
//! ```text
//! inputs -> [event time] -> [window] -> operator -> [filter, select]
//! ```

use super::by_key::by_key_in_order;
use super::{
    aggregate, cogroup, enrich, event_time, join, latest, pattern, plugin, rows_window, sessions, shape, simple, sql,
    update, windowed,
};
use crate::graph::{Operator, StageNode};
use crate::operators::context::{BuildContext, Input, StageStreams};
use crate::timely_ext::{Parts, each_part};
use crate::window::WindowNode;
use millstream_base::error::Result;

/// Builds a stage.
pub fn build<'s>(stage: &StageNode, parts: Parts<'s>, build: &BuildContext<'s, '_>) -> Result<StageStreams<'s>> {
    let Some(event_time) = &stage.event_time else {
        let input = Input { parts, progress: None };
        return shape::build(stage, operator(stage, input, build)?, build);
    };
    let timed = event_time::build(stage, event_time, parts, build);
    let input = Input { parts: timed.rows, progress: Some(timed.progress) };
    let streams = operator(stage, input, build)?.with_rejected(timed.rejected);
    shape::build(stage, streams, build)
}

fn operator<'s>(stage: &StageNode, input: Input<'s>, build: &BuildContext<'s, '_>) -> Result<StageStreams<'s>> {
    match (&stage.window, &stage.operator) {
        (Some(WindowNode::Session { .. }), Operator::Aggregate(_) | Operator::Reduce(_)) => {
            sessions::build(stage, input, build)
        }
        (Some(_), Operator::Aggregate(_) | Operator::Reduce(_)) => windowed::build(stage, input, build),
        // Over all rows, which the operator keeps itself.
        (Some(WindowNode::All), Operator::Simple(_) | Operator::Join(_)) => over_batches(stage, input, build),
        (Some(window), _) => {
            let windowed = rows_window::build(stage, window, input, build)?;
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

/// An operator that works on the rows of a batch, whether they are its own or those of a window that ends with it.
fn over_batches<'s>(stage: &StageNode, input: Input<'s>, build: &BuildContext<'s, '_>) -> Result<StageStreams<'s>> {
    let parts = input.parts;
    let (rows, rejected) = match &stage.operator {
        Operator::Union => {
            let metrics = build.metrics.of(&stage.name);
            each_part(parts, &stage.name, build.failure.clone(), move |context, part, output| {
                metrics.add_rows(part.rows.num_rows());
                output.push(context, part.order, part.rows);
                Ok(())
            })
        }
        Operator::Transform(node) => {
            let parts = by_key_in_order(stage, parts, build);
            plugin::transform(stage, node, parts, build)
        }
        Operator::Aggregate(builtin) => aggregate::aggregate(stage, builtin, parts, build),
        Operator::Reduce(node) => aggregate::reduce(stage, node, parts, build)?,
        Operator::Update(node, update) => {
            return update::build(stage, node, update, Input { parts, progress: input.progress }, build);
        }
        Operator::Cogroup(node) => {
            return cogroup::build(stage, node, Input { parts, progress: input.progress }, build);
        }
        Operator::Sql(node) => return sql::build(stage, node, parts, build),
        Operator::Join(node) => return join::build(stage, node, Input { parts, progress: input.progress }, build),
        Operator::Enrich(node) => return enrich::build(stage, node, parts, build),
        Operator::Latest(node) => return latest::build(stage, node, parts, build),
        Operator::Pattern(node) => {
            return pattern::build(stage, node, Input { parts, progress: input.progress }, build);
        }
        Operator::Simple(node) => return simple::build(stage, node, Input { parts, progress: input.progress }, build),
    };
    Ok(StageStreams::of(rows, rejected))
}
