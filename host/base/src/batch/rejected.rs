//! Rows that a plugin refused, as they flow in `<stage>.rejected`.

use crate::batch::slices::RowBytes;
use crate::batch::types::ColumnType;
use crate::batch::widen::first_inexact;
use crate::error::{Error, Result};
use crate::ids::BatchId;
use crate::limits::IN_FLIGHT_MAX_MAX;
use crate::units::show_size;
use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A row that a stage refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRow {
    /// Its place among the rows that were looked at.
    pub row: u32,
    /// Why, for a person to read.
    pub reason: String,
    /// Where in the plugin, where it made a call fail.
    pub backtrace: Option<String>,
}

impl RefusedRow {
    /// Without a backtrace.
    pub fn new(row: u32, reason: impl Into<String>) -> RefusedRow {
        RefusedRow { row, reason: reason.into(), backtrace: None }
    }
}

/// Who is to blame for the rejected rows of a stage with `on_error = "reject"`.
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

/// How a stage puts out the rows that it refuses: the row as it came, or, in a stage with several inputs, the input's name
/// and the row as JSON; then the reason; with `on_error = "reject"` also a backtrace, who is to blame, and the batch.
#[derive(Clone, Debug)]
pub struct RejectedRows {
    /// The columns.
    pub schema: SchemaRef,
    /// How many of them are those of the row; `None`: the row is JSON.
    own_columns: Option<usize>,
    blame: Option<Arc<RejectionOrigin>>,
    /// How much there may be of them.
    room: Option<Arc<RejectedBytesBudget>>,
}

/// How many bytes of rejected rows one batch of a stage may have, all workers of a process together.
#[derive(Debug)]
struct RejectedBytesBudget {
    stage: String,
    bytes_max: u64,
    /// Those of the newest batches.
    used: Mutex<BTreeMap<BatchId, u64>>,
}

/// Batches whose bytes are known at once: more than are in flight.
const BATCHES_KEPT: usize = 2 * IN_FLIGHT_MAX_MAX as usize;

