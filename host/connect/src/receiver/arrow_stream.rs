//! Reads an Arrow IPC stream that arrives in pieces, for example through a pipe: its columns, in types that a job can have, and its rows. Lengths in
//! the stream are checked before they are trusted.

mod batches;
mod fits;

pub use batches::{Batches, IpcMessage};

use crate::limits::{ARROW_HEADER_BYTES_MAX, ARROW_MESSAGE_BYTES_MAX};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::ipc::{self, MessageHeader, convert};
use bytes::BytesMut;
use millstream_base::limits::PART_ROWS_MAX;
use millstream_base::panics::caught;
use millstream_base::shown::harmless;
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::batch::types::{ColumnType, schema_of};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The first bytes of a message.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// Bytes before the header of a message: the continuation marker and the header's length.
const PREFIX_BYTES: usize = 8;
/// The first bytes of an Arrow file, which has the same messages in another container.
const FILE_MAGIC: &[u8] = b"ARROW1";
/// Maximum characters of names and types in messages.
const SHOWN_CHARS_MAX: usize = 300;

/// A stream that is being received.
pub struct ArrowStream {
    bytes: BytesMut,
    /// The columns. Before the stream's schema arrives: the requested columns; empty means all.
    columns: Vec<ColumnSpec>,
    batches: Option<Batches>,
    /// Whether the end-of-stream marker was read.
    ended: bool,
}

impl ArrowStream {
    /// Creates a reader at the beginning of a stream. `wanted`: columns to read, in these types; empty: all columns, in their own types.
    pub fn new(wanted: Vec<ColumnSpec>) -> ArrowStream {
        ArrowStream { bytes: BytesMut::new(), columns: wanted, batches: None, ended: false }
    }

    /// Adds received bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        if !self.ended {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// Ends the input. Fails if the stream is incomplete.
    pub fn end(&self) -> Result<(), String> {
        match (self.ended || self.bytes.is_empty(), &self.batches) {
            (false, _) => Err("it breaks off in the middle of a message".into()),
            (true, None) => Err("it is empty; an Arrow IPC stream begins with its schema".into()),
            (true, Some(_)) => Ok(()),
        }
    }

    /// Returns the columns; `None` if they have not arrived.
    pub fn columns(&mut self) -> Result<Option<&[ColumnSpec]>, String> {
        while self.batches.is_none() {
            match self.read_message()? {
                Some(message) => self.take(&message)?,
                None => return Ok(None),
            }
        }
        Ok(Some(&self.columns))
    }

    /// Returns the next rows; `None` if they have not arrived.
    pub fn next_rows(&mut self) -> Result<Option<RecordBatch>, String> {
        loop {
            if let Some(batches) = &mut self.batches
                && let Some(rows) = batches.next(PART_ROWS_MAX)?
            {
                return self.to_job_types(&rows.all()?).map(Some);
            }
            match self.read_message()? {
                Some(message) => self.take(&message)?,
                None => return Ok(None),
            }
        }
    }

    /// Returns the next message if it is complete.
    fn read_message(&mut self) -> Result<Option<IpcMessage>, String> {
        if self.ended {
            return Ok(None);
        }
        if self.batches.is_none() && self.bytes.starts_with(FILE_MAGIC) {
            return Err("it is an Arrow file, not a stream; write the streaming format, for example with \
                        `ipc.new_stream` of pyarrow"
                .into());
        }
        let Some((prefix, rest)) = self.bytes.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let (marker, length) = prefix.split_at(CONTINUATION.len());
        if marker != CONTINUATION {
            return Err("it is not an Arrow IPC stream: a message is missing".into());
        }
        let length = length.try_into().map(u32::from_le_bytes).unwrap_or_default() as usize;
        if length == 0 {
            (self.ended, self.bytes) = (true, BytesMut::new());
            return Ok(None);
        }
        if length > ARROW_HEADER_BYTES_MAX {
            return Err(format!(
                "a message declares a header of {length} bytes; the maximum is {ARROW_HEADER_BYTES_MAX}"
            ));
        }
        let Some(header) = rest.get(..length) else { return Ok(None) };
        let body = body_bytes(header)?;
        let Some(total) = (PREFIX_BYTES + length).checked_add(body).filter(|_| body <= ARROW_MESSAGE_BYTES_MAX) else {
            return Err(format!(
                "a message has {body} bytes; the maximum is {ARROW_MESSAGE_BYTES_MAX}; write fewer rows at a time"
            ));
        };
        if self.bytes.len() < total {
            return Ok(None);
        }
        let mut message = self.bytes.split_to(total).freeze();
        let mut message = message.split_off(PREFIX_BYTES);
        let body = message.split_off(length);
        Ok(Some(IpcMessage { header: message, body }))
    }

