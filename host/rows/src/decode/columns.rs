//! Typed column builders into which rows are decoded value by value, and which can roll back a half-decoded row.

mod nested;

use super::text::text_array;
use super::wanted::TargetType;
use super::written_value::WrittenValue;
use crate::batch::binary_text::BinaryEncoding;
use crate::batch::column::ColumnSpec;
use crate::batch::parse::{ErrorColumn, ValueParseError, date, decimal, float64, int64, short_int64};
use crate::batch::times::{TimeParseError, TimeParser, local_text};
use crate::batch::types::ColumnType;
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, ListArray,
    RecordBatch, RecordBatchOptions, StructArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, SchemaRef};
use std::sync::Arc;

/// The columns of the rows decoded so far.
pub struct ColumnBuilders {
    schema: SchemaRef,
    columns: Vec<ColumnBuilder>,
    rows: usize,
    /// Columns that have a value in the current row.
    filled: usize,
}

struct ColumnBuilder {
    name: String,
    kind: ColumnType,
    /// The format of times; `None` if the column does not hold times.
    times: Option<TimeParser>,
    /// The encoding of bytes in text.
    encoding: BinaryEncoding,
    values: BuilderValues,
    /// Rows without a value, in order.
    nulls: Vec<u32>,
}

enum BuilderValues {
    Bool(Vec<bool>),
    /// Also timestamps.
    Int64(Vec<i64>),
    Float64(Vec<f64>),
    /// Text and binary: the bytes of all values, and the end of each.
    Bytes {
        bytes: Vec<u8>,
        ends: Vec<i32>,
    },
    Date(Vec<i32>),
    Decimal {
        values: Vec<i128>,
        precision: u8,
        scale: i8,
    },
    /// The values of all lists concatenated, and the end of each list.
    List {
        item: Box<ColumnBuilder>,
        ends: Vec<i32>,
    },
    Struct {
        members: Vec<ColumnBuilder>,
        rows: usize,
    },
}

impl ColumnBuilders {
    /// Creates empty builders. `written` describes the format of the columns of `schema`, in their order.
    pub fn new(schema: SchemaRef, written: &[ColumnSpec]) -> ColumnBuilders {
        let columns = schema.fields().iter().enumerate().map(|(index, field)| {
            let unknown = || ColumnSpec::new(field.name().clone(), ColumnType::from_arrow(field.data_type()));
            ColumnBuilder::new(&written.get(index).cloned().unwrap_or_else(unknown), field.data_type())
        });
        ColumnBuilders { columns: columns.collect(), schema, rows: 0, filled: 0 }
    }

    /// Reads binary values as hexadecimal digits, as sinks write them.
    #[must_use]
    pub fn with_hex(mut self) -> ColumnBuilders {
        self.columns.iter_mut().for_each(|column| column.encoding = BinaryEncoding::Hex);
        self
    }

    /// Reserves memory for more rows.
    pub fn reserve(&mut self, rows: usize) {
        self.columns.iter_mut().for_each(|column| column.values.reserve(rows));
    }

    /// Sets the current row's value in a column; it replaces an earlier value. The error says which column and why, for a rejected row.
    #[inline]
    pub fn set(&mut self, column: usize, value: WrittenValue<'_>) -> Result<(), String> {
        self.unset(column);
        let Some(column) = self.columns.get_mut(column) else { return Ok(()) };
        if value == WrittenValue::Null {
            return Ok(());
        }
        column.push(value, column.encoding)?;
        self.filled += 1;
        Ok(())
    }

    /// Returns whether a column holds integers as written, so that `set_int64` may be used.
    #[inline]
    pub fn is_int64(&self, column: usize) -> bool {
        let Some(ColumnBuilder { values: BuilderValues::Int64(_), times, .. }) = self.columns.get(column) else {
            return false;
        };
        times.as_ref().is_none_or(TimeParser::is_micros)
    }

    /// Like `set`, for a number that is already parsed.
    #[inline]
    pub fn set_int64(&mut self, column: usize, value: i64) {
        self.unset(column);
        if let Some(ColumnBuilder { values: BuilderValues::Int64(values), .. }) = self.columns.get_mut(column) {
            values.push(value);
            self.filled += 1;
        }
    }

