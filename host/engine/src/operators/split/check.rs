//! Stages with `split`.

use crate::operators::simple::SimpleNode;
use crate::operators::stage::Operator;
use crate::operators::stage_check::{CheckedStage, StageCheck};
use crate::operators::stage_text::StageText;
use arrow::datatypes::DataType;
use millstream_base::error::{Error, Result};
use millstream_rows::batch::types::ColumnType;
use millstream_sql::expression::Expression;

/// Checks the stage.
pub fn check(check: &StageCheck<'_>, branches: &[(String, String)]) -> Result<CheckedStage> {
    let mut predicates = Vec::new();
    for (name, text) in branches {
        let within = |error: Error| error.within(format!("split into `{name}`"));
        let predicate = Expression::new(text, check.input).map_err(within)?;
        if predicate.data_type() != &DataType::Boolean {
            let kind = ColumnType::from_arrow(predicate.data_type());
            return Err(within(Error::job(format!(
                "`{text}` is {kind}, and must be true or false, for example \"level = 'ERROR'\""
            ))));
        }
        predicates.push(predicate);
    }
    let branches = branches.iter().map(|(name, _)| (name.clone(), check.input.clone())).collect();
    let operator = Operator::Simple(SimpleNode::Split(predicates));
    Ok(CheckedStage { branches, ..CheckedStage::new(check.input.clone(), operator) })
}

/// Describes what the stage does.
pub fn summary(text: &StageText<'_>, branches: &[(String, String)]) -> String {
    let name = &text.spec.name;
    let streams: Vec<String> = branches.iter().map(|(branch, _)| format!("{name}.{branch}")).collect();
    format!("split into {}; the other rows stay in {name}", streams.join(", "))
}
