//! Imports rows from another library.

use super::format;
use super::{CArray, CSchema, CStream, FLAG_MAP_KEYS_SORTED, FLAG_NULLABLE};
use arrow::array::{Array, ArrayData, ArrayDataBuilder, RecordBatch, RecordBatchOptions, StructArray};
use arrow::buffer::Buffer;
use arrow::datatypes::{ArrowNativeType, DataType, Field, FieldRef, Schema, SchemaRef};
use millstream_base::error::{Error, Result};
use millstream_base::shown::harmless;
use std::ffi::{CStr, c_char};
use std::ptr::NonNull;
use std::sync::Arc;

/// Maximum nesting depth of types.
const DEPTH_MAX: usize = 64;
/// Maximum bytes of a name or of a library's error message that are shown.
const TEXT_BYTES_MAX: usize = 1000;

/// Reads all rows of a stream.
pub fn read(mut stream: CStream) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let (Some(get_schema), Some(get_next)) = (stream.get_schema, stream.get_next) else {
        return Err(Error::job("the table's stream was already read; create another one with its library"));
    };
    let mut schema = CSchema::none();
    // SAFETY: the stream is live, and `schema` is empty, as the function requires.
    let code = unsafe { get_schema(&raw mut stream, &raw mut schema) };
    if code != 0 {
        return Err(failed(&mut stream, code));
    }
    // SAFETY: the library has filled it.
    let of_rows = unsafe { field(&schema, 0)? };
    let DataType::Struct(fields) = of_rows.data_type() else {
        return Err(Error::job(format!("a table is required, but this is a column of type {}", of_rows.data_type())));
    };
    let schema: SchemaRef = Arc::new(Schema::new(fields.clone()));
    let mut rows = Vec::new();
    loop {
        let mut array = CArray::none();
        // SAFETY: the stream is live, and `array` is empty, as the function requires.
        let code = unsafe { get_next(&raw mut stream, &raw mut array) };
        if code != 0 {
            return Err(failed(&mut stream, code));
        }
        if array.release.is_none() {
            return Ok((schema, rows));
        }
        let array = Arc::new(array);
        // SAFETY: the library has filled it with rows of its schema, and it lives as long as the data created from it.
        let data = unsafe { data(&array, of_rows.data_type(), &array) }?;
        let table = StructArray::from(data);
        if table.null_count() > 0 {
            return Err(Error::job("the table has null rows; remove them"));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(table.len()));
        let (_, columns, _) = table.into_parts();
        rows.push(RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(invalid_table)?);
    }
}

fn failed(stream: &mut CStream, code: i32) -> Error {
    // SAFETY: the stream is live. Its error is a string that ends with a zero byte and is valid until the next call.
    let message = stream.get_last_error.and_then(|callback| unsafe { text(callback(stream)) });
    let message = message.unwrap_or_else(|| std::io::Error::from_raw_os_error(code).to_string());
    Error::environment(format!("the table's library failed: {}", harmless(&message, TEXT_BYTES_MAX)))
}

