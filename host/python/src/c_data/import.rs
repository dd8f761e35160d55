//! Rows that another library hands over.

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

/// Types within each other.
const DEPTH_MAX: usize = 64;
/// Bytes of a name or of what a library says of its failure that are shown.
const WORDS_MAX: usize = 1000;

/// All rows of a stream.
pub fn read(mut stream: CStream) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let (Some(get_schema), Some(get_next)) = (stream.get_schema, stream.get_next) else {
        return Err(Error::job("the table's stream has been read already; ask its library for another one"));
    };
    let mut schema = CSchema::none();
    // SAFETY: the stream is alive, and `schema` is empty, as the function wants it.
    let code = unsafe { get_schema(&raw mut stream, &raw mut schema) };
    if code != 0 {
        return Err(failed(&mut stream, code));
    }
    // SAFETY: the library has filled it.
    let of_rows = unsafe { field(&schema, 0)? };
    let DataType::Struct(fields) = of_rows.data_type() else {
        return Err(Error::job(format!("a table is needed, and this is a column of type {}", of_rows.data_type())));
    };
    let schema: SchemaRef = Arc::new(Schema::new(fields.clone()));
    let mut rows = Vec::new();
    loop {
        let mut array = CArray::none();
        // SAFETY: the stream is alive, and `array` is empty, as the function wants it.
        let code = unsafe { get_next(&raw mut stream, &raw mut array) };
        if code != 0 {
            return Err(failed(&mut stream, code));
        }
        if array.release.is_none() {
            return Ok((schema, rows));
        }
        let array = Arc::new(array);
        // SAFETY: the library has filled it with rows of the schema that it told, and it lives as long as what is made of it.
        let data = unsafe { data(&array, of_rows.data_type(), &array) }?;
        let whole = StructArray::from(data);
        if whole.null_count() > 0 {
            return Err(Error::job("the table has rows that are null as a whole; leave these out"));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(whole.len()));
        let (_, columns, _) = whole.into_parts();
        rows.push(RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(odd)?);
    }
}

fn failed(stream: &mut CStream, code: i32) -> Error {
    // SAFETY: the stream is alive, and what it tells is text that ends with a zero byte, until its next call.
    let words = stream.get_last_error.and_then(|ask| unsafe { text(ask(stream)) });
    let words = words.unwrap_or_else(|| std::io::Error::from_raw_os_error(code).to_string());
    Error::environment(format!("the table's library failed: {}", harmless(&words, WORDS_MAX)))
}

