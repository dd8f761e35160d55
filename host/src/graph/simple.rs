//! Stages that choose or spread rows: top, distinct, deduplicate, sample, split, repartition.

use super::{Made, Making};
use crate::error::{Error, Result};

/// What such a stage does, checked.
#[derive(Clone)]
pub enum SimpleNode {}

pub(super) fn check(making: &Making<'_>) -> Result<Made> {
    let _ = making;
    Err(Error::job("this operator is not available in this version"))
}