/// Returns a string that ends with a zero byte.
unsafe fn text(pointer: *const c_char) -> Option<String> {
    // SAFETY: the caller guarantees such a string, or a null pointer.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

fn invalid_table(error: arrow::error::ArrowError) -> Error {
    Error::job(format!("the table is not valid Arrow data: {error}"))
}

fn missing_error(what: &str) -> Error {
    Error::job(format!("the table is not valid Arrow data: {what} is missing"))
}

/// Returns the field that a schema describes.
///
/// # Safety
/// The schema was filled by a library, and is live.
unsafe fn field(schema: &CSchema, depth: usize) -> Result<FieldRef> {
    if depth > DEPTH_MAX {
        return Err(Error::job(format!("the table has types nested deeper than {DEPTH_MAX} levels")));
    }
    // SAFETY: both are strings or null, as the interface defines.
    let (name, format) = unsafe { (text(schema.name).unwrap_or_default(), text(schema.format)) };
    let format = format.ok_or_else(|| missing_error("a format"))?;
    let mut members = Vec::new();
    for index in 0..schema.n_children {
        // SAFETY: there are `n_children` children.
        let child = unsafe { schema.children.offset(index as isize).as_ref().and_then(|child| child.as_ref()) };
        // SAFETY: it is live as long as its parent.
        members.push(unsafe { field(child.ok_or_else(|| missing_error("a member"))?, depth + 1)? });
    }
    let unread = || {
        Error::job(format!(
            "column `{}` has the Arrow type `{}`, which is not supported; convert the column",
            harmless(&name, TEXT_BYTES_MAX),
            harmless(&format, TEXT_BYTES_MAX)
        ))
    };
    let mut kind = format::parse(&format, members, schema.flags & FLAG_MAP_KEYS_SORTED != 0).ok_or_else(unread)?;
    // SAFETY: a dictionary is null, or live as long as its parent.
    if let Some(values) = unsafe { schema.dictionary.as_ref() } {
        if !kind.is_dictionary_key_type() {
            return Err(unread());
        }
        // SAFETY: as above.
        let values = unsafe { field(values, depth + 1)? };
        kind = DataType::Dictionary(Box::new(kind), Box::new(values.data_type().clone()));
    }
    Ok(Arc::new(Field::new(name, kind, schema.flags & FLAG_NULLABLE != 0)))
}

/// Returns the values of an array, which keep `owner` alive.
///
/// # Safety
/// The array was filled by a library with values of this type, and lives as long as its owner.
unsafe fn data(array: &CArray, kind: &DataType, owner: &Arc<CArray>) -> Result<ArrayData> {
    let number = |number: i64| usize::try_from(number).map_err(|_| missing_error("a length"));
    let (length, offset) = (number(array.length)?, number(array.offset)?);
    let end = length.checked_add(offset).ok_or_else(|| missing_error("a length"))?;
    let buffers = Buffers { array, owner, end };
    let mut builder = ArrayData::builder(kind.clone()).len(length).offset(offset).align_buffers(true);
    if !matches!(kind, DataType::Null) && array.null_count != 0 {
        // SAFETY: the first buffer is the validity bitmap.
        builder = builder.null_bit_buffer(unsafe { buffers.optional(0, end.div_ceil(8)) }?);
    }
    let mut members: Vec<&DataType> = Vec::new();
    // SAFETY: for the complete block: these are the buffers that values of each type have, with these sizes.
    unsafe {
        match kind {
            DataType::Null => {}
            DataType::Boolean => builder = builder.add_buffer(buffers.get(1, end.div_ceil(8))?),
            DataType::FixedSizeBinary(bytes) => builder = builder.add_buffer(buffers.wide(*bytes as usize)?),
            DataType::Utf8 | DataType::Binary => builder = buffers.strings::<i32>(builder)?,
            DataType::LargeUtf8 | DataType::LargeBinary => builder = buffers.strings::<i64>(builder)?,
            DataType::Utf8View | DataType::BinaryView => {
                builder = builder.add_buffer(buffers.wide(16)?);
                for buffer in buffers.of_views()? {
                    builder = builder.add_buffer(buffer);
                }
            }
            DataType::List(item) | DataType::Map(item, _) => {
                builder = builder.add_buffer(buffers.offsets::<i32>()?.0);
                members.push(item.data_type());
            }
            DataType::LargeList(item) => {
                builder = builder.add_buffer(buffers.offsets::<i64>()?.0);
                members.push(item.data_type());
            }
            DataType::FixedSizeList(item, _) => members.push(item.data_type()),
            DataType::Struct(fields) => members.extend(fields.iter().map(|field| field.data_type())),
            DataType::Dictionary(keys, values) => {
                builder =
                    builder.add_buffer(buffers.wide(keys.primitive_width().ok_or_else(|| missing_error("a type"))?)?);
                let of_dictionary = array.dictionary.as_ref().ok_or_else(|| missing_error("a dictionary"))?;
                builder = builder.add_child_data(data(of_dictionary, values, owner)?);
            }
            plain => {
                builder =
                    builder.add_buffer(buffers.wide(plain.primitive_width().ok_or_else(|| missing_error("a type"))?)?);
            }
        }
    }
    if number(array.n_children)? != members.len() {
        return Err(missing_error("a member"));
    }
    for (index, kind) in members.into_iter().enumerate() {
        // SAFETY: there is one child per member, live as long as its parent.
        let child = unsafe { array.children.add(index).as_ref().and_then(|child| child.as_ref()) };
        // SAFETY: it has values of its type.
        builder =
            builder.add_child_data(unsafe { data(child.ok_or_else(|| missing_error("a member"))?, kind, owner)? });
    }
    builder.build().map_err(invalid_table)
}

/// Returns whether strings are valid without a check of each one, which would dominate the overhead of calls of a fast
/// plugin. Their bytes are ASCII, so a string may begin at any of them, and no string ends before it begins. The last
/// one ends with the bytes.
fn are_plain_texts<T: ArrowNativeType>(offsets: &Buffer, bytes: &Buffer) -> bool {
    // SAFETY: any bytes are a valid number.
    let (before, offsets, after) = unsafe { offsets.as_slice().align_to::<T>() };
    let is_complete =
        before.is_empty() && after.is_empty() && offsets.first().is_some_and(|first| *first >= T::default());
    // All pairs are checked, without stopping at an invalid one, so that the processor handles several at a time.
    is_complete && bytes.is_ascii() && offsets.windows(2).fold(true, |well, ends| well & (ends[0] <= ends[1]))
}

/// The buffers of an array. `end` is the number of values, including those before its offset.
struct Buffers<'a> {
    array: &'a CArray,
    owner: &'a Arc<CArray>,
    end: usize,
}

