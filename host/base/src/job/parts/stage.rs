//! Checks of a single stage.

use super::{check_duplicates, join, pattern, plugin, window};
use crate::job::names;
use crate::job::part_errors::PartErrors;
use crate::job::spec::*;
use crate::limits;
use std::collections::BTreeSet;

pub(super) fn check(spec: &StageSpec, part: &PartErrors<'_>) {
    key(spec, part);
    window::check(spec, part);
    window::event_time(spec, part);
    for (key, text) in [("filter", &spec.filter), ("select", &spec.select)] {
        if text.as_ref().is_some_and(|text| text.trim().is_empty()) {
            part.wrong(key, format!("`{key}` is empty; write an SQL expression, or remove it"));
        }
    }
    match &spec.operator {
        OperatorSpec::Union => {}
        OperatorSpec::Plugin(spec) => plugin::check(spec, "", part),
        OperatorSpec::Cogroup { plugin: of, .. } => {
            join::cogroup(spec, part);
            plugin::check(of, "", part);
        }
        OperatorSpec::Aggregate { columns, inverse } => {
            aggregates(columns, &spec.key, part);
            if *inverse {
                columns.iter().for_each(|column| invertible(column, part));
            }
        }
        OperatorSpec::Sql { query, functions, .. } => {
            if query.trim().is_empty() {
                part.wrong(
                    "sql",
                    "`sql` is empty; write a query, for example sql = \"select count(*) as n from \
                    words\"",
                );
            }
            for (name, function) in functions {
                function_name(name, part);
                plugin::check(function, &format!("functions.{name}."), part);
            }
        }
        OperatorSpec::Join(join) => join::join(spec, join, part),
        OperatorSpec::Enrich(enrich) => join::enrich(enrich, part),
        OperatorSpec::Latest(latest) => join::latest(spec, latest, part),
        OperatorSpec::Pattern(of) => pattern::check(spec, of, part),
        _ => choose(spec, part),
    }
}

/// Operators that choose or spread rows.
fn choose(spec: &StageSpec, part: &PartErrors<'_>) {
    match &spec.operator {
        OperatorSpec::Top { n, by, .. } => {
            if *n == 0 {
                part.wrong("top.n", "`top.n` is 0; write at least 1");
            }
            if by.is_empty() {
                part.wrong("top.by", "`top.by` is empty; write the name of a column, for example by = \"total\"");
            }
        }
        OperatorSpec::Newest { by } => {
            if spec.key.is_empty() {
                let message = "`latest` needs `key`, the columns that identify a row; write key = \"id\"";
                part.wrong("key", message);
            }
            if by.as_ref().is_some_and(String::is_empty) {
                part.wrong(
                    "latest",
                    "`latest` is empty; write latest = true, or the name of a column, for example latest = \"at\"",
                );
            }
        }
        OperatorSpec::Distinct(columns) => check_duplicates("distinct", columns, part),
        OperatorSpec::Deduplicate { within } => {
            window::length("deduplicate.within", *within, "10m", part);
            if spec.key.is_empty() {
                let message = "`deduplicate` needs `key`: which columns make two rows the same; write key = \"id\"";
                part.wrong("key", message);
            }
        }
        OperatorSpec::Sample(share) if !(0.0..=1.0).contains(share) => {
            part.wrong("sample", format!("`sample` is {share}; write a number from 0 to 1, for example sample = 0.1"));
        }
        OperatorSpec::Split(branches) => split(branches, part),
        OperatorSpec::Repartition { partitions: Some(count) }
            if *count == 0 || u64::from(*count) > limits::PARTITIONS_MAX =>
        {
            let most = limits::PARTITIONS_MAX;
            let message = format!("`repartition.partitions` is {count}; write a number of 1 to {most}");
            part.wrong("repartition.partitions", message);
        }
        _ => {}
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

fn split(branches: &[(String, String)], part: &PartErrors<'_>) {
    if branches.is_empty() {
        let message = "`split` has no branches; write at least one, for example split = { errors = \"level = \
            'ERROR'\" }";
        part.wrong("split", message);
    }
    let mut seen = BTreeSet::new();
    for (name, predicate) in branches {
        let path = format!("split.{name}");
        if let Err(message) = names::check_branch(name) {
            part.wrong(&path, format!("branch of `split`: {message}"));
        } else if !seen.insert(name) {
            part.wrong(&path, format!("two branches of `split` are named `{name}`; rename one"));
        } else if predicate.trim().is_empty() {
            let message = format!(
                "`{path}` is empty; write an SQL expression, for example {name} = \"level = \
                'ERROR'\""
            );
            part.wrong(&path, message);
        }
    }
}

/// SQL knows functions by names that need no quotes.
fn function_name(name: &str, part: &PartErrors<'_>) {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(fits)
        && name.len() <= limits::NAME_BYTES_MAX
    {
        return;
    }
    let message = format!(
        "`{}` is not a valid function name; use a-z, 0-9 and `_`, with a letter first, at most {} bytes",
        name.escape_debug(),
        limits::NAME_BYTES_MAX
    );
    part.wrong(&format!("functions.{name}"), message);
}

/// Checks that an aggregate can subtract values that leave a window.
fn invertible(column: &AggregateSpec, part: &PartErrors<'_>) {
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

fn aggregates(columns: &[AggregateSpec], key: &[String], part: &PartErrors<'_>) {
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
