//! `filter` and `select`: processing of the operator's rows before they leave the stage.

use arrow::datatypes::{DataType, SchemaRef};
use millstream_base::error::{Error, Result};
use millstream_job::spec::StageSpec;
use millstream_rows::batch::types::ColumnType;
use millstream_sql::expression::Expression;

/// `filter` and `select` of a stage, checked.
#[derive(Clone)]
pub struct OutputShape {
    /// The output columns.
    pub output: SchemaRef,
    /// The condition on rows, over the operator's columns.
    pub filter: Option<Expression>,
    /// The columns to compute, over the operator's; `None` keeps all unchanged.
    pub select: Option<Vec<Expression>>,
}

/// Checks the stage.
pub fn check(stage: &StageSpec, operator: &SchemaRef) -> Result<Option<OutputShape>> {
    if stage.filter.is_none() && stage.select.is_none() {
        return Ok(None);
    }
    let filter = match &stage.filter {
        None => None,
        Some(text) => Some(predicate(text, operator).map_err(|error| error.within("`filter`"))?),
    };
    let (output, select) = match &stage.select {
        None => (operator.clone(), None),
        Some(text) => {
            let (output, made) = Expression::list(text, operator).map_err(|error| error.within("`select`"))?;
            (output, Some(made))
        }
    };
    Ok(Some(OutputShape { output, filter, select }))
}

/// Parses a Boolean expression.
pub fn predicate(text: &str, columns: &SchemaRef) -> Result<Expression> {
    let expression = Expression::new(text, columns)?;
    if *expression.data_type() == DataType::Boolean {
        return Ok(expression);
    }
    let kind = ColumnType::from_arrow(expression.data_type());
    Err(Error::job(format!(
        "`{text}` is {kind}, but a condition must be true or false; compare it, for example \
        `{text} = …`"
    )))
}
