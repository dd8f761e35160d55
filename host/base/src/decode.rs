//! From the records of a chunk to rows, by the source's format. A record that does not decode becomes a rejected
//! row with its reason.

pub mod binary;
mod columns;
pub mod csv;
pub mod json;
mod text;

use crate::batch::chunk::{Chunk, FRAME_PREFIX_BYTES};
use crate::batch::types::{ColumnType, schema_of};
use crate::job::spec::{ColumnSpec, Format, SourceKind, SourceSpec};
use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use binary::BinaryDecoder;
use columns::{Columns, Value};
use csv::CsvDecoder;
use json::JsonDecoder;
use std::fmt::Write;
use std::sync::Arc;

/// Turns chunks of one source into rows.
pub struct Decoder {
    schema: SchemaRef,
    columns: Columns,
    delimiter: Delimiter,
    by: By,
    /// Columns without which a row is rejected.
    required: Vec<usize>,
    /// How much of a rejected record is kept.
    rejected_bytes_max: usize,
}

/// The rows of a chunk.
pub struct Decoded {
    /// The rows that decoded, in order.
    pub rows: RecordBatch,
    /// The others, with [`rejected_schema`]; `None` where there are none.
    pub rejected: Option<RecordBatch>,
}

/// How one record is decoded.
enum By {
    /// The whole record is the value of one column.
    Text(ColumnType),
    Json(JsonDecoder),
    Csv(CsvDecoder),
    Binary(BinaryDecoder),
}

/// What stands around a record in a chunk.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Delimiter {
    /// `\n` or `\r\n` behind it.
    Line,
    /// Four bytes of length before it.
    Prefix,
    None,
}

impl Delimiter {
    #[inline]
    fn strip(self, record: &[u8]) -> &[u8] {
        match (self, record) {
            (Delimiter::Line, [text @ .., b'\r', b'\n'] | [text @ .., b'\n']) => text,
            (Delimiter::Prefix, record) => record.get(FRAME_PREFIX_BYTES..).unwrap_or_default(),
            (_, record) => record,
        }
    }
}

impl Decoder {
    /// A decoder for the format and columns of this source. A `rate` source has the columns `timestamp` and `value`;
    /// text without a schema has the column `value`; a `queue` source is JSON whatever its format. Rows that are given back
    /// to a stage are as sinks write them, and have the very columns of its input.
    pub fn new(source: &SourceSpec) -> Decoder {
        let mut source = source.clone();
        match (&source.kind, &source.format) {
            (SourceKind::Rate { .. }, _) => {
                source.format = Format::Binary { record_bytes: None };
                source.schema = SourceSpec::default_schema(&source.kind, &source.format);
            }
            (SourceKind::Queue { .. }, _) => source.format = Format::Json,
            (_, Format::Text) if source.schema.is_empty() => {
                source.schema = vec![ColumnSpec::new("value", ColumnType::Text)]
            }
            _ => {}
        }
        let queue = matches!(source.kind, SourceKind::Queue { .. });
        let kinds: Vec<ColumnType> = source.schema.iter().map(|column| column.kind.clone()).collect();
        let by = match source.format {
            Format::Text => By::Text(kinds.first().cloned().unwrap_or(ColumnType::Text)),
            Format::Json => By::Json(JsonDecoder::new(&source, queue)),
            Format::Csv { header, separator } => By::Csv(CsvDecoder::new(&source, header, separator)),
            Format::Binary { .. } => By::Binary(BinaryDecoder::new(&kinds)),
        };
        let delimiter = match source.kind {
            SourceKind::RawSocket { .. } => Delimiter::Prefix,
            SourceKind::Queue { .. } | SourceKind::Rate { .. } => Delimiter::None,
            _ if matches!(by, By::Binary(_)) => Delimiter::None,
            _ => Delimiter::Line,
        };
        let named: Vec<_> = source.schema.iter().map(|column| (column.name.clone(), column.kind.clone())).collect();
        let (schema, required) = match &source.kind {
            SourceKind::Retry { columns, .. } => (columns.clone(), required(columns)),
            _ => (schema_of(&named), Vec::new()),
        };
        let columns = Columns::new(schema.clone(), &source.schema);
        let given_back = matches!(source.kind, SourceKind::Retry { .. });
        let columns = if given_back { columns.with_hex() } else { columns };
        let rejected_bytes_max = usize::try_from(source.rejected_bytes_max).unwrap_or(usize::MAX);
        Decoder { columns, schema, delimiter, by, required, rejected_bytes_max }
    }