    fn take(&mut self, message: &IpcMessage) -> Result<(), String> {
        if self.batches.is_none() {
            let columns = caught(|| columns_of(&message.header)).unwrap_or_else(unreadable)?;
            if self.columns.is_empty() {
                self.columns = columns;
            }
        }
        self.batches.get_or_insert_with(|| Batches::new(&self.columns, ARROW_MESSAGE_BYTES_MAX)).take(message)
    }

    fn to_job_types(&self, rows: &RecordBatch) -> Result<RecordBatch, String> {
        caught(|| self.cast(rows)).unwrap_or_else(unreadable)
    }

    fn cast(&self, rows: &RecordBatch) -> Result<RecordBatch, String> {
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        let column = |column: &ColumnSpec| -> Result<ArrayRef, String> {
            let shown = harmless(&column.name, SHOWN_CHARS_MAX);
            let values = rows.column_by_name(column.path.first().unwrap_or(&column.name));
            let values = values.ok_or_else(|| format!("its rows have no column `{shown}`"))?;
            if column.kind == ColumnType::Timestamp && values.data_type().is_integer() {
                return Err(format!("its column `{shown}` has numbers without a time unit; read it as int64"));
            }
            cast_with_options(values, &column.kind.arrow(), &strict).map_err(|error| {
                let why = harmless(&error.to_string(), SHOWN_CHARS_MAX);
                format!("its column `{shown}` does not fit into {}: {why}", column.kind)
            })
        };
        let named: Vec<_> = self.columns.iter().map(|column| (column.name.clone(), column.kind.clone())).collect();
        let arrays = self.columns.iter().map(column).collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(schema_of(&named), arrays, &options).map_err(|error| error.to_string())
    }
}

fn unreadable<T>(panic: String) -> Result<T, String> {
    Err(format!("a message cannot be read: {panic}"))
}

/// Returns the length of the body after the header of a message.
fn body_bytes(header: &[u8]) -> Result<usize, String> {
    let read = || ipc::root_as_message(header).map(|message| message.bodyLength());
    let length = caught(read).unwrap_or(Ok(-1)).map_err(|error| format!("a message cannot be read: {error}"))?;
    usize::try_from(length).map_err(|_| "a message cannot be read: its length is negative".into())
}

/// Returns the columns of the schema message, in types that a job can have.
fn columns_of(header: &[u8]) -> Result<Vec<ColumnSpec>, String> {
    let message = ipc::root_as_message(header).map_err(|error| format!("a message cannot be read: {error}"))?;
    let schema = message.header_as_schema().filter(|_| message.header_type() == MessageHeader::Schema);
    let schema: Schema = convert::fb_to_schema(schema.ok_or("rows come before their columns")?);
    let mut names = BTreeSet::new();
    if let Some(twice) = schema.fields().iter().find(|field| !names.insert(field.name())) {
        let name = harmless(twice.name(), SHOWN_CHARS_MAX);
        return Err(format!("it has two columns `{name}`, which cannot be distinguished"));
    }
    let columns = schema.fields().iter().map(|field| {
        let kind = job_type(field.data_type(), 0);
        match ColumnType::from_arrow(&kind).is_written() {
            true => Ok(ColumnSpec::new(field.name().clone(), ColumnType::from_arrow(&kind))),
            false => Err(format!(
                "its column `{}` is {}, which is not supported; name the columns to read, or write it as another type",
                harmless(field.name(), SHOWN_CHARS_MAX),
                harmless(&field.data_type().to_string(), SHOWN_CHARS_MAX)
            )),
        }
    });
    columns.collect()
}

/// Maximum nesting depth of types; the reader rejects deeper ones.
const DEPTH_MAX: usize = 32;

/// Returns the job's type for the values of a type.
fn job_type(kind: &DataType, depth: usize) -> DataType {
    let plain = |kind: ColumnType| kind.arrow();
    let item =
        |item: &FieldRef| DataType::List(Arc::new(Field::new_list_field(job_type(item.data_type(), depth + 1), true)));
    match kind {
        _ if depth > DEPTH_MAX => kind.clone(),
        kind if kind.is_integer() => plain(ColumnType::Int64),
        kind if kind.is_floating() => plain(ColumnType::Float64),
        DataType::Boolean => DataType::Boolean,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            plain(ColumnType::Binary)
        }
        DataType::Timestamp(..) => plain(ColumnType::Timestamp),
        DataType::Date32 | DataType::Date64 => DataType::Date32,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => DataType::Decimal128(*precision, *scale),
        DataType::Dictionary(_, values) => job_type(values, depth + 1),
        DataType::List(of)
        | DataType::LargeList(of)
        | DataType::ListView(of)
        | DataType::LargeListView(of)
        | DataType::FixedSizeList(of, _) => item(of),
        DataType::Struct(members) => {
            let member = |member: &FieldRef| Field::new(member.name(), job_type(member.data_type(), depth + 1), true);
            DataType::Struct(members.iter().map(member).collect())
        }
        DataType::Null
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Duration(_) => DataType::Utf8,
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests;
