//! The extension of the Python package `millstream`. It calls plugins on tables of other libraries, without an engine.
//! The user interface is in `millstream/*.py` next to it. Jobs are run by the program, which the package includes.

#![allow(missing_docs)]

mod c_data;
mod call_threads;
mod native;
mod per_process;
mod rows;
mod tables;
mod exceptions;

use pyo3::prelude::*;

/// Plugins of Millstream.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<native::Plugin>()?;
    module.add_class::<rows::Rows>()?;
    module.add_function(wrap_pyfunction!(native::use_program, module)?)?;
    exceptions::add(module)
}