    /// Like `set`, for text, which is a value of most types.
    #[inline]
    pub fn set_text(&mut self, column: usize, text: &str) -> Result<(), String> {
        self.unset(column);
        let Some(column) = self.columns.get_mut(column) else { return Ok(()) };
        match (&mut column.values, &column.kind) {
            (BuilderValues::Bytes { bytes, ends }, ColumnType::Text) => {
                push_bytes(bytes, ends, text.as_bytes())
                    .map_err(|reason| format!("column `{}`: {reason}", column.name))?;
            }
            _ => column.push(WrittenValue::Text(text), column.encoding)?,
        }
        self.filled += 1;
        Ok(())
    }

    /// Like `set`, for a float that is already parsed.
    #[inline]
    pub fn set_float64(&mut self, column: usize, value: f64) {
        self.unset(column);
        if let Some(ColumnBuilder { values: BuilderValues::Float64(values), .. }) = self.columns.get_mut(column) {
            values.push(value);
            self.filled += 1;
        }
    }

    /// Like `set_int64`, for a local time in microseconds, in the column's zone.
    pub fn set_local_time(&mut self, column: usize, us: i64) -> Result<(), String> {
        let us = match self.columns.get(column) {
            Some(ColumnBuilder { times: Some(times), name, .. }) => {
                times.local(us).map_err(|fault| times.message(fault, name, &local_text(us)))?
            }
            _ => us,
        };
        self.set_int64(column, us);
        Ok(())
    }

    /// Returns whether the current row has a value in a column.
    pub fn has(&self, column: usize) -> bool {
        self.columns.get(column).is_some_and(|column| column.values.len() > self.rows)
    }

    /// Returns whether a column holds text.
    #[inline]
    pub fn is_text(&self, column: usize) -> bool {
        self.columns.get(column).is_some_and(|column| column.kind == ColumnType::Text)
    }

