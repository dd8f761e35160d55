//! Joins in the graph.

use super::stages::{At, Input, StageStreams};
use crate::error::{Error, Result};
use crate::graph::{JoinNode, StageNode};

/// Builds the stage.
pub fn build<'s>(stage: &StageNode, node: &JoinNode, input: Input<'s>, at: &At<'s, '_>) -> Result<StageStreams<'s>> {
    let _ = (stage, node, input, at);
    Err(Error::bug("not built yet"))
}
