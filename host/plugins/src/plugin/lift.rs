//! Converts guest values to Arrow. Nothing from a guest is trusted: every buffer is checked before an Arrow array is built from it. Errors
//! are messages for the plugin's author; the caller adds plugin and batch.

use super::bindings::{BatchOut, ColumnOut, Rejection};
use super::description::WrittenOut;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions,
    StringArray, TimestampMicrosecondArray, new_empty_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, DataType, Field, SchemaRef};
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::root_as_message;
use millstream_base::limits::PLUGIN_REASON_BYTES_MAX;
use millstream_base::panics::caught;
use millstream_base::shown::printable;
use millstream_rows::batch::rejected::RejectedRow;
use millstream_rows::batch::types::ColumnType;
use millstream_rows::decode::written_out;
use std::sync::Arc;

/// The expected form of a guest's batch.
#[derive(Clone, Copy)]
pub struct ExpectedBatch<'a> {
    /// Its name in errors, for example "the new states".
    pub what: &'a str,
    /// The described schema.
    pub schema: &'a SchemaRef,
    /// Which of its columns are written out.
    pub written: &'a WrittenOut,
    /// The expected number of rows, if known.
    pub rows: Option<usize>,
    /// The rows that are used, if not all are; the others may have any content.
    pub counts: Option<&'a BooleanBuffer>,
}

/// Creates a batch of the described schema.
pub fn batch(promised: ExpectedBatch<'_>, raw: BatchOut) -> Result<RecordBatch, String> {
    let ExpectedBatch { what, schema, written, rows, counts } = promised;
    let found = raw.rows as usize;
    if let Some(rows) = rows.filter(|rows| *rows != found) {
        return Err(format!("{what}: {found} rows instead of {rows}"));
    }
    let (wanted, given) = (schema.fields().len(), raw.columns.len());
    if wanted != given {
        return Err(format!("{what}: {given} columns, but `describe` promised {wanted}"));
    }
    let mut columns = Vec::with_capacity(wanted);
    for (index, (field, column)) in schema.fields().iter().zip(raw.columns).enumerate() {
        let array = match written.has(index) {
            true => lift_written(field, found, column, counts),
            false => lift_column(field, found, column),
        };
        let array = array.map_err(|cause| format!("{what}: column `{}`, {found} rows: {cause}", field.name()))?;
        columns.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(found));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(|e| format!("{what}: {e}"))
}

/// Creates an array of `rows` rows of one raw column.
pub fn lift_column(field: &Field, rows: usize, column: ColumnOut) -> Result<ArrayRef, String> {
    let kind = ColumnType::from_arrow(field.data_type());
    if let ColumnType::Arrow(wanted) = &kind {
        if column.validity.is_some() || column.offsets.is_some() {
            return Err("an `arrow` column has `data` only; its stream carries nulls and offsets".into());
        }
        let array = ipc(wanted, rows, column.data)?;
        if array.null_count() > 0 && !field.is_nullable() {
            return Err("contains nulls, but `describe` promised none".into());
        }
        return Ok(array);
    }
    let nulls = column.validity.map(|bits| nulls(field, rows, bits)).transpose()?.flatten();
    let has_offsets = matches!(kind, ColumnType::Text | ColumnType::Binary);
    let offsets = match (has_offsets, column.offsets) {
        (true, Some(raw)) => Some(offsets(rows, raw, column.data.len())?),
        (true, None) => return Err(format!("a {kind} column needs `offsets`")),
        (false, Some(_)) => return Err(format!("a {kind} column has no `offsets`")),
        (false, None) => None,
    };
    Ok(match (kind, offsets) {
        (ColumnType::Bool, _) => Arc::new(BooleanArray::new(bits("data", rows, column.data)?, nulls)),
        (ColumnType::Int64, _) => Arc::new(Int64Array::new(numbers(rows, column.data)?, nulls)),
        (ColumnType::Float64, _) => Arc::new(Float64Array::new(numbers(rows, column.data)?, nulls)),
        (ColumnType::Timestamp, _) => {
            let array = TimestampMicrosecondArray::new(numbers(rows, column.data)?, nulls);
            Arc::new(array.with_data_type(field.data_type().clone()))
        }
        (ColumnType::Text, Some(offsets)) => {
            check_utf8(&offsets, &column.data)?;
            // SAFETY: `offsets` checked that the offsets rise and stay within the data, and `check_utf8` that the data
            // is UTF-8 and that every offset is a character's boundary. `nulls` has as many rows.
            Arc::new(unsafe { StringArray::new_unchecked(offsets, aligned::<u64>(column.data), nulls) })
        }
        (ColumnType::Binary, Some(offsets)) => {
            // SAFETY: as above, for bytes without an encoding.
            Arc::new(unsafe { BinaryArray::new_unchecked(offsets, aligned::<u64>(column.data), nulls) })
        }
        (kind, _) => return Err(format!("{kind} columns cannot be returned")),
    })
}

