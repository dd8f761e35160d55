//! Rows that a call made, as other libraries read them.

use crate::c_data::{schema_capsule, stream_capsule};
use millstream_hosting::RowsMade;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

/// Rows in Arrow's form. Any library that reads Arrow takes them without a copy, as `pyarrow.table(rows)`, `polars.DataFrame(rows)`
/// or `pandas.DataFrame.from_arrow(rows)`.
#[pyclass(frozen, module = "millstream")]
pub struct Rows(RowsMade);

impl From<RowsMade> for Rows {
    fn from(rows: RowsMade) -> Rows {
        Rows(rows)
    }
}

#[pymethods]
impl Rows {
    /// Arrow's C stream of them.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // Who wants other types casts them.
        drop(requested_schema);
        stream_capsule(py, self.0.schema.clone(), self.0.rows.clone())
    }

    /// Arrow's C schema of them.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        schema_capsule(py, &self.0.schema)
    }

    fn __len__(&self) -> usize {
        self.0.rows.iter().map(|rows| rows.num_rows()).sum()
    }

    /// The names of the columns.
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
