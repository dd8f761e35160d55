//! Rows that visit the worker that owns their key and return to their origin in the same order. Operators downstream may keep the last row of another
//! key.

use crate::operators::context::BuildContext;
use crate::operators::stage::StageNode;
use crate::timely_ext::{Output, Parts, each_batch};
use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::{ClockId, PartOrder};
use millstream_rows::batch::part::Part;
use millstream_rows::batch::types::with_fields;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Input number of rows that have left their worker, added to the worker's number.
pub const MOVED_INPUT: u32 = 2;
/// The last column of such rows: the part of their worker, and the row in it.
const ORIGIN: &str = "millstream.place";

/// Appends the column with the origin.
pub fn placed(schema: &SchemaRef) -> SchemaRef {
    with_fields(schema, [Arc::new(Field::new(ORIGIN, DataType::UInt64, false))])
}

/// Adds the origin to the rows of this worker's parts, before they leave.
pub fn mark(build: &BuildContext<'_, '_>) -> impl FnMut(&mut Part) -> Result<()> + 'static {
    let (peers, moved, mut number) = (build.peers, MOVED_INPUT + build.index as u32, 0_u64);
    move |part| {
        if peers > 1 {
            let first = number << 32;
            let indexes: ArrayRef = Arc::new(UInt64Array::from_iter_values(first..first + part.rows.num_rows() as u64));
            let columns = part.rows.columns().iter().cloned().chain([indexes]).collect();
            part.rows = RecordBatch::try_new(placed(&part.rows.schema()), columns).map_err(Error::arrow)?;
            (part.input, number) = (moved, number.wrapping_add(1));
        }
        Ok(())
    }
}

/// Returns rows to their origin as parts, in the original order.
pub fn return_rows<'s>(stage: &StageNode, rows: Parts<'s>, build: &BuildContext<'s, '_>) -> Parts<'s> {
    if build.peers == 1 {
        return rows;
    }
    let work = |context: BatchContext, parts: Vec<Part>, output: &mut Output| {
        let mut together: BTreeMap<(PartOrder, ClockId), Vec<RecordBatch>> = BTreeMap::new();
        for part in parts {
            together.entry((part.order, part.clock_id)).or_default().push(part.rows);
        }
        for ((order, clock_id), pieces) in together {
            output.clock_id = clock_id;
            output.push(context, order, in_original_order(&pieces)?);
        }
        Ok(())
    };
    let (name, failure) = (format!("{} back", stage.name), build.failure.clone());
    each_batch(
        rows,
        build.ticks.clone(),
        &name,
        failure,
        |part| u64::from(part.input.saturating_sub(MOVED_INPUT)),
        work,
    )
    .0
}

fn in_original_order(pieces: &[RecordBatch]) -> Result<RecordBatch> {
    let schema = pieces.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
    let mut rows = concat_batches(&schema, pieces).map_err(Error::arrow)?;
    let position = rows.num_columns().saturating_sub(1);
    let indexes = rows.remove_column(position);
    let order = sort_to_indices(&indexes, None, None).map_err(Error::arrow)?;
    take_record_batch(&rows, &order).map_err(Error::arrow)
}
