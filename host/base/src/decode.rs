//! From the records of a chunk to rows, by the source's format. A record that does not decode becomes a rejected
//! row with its reason.

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
mod text;
pub mod varint;
mod wanted;
pub mod written_out;
mod written_value;

use crate::batch::chunk::Chunk;
use crate::batch::envelope;
use crate::batch::types::{ColumnType, schema_of};
use crate::job::spec::{
    ColumnSpec, Format, MakeRows, RecordBounds, SourceConfig, SourceKind, SourceSpec, WriterSchema,
};
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
use std::fmt::Write;
use std::sync::Arc;
use written_value::WrittenValue;

/// Turns chunks of one source into rows.
pub struct Decoder {
    schema: SchemaRef,
    columns: ColumnBuilders,
    delimiter: Delimiter,
    by: RecordDecoder,
    /// Columns that do not stand in the value of a record; `None`: there can be none.
    beside: Option<MetadataDecoder>,
    /// The columns as the job file has them, for rows that came as columns.
    wanted: Vec<ColumnSpec>,
    /// What makes rows of records that have no format of ours.
    made: Option<MakeRows>,
    /// Columns without which a row is rejected.
    required: Vec<usize>,
    /// Records may say themselves why they are rejected: see [`parquet`].
    may_refuse: bool,
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
enum RecordDecoder {
    /// The whole record is the value of one column.
    Text(ColumnType),
    Json(JsonDecoder),
    Csv(CsvDecoder),
    Binary(BinaryDecoder),
    Avro(AvroDecoder),
    Protobuf(ProtobufDecoder),
}

impl Decoder {
    /// A decoder for the format and columns of this source;
    /// text without a schema has the column `value`. Rows that are given back
    /// to a stage are as sinks write them, and have the very columns of its input.
    pub fn new(source: &SourceSpec) -> Decoder {
        let mut source = source.clone();
        match (&source.kind, &source.format) {
            (SourceKind::Declared(config), _) if config.makes_records() => {
                source.format = config.format();
                source.schema = SourceSpec::default_schema(&source.kind, &source.format);
            }
            (_, Format::Text) if source.schema.is_empty() => {
                source.schema = vec![ColumnSpec::new("value", ColumnType::Text)]
            }
            _ => {}
        }
        let takes_values = source.kind.declared().is_some_and(SourceConfig::takes_values);
        let wanted = source.schema.clone();
        let in_columns = |kind: &SourceKind| matches!(kind, SourceKind::Declared(config) if config.writes_hex());
        let may_refuse = source.format == Format::Parquet || in_columns(&source.kind);
        if source.format == Format::Parquet {
            source.schema = parquet::in_lines(&source.schema);
        }
        let in_envelopes = source.in_envelopes();
        let beside = in_envelopes.then(|| MetadataDecoder::new(&mut source.schema));
        let all = source.schema.clone();
        source.schema.truncate(beside.as_ref().map_or(usize::MAX, MetadataDecoder::first));
        let kinds: Vec<ColumnType> = source.schema.iter().map(|column| column.kind.clone()).collect();
        let by = match source.format {
            Format::Text => RecordDecoder::Text(kinds.first().cloned().unwrap_or(ColumnType::Text)),
            Format::Json | Format::Parquet => RecordDecoder::Json(JsonDecoder::new(&source, takes_values)),
            Format::Csv { header, separator } => RecordDecoder::Csv(CsvDecoder::new(&source, header, separator)),
            Format::Binary { .. } => RecordDecoder::Binary(BinaryDecoder::new(&kinds)),
            Format::Avro(ref schema) => {
                let mut decoder = AvroDecoder::new(&source.schema, matches!(schema, WriterSchema::Registry(_)));
                if let WriterSchema::Given(schema) = schema {
                    decoder.header(&SchemaTable::write([(0, Some(&schema.content))]));
                }
                RecordDecoder::Avro(decoder)
            }
            Format::Protobuf(ref protobuf) => RecordDecoder::Protobuf(ProtobufDecoder::new(protobuf, &source.schema)),
        };
        let delimiter = match source.kind.bounds() {
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
        let (schema, required) = match &source.kind {
            SourceKind::Retry { columns, .. } => (columns.clone(), required(columns)),
            SourceKind::Plugin(source) => (source.columns.clone(), required(&source.columns)),
            _ => (schema_of(&named), Vec::new()),
        };
        let columns = ColumnBuilders::new(schema.clone(), &all);
        // These lines of JSON are our own.
        let is_ours = |kind: &SourceKind| {
            matches!(kind, SourceKind::Retry { .. } | SourceKind::Plugin(_))
                || matches!(kind, SourceKind::Declared(config) if config.writes_hex())
        };
        let ours = is_ours(&source.kind) || source.format == Format::Parquet;
        let columns = if ours { columns.with_hex() } else { columns };
        let rejected_bytes_max = usize::try_from(source.rejected_bytes_max).unwrap_or(usize::MAX);
        // What is given to others has the columns in the order of the job file.
        let schema = beside.as_ref().map_or(schema.clone(), |beside| beside.schema(&schema));
        let made = source.kind.declared().and_then(SourceConfig::rows);
        Decoder { made, columns, schema, delimiter, by, beside, wanted, required, may_refuse, rejected_bytes_max }
    }

    /// The columns of the decoded rows.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Decodes all records of a chunk.
    pub fn decode(&mut self, chunk: &Chunk) -> Decoded {
        if let Some(given) = &chunk.ready {
            return match ready::rows_of(given, &self.wanted, &self.schema) {
                Some(rows) => Decoded { rows, rejected: None },
                None => self.decode(&ready::in_lines(chunk, given, self.delimiter)),
            };
        }
        if let Some(make) = &self.made
            && let Some(rows) = make(&chunk.bytes)
        {
            return Decoded { rows, rejected: None };
        }
        let in_other_encoding = self.is_text() && mark::is_other(&chunk.header);
        if let RecordDecoder::Text(ColumnType::Text) = self.by
            && !in_other_encoding
            && self.beside.as_ref().is_none_or(|beside| beside.is_plain(chunk))
            && let Some(column) = text::decode(chunk, self.delimiter)
            && let Ok(rows) = RecordBatch::try_new(self.schema.clone(), vec![column])
        {
            return Decoded { rows, rejected: None };
        }
        if let RecordDecoder::Csv(csv) = &mut self.by {
            csv.header(&chunk.header);
        }
        self.beside.iter_mut().for_each(|beside| beside.begin(chunk));
        // Those of all records were given when the decoder was made, and no chunk has a table then.
        if let RecordDecoder::Avro(avro) = &mut self.by
            && !chunk.header.is_empty()
        {
            avro.header(&chunk.header);
        }
        self.columns.reserve(chunk.rows());
        let mut rejected = Rejected { bytes_max: self.rejected_bytes_max, ..Rejected::default() };
        // Most chunks are UTF-8 as a whole, which is quicker to see than record by record.
        let text = simdutf8::basic::from_utf8(&chunk.bytes).ok();
        let mut refused = chunk.refused.iter().peekable();
        let mut start = 0;
        for (row, end) in chunk.ends.iter().enumerate() {
            let record = start..*end as usize;
            start = record.end;
            let whole = chunk.bytes.get(record.clone()).unwrap_or_default();
            let bytes = self.delimiter.strip(whole);
            if let Some(refusal) = refused.next_if(|refusal| refusal.row as usize == row) {
                rejected.push(bytes, refusal.dropped, refusal.reason.clone());
                continue;
            }
            if let Some((row, reason)) = self.may_refuse.then(|| parquet::refused(bytes)).flatten() {
                rejected.push(row, 0, reason);
                continue;
            }
            if in_other_encoding {
                rejected.push(bytes, 0, mark::OTHER_ENCODING.to_owned());
                continue;
            }
            let text = text.and_then(|text| text.get(record.clone())).map(|text| self.content(text));
            let decoded = match &self.beside {
                None => self.decode_record(bytes, text),
                Some(_) => self.decode_with_beside(whole, bytes, text),
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
        let rows = self.beside.as_ref().map_or(rows.clone(), |beside| beside.in_order(rows));
        Decoded { rows, rejected: rejected.finish() }
    }

    /// Whether records are text.
    fn is_text(&self) -> bool {
        matches!(self.by, RecordDecoder::Text(_) | RecordDecoder::Json(_) | RecordDecoder::Csv(_))
    }

    /// Decodes a record of a topic: a row whatever its value is, as it has an offset of its own. Without a value, the columns of
    /// the value are null.
    fn decode_with_beside(&mut self, whole: &[u8], bytes: &[u8], text: Option<&str>) -> Result<bool, String> {
        let envelope = envelope::read(whole).ok_or("the record is damaged")?;
        if !envelope.is_null() && !self.decode_record(bytes, text)? {
            return Err("the value is empty".into());
        }
        let Decoder { beside, columns, .. } = self;
        beside.iter().try_for_each(|beside| beside.decode(&envelope, columns))?;
        Ok(true)
    }

    /// `record` without what delimits it.
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

    /// Decodes one record into the row at hand; `text` is the same record if it is known to be UTF-8. `false`: a
    /// blank record, which is no row.
    #[inline]
    fn decode_record(&mut self, bytes: &[u8], text: Option<&str>) -> Result<bool, String> {
        match &mut self.by {
            RecordDecoder::Binary(decoder) => return decoder.decode(bytes, &mut self.columns).map(|()| true),
            RecordDecoder::Avro(decoder) => return decoder.decode(bytes, &mut self.columns).map(|()| true),
            RecordDecoder::Protobuf(decoder) => return decoder.decode(bytes, &mut self.columns).map(|()| true),
            RecordDecoder::Text(ColumnType::Binary) if self.columns.holds_bytes_of_text(0) => {
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

/// Why a record is no text.
fn not_utf8(record: &[u8], error: std::str::Utf8Error) -> String {
    match mark::is_other(record) {
        true => mark::OTHER_ENCODING.to_owned(),
        false => format!("not UTF-8 at byte {}", error.valid_up_to()),
    }
}

/// The columns of which every row must have a value. No record holds values of types that are not ours.
fn required(columns: &SchemaRef) -> Vec<usize> {
    let needed = |place: &usize| {
        let field = columns.field(*place);
        !field.is_nullable() || !ColumnType::of(field.data_type()).is_written()
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
mod bounded_tests;
#[cfg(test)]
mod tests;
