//! Stages with `distinct`.

use crate::operators::simple::SimpleNode;
use crate::operators::stage_check::{StageCheck, not_compared};
use crate::operators::stage_words::StageWords;
use crate::operators::window::node::WindowNode;
use millstream_base::batch::types::{self, ColumnType};
use millstream_base::error::Result;

/// Checks the stage.
pub fn check(check: &StageCheck<'_>, columns: &[String]) -> Result<SimpleNode> {
    let mut places = Vec::new();
    for name in columns {
        places.push(types::column(check.input, name).map_err(|error| error.within(format!("distinct `{name}`")))?);
    }
    if places.is_empty() {
        places = (0..check.input.fields().len()).collect();
    } else if let Some((start, end)) = check.bounds()? {
        places.extend([start, end]);
        if matches!(check.window, Some(WindowNode::Session { .. })) {
            // Two keys may have sessions of the same bounds.
            places.extend(check.key);
        }
    }
    for place in &places {
        let field = check.input.field(*place);
        let kind = ColumnType::of(field.data_type());
        if !kind.is_kept() {
            return Err(not_compared("distinct", field.name(), &kind));
        }
    }
    Ok(SimpleNode::Distinct(places))
}

/// What the stage does, in words.
pub fn in_words(words: &StageWords<'_>, columns: &[String]) -> String {
    let columns = if columns.is_empty() { "all columns".into() } else { columns.join(", ") };
    format!("of rows of a {} that are equal in {columns} the first", words.rows())
}
