//! Stages with `join`.

use super::{Made, Making};
use crate::error::{Error, Result};
use crate::job::spec::JoinSpec;

/// What the stage needs to be built.
#[derive(Clone)]
pub struct JoinNode {}

pub(super) fn check(making: &Making<'_>, join: &JoinSpec) -> Result<Made> {
    let _ = (making, join);
    Err(Error::job("`join` is not available in this version"))
}
