//! Converts errors to Python exceptions. There is one class per kind, which says who can fix the error.

use crate::call_threads::PythonCallError;
use millstream_base::error::{Error, Kind};
use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

create_exception!(
    millstream,
    MillstreamError,
    PyException,
    "Base class of Millstream errors; the message says what \
    to do."
);
create_exception!(millstream, UsageError, MillstreamError, "The call, its settings or its table are invalid.");
create_exception!(
    millstream,
    PluginError,
    MillstreamError,
    "The plugin failed or exceeded its limits. The message contains its name and traceback."
);
create_exception!(
    millstream,
    EnvironmentError,
    MillstreamError,
    "An external cause: a file, a registry or a limit of the process."
);
create_exception!(millstream, InternalError, MillstreamError, "A bug in Millstream: please report it.");

pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("MillstreamError", py.get_type::<MillstreamError>())?;
    module.add("UsageError", py.get_type::<UsageError>())?;
    module.add("PluginError", py.get_type::<PluginError>())?;
    module.add("EnvironmentError", py.get_type::<EnvironmentError>())?;
    module.add("InternalError", py.get_type::<InternalError>())
}

/// Converts an error to an exception.
pub fn exception(error: &Error) -> PyErr {
    let text = error.to_string();
    match error.kind {
        Kind::Job | Kind::TakenOver => UsageError::new_err(text),
        Kind::Plugin | Kind::TooLarge => PluginError::new_err(text),
        Kind::Environment | Kind::Peer | Kind::Memory => EnvironmentError::new_err(text),
        Kind::Bug => InternalError::new_err(text),
    }
}

impl From<PythonCallError> for PyErr {
    fn from(error: PythonCallError) -> PyErr {
        match error {
            PythonCallError::Error(error) => exception(&error),
            PythonCallError::Python(error) => error,
        }
    }
}
