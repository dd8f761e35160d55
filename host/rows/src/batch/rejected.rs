//! Rejected rows, as they flow in `<stage>.rejected`.

use crate::batch::slices::RowBytes;
use crate::batch::types::ColumnType;
use crate::batch::widen::first_inexact;
use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use millstream_base::limits::IN_FLIGHT_MAX_MAX;
use millstream_base::units::show_size;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A row that a stage rejects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRow {
    /// Its index among the rows that were processed.
    pub row: u32,
    /// Why, for people.
    pub reason: String,
    /// Backtrace of the plugin, if the row made a call fail.
    pub backtrace: Option<String>,
}

impl RejectedRow {
    /// Creates it without a backtrace.
    pub fn new(row: u32, reason: impl Into<String>) -> RejectedRow {
        RejectedRow { row, reason: reason.into(), backtrace: None }
    }
}

/// The stage and plugin that rejected rows of a stage with `on_error = "reject"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectionOrigin {
    /// The stage.
    pub stage: String,
    /// The plugin's name.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// The digest of its component.
    pub digest: String,
}

/// How a stage emits the rows that it rejects: the row as it came or, in a stage with several inputs, the input's name and the row as JSON; then the
/// reason. With `on_error = "reject"`, also a backtrace, the origin, and the batch.
#[derive(Clone, Debug)]
pub struct RejectedRows {
    /// The columns.
    pub schema: SchemaRef,
    /// How many of them are those of the row; `None` if the row is JSON.
    own_columns: Option<usize>,
    blame: Option<Arc<RejectionOrigin>>,
    /// The maximum size of rejected rows.
    room: Option<Arc<RejectedBytesBudget>>,
}

/// Maximum size of the rejected rows of one batch of a stage, over all workers of a process.
#[derive(Debug)]
struct RejectedBytesBudget {
    stage: String,
    bytes_max: u64,
    /// Bytes used by the newest batches.
    used: Mutex<BTreeMap<BatchId, u64>>,
}

/// Number of batches whose bytes are tracked: more than are in flight.
const BATCHES_KEPT: usize = 2 * IN_FLIGHT_MAX_MAX as usize;

impl RejectedBytesBudget {
    fn take(&self, batch: BatchId, bytes: u64) -> Result<()> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = used.entry(batch).or_default();
        *sum = sum.saturating_add(bytes);
        if *sum > self.bytes_max {
            return Err(Error::plugin(format!(
                "stage `{}`: the rejected rows of batch {batch}, with their reasons, take more than {}; nothing of \
                 the batch is emitted\n  Fix the plugin or its input, raise `limits.rejected` of the stage, lower \
                 `limits.backtrace`, or make batches smaller (`rows_per_batch_max` of the source).",
                self.stage,
                show_size(self.bytes_max)
            )));
        }
        while used.len() > BATCHES_KEPT {
            used.pop_first();
        }
        Ok(())
    }
}

/// The columns after the reason, with `on_error = "reject"`.
const DETAILS: [(&str, ColumnType); 6] = [
    ("backtrace", ColumnType::Text),
    ("stage", ColumnType::Text),
    ("plugin", ColumnType::Text),
    ("version", ColumnType::Text),
    ("digest", ColumnType::Text),
    ("batch", ColumnType::Int64),
];

impl RejectedRows {
    /// Creates it for a stage with this number of inputs, the first of which has these columns.
    pub fn new(input: &Schema, inputs: usize, blame: Option<RejectionOrigin>) -> RejectedRows {
        let own: Vec<Field> = match inputs {
            1 => input.fields().iter().map(|field| field.as_ref().clone()).collect(),
            _ => ["input", "row"].map(|name| Field::new(name, ColumnType::Text.arrow(), true)).to_vec(),
        };
        let own_columns = (inputs == 1).then_some(own.len());
        let mut fields = own;
        let details = if blame.is_some() { DETAILS.as_slice() } else { &[] };
        for (name, kind) in [("reason", ColumnType::Text)].iter().chain(details) {
            let mut name = (*name).to_owned();
            while fields.iter().any(|field| *field.name() == name) {
                name.insert_str(0, "rejected_");
            }
            fields.push(Field::new(name, kind.arrow(), true));
        }
        RejectedRows { schema: Arc::new(Schema::new(fields)), own_columns, blame: blame.map(Arc::new), room: None }
    }

