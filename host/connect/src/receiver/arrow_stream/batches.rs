//! Decodes rows from the IPC messages of a server. Lengths, types and offsets are checked before they are trusted. Messages that would take more
//! memory than allowed, decompressed or expanded, are rejected.

use super::fits::{self, ByteBudget};
use crate::receiver::parquet::columns::{WantedRows, to_wanted};
use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::buffer::Buffer;
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::ipc::{self, CompressionType, Message, MessageHeader, MetadataVersion, convert, reader};
use bytes::Bytes;
use millstream_base::panics::caught;
use millstream_base::shown;
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::batch::types;
use std::collections::HashMap;
use std::io::{self, Read as _};
use std::sync::Arc;

/// Bytes of the length before a compressed buffer.
const LENGTH_BYTES: usize = 8;
/// Maximum nesting depth of types.
const DEPTH_MAX: usize = 32;

/// An Arrow IPC message as received.
#[derive(Clone, Default)]
pub struct IpcMessage {
    /// The header as a flat buffer.
    pub header: Bytes,
    /// The buffers of its columns.
    pub body: Bytes,
}

/// The decoded state of a stream.
pub struct Batches {
    columns: Vec<ColumnSpec>,
    bytes_max: usize,
    schema: Option<(SchemaRef, Vec<usize>)>,
    dictionaries: HashMap<i64, ArrayRef>,
    /// Rows that have not been returned yet.
    rows: Option<RecordBatch>,
}

impl Batches {
    /// Creates a decoder for these columns of the job. `bytes_max` is the maximum of a message after decompression.
    pub fn new(columns: &[ColumnSpec], bytes_max: usize) -> Batches {
        Batches { columns: columns.to_vec(), bytes_max, schema: None, dictionaries: HashMap::new(), rows: None }
    }

    /// Decodes a message.
    pub fn take(&mut self, data: &IpcMessage) -> Result<(), String> {
        if data.header.is_empty() {
            // Metadata only for the client.
            return Ok(());
        }
        // The library may panic on a hostile message.
        caught(|| self.read(data)).unwrap_or_else(|panic| Err(format!("a message cannot be read: {panic}")))
    }

    fn read(&mut self, data: &IpcMessage) -> Result<(), String> {
        let message =
            ipc::root_as_message(&data.header).map_err(|error| format!("a message cannot be read: {error}"))?;
        let version = message.version();
        if message.header_type() == MessageHeader::Schema {
            return self.take_schema(message);
        }
        let Some((schema, wanted)) = &self.schema else { return Err("rows come before their columns".into()) };
        let body = Buffer::from(data.body.clone());
        let unreadable = |error: arrow::error::ArrowError| format!("a message cannot be read: {error}");
        match message.header_type() {
            MessageHeader::DictionaryBatch => {
                let batch = message.header_as_dictionary_batch().ok_or("a message has no dictionary")?;
                let inner = batch.data().ok_or("a dictionary has no values")?;
                self.check_body(inner, &body)?;
                reader::read_dictionary(&body, batch, schema, &mut self.dictionaries, &version).map_err(unreadable)?;
                let bytes = self.dictionaries.values().map(|values| values.get_buffer_memory_size()).sum::<usize>();
                if bytes > self.bytes_max {
                    return Err(self.too_large("its dictionaries", bytes as u64));
                }
                Ok(())
            }
            MessageHeader::RecordBatch => {
                let batch = message.header_as_record_batch().ok_or("a message has no rows")?;
                if batch.length() < 0 {
                    return Err("a message has a negative number of rows".into());
                }
                self.check_body(batch, &body)?;
                let rows = self.rows_of(&body, batch, schema, wanted, &version).map_err(unreadable)?;
                self.rows = Some(rows);
                Ok(())
            }
            other => Err(format!("it sends a message that is neither columns nor rows ({other:?})")),
        }
    }

    fn rows_of(
        &self,
        body: &Buffer,
        batch: ipc::RecordBatch<'_>,
        schema: &SchemaRef,
        wanted: &[usize],
        version: &MetadataVersion,
    ) -> Result<RecordBatch, arrow::error::ArrowError> {
        reader::read_record_batch(body, batch, schema.clone(), &self.dictionaries, Some(wanted), version)
    }

