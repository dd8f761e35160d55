//! Decodes the records of a chunk to rows, by the source's format. A record that does not decode becomes a rejected row with its reason.

pub mod avro;
mod metadata;
pub mod binary;
mod columns;
pub mod csv;
mod delimiter;
pub mod infer;
pub mod json;
mod json_text;
pub mod mark;
pub mod parquet;
pub mod protobuf;
pub mod ready;
pub mod spec;
mod text;
pub mod varint;
mod wanted;
pub mod written_out;
mod written_value;

use crate::batch::chunk::Chunk;
use crate::batch::column::ColumnSpec;
use crate::batch::envelope;
use crate::batch::types::{ColumnType, schema_of};
use crate::formats::{Format, WriterSchema};
use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use avro::AvroDecoder;
use avro::schemas::SchemaTable;
use binary::BinaryDecoder;
use columns::ColumnBuilders;
use csv::CsvDecoder;
use delimiter::Delimiter;
use json::JsonDecoder;
use metadata::MetadataDecoder;
use protobuf::ProtobufDecoder;
use spec::{DecoderSpec, MakeRows, RecordBounds};
use std::fmt::Write;
use std::sync::Arc;
use written_value::WrittenValue;

/// Decodes chunks of one source to rows.
pub struct Decoder {
    schema: SchemaRef,
    columns: ColumnBuilders,
    delimiter: Delimiter,
    by: RecordDecoder,
    /// Decodes columns that are not in the value of a record; `None` if the source cannot have any.
    metadata: Option<MetadataDecoder>,
    /// The columns of the job file, for rows that arrived as columns.
    wanted: Vec<ColumnSpec>,
    /// Decodes records that are not in one of our formats.
    custom: Option<MakeRows>,
    /// Columns whose null values make a row rejected.
    required: Vec<usize>,
    /// Records may contain their own reason for rejection: see [`parquet`].
    may_have_reasons: bool,
    /// Maximum bytes of a rejected record that are kept.
    rejected_bytes_max: usize,
}

/// The rows of a chunk.
pub struct DecodedChunk {
    /// The rows that decoded, in order.
    pub rows: RecordBatch,
    /// The others, with [`rejected_schema`]; `None` if there are none.
    pub rejected: Option<RecordBatch>,
}

/// How one record is decoded.
enum RecordDecoder {
    /// The complete record is the value of one column.
    Text(ColumnType),
    Json(JsonDecoder),
    Csv(CsvDecoder),
    Binary(BinaryDecoder),
    Avro(AvroDecoder),
    Protobuf(ProtobufDecoder),
}

impl Decoder {
    /// Creates a decoder of this format and these columns; text without columns has the column `value`. Retried rows of a stage are in the
    /// form of our sinks, with the columns of the stage's input.
    pub fn new(spec: DecoderSpec) -> Decoder {
        let in_envelopes = spec::in_envelopes(spec.bounds, &spec.columns);
        let DecoderSpec { format, mut columns, row_schema, bounds, accepts_values, writes_hex, make_rows, .. } = spec;
        if format == Format::Text && columns.is_empty() {
            columns = vec![ColumnSpec::new("value", ColumnType::Text)];
        }
        let wanted = columns.clone();
        let is_parquet = format == Format::Parquet;
        if is_parquet {
            columns = parquet::in_lines(&columns);
        }
        let metadata = in_envelopes.then(|| MetadataDecoder::new(&mut columns));
        let all = columns.clone();
        columns.truncate(metadata.as_ref().map_or(usize::MAX, MetadataDecoder::first));
        let kinds: Vec<ColumnType> = columns.iter().map(|column| column.kind.clone()).collect();
        let by = match format {
            Format::Text => RecordDecoder::Text(kinds.first().cloned().unwrap_or(ColumnType::Text)),
            Format::Json | Format::Parquet => RecordDecoder::Json(JsonDecoder::new(&columns, accepts_values)),
            Format::Csv { header, separator } => RecordDecoder::Csv(CsvDecoder::new(&columns, header, separator)),
            Format::Binary { .. } => RecordDecoder::Binary(BinaryDecoder::new(&kinds)),
            Format::Avro(schema) => {
                let mut decoder = AvroDecoder::new(&columns, matches!(schema, WriterSchema::Registry(_)));
                if let WriterSchema::Given(schema) = schema {
                    decoder.header(&SchemaTable::write([(0, Some(&schema.content))]));
                }
                RecordDecoder::Avro(decoder)
            }
            Format::Protobuf(protobuf) => RecordDecoder::Protobuf(ProtobufDecoder::new(&protobuf, &columns)),
        };
        let delimiter = match bounds {
            RecordBounds::Prefix => Delimiter::Prefix,
            _ if in_envelopes => Delimiter::Envelope,
            RecordBounds::Ends => Delimiter::None,
            RecordBounds::File if matches!(by, RecordDecoder::Protobuf(_)) => Delimiter::Varint,
            _ if matches!(by, RecordDecoder::Binary(_) | RecordDecoder::Avro(_) | RecordDecoder::Protobuf(_)) => {
                Delimiter::None
            }
            _ if matches!(by, RecordDecoder::Csv(_)) => Delimiter::CsvLine,
            _ => Delimiter::Line,
        };
        let named: Vec<_> = all.iter().map(|column| (column.name.clone(), column.kind.clone())).collect();
        // These lines of JSON are our own.
        let ours = writes_hex || row_schema.is_some() || is_parquet;
        let (schema, required) = match row_schema {
            Some(columns) => {
                let required = required(&columns);
                (columns, required)
            }
            None => (schema_of(&named), Vec::new()),
        };
        let columns = ColumnBuilders::new(schema.clone(), &all);
        let columns = if ours { columns.with_hex() } else { columns };
        // The result has the columns in the order of the job file.
        let schema = metadata.as_ref().map_or(schema.clone(), |metadata| metadata.schema(&schema));
        Decoder {
            custom: make_rows,
            columns,
            schema,
            delimiter,
            by,
            metadata,
            wanted,
            required,
            may_have_reasons: is_parquet || writes_hex,
            rejected_bytes_max: usize::try_from(spec.rejected_bytes_max).unwrap_or(usize::MAX),
        }
    }

