//! Rows as records of a topic, with a key and an optional value.

use super::settings::KafkaWrites;
use arrow::array::{Array, LargeBinaryArray, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use millstream_connect::sink::encode::avro::{self, AvroRows};
use millstream_connect::sink::encode::csv::CsvRows;
use millstream_connect::sink::encode::plain;
use millstream_connect::sink::encode::protobuf::{MessageRows, MessageWriter};
use millstream_rows::batch::cell::Cells;
use millstream_rows::batch::encoded::{self, EncodedForm};
use millstream_rows::batch::json::{self, JsonRows};
use millstream_rows::batch::op::Op;
use millstream_rows::batch::types::{ColumnType, describe};
use millstream_rows::decode::protobuf::{Definition, Messages};
use millstream_rows::formats::{ProtobufSpec, RecordFormat};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Upper bound of a record's size in a request beyond its key and value, including its share of the record batch.
pub(super) const RECORD_OVERHEAD_BYTES: usize = 128;

/// Encodes rows, with the roles of their columns.
#[derive(Clone, Debug)]
pub(super) struct RecordEncoder {
    key: Option<usize>,
    tombstones: Option<usize>,
    op: Option<usize>,
    format: RecordFormat,
    /// The columns of the value.
    values: Vec<usize>,
    /// The schema of these columns.
    schema: SchemaRef,
    /// The prefix of each value: the registry's schema id.
    prefix: Vec<u8>,
    /// For format `protobuf`.
    message: Option<Arc<MessageWriter>>,
    /// Follows the schema id: the index of the message in its definition, for format `protobuf`.
    message_index: Vec<u8>,
}

/// The records of a batch, in order. All are created before the first is sent: a row that no record can hold leaves nothing, and a retried
/// batch is identical.
#[derive(Debug, Default)]
pub(super) struct Records {
    bytes: Vec<u8>,
    ranges: Vec<RecordRange>,
}

#[derive(Debug)]
struct RecordRange {
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
}

/// Key and value of a record.
pub(super) type Record<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

impl Records {
    /// Appends a key or a value.
    fn add(&mut self, bytes: Option<&[u8]>) -> Option<Range<usize>> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes?);
        Some(start..self.bytes.len())
    }

    /// Returns key and value of each record, in order.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        let bytes = |range: &Option<Range<usize>>| range.clone().and_then(|range| self.bytes.get(range));
        self.ranges.iter().map(move |range| (bytes(&range.key), bytes(&range.value)))
    }
}

