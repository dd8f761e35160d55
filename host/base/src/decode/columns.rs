//! Typed column builders that rows are decoded into, value by value, and that can take a half-decoded row back.

use crate::batch::parse::{About, Wrong, float64, int64, short_int64};
use crate::batch::times::{Fault, Times};
use crate::batch::types::ColumnType;
use crate::job::spec::ColumnSpec;
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

/// The columns of the rows that were decoded so far.
pub struct Columns {
    schema: SchemaRef,
    columns: Vec<Column>,
    rows: usize,
    /// Columns that have a value in the row at hand.
    filled: usize,
    /// Binary values are hexadecimal digits.
    hex: bool,
}

struct Column {
    name: String,
    kind: ColumnType,
    /// How times are written; `None`: these are none.
    times: Option<Times>,
    values: Values,
    /// Rows without a value, in order.
    nulls: Vec<u32>,
}

enum Values {
    Bool(Vec<bool>),
    /// Timestamps too.
    Int64(Vec<i64>),
    Float64(Vec<f64>),
    /// Text and binary: the bytes of all values, and where each ends.
    Bytes {
        bytes: Vec<u8>,
        ends: Vec<i32>,
    },
}

/// A value as a format writes it down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// No value.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number in its literal form, as JSON allows it.
    Number(&'a str),
    /// Text that may stand for a value of any type.
    Text(&'a str),
    /// A JSON object or array; only a text or binary column takes it, as it stands.
    Nested(&'a str),
}

impl Columns {
    /// No rows yet. `written`: what is known of how the columns of `schema` are written, in their order.
    pub fn new(schema: SchemaRef, written: &[ColumnSpec]) -> Columns {
        let columns = schema.fields().iter().enumerate().map(|(place, field)| {
            let kind = ColumnType::of(field.data_type());
            let unknown = || ColumnSpec::new(field.name().clone(), kind.clone());
            let times = (kind == ColumnType::Timestamp)
                .then(|| Times::of(&written.get(place).cloned().unwrap_or_else(unknown)));
            Column { name: field.name().clone(), values: Values::new(&kind), kind, times, nulls: Vec::new() }
        });
        Columns { columns: columns.collect(), schema, rows: 0, filled: 0, hex: false }
    }

    /// Binary values are hexadecimal digits, as sinks write them.
    #[must_use]
    pub fn with_hex(self) -> Columns {
        Columns { hex: true, ..self }
    }

    /// Makes room for so many more rows.
    pub fn reserve(&mut self, rows: usize) {
        self.columns.iter_mut().for_each(|column| column.values.reserve(rows));
    }

    /// Gives the row at hand its value in a column; a value given before is replaced. The error says which column
    /// and why, for a rejected row.
    #[inline]
    pub fn set(&mut self, column: usize, value: Value<'_>) -> Result<(), String> {
        self.unset(column);
        let Some(column) = self.columns.get_mut(column) else { return Ok(()) };
        match (&mut column.values, value) {
            (_, Value::Null) => return Ok(()),
            (Values::Bytes { bytes, ends }, value) if self.hex && column.kind == ColumnType::Binary => {
                let digits = if let Value::Text(digits) = value { from_hex(digits) } else { None };
                let digits = digits.ok_or("not binary in hexadecimal digits".to_owned());
                digits
                    .and_then(|digits| push_bytes(bytes, ends, &digits))
                    .map_err(|reason| format!("column `{}`: {reason}", column.name))?;
            }
            (Values::Int64(values), Value::Number(literal))
                if column.times.is_none()
                    && let Some(value) = short_int64(literal) =>
            {
                values.push(value)
            }
            (Values::Bytes { bytes, ends }, Value::Text(text) | Value::Number(text) | Value::Nested(text)) => {
                push_bytes(bytes, ends, text.as_bytes())
                    .map_err(|reason| format!("column `{}`: {reason}", column.name))?;
            }
            (_, value) => column.convert(value)?,
        }
        self.filled += 1;
        Ok(())
    }

    /// Whether a column holds whole numbers as they are written, so that `set_int64` may be used.
    #[inline]
    pub fn is_int64(&self, column: usize) -> bool {
        let Some(Column { values: Values::Int64(_), times, .. }) = self.columns.get(column) else { return false };
        times.as_ref().is_none_or(Times::is_micros)
    }

    /// As `set`, for a number that was read already.
    #[inline]
    pub fn set_int64(&mut self, column: usize, value: i64) {
        self.unset(column);
        if let Some(Column { values: Values::Int64(values), .. }) = self.columns.get_mut(column) {
            values.push(value);
            self.filled += 1;
        }
    }

    /// Takes back the value that the row at hand has in a column.
    #[inline]
    pub fn unset(&mut self, column: usize) {
        if let Some(column) = self.columns.get_mut(column)
            && column.values.len() > self.rows
        {
            column.values.truncate(self.rows);
            self.filled = self.filled.saturating_sub(1);
        }
    }

    /// Gives the row at hand a value of these bytes: little-endian, or the bytes themselves for text and binary.
    pub fn set_bytes(&mut self, column: usize, given: &[u8]) -> Result<(), String> {
        let Some(column) = self.columns.get_mut(column) else { return Ok(()) };
        let short = || "the record is cut short".to_string();
        let word = || given.first_chunk::<8>().copied().ok_or_else(short);
        match (&mut column.values, &column.kind) {
            (Values::Int64(values), _) => {
                let number = i64::from_le_bytes(word()?);
                let scaled = column.times.as_ref().map_or(Ok(number), |times| times.scale(number));
                let told = |fault| {
                    column.times.as_ref().map_or_else(String::new, |t| t.tell(fault, &column.name, &number.to_string()))
                };
                values.push(scaled.map_err(told)?);
            }
            (Values::Float64(values), _) => values.push(f64::from_le_bytes(word()?)),
            (Values::Bool(values), _) => match given.first() {
                Some(byte @ (0 | 1)) => values.push(*byte == 1),
                Some(byte) => return Err(format!("column `{}`: byte {byte} is not a bool (0 or 1)", column.name)),
                None => return Err(short()),
            },
            (Values::Bytes { bytes, ends }, kind) => {
                if *kind == ColumnType::Text {
                    std::str::from_utf8(given).map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to()))?;
                }
                push_bytes(bytes, ends, given).map_err(|reason| format!("column `{}`: {reason}", column.name))?;
            }
        }
        self.filled += 1;
        Ok(())
    }

    /// Why the row at hand cannot do without a value in a column that it does not have; `None`: it has one.
    pub fn lacks(&self, column: usize) -> Option<String> {
        let Column { name, kind, .. } = self.columns.get(column).filter(|c| c.values.len() == self.rows)?;
        Some(match kind {
            ColumnType::Arrow(_) => format!("column `{name}` is {kind}, which cannot be written down"),
            _ => format!("column `{name}` is null, which it never is in the input of the stage"),
        })
    }

    /// The row at hand is complete: columns without a value are null.
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
                column.nulls.push(self.rows as u32);
                column.values.push_default();
            }
        }
    }

    /// The row at hand is refused: its values are taken back.
    pub fn roll_back(&mut self) {
        self.filled = 0;
        self.columns.iter_mut().for_each(|column| column.values.truncate(self.rows));
    }

    /// The complete rows; there are none afterwards.
    pub fn finish(&mut self) -> RecordBatch {
        let rows = std::mem::take(&mut self.rows);
        let arrays = self.columns.iter_mut().map(|column| column.finish(rows)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        // Every column has the schema's type and as many rows as the others.
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .unwrap_or_else(|_| RecordBatch::new_empty(self.schema.clone()))
    }
}

