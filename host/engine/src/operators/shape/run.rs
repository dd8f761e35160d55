//! `filter` and `select`: processing of a stage's rows before they leave it.

use crate::operators::context::{BuildContext, StageStreams};
use crate::operators::shape::check::OutputShape;
use crate::operators::stage::StageNode;
use crate::timely_ext::each_part;
use arrow::array::{Array as _, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{filter_record_batch, prep_null_mask_filter};
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};

/// Builds the stage's `filter` and `select`.
pub fn build<'s>(
    stage: &StageNode,
    streams: StageStreams<'s>,
    build: &BuildContext<'s, '_>,
) -> Result<StageStreams<'s>> {
    let Some(shape) = stage.shape.clone() else { return Ok(streams) };
    let metrics = build.metrics.counts(&stage.name);
    let (name, failure) = (stage.name.clone(), build.failure.clone());
    let (rows, _) = each_part(streams.rows, &format!("{name} shape"), failure, move |context, part, output| {
        let before = part.rows.num_rows();
        let rows = shaped(&shape, context, part.rows).map_err(|error| error.within(format!("stage `{name}`")))?;
        metrics.drop_rows(before - rows.num_rows());
        output.push(context, part.order, rows);
        Ok(())
    });
    Ok(StageStreams { rows, ..streams })
}

/// Returns the rows that satisfy the filter (null counts as false), with the columns of `select`.
fn shaped(shape: &OutputShape, context: BatchContext, mut rows: RecordBatch) -> Result<RecordBatch> {
    if let Some(filter) = &shape.filter {
        let values = filter.evaluate(context, &rows)?;
        let keep = values.as_boolean_opt().ok_or_else(|| Error::bug("a filter without truth values"))?;
        rows = if keep.null_count() == 0 {
            filter_record_batch(&rows, keep)
        } else {
            filter_record_batch(&rows, &prep_null_mask_filter(keep))
        }
        .map_err(Error::arrow)?;
    }
    let Some(select) = &shape.select else { return Ok(rows) };
    if rows.num_rows() == 0 {
        return Ok(RecordBatch::new_empty(shape.output.clone()));
    }
    let columns = select.iter().map(|column| column.evaluate(context, &rows)).collect::<Result<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(shape.output.clone(), columns, &options).map_err(Error::arrow)
}