impl RejectedBytesBudget {
    fn take(&self, batch: BatchId, bytes: u64) -> Result<()> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = used.entry(batch).or_default();
        *sum = sum.saturating_add(bytes);
        if *sum > self.bytes_max {
            return Err(Error::plugin(format!(
                "stage `{}`: the rows that it rejects in batch {batch}, with their reasons, are more than {}; nothing of the \
                 batch is emitted\n  Fix the plugin or its input, raise `limits.rejected` of the stage, lower `limits.backtrace`, or \
                 let batches be smaller (`rows_per_batch_max` of the source).",
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

/// The columns behind the reason, with `on_error = "reject"`.
const DETAILS: [(&str, ColumnType); 6] = [
    ("backtrace", ColumnType::Text),
    ("stage", ColumnType::Text),
    ("plugin", ColumnType::Text),
    ("version", ColumnType::Text),
    ("digest", ColumnType::Text),
    ("batch", ColumnType::Int64),
];

impl RejectedRows {
    /// Of a stage with so many inputs, whose first one has these columns.
    pub fn of(input: &Schema, inputs: usize, blame: Option<RejectionOrigin>) -> RejectedRows {
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

    /// The same of this stage, of which a batch has at most so many bytes.
    #[must_use]
    pub fn at_most(self, stage: &str, bytes_max: u64) -> RejectedRows {
        let room = RejectedBytesBudget { stage: stage.to_owned(), bytes_max, used: Mutex::default() };
        RejectedRows { room: Some(Arc::new(room)), ..self }
    }

    /// The place of the reason among the columns.
    pub fn reason_at(&self) -> usize {
        self.own_columns.unwrap_or(2)
    }

    /// The refused ones of these rows, which may have columns behind those that came in. `input`: the name of theirs.
    pub fn rows(
        &self,
        batch: BatchId,
        input: &str,
        rows: &RecordBatch,
        refusals: &[RefusedRow],
    ) -> Result<RecordBatch> {
        let rejected = self.made(batch, input, rows, refusals).map_err(Error::arrow)?;
        if let Some(room) = self.room.as_ref().filter(|_| !refusals.is_empty()) {
            room.take(batch, RowBytes::of([&rejected]).of_range(&(0..rejected.num_rows())) as u64)?;
        }
        Ok(rejected)
    }

    fn made(
        &self,
        batch: BatchId,
        input: &str,
        rows: &RecordBatch,
        refusals: &[RefusedRow],
    ) -> Result<RecordBatch, ArrowError> {
        let indices: UInt32Array = refusals.iter().map(|refusal| refusal.row).collect::<Vec<_>>().into();
        let mut columns = match self.own_columns {
            Some(count) => {
                let own = rows.project(&(0..count).collect::<Vec<_>>())?;
                take_record_batch(&own, &indices)?.columns().to_vec()
            }
            None => {
                let names: ArrayRef = Arc::new(StringArray::from(vec![input; refusals.len()]));
                vec![names, as_json(&take_record_batch(rows, &indices)?)?]
            }
        };
        columns.push(Arc::new(refusals.iter().map(|refusal| Some(&refusal.reason)).collect::<StringArray>()));
        if let Some(blame) = &self.blame {
            columns.push(Arc::new(refusals.iter().map(|refusal| refusal.backtrace.as_ref()).collect::<StringArray>()));
            for words in [&blame.stage, &blame.plugin, &blame.version, &blame.digest] {
                columns.push(Arc::new(StringArray::from(vec![words.as_str(); refusals.len()])));
            }
            let batch = i64::try_from(batch.0).unwrap_or(i64::MAX);
            columns.push(Arc::new(Int64Array::from(vec![batch; refusals.len()])));
        }
        RecordBatch::try_new(self.schema.clone(), columns)
    }
}

/// Places of the plugin's name and version among the columns of rejected rows, where they are there.
pub fn plugin_columns(rejected: &RecordBatch, reason_at: usize) -> Option<[usize; 2]> {
    let place = |name| Some(reason_at + 1 + DETAILS.iter().position(|(column, _)| *column == name)?);
    let places = [place("plugin")?, place("version")?];
    (rejected.num_columns() == reason_at + 1 + DETAILS.len()).then_some(places)
}

/// Rows as JSON objects, which sources of ours read as they were.
fn as_json(rows: &RecordBatch) -> Result<ArrayRef, ArrowError> {
    let objects = crate::batch::json::objects(rows).map_err(|error| ArrowError::JsonError(error.to_string()))?;
    Ok(Arc::new(StringArray::from_iter_values(objects)))
}

/// Late rows of a stage with several inputs: which one, the row as JSON, the reason.
pub fn mixed_late_rows(input: &str, rows: &RecordBatch, reasons: Vec<String>) -> Result<RecordBatch, ArrowError> {
    let refusals: Vec<RefusedRow> = (0u32..).zip(reasons).map(|(row, reason)| RefusedRow::new(row, reason)).collect();
    RejectedRows::of(rows.schema_ref(), 2, None).made(BatchId(0), input, rows, &refusals)
}

/// The columns of late rows of a stage with several inputs.
pub fn mixed_late_schema() -> SchemaRef {
    RejectedRows::of(&Schema::empty(), 2, None).schema
}

/// Takes out rows that are null in a column which a plugin needs a value of, and those with a whole number that no float is
/// where it reads floats. `places` are the columns that the plugin reads, `reads` says of what type and which of them may be
/// null. Returns the other rows and the rejections, by row.
pub fn without_nulls(
    rows: RecordBatch,
    places: &[usize],
    reads: &Schema,
) -> Result<(RecordBatch, Vec<RefusedRow>), ArrowError> {
    let needed =
        || places.iter().zip(reads.fields()).filter(|(_, field)| !field.is_nullable()).map(|(place, _)| *place);
    let inexact = inexact(&rows, places, reads);
    if inexact.is_empty() && needed().all(|place| rows.column(place).null_count() == 0) {
        return Ok((rows, Vec::new()));
    }
    let exact = |row| !inexact.contains_key(&row);
    let mut whole = (!inexact.is_empty()).then(|| NullBuffer::from_iter((0..rows.num_rows()).map(exact)));
    for place in needed() {
        whole = NullBuffer::union(whole.as_ref(), rows.column(place).logical_nulls().as_ref());
    }
    let Some(whole) = whole else { return Ok((rows, Vec::new())) };
    let mut rejections = Vec::new();
    for row in (0..rows.num_rows()).filter(|row| whole.is_null(*row)) {
        let schema = rows.schema_ref();
        let reason = match (needed().find(|place| rows.column(*place).is_null(row)), inexact.get(&row)) {
            (None, Some(reason)) => reason.clone(),
            (null, _) => {
                let name = schema.field(null.unwrap_or_default()).name();
                format!("column `{name}` is null, and the plugin needs a value")
            }
        };
        rejections.push(RefusedRow::new(row as u32, reason));
    }
    let keep = BooleanArray::new(whole.into_inner(), None);
    Ok((filter_record_batch(&rows, &keep)?, rejections))
}

/// Rows that are refused for a null, and those that the plugin refused among the others, in the order of all rows: so that it
/// is the same when the rows of a part are spread over workers.
pub fn together(nulls: Vec<RefusedRow>, mut refused: Vec<RefusedRow>) -> Vec<RefusedRow> {
    if nulls.is_empty() {
        return refused;
    }
    refused.sort_by_key(|refusal| refusal.row);
    let mut before = 0;
    for refusal in &mut refused {
        while nulls.get(before).is_some_and(|null| null.row <= refusal.row + before as u32) {
            before += 1;
        }
        refusal.row += before as u32;
    }
    refused.extend(nulls);
    refused.sort_by_key(|refusal| refusal.row);
    refused
}

/// Rows with a whole number that no float is, where the plugin reads floats; the reason, of the first such column.
fn inexact(rows: &RecordBatch, places: &[usize], reads: &Schema) -> BTreeMap<usize, String> {
    let mut found = BTreeMap::new();
    for (place, field) in places.iter().zip(reads.fields()) {
        let mut from = 0;
        while let Some((row, number)) = first_inexact(rows.column(*place), field.data_type(), from) {
            from = row + 1;
            found.entry(row).or_insert_with(|| {
                format!(
                    "column `{}`: {number} is no float64, which the plugin reads there, without a loss",
                    field.name()
                )
            });
        }
    }
    found
}
