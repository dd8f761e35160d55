//! Calls of a plugin of any world through the library, with generated rows.

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt32Array, new_null_array,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream::error::{Error, Result};
use millstream::ids::{BatchId, BatchTime};
use millstream::internals::batch::rejected::RejectedRow;
use millstream::internals::context::CallContext;
use millstream::internals::plugin::{
    Caller, Cogroups, Description, DueTimes, Groups, LoadOptions, Metering, Plugin, StageUse, World,
};
use millstream::job::spec::OnError;
use std::sync::Arc;

/// The outcome of a call.
#[derive(Debug, Default)]
pub struct Outcome {
    /// All batches that it returned, each with the schema that was described.
    pub batches: Vec<(RecordBatch, SchemaRef)>,
    /// Rejected rows of the first input.
    pub refused: Vec<u32>,
}

/// The context of every call.
pub const CONTEXT: CallContext = CallContext { batch: BatchId(1), time: BatchTime(1_000_000), watermark: Some(7) };

/// Load options for calls that are stopped in this way.
pub fn options(on_error: OnError) -> LoadOptions {
    let metering = if on_error == OnError::Reject { Metering::Fuel } else { Metering::Epochs };
    LoadOptions { metering, ..LoadOptions::default() }
}

/// Calls `describe` for the one input `value text`, in world `cogroup` for two.
pub fn describe(plugin: &Plugin, stage: &StageUse) -> Result<Description> {
    let input: SchemaRef = text().schema();
    let inputs = vec![input; if plugin.world() == World::Cogroup { 2 } else { 1 }];
    plugin.describe_for(stage, &inputs)
}

/// Four rows of `value text`, one of them bad.
pub fn text() -> RecordBatch {
    let values: ArrayRef = Arc::new(StringArray::from(vec!["good", "bad!", "fine", "x"]));
    let schema = Schema::new(vec![Field::new("value", DataType::Utf8, true)]);
    RecordBatch::try_new(Arc::new(schema), vec![values]).expect("the column fits")
}

/// Calls every function of the plugin's world once, until one fails. In world `aggregate`, accumulators come from `lift`.
pub fn call(plugin: &Plugin, caller: &mut Caller, description: &Description, rows: &RecordBatch) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let refused = |refusals: &[RejectedRow]| refusals.iter().map(|refusal| refusal.row).collect();
    match plugin.world() {
        World::Transform => {
            let processed = caller.process(CONTEXT, rows)?;
            outcome.refused = refused(&processed.rejections);
            outcome.batches.push((processed.rows, description.output.clone()));
        }
        World::Update => {
            let updated = caller.update(CONTEXT, &groups(rows, &description.state))?;
            outcome.refused = refused(&updated.rejections);
            check(updated.kept.len() == updated.states.num_rows(), "one bit a state")?;
            outcome.batches.push((updated.states, description.state.clone()));
            outcome.batches.push((updated.output, description.output.clone()));
        }
        World::Cogroup => {
            let cogrouped = caller.cogroup(CONTEXT, &cogroups(rows, description))?;
            check(cogrouped.rejections.len() == description.inputs.len(), "a list for each input")?;
            outcome.refused = cogrouped.rejections.first().map(|first| refused(first)).unwrap_or_default();
            outcome.batches.push((cogrouped.rows, description.output.clone()));
        }
        World::Aggregate => {
            let refusals = caller.find_rejected(CONTEXT, rows)?;
            outcome.refused = refused(&refusals);
            let keep: BooleanArray =
                (0..rows.num_rows() as u32).map(|row| Some(!outcome.refused.contains(&row))).collect();
            let rows = filter_record_batch(rows, &keep).map_err(Error::arrow)?;
            let lifted = caller.lift(CONTEXT, &rows)?;
            check(lifted.num_rows() == rows.num_rows(), "an accumulator for each row")?;
            let combined = caller.combine(CONTEXT, &lifted, &lifted)?;
            check(combined.num_rows() == lifted.num_rows(), "an accumulator for each pair")?;
            let keys = rows.project(&[]).map_err(Error::arrow)?;
            let lowered = caller.lower(CONTEXT, &keys, &combined)?;
            check(lowered.num_rows() == combined.num_rows(), "a row for each accumulator")?;
            outcome.batches.push((lifted, description.state.clone()));
            outcome.batches.push((combined, description.state.clone()));
            outcome.batches.push((lowered, description.output.clone()));
        }
        World::Source | World::Sink => return Err(Error::job("an end of a job is not called with rows by a stage")),
    }
    Ok(outcome)
}

/// Generates this number of rows of any schema; `None` if a type that may not be null has no values here.
pub fn rows_of(schema: &SchemaRef, rows: usize) -> Option<RecordBatch> {
    let column = |field: &Arc<Field>| -> Option<ArrayRef> {
        Some(match field.data_type() {
            DataType::Boolean => Arc::new(BooleanArray::from(vec![true; rows])),
            DataType::Int64 => Arc::new(Int64Array::from(vec![7; rows])),
            DataType::Float64 => Arc::new(Float64Array::from(vec![0.5; rows])),
            DataType::Utf8 => Arc::new(StringArray::from(vec!["a b"; rows])),
            DataType::Binary => Arc::new(BinaryArray::from_vec(vec![b"ab"; rows])),
            DataType::Timestamp(_, Some(_)) => {
                Arc::new(TimestampMicrosecondArray::from(vec![7; rows]).with_data_type(field.data_type().clone()))
            }
            other if field.is_nullable() => new_null_array(other, rows),
            _ => return None,
        })
    };
    let columns = schema.fields().iter().map(column).collect::<Option<Vec<_>>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).ok()
}

/// Every row is a group.
fn groups(rows: &RecordBatch, state: &SchemaRef) -> Groups {
    let count = rows.num_rows();
    Groups {
        keys: keys(count),
        rows: rows.clone(),
        ends: (1..=count as u32).collect(),
        states: rows_of(state, count).unwrap_or_else(|| RecordBatch::new_empty(state.clone())),
        known: BooleanArray::from(vec![false; count]),
        timed_out: BooleanArray::from(vec![false; count]),
        timers: Vec::new(),
        due: DueTimes { ends: vec![0; count].into(), times_us: Vec::new().into() },
        all: false,
        overdue: BooleanArray::from(vec![false; count]),
    }
}

/// Every row of the first input is a group; the others are empty.
fn cogroups(rows: &RecordBatch, description: &Description) -> Cogroups {
    let count = rows.num_rows();
    let others = description.inputs.iter().skip(1);
    let others = others.map(|input| (RecordBatch::new_empty(input.clone()), UInt32Array::from(vec![0; count])));
    let first = (rows.clone(), (1..=count as u32).collect());
    Cogroups { keys: keys(count), inputs: std::iter::once(first).chain(others).collect() }
}

fn keys(count: usize) -> RecordBatch {
    let keys: ArrayRef = Arc::new((0..count).map(|row| Some(format!("key {row}"))).collect::<StringArray>());
    RecordBatch::try_from_iter([("key", keys)]).expect("the column fits")
}

fn check(holds: bool, what: &str) -> Result<()> {
    if holds { Ok(()) } else { panic!("there must be {what}") }
}
