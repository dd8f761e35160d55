//! `pattern` of a stage.

use super::{KEYS, steps};
use crate::spec::{OperatorSpec, PatternSkip, PatternSpec, PatternSteps};
use crate::table::Reader;
use millstream_base::limits;

/// An example for messages.
const EXAMPLE: &str = "pattern = { steps = \"small{3} followed by large\", define = { small = \"amount < 10\" } }";

/// Reads `pattern`.
pub fn read(r: &Reader<'_>) -> OperatorSpec {
    let mut spec = PatternSpec {
        steps: PatternSteps::default(),
        define: Vec::new(),
        measures: Vec::new(),
        within: None,
        skip: PatternSkip::default(),
        rows_max: limits::PATTERN_KEPT_MAX,
        partials_max: limits::PATTERN_KEPT_MAX,
    };
    let Some(r) = r.inner("pattern", EXAMPLE) else { return OperatorSpec::Pattern(Box::new(spec)) };
    r.check_keys(KEYS, &[], None);
    r.need("steps", "steps = \"small{3} followed by large\"");
    if let Some(text) = r.text("steps", "steps = \"small{3} followed by large\"") {
        match steps::parse(text) {
            Ok(steps) => spec.steps = steps,
            Err(message) => r.wrong("steps", format!("`{}steps`: {message}", r.inside)),
        }
    }
    spec.define = expressions(&r, "define", "amount > 1000");
    spec.measures = expressions(&r, "measures", "sum(small.amount)");
    spec.within = r.time("within");
    let example = "\"past last row\", \"to next row\", or \"to first a\" or \"to last a\" with the name of a step";
    if let Some(text) = r.text("skip", example) {
        match steps::parse_skip(text) {
            Some(skip) => spec.skip = skip,
            None => r.wrong("skip", format!("`{}skip` is `{}`; write {example}", r.inside, text.escape_debug())),
        }
    }
    spec.rows_max = r.integer("rows_max", 1, limits::PATTERN_ROWS_MAX_MAX).unwrap_or(spec.rows_max);
    spec.partials_max = r.integer("partials_max", 1, limits::PATTERN_ROWS_MAX_MAX).unwrap_or(spec.partials_max);
    OperatorSpec::Pattern(Box::new(spec))
}

/// Reads SQL expressions by name, in the order of the file.
fn expressions(r: &Reader<'_>, key: &str, example: &str) -> Vec<(String, String)> {
    let Some(inner) = r.inner(key, &format!("{key} = {{ a = \"{example}\" }}")) else { return Vec::new() };
    let one = |name: &String| {
        let text = inner.text(name, &format!("an SQL expression, for example {name} = \"{example}\""))?;
        Some((name.clone(), text.to_owned()))
    };
    inner.table.keys().filter_map(one).collect()
}
