//! `aggregate`: built-in aggregates per batch or window, and key.

pub(crate) mod expression;

use super::window;
use crate::keys::{KeyShape, TableKey, key};
use crate::part_errors::PartErrors;
use crate::spec::{AggregateFunction, AggregateSpec, OperatorSpec, StageSpec};
use crate::table::Reader;
use millstream_base::error::{Error, Result};
use std::collections::BTreeSet;
use toml::Value;

/// `aggregate` of a stage.
pub(super) const KEY: TableKey = key(
    "aggregate",
    KeyShape::Aggregates,
    "Built-in aggregates per batch or window and per key, by output column: { n = \"count(*)\", total = \"sum(price)\" }.",
);

/// What keys of the stage mean with this operator.
pub(super) const DOCS: &[(&str, &str)] = &[
    window::OP_OF_ALL,
    (
        "emit",
        "Rows that the stage emits. Windows in event time: results once, when a window is complete (`close`, the default), or \
         with every batch that changes them (`update`). Aggregates of all rows: the totals as a changelog of inserts and \
         deletes (`changes`).",
    ),
    (
        "inverse",
        "Subtract the rows that leave a sliding window instead of aggregating again. A key without rows is kept until \
         `filter` drops its row. Works for `count`, and for `sum` of int64 and decimals. false by default.",
    ),
];

impl StageSpec {
    /// Computes built-in aggregates per batch and key, for example `("n", "count(*)")`. Fails if one is not an aggregate.
    pub fn aggregate<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        columns: &[(&str, &str)],
    ) -> Result<StageSpec> {
        let name = name.into();
        let one = |(output, text): &(&str, &str)| {
            let parsed = expression::aggregate(output, text);
            parsed.map_err(|message| Error::job(format!("stage `{name}`: `aggregate.{output}`: {message}")))
        };
        let columns = columns.iter().map(one).collect::<Result<_>>()?;
        Ok(StageSpec::new(name, from, OperatorSpec::Aggregate { columns, inverse: false }))
    }

    /// Makes built-in aggregates subtract the rows that leave their sliding window; keys without rows stay.
    #[must_use]
    pub fn inverse(mut self) -> StageSpec {
        if let OperatorSpec::Aggregate { inverse, .. } = &mut self.operator {
            *inverse = true;
        }
        self
    }
}

/// Reads the columns of `aggregate`.
pub(super) fn read(r: &Reader<'_>) -> Vec<AggregateSpec> {
    let example = "aggregate = { n = \"count(*)\" }";
    if matches!(r.table.get("aggregate"), Some(Value::String(_))) {
        let message = "`aggregate` is text, needs a table of output columns; write aggregate = { n = \
                       \"count(*)\" }, or plugin = \"…\" for a plugin of world aggregate";
        r.wrong("aggregate", message);
        return Vec::new();
    }
    let Some(columns) = r.inner("aggregate", example) else { return Vec::new() };
    let one = |output: &String| {
        let text = columns.text(output, &format!("{output} = \"count(*)\""))?;
        let parsed = expression::aggregate(output, text);
        parsed.map_err(|message| columns.wrong(output, format!("`{}{output}`: {message}", columns.inside))).ok()
    };
    columns.table.keys().filter_map(one).collect()
}

pub(super) fn check(columns: &[AggregateSpec], inverse: bool, key: &[String], part: &PartErrors<'_>) {
    check_columns(columns, key, part);
    if inverse {
        columns.iter().for_each(|column| check_invertible(column, part));
    }
}

fn check_columns(columns: &[AggregateSpec], key: &[String], part: &PartErrors<'_>) {
    if columns.is_empty() {
        part.wrong("aggregate", "`aggregate` is empty; write aggregate = { n = \"count(*)\" }");
    }
    let mut seen = BTreeSet::new();
    for column in columns {
        let output = &column.output;
        let path = format!("aggregate.{output}");
        if output.is_empty() || output.chars().any(char::is_control) {
            let shown = output.escape_debug();
            part.wrong(&path, format!("`{shown}` is not a valid column name; use visible characters"));
        } else if key.contains(output) {
            part.wrong(&path, format!("column `{output}` is a key already; give the aggregate another name"));
        } else if !seen.insert(output) {
            part.wrong(&path, format!("two aggregates are named `{output}`; rename one"));
        }
        if column.column.is_none() && column.function != AggregateFunction::Count {
            part.wrong(&path, format!("aggregate `{output}` needs a column; only count works without one"));
        }
        if column.distinct && (column.function != AggregateFunction::Count || column.column.is_none()) {
            part.wrong(&path, format!("aggregate `{output}`: `distinct` is for count of a column only"));
        }
    }
}

/// Checks that an aggregate can subtract values that leave a window.
fn check_invertible(column: &AggregateSpec, part: &PartErrors<'_>) {
    let fits = matches!(column.function, AggregateFunction::Count | AggregateFunction::Sum) && !column.distinct;
    if !fits {
        let message = format!(
            "`inverse` is for `count` and `sum`, which can subtract what leaves a window, but `{}` cannot; remove \
             `inverse`, or compute this column in a separate stage",
            column.output
        );
        part.wrong(&format!("aggregate.{}", column.output), message);
    }
}
