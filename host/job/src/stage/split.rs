//! `split`: a stream for each of several conditions.

use crate::keys::{KeyShape, TableKey, key};
use crate::names;
use crate::part_errors::PartErrors;
use crate::spec::{OperatorSpec, StageSpec};
use crate::table::Reader;
use std::collections::BTreeSet;

/// `split` of a stage.
pub(super) const KEY: TableKey = key(
    "split",
    KeyShape::ByName(&KeyShape::Text),
    "Streams `<stage>.<branch>`, each with an SQL expression: { errors = \"level = 'ERROR'\" }. A row goes to the first \
     branch whose expression is true, otherwise to the stage's own stream.",
);

impl StageSpec {
    /// Creates streams `<stage>.<branch>` of the rows that fulfill a predicate, for example `("errors", "level = 'ERROR'")`.
    pub fn split<S: Into<String>>(
        name: impl Into<String>,
        from: impl IntoIterator<Item = S>,
        branches: &[(&str, &str)],
    ) -> StageSpec {
        let branches = branches.iter().map(|(name, predicate)| (name.to_string(), predicate.to_string()));
        StageSpec::new(name, from, OperatorSpec::Split(branches.collect()))
    }
}

/// Reads `split`: branches in the order of the file.
pub(super) fn read(r: &Reader<'_>) -> OperatorSpec {
    let Some(branches) = r.inner("split", "split = { errors = \"level = 'ERROR'\" }") else {
        return OperatorSpec::Split(Vec::new());
    };
    let example = |name: &String| format!("an SQL expression, for example {name} = \"level = 'ERROR'\"");
    let one = |name: &String| Some((name.clone(), branches.text(name, &example(name))?.to_owned()));
    OperatorSpec::Split(branches.table.keys().filter_map(one).collect())
}

pub(super) fn check(branches: &[(String, String)], part: &PartErrors<'_>) {
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