    /// Takes the stream's schema, of which the job reads some columns.
    fn take_schema(&mut self, message: Message<'_>) -> Result<(), String> {
        if self.schema.is_some() {
            return Err("it has two schemas".into());
        }
        let schema = message.header_as_schema().ok_or("a message has no columns")?;
        let schema = Arc::new(convert::fb_to_schema(schema));
        if schema.fields().iter().any(|field| !fits::is_shallow(field.data_type(), DEPTH_MAX)) {
            return Err(format!("the types of its columns are nested deeper than {DEPTH_MAX} levels"));
        }
        let mut wanted = Vec::new();
        for column in &self.columns {
            let root = column.path.first().unwrap_or(&column.name);
            let shown = shown::harmless(&column.name, 100);
            let Ok(index) = schema.index_of(root) else {
                return Err(format!(
                    "the stream has no column `{}`, which the job reads; it has {}",
                    shown::harmless(root, 100),
                    shown::harmless(&types::describe(&schema), 1_000)
                ));
            };
            let kind = schema.field(index).data_type();
            match fits::type_at(kind, column.path.get(1..).unwrap_or_default()) {
                None => {
                    let path = column.path.join(".");
                    let path = shown::harmless(&path, 200);
                    return Err(format!(
                        "the stream has no `{path}`, which column `{shown}` of the job reads; `{root}` is {kind}"
                    ));
                }
                Some(kind) if !fits::is_convertible(kind, &column.kind) => {
                    let is = shown::harmless(&kind.to_string(), 300);
                    return Err(format!(
                        "column `{shown}` of the job is {}, but in the stream it is {is}; change its type in the job",
                        column.kind
                    ));
                }
                // The complete column is decoded even if the job reads only a part of it.
                Some(_) if !fits::is_writable(schema.field(index).data_type()) => {
                    let is = shown::harmless(&schema.field(index).data_type().to_string(), 300);
                    return Err(format!(
                        "column `{shown}` of the job is a part of `{root}`, which is {is} and cannot be read; let the server send that part separately"
                    ));
                }
                Some(_) => {}
            }
            if !wanted.contains(&index) {
                wanted.push(index);
            }
        }
        // In the order of the messages.
        wanted.sort_unstable();
        self.schema = Some((schema, wanted));
        Ok(())
    }

    /// Checks that the buffers of a message are within it, and do not decompress to more than allowed.
    fn check_body(&self, batch: ipc::RecordBatch<'_>, body: &Buffer) -> Result<(), String> {
        let compression = batch.compression().map(|compression| compression.codec());
        let mut decompressed = 0_u64;
        for buffer in batch.buffers().into_iter().flatten() {
            let (start, length) = (usize::try_from(buffer.offset()), usize::try_from(buffer.length()));
            let bytes =
                start.ok().zip(length.ok()).and_then(|(start, length)| body.get(start..start.checked_add(length)?));
            let Some(bytes) = bytes else { return Err("a message declares bytes that it does not have".into()) };
            let Some(codec) = compression else { continue };
            let Some((length, compressed)) = bytes.split_first_chunk::<LENGTH_BYTES>() else { continue };
            let length = i64::from_le_bytes(*length);
            let Ok(length) = u64::try_from(length) else { continue };
            decompressed = decompressed.saturating_add(length);
            if decompressed > self.bytes_max as u64 {
                return Err(self.too_large("a message", decompressed));
            }
            // The library decompresses to the end of the data, whatever length it declares.
            if codec == CompressionType::LZ4_FRAME {
                let mut one_more = lz4_flex::frame::FrameDecoder::new(compressed).take(length.saturating_add(1));
                let found = io::copy(&mut one_more, &mut io::sink());
                if found.map_err(|error| format!("a message cannot be decompressed: {error}"))? != length {
                    return Err("a message has another decompressed length than it declares".into());
                }
            }
        }
        Ok(())
    }

    fn too_large(&self, what: &str, bytes: u64) -> String {
        format!(
            "{what} would take {bytes} bytes, but message_bytes_max is {}; raise that, or let the server send fewer \
            rows at a time",
            self.bytes_max
        )
    }

    /// Returns whether the schema was received.
    pub fn has_schema(&self) -> bool {
        self.schema.is_some()
    }

    /// Returns the next rows, at most `rows_max`, in the columns of the job. `None`: another message is needed.
    pub fn next(&mut self, rows_max: usize) -> Result<Option<WantedRows>, String> {
        let Some(rows) = self.rows.take() else { return Ok(None) };
        if rows.num_rows() == 0 {
            return Ok(None);
        }
        let mut count = rows.num_rows().min(rows_max.max(1));
        // Data that a message holds once may be repeated in many rows.
        loop {
            let part = rows.slice(0, count);
            let mut room = ByteBudget::new(self.bytes_max as u64);
            if part.columns().iter().all(|column| room.take_values(column)) {
                break;
            }
            if count == 1 {
                return Err(format!(
                    "a row is larger than a message may be, {} bytes (message_bytes_max)",
                    self.bytes_max
                ));
            }
            count /= 2;
        }
        let part = rows.slice(0, count);
        if count < rows.num_rows() {
            self.rows = Some(rows.slice(count, rows.num_rows() - count));
        }
        let converted = caught(|| {
            let part = if part.columns().iter().any(is_nested) { copied(&part)? } else { part };
            to_wanted(&part, &self.columns).map_err(|error| error.to_string())
        });
        converted.unwrap_or_else(|panic| Err(format!("rows cannot be read: {panic}"))).map(Some)
    }
}

fn is_nested(column: &ArrayRef) -> bool {
    column.data_type().is_nested() && !matches!(column.data_type(), DataType::Dictionary(..))
}