impl Column {
    /// The rarer conversions: from text, and those that are refused.
    fn convert(&mut self, value: Value<'_>) -> Result<(), String> {
        let about = About { name: &self.name, kind: &self.kind };
        let wrong = |shown: &str| match &self.times {
            Some(times) => times.tell(Fault::Syntax, &self.name, shown),
            None => Wrong::Syntax.tell(about, shown),
        };
        let text = match value {
            Value::Text(text) | Value::Number(text) => text.trim_ascii(),
            Value::Bool(value) if matches!(self.values, Values::Bytes { .. }) => return self.set_bool_text(value),
            Value::Bool(true) => "true",
            Value::Bool(false) => "false",
            Value::Null => return Ok(()),
            Value::Nested(text) => return Err(wrong(text)),
        };
        match &mut self.values {
            Values::Bool(values) if !matches!(value, Value::Number(_)) && text.eq_ignore_ascii_case("true") => {
                values.push(true);
            }
            Values::Bool(values) if !matches!(value, Value::Number(_)) && text.eq_ignore_ascii_case("false") => {
                values.push(false);
            }
            _ if matches!(value, Value::Bool(_)) => return Err(wrong(text)),
            Values::Float64(values) => values.push(float64(text).map_err(|wrong| wrong.tell(about, text))?),
            Values::Int64(values) => values.push(match &self.times {
                Some(times) => times.read(text).map_err(|fault| times.tell(fault, &self.name, text))?,
                None => int64(text).map_err(|wrong| wrong.tell(about, text))?,
            }),
            Values::Bool(_) | Values::Bytes { .. } => return Err(wrong(text)),
        }
        Ok(())
    }

