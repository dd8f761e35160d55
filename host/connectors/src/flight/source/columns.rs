//! Converts a stream's rows to the job's columns, if that only changes the layout or the width of values. The result equals that of
//! decoding their JSON lines. Also computes a digest of such rows that is independent of their split into messages.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, OffsetSizeTrait, RecordBatch, RecordBatchOptions};
use arrow::buffer::NullBuffer;
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Float64Type, Schema};
use arrow::error::ArrowError;
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::batch::ready::ReadyRows;
use millstream_rows::decode::ready::{name_of, takes};
use std::sync::Arc;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Maximum factor by which a value's JSON form exceeds its bytes.
const JSON_FACTOR: usize = 6;
/// Maximum bytes of a number, time or bool in JSON, and of the syntax around each value.
const JSON_VALUE_BYTES: usize = 48;
/// The length that stands for a null text.
const NULL: u32 = u32::MAX;

/// Converts rows to the types of the job's columns; `None`: they have to be encoded as JSON and decoded.
pub fn convert(rows: &RecordBatch, columns: &[ColumnSpec]) -> Option<Result<RecordBatch, ArrowError>> {
    let schema = rows.schema_ref();
    let is_taken = |column: &ColumnSpec| {
        let found = schema.column_with_name(name_of(column));
        found.is_some_and(|(_, field)| takes(column, &held_as(field.data_type())))
    };
    columns.iter().all(is_taken).then(|| {
        let (mut fields, mut made) = (Vec::new(), Vec::new());
        for (field, values) in schema.fields().iter().zip(rows.columns()) {
            let values = one_nan(cast(values, &held_as(field.data_type()))?);
            fields.push(Field::new(field.name(), values.data_type().clone(), true));
            made.push(values);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), made, &options)
    })
}

/// Returns the job's type that holds the same values.
fn held_as(kind: &DataType) -> DataType {
    match kind {
        DataType::Int8 | DataType::Int16 | DataType::Int32 => DataType::Int64,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => DataType::Int64,
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        other => other.clone(),
    }
}

/// Replaces every NaN by the one that `NaN` is read as.
fn one_nan(values: ArrayRef) -> ArrayRef {
    match values.as_primitive_opt::<Float64Type>() {
        Some(floats) if floats.values().iter().any(|value| value.is_nan()) => {
            Arc::new(floats.unary::<_, Float64Type>(|value| if value.is_nan() { f64::NAN } else { value }))
        }
        _ => values,
    }
}

/// Returns an upper bound of the bytes of a row in JSON.
pub fn json_bytes_max(rows: &RecordBatch) -> usize {
    let longest = |values: &ArrayRef| match values.data_type() {
        DataType::Utf8 => longest(values.as_string::<i32>().value_offsets()),
        DataType::Binary => longest(values.as_binary::<i32>().value_offsets()),
        _ => 0,
    };
    let names = rows.schema_ref().fields().iter().map(|field| field.name().len());
    let columns = names.zip(rows.columns());
    columns.map(|(name, values)| JSON_VALUE_BYTES + JSON_FACTOR * (name + longest(values))).sum()
}

fn longest<O: OffsetSizeTrait>(offsets: &[O]) -> usize {
    offsets.windows(2).map(|ends| ends[1].as_usize().saturating_sub(ends[0].as_usize())).max().unwrap_or(0)
}

/// Concatenates all of these into new memory: slices of a message would keep all of it.
pub fn concatenate(parts: &[RecordBatch]) -> Result<ReadyRows, ArrowError> {
    let schema = parts.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
    // A single part would be returned without a copy.
    let none = RecordBatch::new_empty(schema.clone());
    concat_batches(&schema, std::iter::once(&none).chain(parts)).map(ReadyRows::new)
}

/// An incremental digest of rows.
#[derive(Default)]
pub struct RowsDigest {
    columns: Vec<ColumnDigest>,
    rows: u64,
}

#[derive(Default)]
struct ColumnDigest {
    values: Xxh3,
    /// Lengths of strings, and positions of nulls.
    more: Xxh3,
}

