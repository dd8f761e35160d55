//! Stages that choose or spread rows.

mod deduplicate;
mod distinct;
mod kept_times;
mod newest;
mod ranking;
mod repartition;
mod sample;
mod split;
mod top;

use crate::graph::{SimpleNode, StageNode};
use crate::operators::context::{BuildContext, Input, StageStreams};
use arrow::array::RecordBatch;
use millstream_base::batch::part::Part;
use millstream_base::error::Result;

/// Builds the stage.
pub fn build<'s>(
    stage: &StageNode,
    node: &SimpleNode,
    input: Input<'s>,
    build: &BuildContext<'s, '_>,
) -> Result<StageStreams<'s>> {
    Ok(match node {
        SimpleNode::Top { n, by, ascending, bounds } => {
            let order = top::RowOrder { n: *n, by: *by, ascending: *ascending, bounds: *bounds };
            top::build(stage, order, input.parts, build)
        }
        SimpleNode::Ranking(node) => return ranking::build(stage, node, input.parts, build),
        SimpleNode::Newest(node) => return newest::build(stage, node, input.parts, build),
        SimpleNode::Distinct(columns) => distinct::build(stage, columns, input.parts, build),
        SimpleNode::Deduplicate { within_us } => return deduplicate::build(stage, *within_us, input, build),
        SimpleNode::Sample(below) => sample::build(stage, *below, input.parts, build),
        SimpleNode::Split(predicates) => split::build(stage, predicates, input.parts, build),
        SimpleNode::Repartition { partitions } => repartition::build(stage, *partitions, input.parts, build),
    })
}

/// The same part with other rows.
fn with_rows(part: &Part, rows: RecordBatch) -> Part {
    Part { rows, ..part.clone() }
}
