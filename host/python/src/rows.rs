//! Rows returned by a call, in a form that other libraries read.

use crate::c_data::{schema_capsule, stream_capsule};
use millstream_hosting::ResultRows;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

/// Rows in Arrow format. Any library that reads Arrow imports them without a copy, for example `pyarrow.table(rows)`,
/// `polars.DataFrame(rows)` or `pandas.DataFrame.from_arrow(rows)`.
#[pyclass(frozen, module = "millstream")]
pub struct Rows(ResultRows);

impl From<ResultRows> for Rows {
    fn from(rows: ResultRows) -> Rows {
        Rows(rows)
    }
}

#[pymethods]
impl Rows {
    /// Returns the rows as Arrow C stream.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // Consumers that need other types cast them.
        drop(requested_schema);
        stream_capsule(py, self.0.schema.clone(), self.0.rows.clone())
    }

    /// Returns the columns as Arrow C schema.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        schema_capsule(py, &self.0.schema)
    }

    fn __len__(&self) -> usize {
        self.0.rows.iter().map(|rows| rows.num_rows()).sum()
    }

    /// Returns the names of the columns.
    #[getter]
    fn column_names(&self) -> Vec<String> {
        self.0.schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    fn __repr__(&self) -> String {
        let columns: Vec<String> =
            self.0.schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
        format!("<millstream.Rows: {} rows of {}>", self.__len__(), columns.join(", "))
    }
}