impl RowsDigest {
    /// Adds rows of [`convert`], which all have the same columns.
    pub fn add(&mut self, rows: &RecordBatch) {
        self.columns.resize_with(rows.num_columns(), ColumnDigest::default);
        for (digest, values) in self.columns.iter_mut().zip(rows.columns()) {
            digest.add(values, self.rows);
        }
        self.rows += rows.num_rows() as u64;
    }

    /// Returns the digest of all added rows.
    pub fn value(&self) -> u64 {
        let numbers = self.columns.iter().flat_map(|digest| [digest.values.digest(), digest.more.digest()]);
        xxh3_64(&numbers.flat_map(u64::to_le_bytes).collect::<Vec<u8>>())
    }
}

impl ColumnDigest {
    /// Adds values. The content below a null is undefined, and is ignored.
    fn add(&mut self, values: &ArrayRef, first: u64) {
        match values.data_type() {
            DataType::Utf8 => {
                let strings = values.as_string::<i32>();
                self.strings(strings.value_offsets(), strings.value_data(), strings.nulls());
            }
            DataType::Binary => {
                let strings = values.as_binary::<i32>();
                self.strings(strings.value_offsets(), strings.value_data(), strings.nulls());
            }
            DataType::Boolean => {
                self.nulls(values.nulls(), first);
                let bits: &BooleanArray = values.as_boolean();
                let bytes: Vec<u8> = bits.iter().map(|bit| u8::from(bit == Some(true))).collect();
                self.values.update(&bytes);
            }
            kind => {
                self.nulls(values.nulls(), first);
                let (data, width) = (values.to_data(), kind.primitive_width().unwrap_or(0));
                let begin = data.offset() * width;
                let bytes = data.buffers().first().and_then(|all| all.get(begin..begin + data.len() * width));
                let bytes = bytes.unwrap_or_default();
                match values.nulls().filter(|nulls| nulls.null_count() > 0) {
                    None => self.values.update(bytes),
                    Some(nulls) => {
                        let given = bytes.chunks_exact(width.max(1)).zip(nulls.iter());
                        given.filter(|(_, given)| *given).for_each(|(value, _)| self.values.update(value));
                    }
                }
            }
        }
    }

    fn strings(&mut self, offsets: &[i32], bytes: &[u8], nulls: Option<&NullBuffer>) {
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        let text = |begin: i32, end: i32| bytes.get(begin as usize..end as usize).unwrap_or_default();
        let mut lengths = Vec::with_capacity(size_of_val(offsets));
        if nulls.is_none()
            && let Some((first, last)) = offsets.first().zip(offsets.last())
        {
            self.values.update(text(*first, *last));
        }
        for (row, ends) in offsets.windows(2).enumerate() {
            let length = match nulls {
                None => (ends[1] - ends[0]) as u32,
                Some(nulls) if nulls.is_null(row) => NULL,
                Some(_) => {
                    let text = text(ends[0], ends[1]);
                    self.values.update(text);
                    text.len() as u32
                }
            };
            lengths.extend_from_slice(&length.to_le_bytes());
        }
        self.more.update(&lengths);
    }

