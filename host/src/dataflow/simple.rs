//! Stages that choose or spread rows.

use super::stages::{At, Input, StageStreams};
use crate::error::{Error, Result};
use crate::graph::{SimpleNode, StageNode};

/// Builds the stage.
pub fn build<'s>(stage: &StageNode, node: &SimpleNode, input: Input<'s>, at: &At<'s, '_>) -> Result<StageStreams<'s>> {
    let _ = (stage, node, input, at);
    Err(Error::bug("not built yet"))
}