/// Text that ends with a zero byte.
unsafe fn text(pointer: *const c_char) -> Option<String> {
    // SAFETY: the caller says that there is such a text, or nothing.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

fn odd(error: arrow::error::ArrowError) -> Error {
    Error::job(format!("the table is not as Arrow wants it: {error}"))
}

fn none(what: &str) -> Error {
    Error::job(format!("the table is not as Arrow wants it: {what} is missing"))
}

/// The field that a structure tells of.
///
/// # Safety
/// It is one that a library has filled, and alive.
unsafe fn field(schema: &CSchema, depth: usize) -> Result<FieldRef> {
    if depth > DEPTH_MAX {
        return Err(Error::job(format!("the table has types within each other more than {DEPTH_MAX} deep")));
    }
    // SAFETY: both are texts, or missing, as the interface has it.
    let (name, format) = unsafe { (text(schema.name).unwrap_or_default(), text(schema.format)) };
    let format = format.ok_or_else(|| none("a format"))?;
    let mut members = Vec::new();
    for place in 0..schema.n_children {
        // SAFETY: there are so many children.
        let child = unsafe { schema.children.offset(place as isize).as_ref().and_then(|child| child.as_ref()) };
        // SAFETY: it is alive as long as its parent.
        members.push(unsafe { field(child.ok_or_else(|| none("a member"))?, depth + 1)? });
    }
    let unread = || {
        Error::job(format!(
            "column `{}` has the Arrow type `{}`, which cannot be read here; give it another one",
            harmless(&name, WORDS_MAX),
            harmless(&format, WORDS_MAX)
        ))
    };
    let mut kind = format::parse(&format, members, schema.flags & FLAG_MAP_KEYS_SORTED != 0).ok_or_else(unread)?;
    // SAFETY: a dictionary is missing or alive as long as its parent.
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

/// The values of an array, which keep `owner` alive.
///
/// # Safety
/// It is one that a library has filled with values of this type, and lives as long as its owner.
unsafe fn data(array: &CArray, kind: &DataType, owner: &Arc<CArray>) -> Result<ArrayData> {
    let number = |number: i64| usize::try_from(number).map_err(|_| none("a length"));
    let (length, offset) = (number(array.length)?, number(array.offset)?);
    let end = length.checked_add(offset).ok_or_else(|| none("a length"))?;
    let buffers = Buffers { array, owner, end };
    let mut builder = ArrayData::builder(kind.clone()).len(length).offset(offset).align_buffers(true);
    if !matches!(kind, DataType::Null) && array.null_count != 0 {
        // SAFETY: the first buffer is the one that tells of nulls.
        builder = builder.null_bit_buffer(unsafe { buffers.optional(0, end.div_ceil(8)) }?);
    }
    let mut members: Vec<&DataType> = Vec::new();
    // SAFETY: for the whole of it: these are the buffers that values of each type have, of these sizes.
    unsafe {
        match kind {
            DataType::Null => {}
            DataType::Boolean => builder = builder.add_buffer(buffers.get(1, end.div_ceil(8))?),
            DataType::FixedSizeBinary(bytes) => builder = builder.add_buffer(buffers.wide(*bytes as usize)?),
            DataType::Utf8 | DataType::Binary => builder = buffers.texts::<i32>(builder)?,
            DataType::LargeUtf8 | DataType::LargeBinary => builder = buffers.texts::<i64>(builder)?,
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
                builder = builder.add_buffer(buffers.wide(keys.primitive_width().ok_or_else(|| none("a type"))?)?);
                let of_dictionary = array.dictionary.as_ref().ok_or_else(|| none("a dictionary"))?;
                builder = builder.add_child_data(data(of_dictionary, values, owner)?);
            }
            plain => {
                builder = builder.add_buffer(buffers.wide(plain.primitive_width().ok_or_else(|| none("a type"))?)?);
            }
        }
    }
    if number(array.n_children)? != members.len() {
        return Err(none("a member"));
    }
    for (place, kind) in members.into_iter().enumerate() {
        // SAFETY: there are so many children, alive as long as their parent.
        let child = unsafe { array.children.add(place).as_ref().and_then(|child| child.as_ref()) };
        // SAFETY: it has values of its type.
        builder = builder.add_child_data(unsafe { data(child.ok_or_else(|| none("a member"))?, kind, owner)? });
    }
    builder.build().map_err(odd)
}

/// Whether all is well with texts without a look at each of them, which is most of what a call of a quick plugin takes beside the plugin: their
/// bytes are ASCII, so that a text may begin at any of them, and no text ends before it begins. The last one ends where the bytes do.
fn are_plain_texts<T: ArrowNativeType>(offsets: &Buffer, bytes: &Buffer) -> bool {
    // SAFETY: any bytes are a number.
    let (before, offsets, after) = unsafe { offsets.as_slice().align_to::<T>() };
    let is_whole = before.is_empty() && after.is_empty() && offsets.first().is_some_and(|first| *first >= T::default());
    // All pairs and not those until the first bad one, so that the processor looks at several at once.
    is_whole && bytes.is_ascii() && offsets.windows(2).fold(true, |well, ends| well & (ends[0] <= ends[1]))
}

/// The buffers of an array, which has so many values, those before its offset included.
struct Buffers<'a> {
    array: &'a CArray,
    owner: &'a Arc<CArray>,
    end: usize,
}

