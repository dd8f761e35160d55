//! Stages with built-in aggregates.

use super::{Made, Making, Operator, window};
use crate::aggregate::builtin::Builtin;
use crate::error::Result;
use crate::job::spec::AggregateSpec;

pub(super) fn check(making: &Making<'_>, columns: &[AggregateSpec], _inverse: bool) -> Result<Made> {
    let builtin = Builtin::new(columns, making.key.to_vec(), making.input)?;
    let aggregates = builtin.output().fields().iter().skip(making.key.len()).cloned().collect();
    let output = window::with_bounds_behind(&making.key_schema()?, making.window, aggregates);
    Ok(Made::of(output, Operator::Aggregate(builtin)))
}
