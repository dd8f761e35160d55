//! Stages that choose or spread rows.

mod deduplicate;
mod distinct;
mod memory;
mod repartition;
mod sample;
mod split;
mod top;

use super::stages::{BuildContext, Input, StageStreams};
use crate::batch::part::Part;
use crate::error::Result;
use crate::graph::{SimpleNode, StageNode};
use arrow::array::RecordBatch;

/// Builds the stage.
pub fn build<'s>(
    stage: &StageNode,
    node: &SimpleNode,
    input: Input<'s>,
    at: &BuildContext<'s, '_>,
) -> Result<StageStreams<'s>> {
    Ok(match node {
        SimpleNode::Top { n, by, ascending, bounds } => {
            let order = top::Order { n: *n, by: *by, ascending: *ascending, bounds: *bounds };
            top::build(stage, order, input.parts, at)
        }
        SimpleNode::Distinct(columns) => distinct::build(stage, columns, input.parts, at),
        SimpleNode::Deduplicate { within_us } => return deduplicate::build(stage, *within_us, input, at),
        SimpleNode::Sample(below) => sample::build(stage, *below, input.parts, at),
        SimpleNode::Split(predicates) => split::build(stage, predicates, input.parts, at),
        SimpleNode::Repartition { partitions } => repartition::build(stage, *partitions, input.parts, at),
    })
}

/// The same part with other rows.
fn with_rows(part: &Part, rows: RecordBatch) -> Part {
    Part { rows, ..part.clone() }
}