    /// Returns the columns of the decoded rows.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Decodes all records of a chunk.
    pub fn decode(&mut self, chunk: &Chunk) -> DecodedChunk {
        if let Some(ready) = &chunk.ready {
            return match ready::rows_of(ready, &self.wanted, &self.schema) {
                Some(rows) => DecodedChunk { rows, rejected: None },
                None => self.decode(&ready::in_lines(chunk, ready, self.delimiter)),
            };
        }
        if let Some(make) = &self.custom
            && let Some(rows) = make(&chunk.bytes)
        {
            return DecodedChunk { rows, rejected: None };
        }
        let in_other_encoding = self.is_text() && mark::is_other(&chunk.header);
        if let RecordDecoder::Text(ColumnType::Text) = self.by
            && !in_other_encoding
            && self.metadata.as_ref().is_none_or(|metadata| metadata.is_plain(chunk))
            && let Some(column) = text::decode(chunk, self.delimiter)
            && let Ok(rows) = RecordBatch::try_new(self.schema.clone(), vec![column])
        {
            return DecodedChunk { rows, rejected: None };
        }
        if let RecordDecoder::Csv(csv) = &mut self.by {
            csv.header(&chunk.header);
        }
        self.metadata.iter_mut().for_each(|metadata| metadata.begin(chunk));
        // A schema for all records was given when the decoder was created; then no chunk has a table.
        if let RecordDecoder::Avro(avro) = &mut self.by
            && !chunk.header.is_empty()
        {
            avro.header(&chunk.header);
        }
        self.columns.reserve(chunk.rows());
        let mut rejected = RejectedRecords { bytes_max: self.rejected_bytes_max, ..RejectedRecords::default() };
        // Most chunks are valid UTF-8, which is faster to check for all records together.
        let text = simdutf8::basic::from_utf8(&chunk.bytes).ok();
        let mut undecoded = chunk.rejected.iter().peekable();
        let mut start = 0;
        for (row, end) in chunk.ends.iter().enumerate() {
            let record = start..*end as usize;
            start = record.end;
            let record_bytes = chunk.bytes.get(record.clone()).unwrap_or_default();
            let bytes = self.delimiter.strip(record_bytes);
            if let Some(rejection) = undecoded.next_if(|rejection| rejection.row as usize == row) {
                rejected.push(bytes, rejection.dropped, rejection.reason.clone());
                continue;
            }
            if let Some((row, reason)) = self.may_have_reasons.then(|| parquet::rejected(bytes)).flatten() {
                rejected.push(row, 0, reason);
                continue;
            }
            if in_other_encoding {
                rejected.push(bytes, 0, mark::OTHER_ENCODING.to_owned());
                continue;
            }
            let text = text.and_then(|text| text.get(record.clone())).map(|text| self.content(text));
            let decoded = match &self.metadata {
                None => self.decode_record(bytes, text),
                Some(_) => self.decode_with_metadata(record_bytes, bytes, text),
            };
            match decoded {
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
        let rows = self.columns.finish();
        let rows = self.metadata.as_ref().map_or(rows.clone(), |metadata| metadata.in_order(rows));
        DecodedChunk { rows, rejected: rejected.finish() }
    }

    /// Returns whether records are text.
    fn is_text(&self) -> bool {
        matches!(self.by, RecordDecoder::Text(_) | RecordDecoder::Json(_) | RecordDecoder::Csv(_))
    }

    /// Decodes a record of a topic. It is a row whatever its value is, as it has its own offset. Without a value, the columns of the value are null.
    fn decode_with_metadata(&mut self, record: &[u8], bytes: &[u8], text: Option<&str>) -> Result<bool, String> {
        let envelope = envelope::read(record).ok_or("the record is damaged")?;
        if !envelope.is_null() && !self.decode_record(bytes, text)? {
            return Err("the value is empty".into());
        }
        let Decoder { metadata, columns, .. } = self;
        metadata.iter().try_for_each(|metadata| metadata.decode(&envelope, columns))?;
        Ok(true)
    }

    /// Returns `record` without its delimiter.
    #[inline]
    fn content<'a>(&self, record: &'a str) -> &'a str {
        let bytes = self.delimiter.strip(record.as_bytes());
        match self.delimiter {
            Delimiter::Prefix | Delimiter::Varint | Delimiter::Envelope => {
                record.get(record.len() - bytes.len()..).unwrap_or_default()
            }
            Delimiter::Line | Delimiter::CsvLine | Delimiter::None => record.get(..bytes.len()).unwrap_or_default(),
        }
    }