    /// Returns what a column needs of a nested value.
    pub fn target_type(&self, column: usize) -> TargetType<'_> {
        TargetType::new(self.name(column), self.schema.fields().get(column).map(|field| field.data_type()))
    }

    /// Like `set`, for such a value in that form; binary values in it are hexadecimal digits.
    pub fn set_nested(&mut self, column: usize, text: &str) -> Result<(), String> {
        self.unset(column);
        let Some(column) = self.columns.get_mut(column) else { return Ok(()) };
        let encoding = match column.values {
            BuilderValues::Bytes { .. } => BinaryEncoding::Utf8,
            _ => BinaryEncoding::Hex,
        };
        column.push(WrittenValue::Nested(text), encoding)?;
        self.filled += 1;
        Ok(())
    }

    /// Returns whether a column holds floats.
    #[inline]
    pub fn is_float64(&self, column: usize) -> bool {
        self.columns.get(column).is_some_and(|column| column.kind == ColumnType::Float64)
    }

    /// Returns whether a column stores the bytes of a string unchanged.
    pub fn stores_text_bytes(&self, column: usize) -> bool {
        self.columns.get(column).is_some_and(|column| column.encoding == BinaryEncoding::Utf8)
    }

    /// Returns the name of a column's type.
    pub fn type_name(&self, column: usize) -> String {
        self.columns.get(column).map_or_else(String::new, |column| column.kind.to_string())
    }

    /// Returns the name of a column.
    pub fn name(&self, column: usize) -> &str {
        self.columns.get(column).map_or("", |column| &column.name)
    }

    /// Removes the current row's value in a column.
    #[inline]
    pub fn unset(&mut self, column: usize) {
        if let Some(column) = self.columns.get_mut(column)
            && column.values.len() > self.rows
        {
            column.truncate(self.rows);
            self.filled = self.filled.saturating_sub(1);
        }
    }

    /// Sets the current row's value from bytes: little-endian, or the bytes themselves for text and binary.
    pub fn set_bytes(&mut self, column: usize, bytes_given: &[u8]) -> Result<(), String> {
        let Some(column) = self.columns.get_mut(column) else { return Ok(()) };
        let short = || "the record is cut short".to_string();
        let word = || bytes_given.first_chunk::<8>().copied().ok_or_else(short);
        match (&mut column.values, &column.kind) {
            (BuilderValues::Int64(values), _) => {
                let number = i64::from_le_bytes(word()?);
                let scaled = column.times.as_ref().map_or(Ok(number), |times| times.scale(number));
                let message = |fault| {
                    column
                        .times
                        .as_ref()
                        .map_or_else(String::new, |t| t.message(fault, &column.name, &number.to_string()))
                };
                values.push(scaled.map_err(message)?);
            }
            (BuilderValues::Float64(values), _) => values.push(f64::from_le_bytes(word()?)),
            (BuilderValues::Bool(values), _) => match bytes_given.first() {
                Some(byte @ (0 | 1)) => values.push(*byte == 1),
                Some(byte) => return Err(format!("column `{}`: byte {byte} is not a bool (0 or 1)", column.name)),
                None => return Err(short()),
            },
            (
                BuilderValues::Date(_)
                | BuilderValues::Decimal { .. }
                | BuilderValues::List { .. }
                | BuilderValues::Struct { .. },
                kind,
            ) => return Err(format!("column `{}`: bytes are not a {kind}", column.name)),
            (BuilderValues::Bytes { bytes, ends }, kind) => {
                if *kind == ColumnType::Text {
                    std::str::from_utf8(bytes_given)
                        .map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to()))?;
                }
                push_bytes(bytes, ends, bytes_given).map_err(|reason| format!("column `{}`: {reason}", column.name))?;
            }
        }
        self.filled += 1;
        Ok(())
    }

    /// Returns why the current row is rejected if a required column has no value; `None` if it has one.
    pub fn lacks(&self, column: usize) -> Option<String> {
        let ColumnBuilder { name, kind, .. } = self.columns.get(column).filter(|c| c.values.len() == self.rows)?;
        Some(match kind {
            kind if !kind.is_written() => format!("column `{name}` is {kind}, which cannot be written as text"),
            _ => format!("column `{name}` is null, but the stage's input never has null there"),
        })
    }

    /// Completes the current row: columns without a value are null.
    #[inline]
    pub fn end_row(&mut self) {
        if self.filled < self.columns.len() {
            self.fill_row();
        }
        self.filled = 0;
        self.rows += 1;
    }

    fn fill_row(&mut self) {
        for column in &mut self.columns {
            if column.values.len() == self.rows {
                column.push_null();
            }
        }
    }

    /// Rejects the current row: removes its values.
    pub fn roll_back(&mut self) {
        self.filled = 0;
        self.columns.iter_mut().for_each(|column| column.truncate(self.rows));
    }

    /// Takes the complete rows and leaves none.
    pub fn finish(&mut self) -> RecordBatch {
        let rows = std::mem::take(&mut self.rows);
        let arrays = self.columns.iter_mut().map(|column| column.finish(rows)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        // Every column has the schema's type and as many rows as the others.
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .unwrap_or_else(|_| RecordBatch::new_empty(self.schema.clone()))
    }
}

/// Returns why a value of a binary column is not in this encoding.
fn not_encoded(encoding: BinaryEncoding) -> &'static str {
    match encoding {
        BinaryEncoding::Utf8 => "not text",
        BinaryEncoding::Hex => "not binary in hexadecimal digits",
        BinaryEncoding::Base64 => "not binary in base64",
    }
}

impl ColumnBuilder {
    /// Creates an empty builder; `spec` has the format of times.
    fn new(spec: &ColumnSpec, kind: &DataType) -> ColumnBuilder {
        let kind = ColumnType::from_arrow(kind);
        let times = (kind == ColumnType::Timestamp).then(|| TimeParser::new(spec));
        let values = BuilderValues::new(&spec.name, &kind);
        let encoding = spec.encoding.unwrap_or(BinaryEncoding::Utf8);
        ColumnBuilder { name: spec.name.clone(), kind, times, encoding, values, nulls: Vec::new() }
    }