    fn nulls(&mut self, nulls: Option<&NullBuffer>, first: u64) {
        let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) else { return };
        let missing = (first..).zip(nulls.iter()).filter(|(_, given)| !given);
        missing.for_each(|(row, _)| self.more.update(&row.to_le_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        Float32Array, Float64Array, Int8Array, Int64Array, LargeStringArray, PrimitiveArray, StringArray,
        StringViewArray, UInt64Array,
    };
    use arrow::buffer::ScalarBuffer;
    use arrow::datatypes::Int64Type;
    use millstream_base::random::Random;
    use millstream_rows::batch::types::ColumnType;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, values)| (name, values, true)))
            .unwrap()
    }

    fn random_rows(random: &mut Random, rows: usize) -> RecordBatch {
        let mut given = || (0..rows).map(|_| random.below(4) > 0).collect::<Vec<_>>();
        let (n, text, bit) = (given(), given(), given());
        let value = |row: usize| row as i64 * 7 - 30;
        // The content below a null is arbitrary.
        let numbers = ScalarBuffer::from((0..rows).map(value).collect::<Vec<_>>());
        let n: ArrayRef = Arc::new(PrimitiveArray::<Int64Type>::new(numbers, Some(n.into())));
        let text = (0..rows).map(|row| text[row].then(|| "x".repeat(row % 5)));
        let text: ArrayRef = Arc::new(StringArray::from_iter(text));
        let bit: ArrayRef = Arc::new(BooleanArray::from_iter((0..rows).map(|row| bit[row].then_some(row % 3 == 0))));
        batch(vec![("n", n), ("text", text), ("bit", bit)])
    }

    fn digest(parts: impl IntoIterator<Item = RecordBatch>) -> u64 {
        let mut digest = RowsDigest::default();
        parts.into_iter().for_each(|part| digest.add(&part));
        digest.value()
    }

    #[test]
    fn a_digest_depends_on_rows_and_not_on_how_they_come() {
        let mut random = Random(5);
        for _ in 0..200 {
            let rows = random_rows(&mut random, 40);
            let expected = digest([rows.clone()]);
            let (mut parts, mut at) = (Vec::new(), 0);
            while at < 40 {
                let count = (1 + random.index(12)).min(40 - at);
                parts.push(rows.slice(at, count));
                at += count;
            }
            assert_eq!(digest(parts), expected);
            // Nulls without anything below them.
            let taken = arrow::compute::take_record_batch(&rows, &Int64Array::from_iter_values(0..40)).unwrap();
            assert_eq!(digest([taken]), expected);
            let other = random.index(40);
            let order = Int64Array::from_iter_values((0..40).map(|row| if row == other as i64 { 39 } else { row }));
            let changed = arrow::compute::take_record_batch(&rows, &order).unwrap();
            assert_eq!(changed == rows, digest([changed]) == expected);
        }
        let strings =
            |strings: [&str; 2]| batch(vec![("a", Arc::new(StringArray::from_iter_values(strings)) as ArrayRef)]);
        assert_ne!(digest([strings(["ab", "c"])]), digest([strings(["a", "bc"])]));
    }

    #[test]
    fn what_needs_no_writing_is_ready() {
        let n: ArrayRef = Arc::new(Int8Array::from(vec![Some(1), None, Some(-3)]));
        let text: ArrayRef = Arc::new(LargeStringArray::from(vec!["a", "b", "c"]));
        let view: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "b", "a view that is longer"]));
        let float: ArrayRef = Arc::new(Float64Array::from(vec![f64::from_bits(0xfff8_0000_0000_0001), -0.0, 1.5]));
        let rows = batch(vec![("n", n), ("text", text), ("view", view), ("x", float)]);
        let of = |name: &str, kind: ColumnType| ColumnSpec::new(name, kind);
        let columns = [
            of("n", ColumnType::Int64),
            of("view", ColumnType::Text),
            of("text", ColumnType::Text),
            of("x", ColumnType::Float64),
        ];
        let made = convert(&rows, &columns).unwrap().unwrap();
        let types: Vec<_> = made.schema().fields().iter().map(|field| field.data_type().clone()).collect();
        assert_eq!(types, [DataType::Int64, DataType::Utf8, DataType::Utf8, DataType::Float64]);
        let bits: Vec<u64> =
            made.column(3).as_primitive::<Float64Type>().values().iter().map(|x| x.to_bits()).collect();
        assert_eq!(bits, [f64::NAN.to_bits(), (-0.0_f64).to_bits(), 1.5_f64.to_bits()]);
        assert!(
            json_bytes_max(&made) >= "{\"n\":-3,\"text\":\"c\",\"view\":\"a view that is longer\",\"x\":1.5}".len()
        );
        let both = concatenate(&[made.slice(0, 1), made.slice(1, 2)]).unwrap();
        assert_eq!((both.rows(), concatenate(std::slice::from_ref(&made)).unwrap().rows()), (&made, &made));
        // A number as text, a number without room, and a missing column.
        for (name, kind) in [("n", ColumnType::Text), ("n", ColumnType::Float64), ("none", ColumnType::Text)] {
            assert!(convert(&rows, &[of(name, kind)]).is_none());
        }
        let others: [(ArrayRef, ColumnType); 2] = [
            (Arc::new(UInt64Array::from(vec![u64::MAX])), ColumnType::Int64),
            (Arc::new(Float32Array::from(vec![0.1])), ColumnType::Float64),
        ];
        for (values, kind) in others {
            assert!(convert(&batch(vec![("a", values)]), &[of("a", kind)]).is_none());
        }
    }
}
