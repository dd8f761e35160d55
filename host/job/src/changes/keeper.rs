//! Keepers: sinks that replace and delete rows, and stages with `op`. They keep rows by the operations of changes.

use super::is_over_all;
use crate::spec::*;

/// A sink or stage that keeps rows and understands changes.
pub(super) struct Keeper<'a> {
    /// For example ``sink `copy` ``.
    pub description: String,
    /// The path of `op` in the file.
    pub path: String,
    /// The streams with the changes.
    pub streams: Vec<&'a String>,
    /// The columns by which it keeps rows; empty: all columns.
    pub key: Vec<&'a String>,
    /// The column with the operation of a change.
    pub op: &'a str,
    /// The column is true for rows that delete, instead of naming the operation.
    pub is_flag: bool,
    /// It needs the complete old row.
    pub wants_complete: bool,
}

/// Returns all keepers of a job.
pub(super) fn all(job: &JobSpec) -> Vec<Keeper<'_>> {
    job.sinks.iter().filter_map(sink).chain(job.stages.iter().filter_map(stage)).collect()
}

fn sink(sink: &SinkSpec) -> Option<Keeper<'_>> {
    let SinkChanges::Followed { key, op, is_flag } = sink.kind.changes() else { return None };
    let key = key.iter().collect();
    let description = format!("sink `{}`", sink.name);
    let path = format!("sinks.{}.{}", sink.name, if is_flag { "tombstones" } else { "op" });
    Some(Keeper { description, path, streams: sink.from.iter().collect(), key, op, is_flag, wants_complete: false })
}

fn stage(stage: &StageSpec) -> Option<Keeper<'_>> {
    let description = format!("stage `{}`", stage.name);
    let enriches = matches!(stage.operator, OperatorSpec::Latest(_));
    let path = format!("stages.{}.{}", stage.name, if enriches { "enrich.op" } else { "op" });
    let of = |streams, key, op, wants_complete| {
        Some(Keeper { description, path, streams, key, op, is_flag: false, wants_complete })
    };
    match &stage.operator {
        OperatorSpec::Latest(latest) => {
            let key = latest.on.iter().map(|(_, name)| name).collect();
            of(vec![&latest.stream], key, latest.op.as_ref()?, false)
        }
        OperatorSpec::Newest { .. } => {
            of(stage.from.iter().collect(), stage.key.iter().collect(), stage.op.as_ref()?, false)
        }
        _ if is_over_all(stage) => of(stage.reads().collect(), Vec::new(), stage.op.as_ref()?, true),
        _ => None,
    }
}
