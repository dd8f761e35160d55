//! `max_rejected`: a batch of which a source or stage rejects too many rows stops the job before anything of it is committed.

use super::source::SourceStreams;
use crate::operators::stage::StageNode;
use crate::running::Running;
use crate::timely_ext::{Parts, Ticks, each_batch};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use millstream_base::batch::part::Part;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use millstream_base::job::spec::{OperatorSpec, RejectedMax, SourceSpec};
use std::sync::Arc;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::vec::Map;

/// Counts the rows that come into a stage, and those that it rejects, of all workers together, where the stage has a limit.
/// The stream has passed a batch when it keeps it.
pub fn build<'s>(
    stage: &StageNode,
    input: Parts<'s>,
    rejected: Parts<'s>,
    ticks: &Ticks<'s>,
    running: &Running,
) -> Option<Ticks<'s>> {
    let most = limit_of(stage, running)?;
    let who = match stage.plugin() {
        Some(node) => format!("stage `{}`: plugin {} {}", stage.name, node.description.name, node.description.version),
        None => format!("stage `{}`", stage.name),
    };
    let limit = Limit { most, who, remedy: "Fix the plugin or its input, or raise `max_rejected` of the stage." };
    let came_in = input.map(|part: Part| counted(part, IN, None));
    let reason_at = Some(stage.rejected.reason_at());
    let refused = rejected.map(move |part: Part| counted(part, REJECTED, reason_at));
    Some(checked(limit, &stage.name, came_in.concat(refused), ticks.clone(), running))
}

/// The same of a source, to which all records come: those that become rows, and those that it rejects.
pub fn of_source<'s>(
    spec: &SourceSpec,
    source: &SourceStreams<'s>,
    ticks: &Ticks<'s>,
    running: &Running,
) -> Option<Ticks<'s>> {
    let (most, who) = (spec.rejected_max?, format!("source `{}`", spec.name));
    let remedy = "Fix the input or the `schema` of the source, or raise its `max_rejected`.";
    let decoded = source.rows.clone().map(|part: Part| counted(part, IN, None));
    let refused = source.rejected.clone().flat_map(|part: Part| {
        let reason_at = part.rows.schema().index_of(REASON).ok();
        [counted(part.clone(), IN, None), counted(part, REJECTED, reason_at)]
    });
    Some(checked(Limit { most, who, remedy }, &spec.name, decoded.concat(refused), ticks.clone(), running))
}

/// How many rows of a batch may be rejected, and what is said where there are more.
struct Limit {
    most: RejectedMax,
    /// The source or stage.
    who: String,
    /// What to do.
    remedy: &'static str,
}

/// Checks the counts of each batch on one worker.
fn checked<'s>(limit: Limit, name: &str, counts: Parts<'s>, ticks: Ticks<'s>, running: &Running) -> Ticks<'s> {
    let (name, failure) = (format!("{name} rejections"), running.failure.clone());
    let (passed, _) = each_batch(counts, ticks, &name, failure, |_| 0, {
        move |context: BatchContext, parts, _| check(&limit, context.id, &RowCounts::of(&parts)?)
    });
    super::passed(passed)
}

/// The limit of a stage, if it has one.
fn limit_of(stage: &StageNode, running: &Running) -> Option<RejectedMax> {
    let spec = running.graph.spec.stages.iter().find(|spec| spec.name == stage.name)?;
    match &spec.operator {
        OperatorSpec::Plugin(plugin) | OperatorSpec::Cogroup { plugin, .. } => plugin.rejected_max,
        _ => None,
    }
}

/// The column of a source's rejected rows that says why.
const REASON: &str = "reason";
/// [`Part::input`] of what came in, and of what was rejected.
const IN: u32 = 0;
const REJECTED: u32 = 1;

/// How many rows a part has, and the first reason, in its place.
fn counted(part: Part, input: u32, reason_at: Option<usize>) -> Part {
    let rows: ArrayRef = Arc::new(Int64Array::from(vec![part.rows.num_rows() as i64]));
    let reasons = reason_at.and_then(|place| part.rows.columns().get(place)?.as_string_opt::<i32>());
    let first = reasons.and_then(|reasons| reasons.iter().next().flatten());
    let first: ArrayRef = Arc::new(StringArray::from(vec![first]));
    let rows = RecordBatch::try_from_iter_with_nullable([("rows", rows, false), ("reason", first, true)]);
    // It cannot fail: both columns have one row.
    let rows = rows.unwrap_or_else(|_| RecordBatch::new_empty(part.rows.schema()));
    Part { rows, input, to: 0, ..part }
}

/// The rows of one batch.
#[derive(Default)]
struct RowCounts {
    rows: u64,
    rejected: u64,
    reason: String,
}

impl RowCounts {
    fn of(parts: &[Part]) -> Result<RowCounts> {
        let mut all = RowCounts::default();
        for part in parts {
            let [rows, reason] = part.rows.columns() else { return Err(Error::bug("counts without their columns")) };
            let rows = rows.as_primitive_opt::<Int64Type>().map(|rows| rows.values().iter().sum::<i64>());
            let rows = rows.ok_or_else(|| Error::bug("counts that are no numbers"))?.unsigned_abs();
            if part.input == IN {
                all.rows += rows;
                continue;
            }
            if all.rejected == 0
                && let Some(reasons) = reason.as_string_opt::<i32>().filter(|all| !all.is_empty())
            {
                all.reason = reasons.value(0).replace('\n', " ");
            }
            all.rejected += rows;
        }
        Ok(all)
    }
}

/// An error where a batch has more rejected rows than it may.
fn check(limit: &Limit, batch: BatchId, counted: &RowCounts) -> Result<()> {
    let (RowCounts { rows, rejected, reason }, Limit { most, who, remedy }) = (counted, limit);
    let (too_many, may) = match most {
        RejectedMax::Rows(most) => (rejected > most, format!("{most}")),
        RejectedMax::Share(share) => {
            (*rows > 0 && *rejected as f64 > share * *rows as f64, format!("{} %", (share * 1e8).round() / 1e6))
        }
    };
    if !too_many {
        return Ok(());
    }
    Err(Error::plugin(format!(
        "{who} rejected {rejected} of {rows} rows of batch {batch}, and `max_rejected` lets it reject {may} of a batch; \
         nothing of the batch is emitted\n  the first reason: {reason}\n  {remedy}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(most: RejectedMax, rows: u64, rejected: u64) -> Option<String> {
        let counted = RowCounts { rows, rejected, reason: "odd".into() };
        let limit = Limit { most, who: "stage `s`".into(), remedy: "Fix it." };
        check(&limit, BatchId(7), &counted).err().map(|error| error.message)
    }

    #[test]
    fn a_count_and_a_share_may_be_reached_and_not_exceeded() {
        assert_eq!(told(RejectedMax::Rows(3), 3, 3), None);
        assert_eq!(told(RejectedMax::Rows(0), 3, 0), None);
        let words = told(RejectedMax::Rows(3), 10, 4).unwrap();
        assert!(
            words.starts_with("stage `s` rejected 4 of 10 rows of batch 7, and `max_rejected` lets it reject 3 of")
        );
        assert!(words.contains("the first reason: odd\n"), "{words}");
        assert_eq!(told(RejectedMax::Share(0.1), 10, 1), None);
        assert!(told(RejectedMax::Share(0.1), 10, 2).unwrap().contains("lets it reject 10 % of a batch"));
        assert_eq!(told(RejectedMax::Share(0.0), 0, 2), None, "a window closes in a batch without rows");
    }
}
