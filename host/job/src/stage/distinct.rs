//! `distinct`: the first of rows that are equal.

use crate::build::strings;
use crate::keys::{KeyShape, TableKey, key};
use crate::part_errors::PartErrors;
use crate::parts::check_duplicates;
use crate::spec::{OperatorSpec, StageSpec};
use crate::table::Reader;
use toml::Value;

/// `distinct` of a stage.
pub(super) const KEY: TableKey = key(
    "distinct",
    KeyShape::Either(&[KeyShape::Flag, KeyShape::TextList]),
    "Keep the first of the rows that are equal in these columns (true: in all columns).",
);

impl StageSpec {
    /// Keeps the first of rows that are equal in these columns (all columns by default).
    pub fn distinct<S: Into<String>, C: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        columns: impl IntoIterator<Item = C>,
    ) -> StageSpec {
        StageSpec::new(name, from, OperatorSpec::Distinct(strings(columns)))
    }
}

/// Reads `distinct = true`, or columns.
pub(super) fn read(r: &Reader<'_>) -> OperatorSpec {
    let columns = match r.table.get("distinct") {
        Some(Value::Boolean(true)) => None,
        Some(Value::Boolean(false)) => {
            r.wrong("distinct", "`distinct = false` does nothing; write distinct = true, or remove it");
            None
        }
        _ => r.strings("distinct", "distinct = true, or the columns to compare, for example distinct = \"user\""),
    };
    OperatorSpec::Distinct(columns.unwrap_or_default())
}

pub(super) fn check(columns: &[String], part: &PartErrors<'_>) {
    check_duplicates("distinct", columns, part);
}