impl Buffers<'_> {
    fn pointer(&self, index: usize) -> Result<Option<NonNull<u8>>> {
        if index as i64 >= self.array.n_buffers || self.array.buffers.is_null() {
            return Err(missing_error("a buffer"));
        }
        // SAFETY: the index is below the number of buffers.
        Ok(NonNull::new(unsafe { *self.array.buffers.add(index) }.cast::<u8>().cast_mut()))
    }

    /// Returns the bytes of a buffer that may be null.
    unsafe fn optional(&self, index: usize, bytes: usize) -> Result<Option<Buffer>> {
        let Some(pointer) = self.pointer(index)? else { return Ok(None) };
        // SAFETY: the caller guarantees this number of bytes, and the owner keeps them alive.
        Ok(Some(unsafe { Buffer::from_custom_allocation(pointer, bytes, self.owner.clone()) }))
    }

    /// Returns the bytes of a buffer. It may be null only if it is empty.
    unsafe fn get(&self, index: usize, bytes: usize) -> Result<Buffer> {
        // SAFETY: the caller guarantees this number of bytes.
        match unsafe { self.optional(index, bytes) }? {
            Some(buffer) => Ok(buffer),
            None if bytes == 0 => Ok(Buffer::from_vec(Vec::<u8>::new())),
            None => Err(missing_error("a buffer")),
        }
    }

    /// Returns the buffer of values with a fixed number of bytes.
    unsafe fn wide(&self, bytes: usize) -> Result<Buffer> {
        let bytes = self.end.checked_mul(bytes).ok_or_else(|| missing_error("a length"))?;
        // SAFETY: the caller guarantees this size.
        unsafe { self.get(1, bytes) }
    }

    /// Returns the offsets of values with variable size, and the last of them.
    unsafe fn offsets<T: Copy + TryInto<usize>>(&self) -> Result<(Buffer, usize)> {
        let count = self.end + 1;
        let size = size_of::<T>();
        if self.end == 0 && self.pointer(1)?.is_none() {
            return Ok((Buffer::from_vec(vec![0_u8; size]), 0));
        }
        // SAFETY: the caller guarantees offsets of this type, one more than values.
        let buffer = unsafe { self.get(1, count.checked_mul(size).ok_or_else(|| missing_error("a length"))?)? };
        // SAFETY: the last offset is within the buffer, and may be unaligned.
        let last = unsafe { buffer.as_ptr().add((count - 1) * size).cast::<T>().read_unaligned() };
        Ok((buffer, last.try_into().map_err(|_| missing_error("a length"))?))
    }

    /// Adds the buffers of strings or bytes with variable size.
    unsafe fn strings<T: ArrowNativeType + TryInto<usize>>(
        &self,
        builder: ArrayDataBuilder,
    ) -> Result<ArrayDataBuilder> {
        // SAFETY: the caller guarantees the type of the offsets. Only valid data skips validation.
        unsafe {
            let (offsets, bytes) = self.offsets::<T>()?;
            let bytes = self.get(2, bytes)?;
            let builder = builder.skip_validation(are_plain_texts::<T>(&offsets, &bytes));
            Ok(builder.add_buffer(offsets).add_buffer(bytes))
        }
    }

    /// Returns the data buffers of views. Their sizes are in the last buffer.
    unsafe fn of_views(&self) -> Result<Vec<Buffer>> {
        let count = usize::try_from(self.array.n_buffers).unwrap_or_default().saturating_sub(3);
        if count == 0 {
            return Ok(Vec::new());
        }
        let sizes = self.pointer(count + 2)?.ok_or_else(|| missing_error("a buffer"))?;
        let buffer = |index: usize| {
            // SAFETY: there is one size per buffer.
            let bytes = unsafe { sizes.as_ptr().cast::<i64>().add(index).read_unaligned() };
            // SAFETY: it is the size of this buffer.
            unsafe { self.get(index + 2, usize::try_from(bytes).map_err(|_| missing_error("a length"))?) }
        };
        (0..count).map(buffer).collect()
    }
}
