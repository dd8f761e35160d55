//! What must hold of joins, cogroups and enrichments.

use super::{check_duplicates, file_path, window};
use crate::job::part_errors::PartErrors;
use crate::job::read;
use crate::job::spec::*;
use crate::units;
use std::collections::BTreeSet;
use std::time::Duration;

const ONLY_OWN_ROWS: &str = "`enrich` keeps the stage's rows only; write type = \"left\" or type = \"inner\"";

pub(super) fn join(spec: &StageSpec, join: &JoinSpec, part: &PartErrors<'_>) {
    let inputs = spec.reads().count();
    if inputs != 2 {
        let message = format!(
            "a join has two inputs, but this one has {inputs}; write from = \"a\" and join = {{ with = \"b\", on = \
            … }}"
        );
        part.wrong(if join.with.is_some() { "from" } else { "join.with" }, message);
    }
    on("join.on", &join.on, part);
    if let Some(ttl) = join.ttl {
        window::length("join.ttl", ttl, "30d", part);
    }
    if join.as_of {
        as_of(spec, join, part);
    }
    let Some((from_us, to_us)) = join.within_us else { return };
    let key = "join.within";
    let time = |us: i64| Duration::from_micros(us.unsigned_abs());
    if !units::fits(time(from_us)) || !units::fits(time(to_us)) {
        part.wrong(key, format!("`{key}` is more than ten years; write a time such as \"10s\""));
    } else if from_us > to_us {
        let show = |us: i64| format!("{}{}", if us < 0 { "-" } else { "" }, units::show_time(time(us)));
        let (from, to) = (show(from_us), show(to_us));
        part.wrong(
            key,
            format!("`{key}` is from {from} to {to}, which is an empty range; write [\"{to}\", \"{from}\"]"),
        );
    } else if spec.window.is_some() {
        part.wrong(key, "`join.within` and `window` both say which rows can be partners; remove one");
    } else if spec.event_time.is_none() {
        let message = "`join.within` needs event time, or the join would keep all rows; write time = \"…\" with a \
                       timestamp column (or a list, one per input), or remove `within` to join the rows of each \
                       batch";
        part.wrong(key, message);
    }
}

/// Checks an as-of join.
fn as_of(spec: &StageSpec, join: &JoinSpec, part: &PartErrors<'_>) {
    let key = "join.as_of";
    if spec.window.is_some() {
        part.wrong(key, "`join.as_of` and `window` both say which rows can be partners; remove one");
    } else if spec.event_time.is_none() {
        let message =
            "`join.as_of` needs event time: write time = [\"at\", \"since\"] with a timestamp column of each input";
        part.wrong(key, message);
    }
    if !matches!(join.kind, JoinKind::Inner | JoinKind::Left) {
        part.wrong(
            "join.type",
            "`join.as_of` keeps the rows of the first input only; write type = \"left\" or type = \"inner\"",
        );
    }
    if join.within_us.is_some_and(|(from_us, to_us)| from_us != to_us.saturating_neg()) {
        part.wrong(
            "join.within",
            "with `join.as_of`, `join.within` says how old a partner may be: one time, for example within = \"1h\"",
        );
    }
}

pub(super) fn latest(spec: &StageSpec, latest: &LatestSpec, part: &PartErrors<'_>) {
    on("enrich.on", &latest.on, part);
    if !matches!(latest.kind, JoinKind::Inner | JoinKind::Left) {
        part.wrong("enrich.type", ONLY_OWN_ROWS);
    }
    if spec.window.is_some() {
        let message = "`window` has no effect with `enrich.stream`: a row meets the latest row of its key; put the \
                       window into a separate stage, before or after this one";
        part.wrong("window", message);
    } else if spec.event_time.is_some() {
        let message =
            "`time` has no effect with `enrich.stream`: a row meets the latest row that has come so far; remove it";
        part.wrong(part.existing_path(["time", "window.time"]), message);
    }
    if latest.op.as_ref().is_some_and(|op| latest.on.iter().any(|(_, right)| right == op)) {
        part.wrong("enrich.op", "`enrich.op` is also in `enrich.on`; remove it from one of them");
    }
}

/// Checks the columns that must be equal.
fn on(key: &str, pairs: &[(String, String)], part: &PartErrors<'_>) {
    if pairs.is_empty() {
        part.wrong(key, format!("`{key}` is missing; write the columns that must be equal, for example on = \"user\""));
    }
    let left: Vec<String> = pairs.iter().map(|(left, _)| left.clone()).collect();
    check_duplicates(key, &left, part);
    let right: Vec<String> = pairs.iter().map(|(_, right)| right.clone()).collect();
    check_duplicates(key, &right, part);
}

pub(super) fn cogroup(spec: &StageSpec, part: &PartErrors<'_>) {
    if spec.key.is_empty() {
        part.wrong("key", "`cogroup` needs `key`; write key = \"user\" with a column that all inputs have");
    }
    let inputs = spec.reads().count();
    if inputs < 2 {
        let message = format!(
            "a cogroup has two or more inputs, but this one has {inputs}; write cogroup = [\"orders\", \"clicks\"] \
             in addition to `from`, or cogroup = true with all inputs in `from`"
        );
        part.wrong("cogroup", message);
    }
}

pub(super) fn enrich(enrich: &EnrichSpec, part: &PartErrors<'_>) {
    on("enrich.on", &enrich.on, part);
    match &enrich.table {
        EnrichTable::File { path, .. } => file_path("enrich.file", path, part),
        EnrichTable::Query { kind, url, query, .. } => {
            if let Err(message) = (kind.0.check)(url) {
                part.wrong("enrich.url", message);
            }
            if query.trim().is_empty() {
                part.wrong("enrich.query", "`enrich.query` is empty; write a query, for example query = \"select …\"");
            }
        }
    }
    if !matches!(enrich.kind, JoinKind::Inner | JoinKind::Left) {
        part.wrong("enrich.type", ONLY_OWN_ROWS);
    }
    if let Err(message) = read::poll_fits(enrich.poll) {
        part.wrong("enrich.poll", message);
    }
    let mut seen = BTreeSet::new();
    for column in &enrich.schema {
        let name = &column.name;
        let path = format!("enrich.schema.{name}");
        if name.is_empty() || name.chars().any(char::is_control) {
            let shown = name.escape_debug();
            part.wrong(&path, format!("`{shown}` is not a valid column name; use visible characters"));
        } else if !seen.insert(name) {
            part.wrong(&path, format!("two columns are named `{name}`; rename one"));
        } else if let Some(message) = super::times(column) {
            part.wrong(&path, message);
        }
    }
}
