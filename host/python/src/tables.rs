//! The tables passed to a call.

use crate::c_data::{self, CStream, STREAM};
use crate::call_threads::PythonCallError;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

/// Reads a table from any library that exports the Arrow C stream, without the interpreter's lock: the library may
/// compute it now.
pub fn read(table: &Bound<'_, PyAny>) -> PyResult<(SchemaRef, Vec<RecordBatch>)> {
    let py = table.py();
    let capsule = match table.getattr_opt(intern!(py, "__arrow_c_stream__"))? {
        Some(stream) => stream.call0()?,
        None => table.clone(),
    };
    let capsule = capsule.cast_into::<PyCapsule>().map_err(|error| {
        let kind = error.into_inner().get_type().name().map_or_else(|_| "an object".into(), |name| name.to_string());
        PyTypeError::new_err(format!(
            "a table with an Arrow C stream (`__arrow_c_stream__`) is required, for example of pyarrow, pandas, \
             Polars or DuckDB; this is {kind}"
        ))
    })?;
    let pointer = capsule.pointer_checked(Some(STREAM))?.cast::<CStream>();
    // SAFETY: capsules with this name contain a stream. It is moved out, so only this code releases it.
    let stream = unsafe { std::mem::replace(&mut *pointer.as_ptr(), CStream::none()) };
    Ok(py.detach(|| c_data::read(stream)).map_err(PythonCallError::Error)?)
}
