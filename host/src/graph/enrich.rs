//! Stages with `enrich`.

use super::{Made, Making};
use crate::error::{Error, Result};
use crate::job::spec::EnrichSpec;

/// What the stage needs to be built.
#[derive(Clone)]
pub struct EnrichNode {}

pub(super) fn check(making: &Making<'_>, enrich: &EnrichSpec) -> Result<Made> {
    let _ = (making, enrich);
    Err(Error::job("`enrich` is not available in this version"))
}
