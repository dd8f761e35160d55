//! `latest`: the latest row of each key, emitted as it changes.

use crate::keys::{KeyShape, TableKey, key};
use crate::part_errors::PartErrors;
use crate::spec::{OperatorSpec, StageSpec};
use crate::table::Reader;
use toml::Value;

/// `latest` of a stage.
pub(super) const KEY: TableKey = key(
    "latest",
    KeyShape::Either(&[KeyShape::Flag, KeyShape::Text]),
    "Keep the latest row per `key` and emit its changes (inserts and deletes): the last to arrive (true), or the one with \
     the largest value in a column, for example \"at\".",
);

/// What keys of the stage mean with this operator.
pub(super) const DOCS: &[(&str, &str)] = &[(
    "op",
    "Column with the operation of a row. `insert`, `update` and `upsert` write the row of their key, `delete` deletes it, \
     `truncate` deletes all rows.",
)];

impl StageSpec {
    /// Emits the latest row of each key as it changes, by a column that orders rows or in order of arrival.
    pub fn newest<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        by: Option<&str>,
    ) -> StageSpec {
        StageSpec::new(name, from, OperatorSpec::Newest { by: by.map(str::to_owned) })
    }
}

/// Reads `latest = true`, or a column that orders the rows of a key.
pub(super) fn read(r: &Reader<'_>) -> OperatorSpec {
    let by = match r.table.get("latest") {
        Some(Value::Boolean(true)) => None,
        Some(Value::Boolean(false)) => {
            r.wrong("latest", "`latest = false` does nothing; write latest = true, or remove it");
            None
        }
        _ => r.text("latest", "latest = true, or the column that orders the rows, for example latest = \"at\""),
    };
    OperatorSpec::Newest { by: by.map(Into::into) }
}

pub(super) fn check(spec: &StageSpec, by: Option<&str>, part: &PartErrors<'_>) {
    if spec.key.is_empty() {
        let message = "`latest` needs `key`, the columns that identify a row; write key = \"id\"";
        part.wrong("key", message);
    }
    if by.is_some_and(str::is_empty) {
        part.wrong(
            "latest",
            "`latest` is empty; write latest = true, or the name of a column, for example latest = \"at\"",
        );
    }
}
