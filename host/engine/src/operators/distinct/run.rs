//! Keeps the first of equal rows. Equal rows are sent to the worker that owns them. The remaining rows return to their origin, so that parts keep
//! their positions and rows the order of arrival.

use crate::exchange::{parts_of, split_by_key};
use crate::operators::by_key::{hashes, keys};
use crate::operators::context::{BuildContext, StageStreams};
use crate::operators::simple::with_rows;
use crate::operators::stage::StageNode;
use crate::timely_ext::{Output, Parts, each_batch, each_part};
use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, SchemaRef, UInt32Type};
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_rows::batch::group::Grouper;
use millstream_rows::batch::part::Part;
use millstream_rows::batch::types::with_fields;
use std::sync::Arc;

/// A row's index in its part, as the last column while rows travel.
const INDEX: &str = "millstream_place";

/// Builds the stage.
pub fn build<'s>(
    stage: &StageNode,
    columns: &[usize],
    parts: Parts<'s>,
    build: &BuildContext<'s, '_>,
) -> StageStreams<'s> {
    let numbered = with_index(&stage.input);
    let few = first_of_parts(stage, columns, numbered.clone(), parts, build);
    let first = first_of_batch(stage, columns, numbered, few, build);
    let (schema, metrics) = (stage.input.clone(), build.metrics.counts(&stage.name));
    let work = move |_: BatchContext, parts: Vec<Part>, output: &mut Output| {
        for pieces in parts.chunk_by(|a, b| a.order == b.order) {
            let Some(first) = pieces.first() else { continue };
            let rows = restore_order(&schema, pieces)?;
            metrics.add_rows(rows.num_rows());
            output.rows.push(Part { input: 0, ..with_rows(first, rows) });
        }
        Ok(())
    };
    let name = format!("{} back", stage.name);
    let (rows, rejected) =
        each_batch(first, build.ticks.clone(), &name, build.failure.clone(), |part| u64::from(part.input), work);
    StageStreams::new(rows, rejected)
}

/// Returns the first of equal rows in each part, on their way to the worker that owns them. A part's input is the worker that it comes from.
fn first_of_parts<'s>(
    stage: &StageNode,
    columns: &[usize],
    numbered: SchemaRef,
    parts: Parts<'s>,
    build: &BuildContext<'s, '_>,
) -> Parts<'s> {
    let (columns, peers, index) = (columns.to_vec(), build.peers, build.index as u32);
    let mut grouper = Grouper::default();
    let name = format!("{} of a part", stage.name);
    let (few, _) = each_part(parts, &name, build.failure.clone(), move |_, part, output| {
        let grouped = grouper.group(&keys(&columns, &part.rows)?);
        let positions = UInt32Array::from(grouped.first_rows);
        let rows = take_record_batch(&part.rows, &positions).map_err(Error::arrow)?;
        let with_indexes = rows.columns().iter().cloned().chain([Arc::new(positions) as ArrayRef]).collect();
        let rows = RecordBatch::try_new(numbered.clone(), with_indexes).map_err(Error::arrow)?;
        let split = split_by_key(&rows, &hashes(&columns, &rows)?, peers).map_err(Error::arrow)?;
        output.rows.extend(parts_of(split, &Part { input: index, ..part }));
        Ok(())
    });
    few
}

/// Returns the first of equal rows in the batch, part by part.
fn first_of_batch<'s>(
    stage: &StageNode,
    columns: &[usize],
    numbered: SchemaRef,
    parts: Parts<'s>,
    build: &BuildContext<'s, '_>,
) -> Parts<'s> {
    let columns = columns.to_vec();
    let mut grouper = Grouper::default();
    let work = move |_: BatchContext, parts: Vec<Part>, output: &mut Output| {
        let all = concat_batches(&numbered, parts.iter().map(|part| &part.rows)).map_err(Error::arrow)?;
        let mut first = grouper.group(&keys(&columns, &all)?).first_rows.into_iter().peekable();
        let mut end = 0;
        for part in &parts {
            end += part.rows.num_rows() as u32;
            let rows: Vec<u32> = std::iter::from_fn(|| first.next_if(|row| *row < end)).collect();
            if !rows.is_empty() {
                let rows = take_record_batch(&all, &UInt32Array::from(rows)).map_err(Error::arrow)?;
                output.rows.push(with_rows(part, rows));
            }
        }
        Ok(())
    };
    each_batch(parts, build.ticks.clone(), &stage.name, build.failure.clone(), |part| part.to, work).0
}

/// Merges the pieces of a part, in the order of their rows' indexes.
fn restore_order(schema: &SchemaRef, pieces: &[Part]) -> Result<RecordBatch> {
    let numbered = with_index(schema);
    let all = concat_batches(&numbered, pieces.iter().map(|part| &part.rows)).map_err(Error::arrow)?;
    let positions = all.columns().last().and_then(|column| column.as_primitive_opt::<UInt32Type>());
    let positions = positions.ok_or_else(|| Error::bug("rows without their indices"))?.values();
    let mut order: Vec<u32> = (0..all.num_rows() as u32).collect();
    order.sort_unstable_by_key(|row| positions.get(*row as usize));
    let sorted = take_record_batch(&all, &UInt32Array::from(order)).map_err(Error::arrow)?;
    let columns = sorted.columns().iter().take(schema.fields().len()).cloned().collect();
    let options = RecordBatchOptions::new().with_row_count(Some(sorted.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(Error::arrow)
}

fn with_index(schema: &SchemaRef) -> SchemaRef {
    with_fields(schema, [Arc::new(Field::new(INDEX, DataType::UInt32, false))])
}
