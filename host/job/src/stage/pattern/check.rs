//! What must hold of patterns.

use crate::part_errors::PartErrors;
use crate::spec::{PatternSkip, PatternSpec, StageSpec};
use crate::stage::window;
use millstream_base::suggest;
use std::collections::BTreeSet;

/// Columns that every match has.
pub const OWN_COLUMNS: [&str; 2] = ["match_start", "match_end"];

pub fn check(spec: &StageSpec, pattern: &PatternSpec, part: &PartErrors<'_>) {
    if spec.window.is_some() {
        let message = "`pattern` has its own time limit, `within`, so a window has no effect; remove `window`, or make windows \
                       in a stage of their own";
        part.wrong("window", message);
    } else if spec.event_time.is_none() {
        let message = "`pattern` needs event time, because rows may arrive out of order; write time = \"…\" with a \
                       timestamp column";
        part.wrong("time", message);
    }
    if let Some(within) = pattern.within {
        window::check::length("pattern.within", within, "10m", part);
    }
    // The steps could not be parsed; that error is reported already.
    if pattern.steps.steps.is_empty() {
        return;
    }
    define(pattern, part);
    if pattern.steps.waits_for_nothing() && pattern.within.is_none() {
        let message = "`pattern.steps` ends with `followed by not`, which needs a time limit; write within = \
                       \"30m\" in `pattern`";
        part.wrong("pattern.within", message);
    }
    if let PatternSkip::ToFirst(name) | PatternSkip::ToLast(name) = &pattern.skip
        && !pattern.steps.uses_step(name)
    {
        let shown = name.escape_debug();
        part.wrong("pattern.skip", format!("`pattern.skip` names `{shown}`, but no step of this name takes rows"));
    }
    measures(spec, pattern, part);
}

fn define(pattern: &PatternSpec, part: &PartErrors<'_>) {
    let steps = &pattern.steps;
    let names: Vec<&str> =
        steps.steps.iter().map(|step| &step.name).chain(steps.negated()).map(String::as_str).collect();
    let mut seen = BTreeSet::new();
    for (name, text) in &pattern.define {
        let path = format!("pattern.define.{name}");
        if !names.contains(&name.as_str()) {
            let hint = suggest::hint(name, names.iter().copied(), "the steps are");
            part.wrong(&path, format!("`pattern.define` has `{}`, which is not a step{hint}", name.escape_debug()));
        } else if !seen.insert(name) {
            part.wrong(&path, format!("`pattern.define` has `{name}` twice; remove one"));
        } else if text.trim().is_empty() {
            part.wrong(
                &path,
                format!(
                    "`{path}` is empty; write an SQL expression, for example {name} = \"amount > \
                1000\""
                ),
            );
        }
    }
    for name in steps.negated().filter(|name| !seen.contains(name)) {
        let message = format!(
            "`pattern.steps` has `not {name}`, but `{name}` is not defined; write define = {{ {name} = \"amount > 1000\" }}"
        );
        part.wrong("pattern.define", message);
    }
}

fn measures(spec: &StageSpec, pattern: &PatternSpec, part: &PartErrors<'_>) {
    let mut seen = BTreeSet::new();
    for (name, text) in &pattern.measures {
        let path = format!("pattern.measures.{name}");
        if name.is_empty() || name.chars().any(char::is_control) {
            let shown = name.escape_debug();
            part.wrong(&path, format!("`{shown}` is not a valid column name; use visible characters"));
        } else if spec.key.contains(name) || OWN_COLUMNS.contains(&name.as_str()) {
            part.wrong(&path, format!("a match has a column `{name}` already; give the measure another name"));
        } else if !seen.insert(name) {
            part.wrong(&path, format!("two measures are named `{name}`; rename one"));
        } else if text.trim().is_empty() {
            part.wrong(
                &path,
                format!(
                    "`{path}` is empty; write an SQL expression, for example {name} = \
                \"sum(small.amount)\""
                ),
            );
        }
    }
}
