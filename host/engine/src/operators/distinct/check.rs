//! Stages with `distinct`.

use crate::operators::simple::SimpleNode;
use crate::operators::stage_check::{StageCheck, not_comparable};
use crate::operators::stage_text::StageText;
use crate::operators::window::node::WindowNode;
use millstream_base::error::Result;
use millstream_rows::batch::types::{self, ColumnType};

/// Checks the stage.
pub fn check(check: &StageCheck<'_>, columns: &[String]) -> Result<SimpleNode> {
    let mut indexes = Vec::new();
    for name in columns {
        indexes.push(types::column(check.input, name).map_err(|error| error.within(format!("distinct `{name}`")))?);
    }
    if indexes.is_empty() {
        indexes = (0..check.input.fields().len()).collect();
    } else if let Some((start, end)) = check.bounds()? {
        indexes.extend([start, end]);
        if matches!(check.window, Some(WindowNode::Session { .. })) {
            // Two keys may have sessions with the same bounds.
            indexes.extend(check.key);
        }
    }
    for index in &indexes {
        let field = check.input.field(*index);
        let kind = ColumnType::from_arrow(field.data_type());
        if !kind.is_kept() {
            return Err(not_comparable("distinct", field.name(), &kind));
        }
    }
    Ok(SimpleNode::Distinct(indexes))
}

/// Describes what the stage does.
pub fn summary(text: &StageText<'_>, columns: &[String]) -> String {
    let columns = if columns.is_empty() { "all columns".into() } else { columns.join(", ") };
    format!("the first of the rows of a {} that are equal in {columns}", text.rows())
}