    /// Decodes one record into the current row; `text` is the same record if it is known to be UTF-8. `false`: a blank record, which is not a row.
    #[inline]
    fn decode_record(&mut self, bytes: &[u8], text: Option<&str>) -> Result<bool, String> {
        match &mut self.by {
            RecordDecoder::Binary(decoder) => return decoder.decode(bytes, &mut self.columns).map(|()| true),
            RecordDecoder::Avro(decoder) => return decoder.decode(bytes, &mut self.columns).map(|()| true),
            RecordDecoder::Protobuf(decoder) => return decoder.decode(bytes, &mut self.columns).map(|()| true),
            RecordDecoder::Text(ColumnType::Binary) if self.columns.stores_text_bytes(0) => {
                return self.columns.set_bytes(0, bytes).map(|()| true);
            }
            _ => {}
        }
        let text = match text {
            Some(text) => text,
            None => std::str::from_utf8(bytes).map_err(|error| not_utf8(bytes, error))?,
        };
        let text = if self.delimiter.is_line() { text } else { text.strip_prefix('\u{FEFF}').unwrap_or(text) };
        match &mut self.by {
            RecordDecoder::Json(decoder) => decoder.decode(text, &mut self.columns),
            RecordDecoder::Csv(decoder) => decoder.decode(text, &mut self.columns),
            RecordDecoder::Text(_) | RecordDecoder::Binary(_) | RecordDecoder::Avro(_) | RecordDecoder::Protobuf(_) => {
                self.columns.set(0, WrittenValue::Text(text)).map(|()| true)
            }
        }
    }
}

/// Returns why a record is not text.
fn not_utf8(record: &[u8], error: std::str::Utf8Error) -> String {
    match mark::is_other(record) {
        true => mark::OTHER_ENCODING.to_owned(),
        false => format!("not UTF-8 at byte {}", error.valid_up_to()),
    }
}

/// Returns the columns of which every row must have a value. No record holds values of foreign types.
fn required(columns: &SchemaRef) -> Vec<usize> {
    let needed = |index: &usize| {
        let field = columns.field(*index);
        !field.is_nullable() || !ColumnType::from_arrow(field.data_type()).is_written()
    };
    (0..columns.fields().len()).filter(needed).collect()
}

/// Returns the columns of a source's rejected rows: `value` (the record, as text) and `reason`.
pub fn rejected_schema() -> SchemaRef {
    schema_of(&[("value".into(), ColumnType::Text), ("reason".into(), ColumnType::Text)])
}

/// Rejected rows in the order of their records.
#[derive(Default)]
struct RejectedRecords {
    values: Vec<String>,
    reasons: Vec<String>,
    /// Maximum bytes of a record that are kept.
    bytes_max: usize,
}

impl RejectedRecords {
    #[cold]
    fn push(&mut self, record: &[u8], dropped: u64, mut reason: String) {
        let length = (record.len() as u64).saturating_add(dropped);
        if length > self.bytes_max as u64 {
            let kept = self.bytes_max;
            let _ = write!(reason, " (the first {kept} of {length} bytes are here, by rejected_bytes_max)");
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

/// Returns the beginning of a record as text of at most `bytes_max` bytes; invalid UTF-8 shows as U+FFFD.
fn shown(record: &[u8], bytes_max: usize) -> String {
    let begin = record.get(..bytes_max).unwrap_or(record);
    let begin = match std::str::from_utf8(begin) {
        // A character that was cut in two is omitted.
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
