//! Changes of totals: deleted rows and inserted rows.

use crate::timely_ext::Output;
use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::PartOrder;
use millstream_rows::batch::keys::Keys;
use millstream_rows::batch::op::{DELETE, INSERT};
use std::collections::HashSet;
use std::sync::Arc;

/// Emits the totals that changed, each with its key. Deletions of all workers precede all insertions. Returns the number of rows.
pub fn push(
    context: BatchContext,
    (before, after): (&RecordBatch, &RecordBatch),
    schema: &SchemaRef,
    worker: u64,
    output: &mut Output,
) -> Result<usize> {
    let keys = |rows: &RecordBatch| Keys::encode(rows.columns(), rows.num_rows()).map_err(Error::arrow);
    let (were, are) = (keys(before)?, keys(after)?);
    let mut count = 0;
    for (index, rows, own, others, op_name) in [(0, before, &were, &are, DELETE), (1, after, &are, &were, INSERT)] {
        let other_rows = if index == 0 { after } else { before };
        let others: HashSet<&[u8]> = (0..other_rows.num_rows()).map(|row| others.view().get(row)).collect();
        let new = (0..rows.num_rows()).filter(|row| !others.contains(own.view().get(*row)));
        let new: UInt32Array = new.map(|row| Some(row as u32)).collect();
        let rows = take_record_batch(rows, &new).map_err(Error::arrow)?;
        let op_names: ArrayRef = Arc::new(StringArray::from_iter_values(std::iter::repeat_n(op_name, rows.num_rows())));
        let columns = rows.columns().iter().cloned().chain([op_names]).collect();
        let rows = RecordBatch::try_new(schema.clone(), columns).map_err(Error::arrow)?;
        count += rows.num_rows();
        output.push(context, PartOrder::at(index).then(worker), rows);
    }
    Ok(count)
}
