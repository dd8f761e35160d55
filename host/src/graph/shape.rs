//! `filter` and `select`: what happens to the operator's rows before they leave the stage.

use crate::error::{Error, Result};
use crate::job::spec::StageSpec;
use crate::sql::expression::Expression;
use arrow::datatypes::SchemaRef;

/// `filter` and `select` of a stage, checked.
#[derive(Clone)]
pub struct Shape {
    /// The columns afterwards.
    pub output: SchemaRef,
    /// What rows must fulfil, over the operator's columns.
    pub filter: Option<Expression>,
    /// The columns to make, over the operator's; none: all as they are.
    pub select: Vec<Expression>,
}

pub(super) fn check(stage: &StageSpec, operator: &SchemaRef) -> Result<Option<Shape>> {
    let _ = operator;
    if stage.filter.is_some() || stage.select.is_some() {
        return Err(Error::job("`filter` and `select` are not available in this version"));
    }
    Ok(None)
}
