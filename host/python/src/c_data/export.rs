//! Exports rows to other libraries.

use super::format;
use super::{CArray, CSchema, CStream, FLAG_DICTIONARY_ORDERED, FLAG_MAP_KEYS_SORTED, FLAG_NULLABLE, SCHEMA, STREAM};
use arrow::array::{Array, ArrayData, BooleanBufferBuilder, RecordBatch, StructArray};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::{DataType, Field, SchemaRef};
use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr::{self, NonNull};

/// The private data of an exported schema.
struct SchemaParts {
    _format: CString,
    _name: CString,
    children: Vec<*mut CSchema>,
    dictionary: *mut CSchema,
}

/// The private data of an exported array.
struct ArrayParts {
    _buffers: Vec<Buffer>,
    pointers: Vec<*const c_void>,
    children: Vec<*mut CArray>,
    dictionary: *mut CArray,
}

/// The private data of an exported stream.
struct StreamParts {
    field: Field,
    rows: std::vec::IntoIter<RecordBatch>,
    error: CString,
}

/// Returns a capsule with a stream of these rows.
pub fn stream_capsule(py: Python<'_>, schema: SchemaRef, rows: Vec<RecordBatch>) -> PyResult<Bound<'_, PyCapsule>> {
    let parts = StreamParts { field: field_of(&schema), rows: rows.into_iter(), error: CString::default() };
    let stream = CStream {
        get_schema: Some(stream_schema),
        get_next: Some(stream_next),
        get_last_error: Some(stream_error),
        release: Some(release_stream),
        private_data: Box::into_raw(Box::new(parts)).cast(),
    };
    // SAFETY: the destructor drops the content, unless another library has moved it out before.
    unsafe { PyCapsule::new_with_pointer_and_destructor(py, into_raw(stream), STREAM, Some(drop_stream)) }
}

/// Returns a capsule with a schema.
pub fn schema_capsule<'py>(py: Python<'py>, schema: &SchemaRef) -> PyResult<Bound<'py, PyCapsule>> {
    let schema = c_schema(&field_of(schema)).map_err(PyValueError::new_err)?;
    // SAFETY: as above.
    unsafe { PyCapsule::new_with_pointer_and_destructor(py, into_raw(schema), SCHEMA, Some(drop_schema)) }
}

fn into_raw<T>(value: T) -> NonNull<c_void> {
    NonNull::from(Box::leak(Box::new(value))).cast()
}

unsafe extern "C" fn drop_stream(capsule: *mut ffi::PyObject) {
    // SAFETY: Python calls it once, with the capsule that was created above. One that was consumed is empty.
    unsafe { drop(Box::from_raw(ffi::PyCapsule_GetPointer(capsule, STREAM.as_ptr()).cast::<CStream>())) };
}

unsafe extern "C" fn drop_schema(capsule: *mut ffi::PyObject) {
    // SAFETY: as above.
    unsafe { drop(Box::from_raw(ffi::PyCapsule_GetPointer(capsule, SCHEMA.as_ptr()).cast::<CSchema>())) };
}

fn field_of(schema: &SchemaRef) -> Field {
    Field::new("", DataType::Struct(schema.fields().clone()), false)
}

const EINVAL: c_int = 22;

unsafe extern "C" fn stream_schema(stream: *mut CStream, to: *mut CSchema) -> c_int {
    // SAFETY: the caller passes a live stream, and a pointer to an empty schema.
    unsafe {
        let parts = &mut *(*stream).private_data.cast::<StreamParts>();
        match c_schema(&parts.field) {
            Ok(schema) => {
                ptr::write(to, schema);
                0
            }
            Err(message) => {
                parts.error = CString::new(message).unwrap_or_default();
                EINVAL
            }
        }
    }
}

unsafe extern "C" fn stream_next(stream: *mut CStream, to: *mut CArray) -> c_int {
    // SAFETY: the caller passes a live stream, and a pointer to an empty array.
    unsafe {
        let parts = &mut *(*stream).private_data.cast::<StreamParts>();
        let array = match parts.rows.next() {
            Some(rows) => c_array(&StructArray::from(rows).to_data()),
            None => CArray::none(),
        };
        ptr::write(to, array);
        0
    }
}

unsafe extern "C" fn stream_error(stream: *mut CStream) -> *const c_char {
    // SAFETY: the caller passes a live stream.
    unsafe { (*(*stream).private_data.cast::<StreamParts>()).error.as_ptr() }
}

unsafe extern "C" fn release_stream(stream: *mut CStream) {
    // SAFETY: it is called once, with a stream that was created above.
    unsafe {
        drop(Box::from_raw((*stream).private_data.cast::<StreamParts>()));
        (*stream).release = None;
    }
}