    /// Appends a value; after an error a part of it may remain.
    #[inline]
    fn push(&mut self, value: WrittenValue<'_>, encoding: BinaryEncoding) -> Result<(), String> {
        let about = |name: &str, reason: String| format!("column `{name}`: {reason}");
        match (&mut self.values, value) {
            (_, WrittenValue::Null) => self.push_null(),
            (BuilderValues::Bytes { bytes, ends }, value)
                if encoding != BinaryEncoding::Utf8 && self.kind == ColumnType::Binary =>
            {
                let decoded = if let WrittenValue::Text(text) = value { encoding.decode(text) } else { None };
                let decoded = decoded.ok_or_else(|| not_encoded(encoding).to_owned());
                let pushed = decoded.and_then(|decoded| push_bytes(bytes, ends, &decoded));
                pushed.map_err(|reason| about(&self.name, reason))?;
            }
            (BuilderValues::Int64(values), WrittenValue::Number(literal))
                if self.times.is_none()
                    && let Some(value) = short_int64(literal) =>
            {
                values.push(value)
            }
            (
                BuilderValues::Bytes { bytes, ends },
                WrittenValue::Text(text) | WrittenValue::Number(text) | WrittenValue::Nested(text),
            ) => push_bytes(bytes, ends, text.as_bytes()).map_err(|reason| about(&self.name, reason))?,
            (
                BuilderValues::List { .. } | BuilderValues::Struct { .. },
                WrittenValue::Text(text) | WrittenValue::Number(text) | WrittenValue::Nested(text),
            ) => nested::push_value(self, text, encoding)?,
            (_, value) => self.convert(value)?,
        }
        Ok(())
    }

    fn push_null(&mut self) {
        self.nulls.push(self.values.len() as u32);
        self.values.push_default();
    }

