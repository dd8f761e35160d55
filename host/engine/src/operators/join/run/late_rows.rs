//! Split of late rows from the others, in a join by event time.

use super::{first, original_columns};
use crate::exchange::sort_by_key_group;
use crate::operators::by_key::hashes;
use crate::operators::join::node::JoinNode;
use crate::operators::join::state::Side;
use crate::operators::stage::StageNode;
use crate::timely_ext::Output;
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::TimestampMicrosecondType;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::PartOrder;
use millstream_metrics::Counts;
use millstream_rows::batch::part::Part;
use millstream_rows::batch::rejected::mixed_late_rows;

/// Splits off late rows, on one worker.
pub struct LateSplitter {
    pub stage: StageNode,
    pub worker: u64,
    pub metrics: Counts,
    node: JoinNode,
}

impl LateSplitter {
    pub fn new(stage: &StageNode, node: &JoinNode, worker: usize, metrics: Counts) -> LateSplitter {
        LateSplitter { stage: stage.clone(), worker: worker as u64, metrics, node: node.clone() }
    }

    /// Returns the rows of a side that are not late, as one batch; late rows are emitted.
    pub fn rows(
        &self,
        context: BatchContext,
        side: Side,
        parts: Vec<Part>,
        output: &mut Output,
    ) -> Result<RecordBatch> {
        let (mut good, mut late_rows) = (Vec::with_capacity(parts.len()), Vec::new());
        for part in parts {
            let last = part.rows.columns().last().and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
            let times = last.ok_or_else(|| Error::bug("a row of an interval join without its time"))?.values();
            let Some(before) = context.watermark.before.filter(|before| times.iter().any(|time| time < before)) else {
                good.push(part.rows);
                continue;
            };
            let on_time: BooleanArray = times.iter().map(|time| Some(*time >= before)).collect();
            let late: BooleanArray = times.iter().map(|time| Some(*time < before)).collect();
            let filter = |which: &BooleanArray| filter_record_batch(&part.rows, which).map_err(Error::arrow);
            good.push(filter(&on_time)?);
            late_rows.push(filter(&late)?);
        }
        if let (Some(before), [first, ..]) = (context.watermark.before, late_rows.as_slice()) {
            let rows = concat_batches(first.schema_ref(), &late_rows).map_err(Error::arrow)?;
            let rows = self.late(side, before, &rows)?;
            output.late(context, PartOrder::at(side as u64).then(self.worker), rows);
        }
        concat_batches(&self.node.columns[side.index()], &good).map_err(Error::arrow)
    }

    /// Returns late rows with the columns of their stream, ordered by key group, independent of the workers.
    fn late(&self, side: Side, before: i64, rows: &RecordBatch) -> Result<RecordBatch> {
        self.metrics.add_late(rows.num_rows());
        let rows = sort_by_key_group(rows, &hashes(&first(self.node.on), rows)?).map_err(Error::arrow)?;
        let last = rows.columns().last().and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
        let times = last.map(|times| times.values().to_vec()).unwrap_or_default();
        let reason = |time: i64| format!("late by {}", seconds(before.saturating_sub(time)));
        let reasons = times.into_iter().map(reason).collect();
        let (input, rows) = original_columns(&self.stage, &self.node, side, &rows)?;
        mixed_late_rows(input, &rows, reasons).map_err(Error::arrow)
    }
}

/// Formats a duration for users: `1.5 s`.
fn seconds(us: i64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
}