/// Returns a schema for another library, or a message if the type cannot be exported.
fn c_schema(field: &Field) -> Result<CSchema, String> {
    let kind = field.data_type();
    let (text, members) = format::write(kind)
        .ok_or_else(|| format!("column `{}` has type {kind}, which cannot be exported", field.name()))?;
    let children = members.iter().map(|member| c_schema(member)).collect::<Result<Vec<_>, _>>()?;
    let dictionary = format::values(kind).map(|values| c_schema(&values)).transpose()?;
    let mut flags = if field.is_nullable() { FLAG_NULLABLE } else { 0 };
    if let DataType::Map(_, true) = kind {
        flags |= FLAG_MAP_KEYS_SORTED;
    }
    if matches!(kind, DataType::Dictionary(..)) && field.dict_is_ordered() == Some(true) {
        flags |= FLAG_DICTIONARY_ORDERED;
    }
    let text = CString::new(text).map_err(|_| "a zone that contains NUL".to_owned())?;
    let name = CString::new(field.name().as_bytes()).map_err(|_| "a column whose name contains NUL".to_owned())?;
    let (format, name_at) = (text.as_ptr(), name.as_ptr());
    let mut parts = Box::new(SchemaParts {
        _format: text,
        _name: name,
        children: children.into_iter().map(|child| Box::into_raw(Box::new(child))).collect(),
        dictionary: dictionary.map_or(ptr::null_mut(), |values| Box::into_raw(Box::new(values))),
    });
    Ok(CSchema {
        format,
        name: name_at,
        metadata: ptr::null(),
        flags,
        n_children: parts.children.len() as i64,
        children: parts.children.as_mut_ptr(),
        dictionary: parts.dictionary,
        release: Some(release_schema),
        private_data: Box::into_raw(parts).cast(),
    })
}

unsafe extern "C" fn release_schema(schema: *mut CSchema) {
    // SAFETY: it is called once, with a schema that was created above. Members that another library has moved out are
    // empty.
    unsafe {
        let parts = Box::from_raw((*schema).private_data.cast::<SchemaParts>());
        for child in parts.children {
            drop(Box::from_raw(child));
        }
        if !parts.dictionary.is_null() {
            drop(Box::from_raw(parts.dictionary));
        }
        (*schema).release = None;
    }
}

/// Returns an array for another library.
fn c_array(data: &ArrayData) -> CArray {
    let kind = data.data_type();
    let mut buffers: Vec<Option<Buffer>> = Vec::new();
    if !matches!(kind, DataType::Null) {
        buffers.push(data.nulls().map(|nulls| validity_bits(nulls, data.offset())));
    }
    buffers.extend(data.buffers().iter().cloned().map(Some));
    if matches!(kind, DataType::Utf8View | DataType::BinaryView) {
        let sizes: Vec<i64> = data.buffers().iter().skip(1).map(|buffer| buffer.len() as i64).collect();
        buffers.push(Some(Buffer::from_vec(sizes)));
    }
    let (children, dictionary) = match kind {
        DataType::Dictionary(..) => (&[][..], data.child_data().first()),
        _ => (data.child_data(), None),
    };
    let mut parts = Box::new(ArrayParts {
        pointers: buffers.iter().map(|buffer| buffer.as_ref().map_or(ptr::null(), |b| b.as_ptr().cast())).collect(),
        _buffers: buffers.into_iter().flatten().collect(),
        children: children.iter().map(|child| Box::into_raw(Box::new(c_array(child)))).collect(),
        dictionary: dictionary.map_or(ptr::null_mut(), |values| Box::into_raw(Box::new(c_array(values)))),
    });
    CArray {
        length: data.len() as i64,
        null_count: if matches!(kind, DataType::Null) { data.len() } else { data.null_count() } as i64,
        offset: data.offset() as i64,
        n_buffers: parts.pointers.len() as i64,
        n_children: parts.children.len() as i64,
        buffers: parts.pointers.as_mut_ptr(),
        children: parts.children.as_mut_ptr(),
        dictionary: parts.dictionary,
        release: Some(release_array),
        private_data: Box::into_raw(parts).cast(),
    }
}

/// Returns the validity bits from this offset on.
fn validity_bits(nulls: &NullBuffer, offset: usize) -> Buffer {
    if nulls.offset() == offset {
        return nulls.buffer().clone();
    }
    let mut bits = BooleanBufferBuilder::new(offset + nulls.len());
    bits.append_n(offset, false);
    bits.append_buffer(nulls.inner());
    bits.finish().into_inner()
}

unsafe extern "C" fn release_array(array: *mut CArray) {
    // SAFETY: it is called once, with an array that was created above. Members that another library has moved out are
    // empty.
    unsafe {
        let parts = Box::from_raw((*array).private_data.cast::<ArrayParts>());
        for child in parts.children {
            drop(Box::from_raw(child));
        }
        if !parts.dictionary.is_null() {
            drop(Box::from_raw(parts.dictionary));
        }
        (*array).release = None;
    }
}
