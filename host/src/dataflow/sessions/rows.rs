//! Sessions whose rows an operator works on.

use crate::dataflow::stages::{At, Input, StageStreams};
use crate::error::{Error, Result};
use crate::graph::StageNode;
use crate::window::WindowNode;

/// Builds the stage.
pub fn build<'s>(
    stage: &StageNode,
    window: &WindowNode,
    input: Input<'s>,
    at: &At<'s, '_>,
) -> Result<StageStreams<'s>> {
    let _ = (stage, window, input.parts, input.progress, at);
    Err(Error::bug("not built yet"))
}
