//! Checks of columns outside the value of a record, for example its key.

use crate::spec::SourceSpec;
use millstream_base::suggest;
use millstream_rows::batch::column::{ColumnSource, ColumnSpec, TimeForm};
use millstream_rows::decode::spec::RecordBounds;

/// Returns an error if a column outside the value of a record is invalid.
pub(super) fn column(spec: &SourceSpec, column: &ColumnSpec) -> Option<String> {
    let (name, word) = (column.name.escape_debug(), column.from.keyword());
    let of_event = matches!(column.from, ColumnSource::Event | ColumnSource::Id);
    let has_parts = spec.kind.declared().is_some_and(|config| config.provides(&column.from));
    if spec.kind.declared().is_some_and(|config| config.bounds() == RecordBounds::Envelope) && !has_parts {
        let kind = spec.kind.keyword();
        return Some(format!("column `{name}` is `{word}`, which messages of kind `{kind}` do not have; remove it"));
    }
    if of_event && !has_parts {
        return Some(format!(
            "column `{name}` is `{word}` of an event, which only sources with stream = \"sse\" read; remove it"
        ));
    }
    if !has_parts {
        let kind = spec.kind.keyword();
        return Some(format!("column `{name}` has a `from`, and records of kind `{kind}` have one part; remove it"));
    }
    if !column.from.types().contains(&column.type_word().as_str()) {
        let types = suggest::list(column.from.types().iter().copied());
        let is = column.type_word();
        return Some(format!("column `{name}` is {is}, and `{word}` of a record is {types}; write that"));
    }
    if column.path != [column.name.as_str()] || column.zone.is_some() || column.form != TimeForm::Text {
        return Some(format!(
            "column `{name}` is `{word}` of a record, for which `path` and `zone` do nothing; remove them"
        ));
    }
    if column.encoding.is_some() {
        return Some(format!(
            "column `{name}` is `{word}` of a record, which holds bytes as they are; remove `encoding`"
        ));
    }
    None
}