impl RecordEncoder {
    /// Creates an encoder for rows of this schema. The error names the invalid key of the sink.
    pub fn new(spec: &KafkaWrites, schema: &SchemaRef) -> Result<RecordEncoder, (&'static str, String)> {
        if spec.tombstones.is_some() && spec.key.is_none() {
            return Err(("tombstones", "`tombstones` needs `key`: a tombstone names the deleted key".into()));
        }
        let column_index = |name: &String, key: &'static str| {
            let unknown = || {
                let column_list = describe(schema);
                (key, format!("`{key}` names `{name}`, and the rows have {column_list}; write one of these"))
            };
            schema.index_of(name).map_err(|_| unknown())
        };
        let kind = |at: usize| ColumnType::from_arrow(schema.field(at).data_type());
        let key = spec.key.as_ref().map(|name| column_index(name, "key")).transpose()?;
        if let Some(other) = key.map(kind).filter(|kind| !kind.is_scalar()) {
            return Err((
                "key",
                format!("`key` names a column of type {other}, and a key is text, bytes or a plain value"),
            ));
        }
        let tombstones = spec.tombstones.as_ref().map(|name| column_index(name, "tombstones")).transpose()?;
        if let Some(other) = tombstones.map(kind).filter(|kind| *kind != ColumnType::Bool) {
            return Err(("tombstones", format!("`tombstones` names a column of type {other}; it must be bool")));
        }
        let op = spec.op.as_ref().map(|name| column_index(name, "op")).transpose()?;
        if let Some(other) = op.map(kind).filter(|kind| *kind != ColumnType::Text) {
            return Err(("op", format!("`op` names a column of type {other}; it must be text")));
        }
        let mut values: Vec<_> =
            (0..schema.fields().len()).filter(|at| ![tombstones, op].contains(&Some(*at))).collect();
        let projected = |values: &[usize]| {
            SchemaRef::new(Schema::new(values.iter().map(|at| schema.field(*at).clone()).collect::<Vec<_>>()))
        };
        let single = |expected: ColumnType, values: &mut Vec<usize>| {
            // A key that is the only column is the value as well.
            if values.len() > 1 {
                values.retain(|at| Some(*at) != key);
            }
            if matches!(values[..], [at] if kind(at) == expected) {
                return Ok(());
            }
            let rest = describe(&projected(values));
            Err(format!(
                "format `{}` writes a single {expected} column next to `key` and `tombstones`, and the rows have {rest}; choose \
                 `json`, or put a stage with `select` before the sink",
                if expected == ColumnType::Text { "text" } else { "binary" }
            ))
        };
        let protobuf = spec.protobuf.as_deref().filter(|_| spec.format == RecordFormat::Protobuf);
        let messages = protobuf.map(|of| messages(of, spec.registry.is_some())).transpose()?;
        if let (Some((_, description)), Some(at)) = (&messages, key) {
            // A message contains exactly its fields; a key outside of them is stored next to it.
            let is_key = |column: &usize| *column == at && !description.fields.contains(schema.field(at).name());
            values.retain(|column| !is_key(column));
        }
        let mut message = None;
        let fits = match spec.format {
            RecordFormat::Json => json::check(&projected(&values)),
            RecordFormat::Csv => millstream_connect::sink::encode::csv::check(&projected(&values)),
            RecordFormat::Text => single(ColumnType::Text, &mut values),
            RecordFormat::Binary => single(ColumnType::Binary, &mut values),
            RecordFormat::Avro if spec.registry.is_none() => {
                Err("format `avro` needs a registry for the schema of the records".into())
            }
            RecordFormat::Avro => avro::check(&projected(&values)),
            RecordFormat::Protobuf => match (&messages, protobuf) {
                (Some(known), Some(protobuf)) => MessageWriter::new(&known.0, &protobuf.message, &projected(&values))
                    .map(|writer| message = Some(Arc::new(writer))),
                _ => Err("format `protobuf` needs `descriptor` and `message`".into()),
            },
        };
        fits.map_err(|message| ("format", message))?;
        let schema = projected(&values);
        let message_index = messages.map(|(_, known)| known.message_index).unwrap_or_default();
        Ok(RecordEncoder {
            key,
            tombstones,
            op,
            format: spec.format,
            values,
            schema,
            prefix: Vec::new(),
            message,
            message_index,
        })
    }

    /// Returns the columns of the value.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Sets the schema id of the registry as the prefix of values.
    pub fn begin_with(&mut self, schema_id: u32) {
        self.prefix = [&[0][..], &schema_id.to_be_bytes(), &self.message_index].concat();
    }

    /// Encodes these rows as records.
    pub(super) fn encode(&self, rows: &[RecordBatch]) -> io::Result<Records> {
        let mut records = Records::default();
        records.ranges.reserve(rows.iter().map(RecordBatch::num_rows).sum());
        for part in rows.iter().filter(|part| part.num_rows() > 0) {
            self.encode_part(part, &mut records)?;
        }
        Ok(records)
    }

    /// Encodes key and value of each row for the process that sends them.
    pub fn encode_ahead(&self, rows: &RecordBatch) -> io::Result<RecordBatch> {
        let mut records = Records::default();
        self.encode_part(rows, &mut records)?;
        let (keys, values): (Vec<_>, Vec<_>) = records.iter().unzip();
        let columns = [keys, values].map(LargeBinaryArray::from_iter);
        encoded::encoded(EncodedForm::Record, columns.into())
    }

    fn encode_part(&self, part: &RecordBatch, records: &mut Records) -> io::Result<()> {
        if let Some([keys, values]) = encoded::columns(part, EncodedForm::Record).as_deref() {
            for row in 0..part.num_rows() {
                let [key, value] =
                    [keys, values].map(|column| records.add(column.is_valid(row).then(|| column.value(row))));
                records.ranges.push(RecordRange { key, value });
            }
            return Ok(());
        }
        let projected = part.project(&self.values).map_err(io::Error::other)?;
        let key = self.key.map(|at| (part.column(at), Cells::new(part.column(at))));
        let tombstones = self.tombstones.map(|at| Cells::new(part.column(at)));
        let op = self.op.map(|at| Cells::new(part.column(at)));
        let mut values = match &self.message {
            Some(by) => Values::Message(MessageRows::new(&projected, by)?),
            None => Values::new(self.format, &projected, &self.schema)?,
        };
        let mut scratch = String::new();
        for row in 0..part.num_rows() {
            let bytes = &mut records.bytes;
            let key = match &key {
                Some((array, cells)) if array.is_valid(row) => {
                    let start = bytes.len();
                    plain::write(cells, row, &mut scratch, bytes)?;
                    Some(start..bytes.len())
                }
                _ => None,
            };
            let dead = matches!(&tombstones, Some(Cells::Bool(flags)) if flags.is_valid(row) && flags.value(row));
            let dead = match &op {
                Some(Cells::Text(words)) => is_delete(words.is_valid(row).then(|| words.value(row)))?,
                _ => dead,
            };
            let start = bytes.len();
            if !dead {
                bytes.extend_from_slice(&self.prefix);
            }
            let value = if !dead && values.write(row, bytes)? { Some(start..bytes.len()) } else { None };
            records.ranges.push(RecordRange { key, value });
        }
        Ok(())
    }
}