impl Buffers<'_> {
    fn pointer(&self, place: usize) -> Result<Option<NonNull<u8>>> {
        if place as i64 >= self.array.n_buffers || self.array.buffers.is_null() {
            return Err(none("a buffer"));
        }
        // SAFETY: there are more buffers than that.
        Ok(NonNull::new(unsafe { *self.array.buffers.add(place) }.cast::<u8>().cast_mut()))
    }

    /// The bytes of a buffer that may be missing.
    unsafe fn optional(&self, place: usize, bytes: usize) -> Result<Option<Buffer>> {
        let Some(pointer) = self.pointer(place)? else { return Ok(None) };
        // SAFETY: the caller says that there are so many bytes, and the owner keeps them.
        Ok(Some(unsafe { Buffer::from_custom_allocation(pointer, bytes, self.owner.clone()) }))
    }

    /// The bytes of a buffer, which may be missing where there are none.
    unsafe fn get(&self, place: usize, bytes: usize) -> Result<Buffer> {
        // SAFETY: the caller says that there are so many.
        match unsafe { self.optional(place, bytes) }? {
            Some(buffer) => Ok(buffer),
            None if bytes == 0 => Ok(Buffer::from_vec(Vec::<u8>::new())),
            None => Err(none("a buffer")),
        }
    }

    /// Values of so many bytes each.
    unsafe fn wide(&self, bytes: usize) -> Result<Buffer> {
        let bytes = self.end.checked_mul(bytes).ok_or_else(|| none("a length"))?;
        // SAFETY: the caller says that they are so wide.
        unsafe { self.get(1, bytes) }
    }

    /// Where values of no fixed size end, and the last of these places.
    unsafe fn offsets<T: Copy + TryInto<usize>>(&self) -> Result<(Buffer, usize)> {
        let count = self.end + 1;
        let size = size_of::<T>();
        if self.end == 0 && self.pointer(1)?.is_none() {
            return Ok((Buffer::from_vec(vec![0_u8; size]), 0));
        }
        // SAFETY: the caller says that there are offsets of this type, one more than values.
        let buffer = unsafe { self.get(1, count.checked_mul(size).ok_or_else(|| none("a length"))?)? };
        // SAFETY: the last of them lies within, and may lie anywhere.
        let last = unsafe { buffer.as_ptr().add((count - 1) * size).cast::<T>().read_unaligned() };
        Ok((buffer, last.try_into().map_err(|_| none("a length"))?))
    }

    /// Texts, or bytes, of no fixed size.
    unsafe fn texts<T: ArrowNativeType + TryInto<usize>>(&self, builder: ArrayDataBuilder) -> Result<ArrayDataBuilder> {
        // SAFETY: the caller says that the offsets are of this type. What needs no look is whole.
        unsafe {
            let (offsets, bytes) = self.offsets::<T>()?;
            let bytes = self.get(2, bytes)?;
            let builder = builder.skip_validation(are_plain_texts::<T>(&offsets, &bytes));
            Ok(builder.add_buffer(offsets).add_buffer(bytes))
        }
    }

    /// The buffers that views look into: their sizes stand in the last one.
    unsafe fn of_views(&self) -> Result<Vec<Buffer>> {
        let count = usize::try_from(self.array.n_buffers).unwrap_or_default().saturating_sub(3);
        if count == 0 {
            return Ok(Vec::new());
        }
        let sizes = self.pointer(count + 2)?.ok_or_else(|| none("a buffer"))?;
        let buffer = |place: usize| {
            // SAFETY: there is a size for each of them.
            let bytes = unsafe { sizes.as_ptr().cast::<i64>().add(place).read_unaligned() };
            // SAFETY: it is that of this buffer.
            unsafe { self.get(place + 2, usize::try_from(bytes).map_err(|_| none("a length"))?) }
        };
        (0..count).map(buffer).collect()
    }
}