/// Like [`lift_column`], for a column that is passed as text.
fn lift_written(
    field: &Field,
    rows: usize,
    column: ColumnOut,
    counts: Option<&BooleanBuffer>,
) -> Result<ArrayRef, String> {
    let strings = lift_column(&field.clone().with_data_type(DataType::Utf8), rows, column)?;
    let counts = |row: usize| counts.is_none_or(|counts| row < counts.len() && counts.value(row));
    written_out::read(field, strings.as_string(), counts)
}

/// Checks the rejected rows of a call with `rows` rows: each exists and is unique. Long reasons are cut.
pub fn rejections(rows: usize, raw: Vec<Rejection>) -> Result<Vec<RejectedRow>, String> {
    if raw.len() > rows {
        return Err(format!("{} of {rows} rows are rejected", raw.len()));
    }
    if let Some(wrong) = raw.iter().find(|rejection| rejection.row as usize >= rows) {
        return Err(format!("row {} is rejected, but only {rows} rows were given (rows count from 0)", wrong.row));
    }
    let mut indexes: Vec<u32> = raw.iter().map(|rejection| rejection.row).collect();
    indexes.sort_unstable();
    if let Some(twice) = indexes.windows(2).find_map(|pair| (pair[0] == pair[1]).then_some(pair[0])) {
        return Err(format!("row {twice} is rejected twice"));
    }
    let to_row = |raw: Rejection| RejectedRow::new(raw.row, printable(&raw.reason, PLUGIN_REASON_BYTES_MAX));
    Ok(raw.into_iter().map(to_row).collect())
}

/// Creates a bitmap of `rows` bits.
pub fn bits(what: &str, rows: usize, raw: Vec<u8>) -> Result<BooleanBuffer, String> {
    let wanted = rows.div_ceil(8);
    if raw.len() != wanted {
        return Err(format!("`{what}` is a bitmap of {} bytes, but {rows} rows need {wanted}", raw.len()));
    }
    Ok(BooleanBuffer::new(Buffer::from_vec(raw), 0, rows))
}

fn nulls(field: &Field, rows: usize, raw: Vec<u8>) -> Result<Option<NullBuffer>, String> {
    let nulls = NullBuffer::new(bits("validity", rows, raw)?);
    if nulls.null_count() == 0 {
        return Ok(None);
    }
    if !field.is_nullable() {
        let row = nulls.iter().position(|valid| !valid).unwrap_or(0);
        return Err(format!("row {row} is null, but `describe` promised that none is"));
    }
    Ok(Some(nulls))
}

/// Aligns a buffer for typed access. The allocator's alignment nearly always suffices; otherwise it is copied.
fn aligned<T: ArrowNativeType>(raw: Vec<u8>) -> Buffer {
    if raw.as_ptr().align_offset(align_of::<T>()) == 0 {
        return Buffer::from_vec(raw);
    }
    let mut copy = MutableBuffer::with_capacity(raw.len());
    copy.extend_from_slice(&raw);
    copy.into()
}