/// Copies these rows, so that they do not refer to the other rows of their message.
fn copied(rows: &RecordBatch) -> Result<RecordBatch, String> {
    let all = UInt32Array::from_iter_values(0..u32::try_from(rows.num_rows()).unwrap_or(u32::MAX));
    take_record_batch(rows, &all).map_err(|error| format!("rows cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, ListArray, NullArray, StringArray, StringViewArray};
    use arrow::datatypes::{Field, Int32Type, Schema};
    use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions};
    use millstream_base::random::Random;
    use millstream_rows::batch::types::ColumnType;

    fn columns() -> Vec<ColumnSpec> {
        let list = ColumnType::from_name("list<int64>").unwrap();
        let of = |name: &str, kind: ColumnType| ColumnSpec::new(name, kind);
        vec![
            of("n", ColumnType::Int64),
            of("text", ColumnType::Text),
            of("view", ColumnType::Text),
            of("word", ColumnType::Text),
            of("list", list),
            of("none", ColumnType::Bool),
        ]
    }

    /// Returns the messages of a stream.
    fn messages(compression: Option<CompressionType>) -> Vec<IpcMessage> {
        let lists = (0..20).map(|n| (n % 3 > 0).then(|| (0..n).map(Some).collect::<Vec<_>>()));
        let dictionary: arrow::array::DictionaryArray<Int32Type> = (0..20).map(|n| Some(["a", "b"][n % 2])).collect();
        let rows = RecordBatch::try_from_iter_with_nullable([
            ("n", Arc::new(Int64Array::from_iter_values(0..20)) as ArrayRef, true),
            ("unread", Arc::new(Int64Array::from_iter_values(0..20)) as ArrayRef, true),
            ("text", Arc::new(StringArray::from_iter_values((0..20).map(|n| format!("row {n}")))) as ArrayRef, true),
            (
                "view",
                Arc::new(StringViewArray::from_iter_values((0..20).map(|n| format!("view {n} of many")))) as ArrayRef,
                true,
            ),
            ("word", Arc::new(dictionary) as ArrayRef, true),
            ("list", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists)) as ArrayRef, true),
            ("none", Arc::new(NullArray::new(20)) as ArrayRef, true),
        ])
        .unwrap();
        let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
        let (generator, mut tracker) = (IpcDataGenerator::default(), DictionaryTracker::new(false));
        let mut messages =
            vec![generator.schema_to_bytes_with_dictionary_tracker(&rows.schema(), &mut tracker, &options)];
        let (dictionaries, data) = generator.encode(&rows, &mut tracker, &options, &mut Default::default()).unwrap();
        messages.extend(dictionaries);
        messages.push(data);
        let data = |message: arrow::ipc::writer::EncodedData| IpcMessage {
            header: message.ipc_message.into(),
            body: message.arrow_data.into(),
        };
        messages.into_iter().map(data).collect()
    }

    fn read(messages: &[IpcMessage], bytes_max: usize) -> Result<usize, String> {
        let mut batches = Batches::new(&columns(), bytes_max);
        let mut rows = 0;
        for message in messages {
            batches.take(message)?;
            // A message may claim endless rows of columns that take no bytes.
            for _ in 0..20 {
                let Some(part) = batches.next(7)? else { break };
                rows += part.rows.num_rows();
            }
        }
        Ok(rows)
    }

    #[test]
    fn rows_are_as_they_were_sent() {
        for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
            assert_eq!(read(&messages(compression), 1 << 20), Ok(20), "{compression:?}");
        }
        let error = read(&messages(Some(CompressionType::ZSTD)), 100).unwrap_err();
        assert!(error.contains("message_bytes_max is 100"), "{error}");
        let error = read(&messages(None)[1..], 1 << 20).unwrap_err();
        assert!(error.contains("rows come before their columns"), "{error}");
        let schema = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
        let schema = IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(
            &schema,
            &mut DictionaryTracker::new(false),
            &IpcWriteOptions::default(),
        );
        let error =
            read(&[IpcMessage { header: schema.ipc_message.into(), ..IpcMessage::default() }], 1 << 20).unwrap_err();
        assert!(error.contains("the stream has no column `text`, which the job reads; it has n int64"), "{error}");
    }

    /// A damaged message is either read or rejected, and never takes more memory than allowed.
    #[test]
    fn damaged_messages_do_no_harm() {
        let mut random = Random(3);
        let (mut rejected, mut taken) = (0, 0);
        for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
            let good = messages(compression);
            for _ in 0..3_000 {
                let mut damaged = good.clone();
                let at = random.index(damaged.len());
                let IpcMessage { header, body, .. } = &mut damaged[at];
                let bytes = if body.is_empty() || random.below(3) > 0 { header } else { body };
                let mut changed = bytes.to_vec();
                for _ in 0..=random.below(3) {
                    let index = random.index(changed.len());
                    changed[index] = match random.below(3) {
                        0 => 0xff,
                        1 => 0,
                        _ => random.below(256) as u8,
                    };
                }
                *bytes = changed.into();
                match read(&damaged, 1 << 20) {
                    Ok(_) => taken += 1,
                    Err(_) => rejected += 1,
                }
            }
        }
        assert!(rejected > 500 && taken > 500, "{rejected} refused, {taken} taken");
    }
}
