//! Rows that go to the worker that owns their key, and come back to where they were, in the order that they had: what comes behind may
//! keep the last row of another key.

use crate::operators::context::BuildContext;
use crate::operators::stage::StageNode;
use crate::timely_ext::{Output, Parts, each_batch};
use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream_base::batch::part::Part;
use millstream_base::batch::types::with_fields;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::ids::{ClockId, PartOrder};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows that are away from their worker come in by the input of this number and that of the worker.
pub const AWAY: u32 = 2;
/// The column behind all others of rows that are away: which row of which of their worker's parts it is.
const PLACE: &str = "millstream.place";

/// The columns of rows that are away.
pub fn placed(schema: &SchemaRef) -> SchemaRef {
    with_fields(schema, [Arc::new(Field::new(PLACE, DataType::UInt64, false))])
}

/// Notes in the parts of this worker where their rows stand, before they go away.
pub fn mark(build: &BuildContext<'_, '_>) -> impl FnMut(&mut Part) -> Result<()> + 'static {
    let (peers, away, mut number) = (build.peers, AWAY + build.index as u32, 0_u64);
    move |part| {
        if peers > 1 {
            let first = number << 32;
            let places: ArrayRef = Arc::new(UInt64Array::from_iter_values(first..first + part.rows.num_rows() as u64));
            let columns = part.rows.columns().iter().cloned().chain([places]).collect();
            part.rows = RecordBatch::try_new(placed(&part.rows.schema()), columns).map_err(Error::arrow)?;
            (part.input, number) = (away, number.wrapping_add(1));
        }
        Ok(())
    }
}

/// Rows that were away are parts as before, in the order that they had.
pub fn back<'s>(stage: &StageNode, rows: Parts<'s>, build: &BuildContext<'s, '_>) -> Parts<'s> {
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
            output.push(context, order, in_their_places(&pieces)?);
        }
        Ok(())
    };
    let (name, failure) = (format!("{} back", stage.name), build.failure.clone());
    each_batch(rows, build.ticks.clone(), &name, failure, |part| u64::from(part.input.saturating_sub(AWAY)), work).0
}

fn in_their_places(pieces: &[RecordBatch]) -> Result<RecordBatch> {
    let schema = pieces.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
    let mut rows = concat_batches(&schema, pieces).map_err(Error::arrow)?;
    let place = rows.num_columns().saturating_sub(1);
    let places = rows.remove_column(place);
    let order = sort_to_indices(&places, None, None).map_err(Error::arrow)?;
    take_record_batch(&rows, &order).map_err(Error::arrow)
}