/// The description of a message in a descriptor.
struct MessageDescription {
    /// The names of its fields.
    fields: Vec<String>,
    /// Its index path in its file, as it precedes a record.
    message_index: Vec<u8>,
}

/// Returns the messages of a descriptor, and the description of the sink's message; its index path if a registry has the definitions.
fn messages(spec: &ProtobufSpec, registered: bool) -> Result<(Messages, MessageDescription), (&'static str, String)> {
    let file = spec.descriptor.path.display();
    let broken = |why| {
        let help = "create it with `protoc --include_imports --descriptor_set_out=FILE`";
        ("descriptor", format!("`{file}` is not a Protobuf descriptor: {why}; {help}"))
    };
    let messages = Messages::parse(&spec.descriptor.content).map_err(broken)?;
    let message = messages.look_up(&spec.message).map_err(|why| ("message", why))?;
    let fields =
        messages.message(message).map(|message| message.fields.iter().map(|field| field.name.clone()).collect());
    let message_index = match registered {
        true => Definition::find(&spec.descriptor.content, &spec.message).map_err(broken)?.index_bytes(),
        false => Vec::new(),
    };
    Ok((messages, MessageDescription { fields: fields.unwrap_or_default(), message_index }))
}

/// Whether a row is a tombstone, by its operation.
fn is_delete(op: Option<&str>) -> io::Result<bool> {
    let rejection = |why: &str| io::Error::new(io::ErrorKind::InvalidData, format!("of a row: {why}"));
    match Op::parse(op).map_err(|why| rejection(&why.to_string()))? {
        Op::Truncate => Err(rejection(
            "its `op` is `truncate`, which does not name the deleted keys; remove such rows with a \
                `filter`",
        )),
        op => Ok(op == Op::Delete),
    }
}

/// The values of a part.
enum Values<'a> {
    Json(JsonRows<'a>),
    Csv(CsvRows<'a>),
    Avro(AvroRows<'a>),
    Message(MessageRows<'a>),
    Plain(Cells<'a>),
}

impl<'a> Values<'a> {
    fn new(format: RecordFormat, rows: &'a RecordBatch, schema: &SchemaRef) -> io::Result<Values<'a>> {
        Ok(match (format, rows.columns()) {
            (RecordFormat::Json, _) => Values::Json(JsonRows::new(rows)?),
            (RecordFormat::Csv, _) => Values::Csv(CsvRows::new(rows)?),
            (RecordFormat::Avro, _) => Values::Avro(AvroRows::new(rows, schema)?),
            (_, [column]) => Values::Plain(Cells::new(column)),
            _ => return Err(io::Error::other("rows without the column of their values")),
        })
    }

    /// Appends the value of a row; `false` if it is null.
    fn write(&mut self, row: usize, out: &mut Vec<u8>) -> io::Result<bool> {
        match self {
            Values::Json(rows) => rows.write(row, out)?,
            Values::Csv(rows) => rows.write(row, out),
            Values::Avro(rows) => rows.write(row, out),
            Values::Message(rows) => rows.write(row, out)?,
            Values::Plain(Cells::Text(array)) if array.is_valid(row) => {
                out.extend_from_slice(array.value(row).as_bytes())
            }
            Values::Plain(Cells::Binary(array)) if array.is_valid(row) => out.extend_from_slice(array.value(row)),
            Values::Plain(Cells::Text(_) | Cells::Binary(_)) => return Ok(false),
            Values::Plain(_) => return Err(io::Error::other("rows without a column of text or bytes")),
        }
        Ok(true)
    }
}