    /// Limits the bytes of each batch of this stage.
    #[must_use]
    pub fn at_most(self, stage: &str, bytes_max: u64) -> RejectedRows {
        let room = RejectedBytesBudget { stage: stage.to_owned(), bytes_max, used: Mutex::default() };
        RejectedRows { room: Some(Arc::new(room)), ..self }
    }

    /// Returns the index of the reason among the columns.
    pub fn reason_at(&self) -> usize {
        self.own_columns.unwrap_or(2)
    }

    /// Returns the rejected ones of these rows. They may have columns after those of the input. `input` is the input's name.
    pub fn rows(
        &self,
        batch: BatchId,
        input: &str,
        rows: &RecordBatch,
        rejections: &[RejectedRow],
    ) -> Result<RecordBatch> {
        let rejected = self.rejected_rows(batch, input, rows, rejections).map_err(Error::arrow)?;
        if let Some(room) = self.room.as_ref().filter(|_| !rejections.is_empty()) {
            room.take(batch, RowBytes::measure([&rejected]).of_range(&(0..rejected.num_rows())) as u64)?;
        }
        Ok(rejected)
    }

    fn rejected_rows(
        &self,
        batch: BatchId,
        input: &str,
        rows: &RecordBatch,
        rejections: &[RejectedRow],
    ) -> Result<RecordBatch, ArrowError> {
        let indices: UInt32Array = rejections.iter().map(|rejection| rejection.row).collect::<Vec<_>>().into();
        let mut columns = match self.own_columns {
            Some(count) => {
                let own = rows.project(&(0..count).collect::<Vec<_>>())?;
                take_record_batch(&own, &indices)?.columns().to_vec()
            }
            None => {
                let names: ArrayRef = Arc::new(StringArray::from(vec![input; rejections.len()]));
                vec![names, as_json(&take_record_batch(rows, &indices)?)?]
            }
        };
        columns.push(Arc::new(rejections.iter().map(|rejection| Some(&rejection.reason)).collect::<StringArray>()));
        if let Some(blame) = &self.blame {
            columns.push(Arc::new(
                rejections.iter().map(|rejection| rejection.backtrace.as_ref()).collect::<StringArray>(),
            ));
            for name in [&blame.stage, &blame.plugin, &blame.version, &blame.digest] {
                columns.push(Arc::new(StringArray::from(vec![name.as_str(); rejections.len()])));
            }
            let batch = i64::try_from(batch.0).unwrap_or(i64::MAX);
            columns.push(Arc::new(Int64Array::from(vec![batch; rejections.len()])));
        }
        RecordBatch::try_new(self.schema.clone(), columns)
    }
}

/// Returns the indexes of the plugin's name and version among the columns of rejected rows, if present.
pub fn plugin_columns(rejected: &RecordBatch, reason_at: usize) -> Option<[usize; 2]> {
    let index = |name| Some(reason_at + 1 + DETAILS.iter().position(|(column, _)| *column == name)?);
    let indexes = [index("plugin")?, index("version")?];
    (rejected.num_columns() == reason_at + 1 + DETAILS.len()).then_some(indexes)
}

/// Returns rows as JSON objects, which our sources read back unchanged.
fn as_json(rows: &RecordBatch) -> Result<ArrayRef, ArrowError> {
    let objects = crate::batch::json::objects(rows).map_err(|error| ArrowError::JsonError(error.to_string()))?;
    Ok(Arc::new(StringArray::from_iter_values(objects)))
}

