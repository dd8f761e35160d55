//! Operators that aggregate, select or redistribute rows.

use crate::job::expression;
use crate::job::keys;
use crate::job::spec::{AggregateSpec, OperatorSpec};
use crate::job::table::Reader;
use crate::limits;
use std::time::Duration;
use toml::Value;

/// Reads the columns of `aggregate`.
pub(super) fn aggregates(r: &Reader<'_>) -> Vec<AggregateSpec> {
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

/// Reads `top`; its `key` is read with that of the stage.
pub(super) fn top(r: &Reader<'_>) -> OperatorSpec {
    let none = OperatorSpec::Top { n: 1, by: String::new(), ascending: false, rank: None };
    let Some(r) = r.inner("top", "top = { n = 10, by = \"total\" }") else { return none };
    r.check_keys(keys::TOP, &[], None);
    r.need("n", "n = 10");
    r.need("by", "by = \"total\"");
    OperatorSpec::Top {
        n: r.integer("n", 1, i64::MAX as u64).unwrap_or(1),
        by: r.text("by", "by = \"total\"").unwrap_or_default().into(),
        ascending: r.choice("order", &[("desc", false), ("asc", true)], &[]).unwrap_or_default(),
        rank: r.text("rank", "rank = \"rank\"").map(Into::into),
    }
}

/// Reads `latest = true`, or a column that orders the rows of a key.
pub(super) fn latest(r: &Reader<'_>) -> OperatorSpec {
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

/// Reads `distinct = true`, or columns.
pub(super) fn distinct(r: &Reader<'_>) -> OperatorSpec {
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

/// Reads `deduplicate`.
pub(super) fn deduplicate(r: &Reader<'_>) -> OperatorSpec {
    let none = OperatorSpec::Deduplicate { within: Duration::ZERO };
    let Some(r) = r.inner("deduplicate", "deduplicate = { within = \"10m\" }") else { return none };
    r.check_keys(keys::DEDUPLICATE, &[], None);
    r.need("within", "within = \"10m\"");
    OperatorSpec::Deduplicate { within: r.time("within").unwrap_or_default() }
}

/// Reads `split`: branches in the order of the file.
pub(super) fn split(r: &Reader<'_>) -> OperatorSpec {
    let Some(branches) = r.inner("split", "split = { errors = \"level = 'ERROR'\" }") else {
        return OperatorSpec::Split(Vec::new());
    };
    let example = |name: &String| format!("an SQL expression, for example {name} = \"level = 'ERROR'\"");
    let one = |name: &String| Some((name.clone(), branches.text(name, &example(name))?.to_owned()));
    OperatorSpec::Split(branches.table.keys().filter_map(one).collect())
}

/// Reads `repartition`.
pub(super) fn repartition(r: &Reader<'_>) -> OperatorSpec {
    let none = OperatorSpec::Repartition { partitions: None };
    let Some(r) = r.inner("repartition", "repartition = { partitions = 4 }") else { return none };
    r.check_keys(keys::REPARTITION, &[], None);
    let partitions = r.integer("partitions", 1, limits::PARTITIONS_MAX);
    OperatorSpec::Repartition { partitions: partitions.and_then(|count| u32::try_from(count).ok()) }
}
