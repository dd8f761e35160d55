//! `filter` and `select`: what happens to a stage's rows before they leave it.

use super::stages::{At, StageStreams};
use crate::error::{Error, Result};
use crate::graph::StageNode;

/// Builds what a stage has of them.
pub fn build<'s>(stage: &StageNode, streams: StageStreams<'s>, _at: &At<'s, '_>) -> Result<StageStreams<'s>> {
    match &stage.shape {
        None => Ok(streams),
        Some(_) => Err(Error::bug("`filter` and `select` are not built yet")),
    }
}