    /// The columns of the decoded rows.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Decodes all records of a chunk.
    pub fn decode(&mut self, chunk: &Chunk) -> Decoded {
        if let By::Text(ColumnType::Text) = self.by
            && let Some(column) = text::decode(chunk, self.delimiter)
            && let Ok(rows) = RecordBatch::try_new(self.schema.clone(), vec![column])
        {
            return Decoded { rows, rejected: None };
        }
        if let By::Csv(csv) = &mut self.by {
            csv.header(&chunk.header);
        }
        self.columns.reserve(chunk.rows());
        let mut rejected = Rejected { bytes_max: self.rejected_bytes_max, ..Rejected::default() };
        // Most chunks are UTF-8 as a whole, which is quicker to see than record by record.
        let text = std::str::from_utf8(&chunk.bytes).ok();
        let mut refused = chunk.refused.iter().peekable();
        let mut start = 0;
        for (row, end) in chunk.ends.iter().enumerate() {
            let record = start..*end as usize;
            start = record.end;
            let bytes = self.delimiter.strip(chunk.bytes.get(record.clone()).unwrap_or_default());
            if let Some(refusal) = refused.next_if(|refusal| refusal.row as usize == row) {
                rejected.push(bytes, refusal.dropped, refusal.reason.clone());
                continue;
            }
            let text = text.and_then(|text| text.get(record.clone())).map(|text| self.content(text));
            match self.decode_record(bytes, text) {
                Ok(true) => match self.required.iter().find_map(|column| self.columns.lacks(*column)) {
                    None => self.columns.end_row(),
                    Some(reason) => {
                        self.columns.roll_back();
                        rejected.push(bytes, 0, reason);
                    }
                },
                Ok(false) => {}
                Err(reason) => {
                    self.columns.roll_back();
                    rejected.push(bytes, 0, reason);
                }
            }
        }
        Decoded { rows: self.columns.finish(), rejected: rejected.finish() }
    }

    /// `record` without what delimits it.
    #[inline]
    fn content<'a>(&self, record: &'a str) -> &'a str {
        let bytes = self.delimiter.strip(record.as_bytes());
        match self.delimiter {
            Delimiter::Prefix => record.get(record.len() - bytes.len()..).unwrap_or_default(),
            Delimiter::Line | Delimiter::None => record.get(..bytes.len()).unwrap_or_default(),
        }
    }

    /// Decodes one record into the row at hand; `text` is the same record if it is known to be UTF-8. `false`: a
    /// blank record, which is no row.
    #[inline]
    fn decode_record(&mut self, bytes: &[u8], text: Option<&str>) -> Result<bool, String> {
        match &mut self.by {
            By::Binary(decoder) => return decoder.decode(bytes, &mut self.columns).map(|()| true),
            By::Text(ColumnType::Binary) => return self.columns.set_bytes(0, bytes).map(|()| true),
            _ => {}
        }
        let text = match text {
            Some(text) => text,
            None => std::str::from_utf8(bytes).map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to()))?,
        };
        match &mut self.by {
            By::Json(decoder) => decoder.decode(text, &mut self.columns),
            By::Csv(decoder) => decoder.decode(text, &mut self.columns),
            By::Text(_) | By::Binary(_) => self.columns.set(0, Value::Text(text)).map(|()| true),
        }
    }
}

/// The columns of which every row must have a value. No record holds values of types that are not ours.
fn required(columns: &SchemaRef) -> Vec<usize> {
    let needed = |place: &usize| {
        let field = columns.field(*place);
        !field.is_nullable() || matches!(ColumnType::of(field.data_type()), ColumnType::Arrow(_))
    };
    (0..columns.fields().len()).filter(needed).collect()
}

/// The columns of a source's rejected rows: `value` (the record, as text) and `reason`.
pub fn rejected_schema() -> SchemaRef {
    schema_of(&[("value".into(), ColumnType::Text), ("reason".into(), ColumnType::Text)])
}

/// Rejected rows in the order of their records.
#[derive(Default)]
struct Rejected {
    values: Vec<String>,
    reasons: Vec<String>,
    /// How much of a record is kept.
    bytes_max: usize,
}

impl Rejected {
    #[cold]
    fn push(&mut self, record: &[u8], dropped: u64, mut reason: String) {
        let whole = (record.len() as u64).saturating_add(dropped);
        if whole > self.bytes_max as u64 {
            let kept = self.bytes_max;
            let _ = write!(reason, " (the first {kept} of {whole} bytes are here, by rejected_bytes_max)");
        }
        self.values.push(shown(record, self.bytes_max));
        self.reasons.push(reason);
    }

    fn finish(self) -> Option<RecordBatch> {
        if self.values.is_empty() {
            return None;
        }
        let columns: Vec<arrow::array::ArrayRef> =
            vec![Arc::new(StringArray::from(self.values)), Arc::new(StringArray::from(self.reasons))];
        RecordBatch::try_new(rejected_schema(), columns).ok()
    }
}

/// The beginning of a record as text of at most so many bytes; what is not UTF-8 shows as U+FFFD.
fn shown(record: &[u8], bytes_max: usize) -> String {
    let begin = record.get(..bytes_max).unwrap_or(record);
    let begin = match std::str::from_utf8(begin) {
        // A character that was cut in two is left out.
        Err(error) if error.error_len().is_none() && begin.len() < record.len() => {
            begin.get(..error.valid_up_to()).unwrap_or_default()
        }
        _ => begin,
    };
    let mut text = String::from_utf8_lossy(begin).into_owned();
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

#[cfg(test)]
mod tests;
