//! A table from outside beside each row.

use super::stages::{At, StageStreams};
use crate::error::{Error, Result};
use crate::graph::{EnrichNode, StageNode};
use crate::timely_ext::Parts;

/// Builds the stage.
pub fn build<'s>(stage: &StageNode, node: &EnrichNode, parts: Parts<'s>, at: &At<'s, '_>) -> Result<StageStreams<'s>> {
    let _ = (stage, node, parts, at);
    Err(Error::bug("not built yet"))
}
