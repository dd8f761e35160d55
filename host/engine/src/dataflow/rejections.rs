//! `max_rejected`: a batch of which a source or stage rejects too many rows fails the job before any of it is committed.

use super::source::SourceStreams;
use crate::operators::stage::StageNode;
use crate::running::Running;
use crate::timely_ext::{Parts, Ticks, each_batch};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use millstream_job::spec::{OperatorSpec, RejectedMax, SourceSpec};
use millstream_rows::batch::part::Part;
use std::sync::Arc;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::vec::Map;

/// Counts the rows that come into a stage and those that it rejects, on all workers together, if the stage has a limit. The stream has passed a batch
/// when it is within the limit.
pub fn build<'s>(
    stage: &StageNode,
    input: Parts<'s>,
    rejected: Parts<'s>,
    ticks: &Ticks<'s>,
    running: &Running,
) -> Option<Ticks<'s>> {
    let max = limit_of(stage, running)?;
    let reporter = match stage.plugin() {
        Some(node) => format!("stage `{}`: plugin {} {}", stage.name, node.description.name, node.description.version),
        None => format!("stage `{}`", stage.name),
    };
    let limit = Limit { max, reporter, remedy: "Fix the plugin or its input, or raise `max_rejected` of the stage." };
    let came_in = input.map(|part: Part| counted(part, IN, None));
    let reason_at = Some(stage.rejected.reason_at());
    let rejected_counts = rejected.map(move |part: Part| counted(part, REJECTED, reason_at));
    Some(check_counts(limit, &stage.name, came_in.concat(rejected_counts), ticks.clone(), running))
}

/// Does the same for a source: counts the rows it decodes, and those that it rejects.
pub fn of_source<'s>(
    spec: &SourceSpec,
    source: &SourceStreams<'s>,
    ticks: &Ticks<'s>,
    running: &Running,
) -> Option<Ticks<'s>> {
    let (max, reporter) = (spec.rejected_max?, format!("source `{}`", spec.name));
    let remedy = "Fix the input or the `schema` of the source, or raise its `max_rejected`.";
    let decoded = source.rows.clone().map(|part: Part| counted(part, IN, None));
    let rejected_counts = source.rejected.clone().flat_map(|part: Part| {
        let reason_at = part.rows.schema().index_of(REASON).ok();
        [counted(part.clone(), IN, None), counted(part, REJECTED, reason_at)]
    });
    Some(check_counts(
        Limit { max, reporter, remedy },
        &spec.name,
        decoded.concat(rejected_counts),
        ticks.clone(),
        running,
    ))
}

/// The maximum of rejected rows of a batch, and the message if it is exceeded.
struct Limit {
    max: RejectedMax,
    /// The source or stage.
    reporter: String,
    /// What to do.
    remedy: &'static str,
}

/// Checks the counts of each batch on one worker.
fn check_counts<'s>(limit: Limit, name: &str, counts: Parts<'s>, ticks: Ticks<'s>, running: &Running) -> Ticks<'s> {
    let (name, failure) = (format!("{name} rejections"), running.failure.clone());
    let (passed, _) = each_batch(counts, ticks, &name, failure, |_| 0, {
        move |context: BatchContext, parts, _| check(&limit, context.id, &RowCounts::from_parts(&parts)?)
    });
    super::progress_of(passed)
}

/// Returns the limit of a stage, if it has one.
fn limit_of(stage: &StageNode, running: &Running) -> Option<RejectedMax> {
    let spec = running.graph.spec.stages.iter().find(|spec| spec.name == stage.name)?;
    match &spec.operator {
        OperatorSpec::Plugin(plugin) | OperatorSpec::Cogroup { plugin, .. } => plugin.rejected_max,
        _ => None,
    }
}

/// The column of a source's rejected rows that contains the reason.
const REASON: &str = "reason";
/// [`Part::input`] of incoming rows, and of rejected ones.
const IN: u32 = 0;
const REJECTED: u32 = 1;

/// Replaces a part by its number of rows and the first reason, with the same order.
fn counted(part: Part, input: u32, reason_at: Option<usize>) -> Part {
    let rows: ArrayRef = Arc::new(Int64Array::from(vec![part.rows.num_rows() as i64]));
    let reasons = reason_at.and_then(|index| part.rows.columns().get(index)?.as_string_opt::<i32>());
    let first = reasons.and_then(|reasons| reasons.iter().next().flatten());
    let first: ArrayRef = Arc::new(StringArray::from(vec![first]));
    let rows = RecordBatch::try_from_iter_with_nullable([("rows", rows, false), ("reason", first, true)]);
    // It cannot fail: both columns have one row.
    let rows = rows.unwrap_or_else(|_| RecordBatch::new_empty(part.rows.schema()));
    Part { rows, input, to: 0, ..part }
}

/// The counts of one batch.
#[derive(Default)]
struct RowCounts {
    rows: u64,
    rejected: u64,
    reason: String,
}

impl RowCounts {
    fn from_parts(parts: &[Part]) -> Result<RowCounts> {
        let mut all = RowCounts::default();
        for part in parts {
            let [rows, reason] = part.rows.columns() else { return Err(Error::bug("counts without their columns")) };
            let rows = rows.as_primitive_opt::<Int64Type>().map(|rows| rows.values().iter().sum::<i64>());
            let rows = rows.ok_or_else(|| Error::bug("counts that are not numbers"))?.unsigned_abs();
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

/// Fails if a batch has more rejected rows than the limit.
fn check(limit: &Limit, batch: BatchId, counted: &RowCounts) -> Result<()> {
    let (RowCounts { rows, rejected, reason }, Limit { max, reporter, remedy }) = (counted, limit);
    let (too_many, may) = match max {
        RejectedMax::Rows(max) => (rejected > max, format!("{max}")),
        RejectedMax::Share(share) => {
            (*rows > 0 && *rejected as f64 > share * *rows as f64, format!("{} %", (share * 1e8).round() / 1e6))
        }
    };
    if !too_many {
        return Ok(());
    }
    Err(Error::plugin(format!(
        "{reporter} rejected {rejected} of {rows} rows of batch {batch}, but `max_rejected` allows {may} per batch; \
         nothing of the batch is emitted\n  the first reason: {reason}\n  {remedy}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked_counts(max: RejectedMax, rows: u64, rejected: u64) -> Option<String> {
        let counted = RowCounts { rows, rejected, reason: "odd".into() };
        let limit = Limit { max, reporter: "stage `s`".into(), remedy: "Fix it." };
        check(&limit, BatchId(7), &counted).err().map(|error| error.message)
    }

    #[test]
    fn a_count_and_a_share_may_be_reached_and_not_exceeded() {
        assert_eq!(checked_counts(RejectedMax::Rows(3), 3, 3), None);
        assert_eq!(checked_counts(RejectedMax::Rows(0), 3, 0), None);
        let message = checked_counts(RejectedMax::Rows(3), 10, 4).unwrap();
        assert!(message.starts_with("stage `s` rejected 4 of 10 rows of batch 7, but `max_rejected` allows 3 per"));
        assert!(message.contains("the first reason: odd\n"), "{message}");
        assert_eq!(checked_counts(RejectedMax::Share(0.1), 10, 1), None);
        assert!(checked_counts(RejectedMax::Share(0.1), 10, 2).unwrap().contains("allows 10 % per batch"));
        assert_eq!(checked_counts(RejectedMax::Share(0.0), 0, 2), None, "a window closes in a batch without rows");
    }
}