fn numbers<T: ArrowNativeType>(rows: usize, raw: Vec<u8>) -> Result<ScalarBuffer<T>, String> {
    let wanted = rows.checked_mul(size_of::<T>());
    if wanted != Some(raw.len()) {
        return Err(format!("`data` has {} bytes, but {rows} rows need {} each", raw.len(), size_of::<T>()));
    }
    Ok(ScalarBuffer::new(aligned::<T>(raw), 0, rows))
}

/// Checks offsets: they begin at 0, never decrease, and end at the end of the data.
fn offsets(rows: usize, raw: Vec<u8>, data_bytes: usize) -> Result<OffsetBuffer<i32>, String> {
    let count = rows.checked_add(1).ok_or("too many rows")?;
    if count.checked_mul(size_of::<i32>()) != Some(raw.len()) {
        return Err(format!("`offsets` has {} bytes, but {rows} rows need {count} numbers of 4 bytes", raw.len()));
    }
    let offsets: ScalarBuffer<i32> = ScalarBuffer::new(aligned::<i32>(raw), 0, count);
    let (first, last) = (offsets.first().copied().unwrap_or(0), offsets.last().copied().unwrap_or(0));
    if first != 0 {
        return Err(format!("`offsets` begins with {first}, not with 0"));
    }
    // Without an early exit the loop runs in vectors.
    let falls = offsets.windows(2).fold(false, |falls, pair| falls | (pair[0] > pair[1]));
    if falls {
        let row = offsets.windows(2).position(|pair| pair[0] > pair[1]).unwrap_or(0);
        return Err(format!("`offsets` falls at row {row}: {} … {}", offsets[row], offsets[row + 1]));
    }
    if usize::try_from(last) != Ok(data_bytes) {
        return Err(format!("`offsets` ends with {last}, but `data` has {data_bytes} bytes"));
    }
    // SAFETY: there is at least one offset, the first is 0 and none is less than the previous one.
    Ok(unsafe { OffsetBuffer::new_unchecked(offsets) })
}

/// Every row is UTF-8. In ASCII text any offset is a boundary, which leaves one fast pass.
fn check_utf8(offsets: &OffsetBuffer<i32>, data: &[u8]) -> Result<(), String> {
    if data.is_ascii() {
        return Ok(());
    }
    let row_of = |at: usize| offsets.partition_point(|offset| *offset as usize <= at).saturating_sub(1);
    let text = match std::str::from_utf8(data) {
        Ok(text) => text,
        Err(e) => return Err(format!("row {} is not UTF-8", row_of(e.valid_up_to()))),
    };
    match offsets.iter().position(|offset| !text.is_char_boundary(*offset as usize)) {
        Some(row) => Err(format!("row {row} begins within a UTF-8 character")),
        None => Ok(()),
    }
}

/// Reads the column of an Arrow IPC stream. The push decoder allocates no more than its input, whatever lengths the stream claims, because
/// [`check_ipc`] has rejected what may grow. Arrow checks the buffers, but may panic on streams that are malformed in other ways.
fn ipc(wanted: &DataType, rows: usize, stream: Vec<u8>) -> Result<ArrayRef, String> {
    check_ipc(&stream)
        .map_err(|cause| format!("`data` is not an Arrow IPC stream that plugins may return: {cause}"))?;
    let decoded = caught(|| {
        let (mut buffer, mut decoder, mut arrays) = (Buffer::from_vec(stream), StreamDecoder::new(), Vec::new());
        while !buffer.is_empty() {
            if let Some(batch) = decoder.decode(&mut buffer).map_err(|e| e.to_string())? {
                arrays.extend(batch.columns().first().cloned());
            }
        }
        decoder.finish().map_err(|e| e.to_string())?;
        let schema = decoder.schema().ok_or("it has no schema")?;
        Ok::<_, String>((schema, arrays))
    });
    let (schema, arrays) = match decoded {
        Ok(Ok(decoded)) => decoded,
        Ok(Err(cause)) => return Err(format!("`data` is not an Arrow IPC stream: {cause}")),
        Err(_) => return Err("`data` is a malformed Arrow IPC stream".into()),
    };
    match schema.fields().iter().map(|field| field.data_type()).collect::<Vec<_>>()[..] {
        [found] if found == wanted => {}
        [found] => return Err(format!("its Arrow IPC stream has {found}, but `describe` promised {wanted}")),
        ref many => return Err(format!("its Arrow IPC stream holds {} columns, not one", many.len())),
    }
    let found = arrays.iter().try_fold(0usize, |sum, array| sum.checked_add(array.len()));
    if found != Some(rows) {
        let found = found.map_or("far too many".into(), |found| found.to_string());
        return Err(format!("its Arrow IPC stream holds {found} rows"));
    }
    let arrays: Vec<&dyn Array> = arrays.iter().map(|array| array.as_ref()).collect();
    match arrays[..] {
        [] => Ok(new_empty_array(wanted)),
        _ => match caught(|| arrow::compute::concat(&arrays)) {
            Ok(column) => column.map_err(|e| e.to_string()),
            Err(_) => Err("`data` is a malformed Arrow IPC stream".into()),
        },
    }
}

