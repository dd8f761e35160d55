//! Checks of a single stage, whether a file or a program built it.

use super::{
    aggregate, cogroup, deduplicate, distinct, enrich, event_time, join, latest, newest, pattern, plugin, repartition,
    sample, split, sql, top, window,
};
use crate::part_errors::PartErrors;
use crate::parts::check_duplicates;
use crate::spec::{OperatorSpec, StageSpec};

pub fn check(spec: &StageSpec, part: &PartErrors<'_>) {
    key(spec, part);
    window::check::check(spec, part);
    event_time::check(spec, part);
    for (key, text) in [("filter", &spec.filter), ("select", &spec.select)] {
        if text.as_ref().is_some_and(|text| text.trim().is_empty()) {
            part.wrong(key, format!("`{key}` is empty; write an SQL expression, or remove it"));
        }
    }
    match &spec.operator {
        OperatorSpec::Union => {}
        OperatorSpec::Plugin(spec) => plugin::check::check(spec, "", part),
        OperatorSpec::Cogroup { plugin: of, .. } => {
            cogroup::check(spec, part);
            plugin::check::check(of, "", part);
        }
        OperatorSpec::Aggregate { columns, inverse } => aggregate::check(columns, *inverse, &spec.key, part),
        OperatorSpec::Sql { query, functions, .. } => sql::check(query, functions, part),
        OperatorSpec::Join(join) => join::check(spec, join, part),
        OperatorSpec::Enrich(enrich) => enrich::check(enrich, part),
        OperatorSpec::Latest(latest) => latest::check(spec, latest, part),
        OperatorSpec::Pattern(of) => pattern::check(spec, of, part),
        OperatorSpec::Top { n, by, .. } => top::check(*n, by, part),
        OperatorSpec::Newest { by } => newest::check(spec, by.as_deref(), part),
        OperatorSpec::Distinct(columns) => distinct::check(columns, part),
        OperatorSpec::Deduplicate { within } => deduplicate::check(spec, *within, part),
        OperatorSpec::Sample(share) => sample::check(*share, part),
        OperatorSpec::Split(branches) => split::check(branches, part),
        OperatorSpec::Repartition { partitions } => repartition::check(*partitions, part),
    }
}

/// Checks the key: different columns, in a stage that uses a key.
fn key(spec: &StageSpec, part: &PartErrors<'_>) {
    let path = part.existing_path(["key", "top.key"]);
    check_duplicates(path, &spec.key, part);
    if spec.key.is_empty() {
        return;
    }
    let word = spec.operator.keyword().unwrap_or_default();
    match &spec.operator {
        OperatorSpec::Join(_) => part
            .wrong(path, "`key` does nothing in a join, which partitions its rows by the columns of `on`; remove it"),
        // Windows keep the rows of a key together.
        _ if spec.window.is_some() => {}
        OperatorSpec::Union => part.wrong(
            path,
            "`key` does nothing in a stage without an operator; remove it, or add plugin = \"…\" or aggregate = { … }",
        ),
        OperatorSpec::Distinct(_) => part.wrong(
            path,
            "`key` does nothing in a stage with `distinct`; name the columns there, for example distinct = \"user\"",
        ),
        OperatorSpec::Enrich(_) | OperatorSpec::Latest(_) | OperatorSpec::Sample(_) | OperatorSpec::Split(_) => {
            part.wrong(path, format!("`key` does nothing in a stage with `{word}`; remove it"));
        }
        _ => {}
    }
}