    fn set_bool_text(&mut self, value: bool) -> Result<(), String> {
        match &mut self.values {
            Values::Bytes { bytes, ends } => push_bytes(bytes, ends, if value { b"true" } else { b"false" }),
            _ => Ok(()),
        }
    }

    fn finish(&mut self, rows: usize) -> ArrayRef {
        let nulls = nulls(&std::mem::take(&mut self.nulls), rows);
        let values = std::mem::replace(&mut self.values, Values::new(&self.kind));
        match (values, &self.kind) {
            (Values::Bool(values), _) => Arc::new(BooleanArray::new(BooleanBuffer::from(values), nulls)),
            (Values::Int64(values), ColumnType::Timestamp) => {
                Arc::new(TimestampMicrosecondArray::new(values.into(), nulls).with_timezone("UTC"))
            }
            (Values::Int64(values), _) => Arc::new(Int64Array::new(values.into(), nulls)),
            (Values::Float64(values), _) => Arc::new(Float64Array::new(values.into(), nulls)),
            (Values::Bytes { bytes, ends }, ColumnType::Binary) => {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
                Arc::new(BinaryArray::new(offsets, Buffer::from_vec(bytes), nulls))
            }
            (Values::Bytes { bytes, ends }, ColumnType::Text) => text_array(bytes, ends, nulls),
            (Values::Bytes { .. }, kind) => new_null_array(&kind.arrow(), rows),
        }
    }
}

impl Values {
    fn new(kind: &ColumnType) -> Values {
        match kind {
            ColumnType::Bool => Values::Bool(Vec::new()),
            ColumnType::Int64 | ColumnType::Timestamp => Values::Int64(Vec::new()),
            ColumnType::Float64 => Values::Float64(Vec::new()),
            // No job file can name an Arrow type for a source's column; its values are null.
            ColumnType::Text | ColumnType::Binary | ColumnType::Arrow(_) => {
                Values::Bytes { bytes: Vec::new(), ends: vec![0] }
            }
        }
    }

    #[inline]
    fn len(&self) -> usize {
        match self {
            Values::Bool(values) => values.len(),
            Values::Int64(values) => values.len(),
            Values::Float64(values) => values.len(),
            Values::Bytes { ends, .. } => ends.len() - 1,
        }
    }

    fn truncate(&mut self, rows: usize) {
        match self {
            Values::Bool(values) => values.truncate(rows),
            Values::Int64(values) => values.truncate(rows),
            Values::Float64(values) => values.truncate(rows),
            Values::Bytes { bytes, ends } => {
                ends.truncate(rows + 1);
                bytes.truncate(ends.last().map_or(0, |end| *end as usize));
            }
        }
    }

    fn push_default(&mut self) {
        match self {
            Values::Bool(values) => values.push(false),
            Values::Int64(values) => values.push(0),
            Values::Float64(values) => values.push(0.0),
            Values::Bytes { bytes, ends } => ends.push(bytes.len() as i32),
        }
    }

    fn reserve(&mut self, rows: usize) {
        match self {
            Values::Bool(values) => values.reserve(rows),
            Values::Int64(values) => values.reserve(rows),
            Values::Float64(values) => values.reserve(rows),
            Values::Bytes { bytes, ends } => {
                ends.reserve(rows);
                bytes.reserve(rows * TEXT_BYTES_GUESS);
            }
        }
    }
}

/// Room for a text value before anything is known about it.
const TEXT_BYTES_GUESS: usize = 8;

/// Bytes of two hexadecimal digits each; `None`: the text is something else.
fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.last()?)?)).collect()
}

/// Arrow's offsets are 32 bits wide.
#[inline]
fn push_bytes(bytes: &mut Vec<u8>, ends: &mut Vec<i32>, value: &[u8]) -> Result<(), String> {
    let end = i32::try_from(bytes.len() + value.len()).map_err(|_| "more than 2 GiB of text in a part".to_string())?;
    bytes.extend_from_slice(value);
    ends.push(end);
    Ok(())
}

/// An array of these texts, which are UTF-8: Arrow checks it once more, at the speed of memory.
pub fn text_array(bytes: Vec<u8>, ends: Vec<i32>, nulls: Option<NullBuffer>) -> ArrayRef {
    let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
    let bytes = Buffer::from_vec(bytes);
    match StringArray::try_new(offsets.clone(), bytes.clone(), nulls) {
        Ok(array) => Arc::new(array),
        Err(_) => Arc::new(StringArray::from_iter_values(offsets.windows(2).map(|ends| match ends {
            [start, end] => String::from_utf8_lossy(bytes.get(*start as usize..*end as usize).unwrap_or_default()),
            _ => "".into(),
        }))),
    }
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
