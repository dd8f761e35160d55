//! The extension of the Python package `millstream`: plugins are called here, on tables of other libraries, without an engine. What
//! users see of it is in `millstream/*.py` beside; jobs are run by the program, which the package brings along.

#![allow(missing_docs)]

mod c_data;
mod call_threads;
mod native;
mod per_process;
mod rows;
mod tables;
mod trouble;

use pyo3::prelude::*;

/// Plugins of Millstream.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<native::Plugin>()?;
    module.add_class::<rows::Rows>()?;
    module.add_function(wrap_pyfunction!(native::use_program, module)?)?;
    trouble::add(module)
}