/// Walks through the messages of a stream as its decoder does, and rejects those that a few bytes can make expensive: compressed ones,
/// which declare how much memory they need, and dictionaries that grow piece by piece, each time with a complete copy. Buffers outside
/// their message are rejected too, because Arrow would panic.
fn check_ipc(stream: &[u8]) -> Result<(), String> {
    let mut rest = stream;
    while !rest.is_empty() {
        let mut size = take(&mut rest, 4)?;
        if size == [0xff; 4] {
            size = take(&mut rest, 4)?;
        }
        let size: [u8; 4] = size.try_into().map_err(|_| "it is cut off")?;
        let size = u32::from_le_bytes(size);
        if size == 0 {
            return Ok(());
        }
        let message = take(&mut rest, u64::from(size))?;
        let message = root_as_message(message).map_err(|e| format!("a message of it is malformed: {e}"))?;
        let body = u64::try_from(message.bodyLength()).map_err(|_| "a message has a negative length")?;
        take(&mut rest, body)?;
        let dictionary = message.header_as_dictionary_batch();
        if dictionary.is_some_and(|dictionary| dictionary.isDelta()) {
            return Err("a dictionary of it comes in pieces".into());
        }
        let batch = message.header_as_record_batch().or(dictionary.and_then(|dictionary| dictionary.data()));
        if batch.is_some_and(|batch| batch.compression().is_some()) {
            return Err("it is compressed".into());
        }
        if let Some(batch) = batch {
            check_lengths(batch, body)?;
        }
    }
    Ok(())
}

/// Checks the lengths in a message against its body of this many bytes.
fn check_lengths(batch: arrow::ipc::RecordBatch<'_>, body: u64) -> Result<(), String> {
    let end = |buffer: &arrow::ipc::Buffer| {
        let (offset, length) = (u64::try_from(buffer.offset()).ok()?, u64::try_from(buffer.length()).ok()?);
        offset.checked_add(length)
    };
    let within = |buffer: &arrow::ipc::Buffer| end(buffer).is_some_and(|end| end <= body);
    if !batch.buffers().into_iter().flatten().all(within) {
        return Err("a buffer of it lies beyond its message".into());
    }
    let counts = |node: &arrow::ipc::FieldNode| node.length() >= 0 && (0..=node.length()).contains(&node.null_count());
    if batch.length() < 0 || !batch.nodes().into_iter().flatten().all(counts) {
        return Err("a number of rows in it is invalid".into());
    }
    Ok(())
}

fn take<'a>(rest: &mut &'a [u8], bytes: u64) -> Result<&'a [u8], String> {
    let cut = usize::try_from(bytes).ok().and_then(|bytes| rest.split_at_checked(bytes));
    let (taken, rest_bytes) = cut.ok_or("it is cut off")?;
    *rest = rest_bytes;
    Ok(taken)
}
