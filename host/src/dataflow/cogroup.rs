//! Stages with a plugin of world `cogroup`.

use super::stages::{At, Input, StageStreams};
use crate::error::{Error, Result};
use crate::graph::{CogroupNode, StageNode};

/// Builds the stage.
pub fn build<'s>(stage: &StageNode, node: &CogroupNode, input: Input<'s>, at: &At<'s, '_>) -> Result<StageStreams<'s>> {
    let _ = (stage, node, input, at);
    Err(Error::bug("not built yet"))
}