    /// Removes all values except the first `rows`.
    fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        while self.nulls.last().is_some_and(|null| *null as usize >= rows) {
            self.nulls.pop();
        }
    }

    /// Handles the rarer conversions: from text, and those that are rejected.
    fn convert(&mut self, value: WrittenValue<'_>) -> Result<(), String> {
        let about = ErrorColumn { name: &self.name, kind: &self.kind };
        let wrong = |shown: &str| match &self.times {
            Some(times) => times.message(TimeParseError::Syntax, &self.name, shown),
            None => ValueParseError::Syntax.message(about, shown),
        };
        let text = match value {
            WrittenValue::Text(text) | WrittenValue::Number(text) => text.trim_ascii(),
            WrittenValue::Bool(value) if matches!(self.values, BuilderValues::Bytes { .. }) => {
                return self.set_bool_text(value);
            }
            WrittenValue::Bool(true) => "true",
            WrittenValue::Bool(false) => "false",
            WrittenValue::Null => return Ok(()),
            WrittenValue::Nested(text) => return Err(wrong(text)),
        };
        match &mut self.values {
            BuilderValues::Bool(values)
                if !matches!(value, WrittenValue::Number(_)) && text.eq_ignore_ascii_case("true") =>
            {
                values.push(true);
            }
            BuilderValues::Bool(values)
                if !matches!(value, WrittenValue::Number(_)) && text.eq_ignore_ascii_case("false") =>
            {
                values.push(false);
            }
            _ if matches!(value, WrittenValue::Bool(_)) => return Err(wrong(text)),
            BuilderValues::Float64(values) => values.push(float64(text).map_err(|wrong| wrong.message(about, text))?),
            BuilderValues::Int64(values) => values.push(match &self.times {
                Some(times) => times.read(text).map_err(|fault| times.message(fault, &self.name, text))?,
                None => int64(text).map_err(|wrong| wrong.message(about, text))?,
            }),
            BuilderValues::Date(values) => values.push(date(text).map_err(|wrong| wrong.message(about, text))?),
            BuilderValues::Decimal { values, precision, scale } => {
                values.push(decimal(text, *precision, *scale).map_err(|wrong| wrong.message(about, text))?);
            }
            BuilderValues::Bool(_)
            | BuilderValues::Bytes { .. }
            | BuilderValues::List { .. }
            | BuilderValues::Struct { .. } => return Err(wrong(text)),
        }
        Ok(())
    }

    fn set_bool_text(&mut self, value: bool) -> Result<(), String> {
        match &mut self.values {
            BuilderValues::Bytes { bytes, ends } => push_bytes(bytes, ends, if value { b"true" } else { b"false" }),
            _ => Ok(()),
        }
    }

    fn finish(&mut self, rows: usize) -> ArrayRef {
        let nulls = nulls(&std::mem::take(&mut self.nulls), rows);
        let values = std::mem::replace(&mut self.values, BuilderValues::new(&self.name, &self.kind));
        let kind = self.kind.arrow();
        match (values, &self.kind) {
            (BuilderValues::Bool(values), _) => Arc::new(BooleanArray::new(BooleanBuffer::from(values), nulls)),
            (BuilderValues::Int64(values), ColumnType::Timestamp) => {
                Arc::new(TimestampMicrosecondArray::new(values.into(), nulls).with_timezone("UTC"))
            }
            (BuilderValues::Int64(values), _) => Arc::new(Int64Array::new(values.into(), nulls)),
            (BuilderValues::Float64(values), _) => Arc::new(Float64Array::new(values.into(), nulls)),
            (BuilderValues::Bytes { bytes, ends }, ColumnType::Binary) => {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
                Arc::new(BinaryArray::new(offsets, Buffer::from_vec(bytes), nulls))
            }
            (BuilderValues::Bytes { bytes, ends }, ColumnType::Text) => {
                text_array(bytes, ends, nulls).unwrap_or_else(|| new_null_array(&kind, rows))
            }
            (BuilderValues::Bytes { .. }, _) => new_null_array(&kind, rows),
            (BuilderValues::Date(values), _) => Arc::new(Date32Array::new(values.into(), nulls)),
            (BuilderValues::Decimal { values, .. }, _) => {
                Arc::new(Decimal128Array::new(values.into(), nulls).with_data_type(kind))
            }
            (BuilderValues::List { mut item, ends }, _) => {
                let DataType::List(field) = &kind else { return new_null_array(&kind, rows) };
                let items = item.finish(item.values.len());
                let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
                let list = ListArray::try_new(field.clone(), offsets, items, nulls);
                list.map_or_else(|_| new_null_array(&kind, rows), |list| Arc::new(list) as ArrayRef)
            }
            (BuilderValues::Struct { mut members, .. }, _) => {
                let DataType::Struct(fields) = &kind else { return new_null_array(&kind, rows) };
                let columns = members.iter_mut().map(|member| member.finish(rows)).collect();
                let value = StructArray::try_new(fields.clone(), columns, nulls);
                value.map_or_else(|_| new_null_array(&kind, rows), |value| Arc::new(value) as ArrayRef)
            }
        }
    }
}

impl BuilderValues {
    /// Creates the values of a column with this name, which errors about nested values include.
    fn new(name: &str, kind: &ColumnType) -> BuilderValues {
        let within = |name: String, kind: &DataType| {
            ColumnBuilder::new(&ColumnSpec::new(name, ColumnType::from_arrow(kind)), kind)
        };
        match kind {
            ColumnType::Bool => BuilderValues::Bool(Vec::new()),
            ColumnType::Int64 | ColumnType::Timestamp => BuilderValues::Int64(Vec::new()),
            ColumnType::Float64 => BuilderValues::Float64(Vec::new()),
            ColumnType::Arrow(DataType::Date32) => BuilderValues::Date(Vec::new()),
            ColumnType::Arrow(DataType::Decimal128(precision, scale)) => {
                BuilderValues::Decimal { values: Vec::new(), precision: *precision, scale: *scale }
            }
            ColumnType::Arrow(DataType::List(item)) => {
                let item = Box::new(within(format!("{name}[]"), item.data_type()));
                BuilderValues::List { item, ends: vec![0] }
            }
            ColumnType::Arrow(DataType::Struct(fields)) => {
                let member = |field: &Arc<Field>| within(format!("{name}.{}", field.name()), field.data_type());
                BuilderValues::Struct { members: fields.iter().map(member).collect(), rows: 0 }
            }
            // Job files cannot name any other Arrow type for a source's column; its values are null.
            ColumnType::Text | ColumnType::Binary | ColumnType::Arrow(_) => {
                BuilderValues::Bytes { bytes: Vec::new(), ends: vec![0] }
            }
        }
    }