/// Returns late rows of a stage with several inputs: the input, the row as JSON, the reason.
pub fn mixed_late_rows(input: &str, rows: &RecordBatch, reasons: Vec<String>) -> Result<RecordBatch, ArrowError> {
    let rejections: Vec<RejectedRow> =
        (0u32..).zip(reasons).map(|(row, reason)| RejectedRow::new(row, reason)).collect();
    RejectedRows::new(rows.schema_ref(), 2, None).rejected_rows(BatchId(0), input, rows, &rejections)
}

/// Returns the columns of late rows of a stage with several inputs.
pub fn mixed_late_schema() -> SchemaRef {
    RejectedRows::new(&Schema::empty(), 2, None).schema
}

/// Removes rows that are null in a column of which a plugin needs a value, and those with an integer that no float represents if the plugin reads
/// floats. `columns` are the columns that the plugin reads; `reads` has their types and which may be null. Returns the other rows and the rejections,
/// by row.
pub fn without_nulls(
    rows: RecordBatch,
    columns: &[usize],
    reads: &Schema,
) -> Result<(RecordBatch, Vec<RejectedRow>), ArrowError> {
    let needed =
        || columns.iter().zip(reads.fields()).filter(|(_, field)| !field.is_nullable()).map(|(index, _)| *index);
    let inexact = inexact(&rows, columns, reads);
    if inexact.is_empty() && needed().all(|index| rows.column(index).null_count() == 0) {
        return Ok((rows, Vec::new()));
    }
    let exact = |row| !inexact.contains_key(&row);
    let mut valid = (!inexact.is_empty()).then(|| NullBuffer::from_iter((0..rows.num_rows()).map(exact)));
    for index in needed() {
        valid = NullBuffer::union(valid.as_ref(), rows.column(index).logical_nulls().as_ref());
    }
    let Some(valid) = valid else { return Ok((rows, Vec::new())) };
    let mut rejections = Vec::new();
    for row in (0..rows.num_rows()).filter(|row| valid.is_null(*row)) {
        let schema = rows.schema_ref();
        let reason = match (needed().find(|index| rows.column(*index).is_null(row)), inexact.get(&row)) {
            (None, Some(reason)) => reason.clone(),
            (null, _) => {
                let name = schema.field(null.unwrap_or_default()).name();
                format!("column `{name}` is null, and the plugin needs a value")
            }
        };
        rejections.push(RejectedRow::new(row as u32, reason));
    }
    let keep = BooleanArray::new(valid.into_inner(), None);
    Ok((filter_record_batch(&rows, &keep)?, rejections))
}

/// Merges rows rejected for a null with those that the plugin rejected among the others, in the order of all rows. The result is the same however
/// the rows of a part are spread over workers.
pub fn merge_rejections(nulls: Vec<RejectedRow>, mut rejected: Vec<RejectedRow>) -> Vec<RejectedRow> {
    if nulls.is_empty() {
        return rejected;
    }
    rejected.sort_by_key(|rejection| rejection.row);
    let mut before = 0;
    for rejection in &mut rejected {
        while nulls.get(before).is_some_and(|null| null.row <= rejection.row + before as u32) {
            before += 1;
        }
        rejection.row += before as u32;
    }
    rejected.extend(nulls);
    rejected.sort_by_key(|rejection| rejection.row);
    rejected
}

/// Finds rows with an integer that no float represents if the plugin reads floats, with the reason for the first such column.
fn inexact(rows: &RecordBatch, columns: &[usize], reads: &Schema) -> BTreeMap<usize, String> {
    let mut found = BTreeMap::new();
    for (index, field) in columns.iter().zip(reads.fields()) {
        let mut from = 0;
        while let Some((row, number)) = first_inexact(rows.column(*index), field.data_type(), from) {
            from = row + 1;
            found.entry(row).or_insert_with(|| {
                format!("column `{}`: {number} is not exact as float64, which the plugin reads there", field.name())
            });
        }
    }
    found
}
