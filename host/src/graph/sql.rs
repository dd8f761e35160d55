//! Stages with `sql`.

use super::{Made, Making};
use crate::error::{Error, Result};
use crate::job::spec::PluginSpec;
use std::collections::BTreeMap;

/// What the stage needs to be built.
#[derive(Clone)]
pub struct SqlNode {}

pub(super) fn check(making: &Making<'_>, query: &str, functions: &BTreeMap<String, PluginSpec>) -> Result<Made> {
    let _ = (making, query, functions);
    Err(Error::job("`sql` is not available in this version"))
}