    #[inline]
    fn len(&self) -> usize {
        match self {
            BuilderValues::Bool(values) => values.len(),
            BuilderValues::Int64(values) => values.len(),
            BuilderValues::Float64(values) => values.len(),
            BuilderValues::Bytes { ends, .. } | BuilderValues::List { ends, .. } => ends.len() - 1,
            BuilderValues::Date(values) => values.len(),
            BuilderValues::Decimal { values, .. } => values.len(),
            BuilderValues::Struct { rows, .. } => *rows,
        }
    }

    fn truncate(&mut self, rows: usize) {
        match self {
            BuilderValues::Bool(values) => values.truncate(rows),
            BuilderValues::Int64(values) => values.truncate(rows),
            BuilderValues::Float64(values) => values.truncate(rows),
            BuilderValues::Bytes { bytes, ends } => {
                ends.truncate(rows + 1);
                bytes.truncate(ends.last().map_or(0, |end| *end as usize));
            }
            BuilderValues::Date(values) => values.truncate(rows),
            BuilderValues::Decimal { values, .. } => values.truncate(rows),
            BuilderValues::List { item, ends } => {
                ends.truncate(rows + 1);
                item.truncate(ends.last().map_or(0, |end| *end as usize));
            }
            BuilderValues::Struct { members, rows: complete } => {
                // An incomplete row may have some members.
                members.iter_mut().for_each(|member| member.truncate(rows));
                *complete = rows.min(*complete);
            }
        }
    }

    fn push_default(&mut self) {
        match self {
            BuilderValues::Bool(values) => values.push(false),
            BuilderValues::Int64(values) => values.push(0),
            BuilderValues::Float64(values) => values.push(0.0),
            BuilderValues::Bytes { bytes, ends } => ends.push(bytes.len() as i32),
            BuilderValues::Date(values) => values.push(0),
            BuilderValues::Decimal { values, .. } => values.push(0),
            BuilderValues::List { ends, .. } => ends.push(ends.last().copied().unwrap_or(0)),
            BuilderValues::Struct { members, rows } => {
                members.iter_mut().for_each(ColumnBuilder::push_null);
                *rows += 1;
            }
        }
    }

    fn reserve(&mut self, rows: usize) {
        match self {
            BuilderValues::Bool(values) => values.reserve(rows),
            BuilderValues::Int64(values) => values.reserve(rows),
            BuilderValues::Float64(values) => values.reserve(rows),
            BuilderValues::Bytes { bytes, ends } => {
                ends.reserve(rows);
                bytes.reserve(rows * TEXT_BYTES_GUESS);
            }
            BuilderValues::Date(values) => values.reserve(rows),
            BuilderValues::Decimal { values, .. } => values.reserve(rows),
            BuilderValues::List { ends, .. } => ends.reserve(rows),
            BuilderValues::Struct { members, .. } => members.iter_mut().for_each(|member| member.values.reserve(rows)),
        }
    }
}

/// Estimated size of a text value before any is known.
const TEXT_BYTES_GUESS: usize = 8;

/// Appends a value; Arrow's offsets have 32 bits.
#[inline]
fn push_bytes(bytes: &mut Vec<u8>, ends: &mut Vec<i32>, value: &[u8]) -> Result<(), String> {
    let end = i32::try_from(bytes.len() + value.len()).map_err(|_| "more than 2 GiB of text in a part".to_string())?;
    bytes.extend_from_slice(value);
    ends.push(end);
    Ok(())
}

fn nulls(rows_without: &[u32], rows: usize) -> Option<NullBuffer> {
    if rows_without.is_empty() {
        return None;
    }
    let mut valid = vec![true; rows];
    for row in rows_without {
        if let Some(valid) = valid.get_mut(*row as usize) {
            *valid = false;
        }
    }
    Some(NullBuffer::from(valid))
}
