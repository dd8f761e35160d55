//! Aggregates over sessions.

pub mod rows;

use super::stages::{At, Input, StageStreams};
use crate::error::{Error, Result};
use crate::graph::StageNode;

/// Builds the stage.
pub fn build<'s>(stage: &StageNode, input: Input<'s>, at: &At<'s, '_>) -> Result<StageStreams<'s>> {
    let _ = (stage, input.parts, input.progress, at);
    Err(Error::bug("not built yet"))
}
