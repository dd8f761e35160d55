//! Errors that fail a call, and rejections of rows.

pub use crate::bindings::transform::millstream::plugin::types::Error;

impl Error {
    /// Returns an error for an invalid config.
    pub fn config(message: impl std::fmt::Display) -> Error {
        Error::Config(message.to_string())
    }

    /// Returns an error for unsuitable input columns or an unsuitable key.
    pub fn input(message: impl std::fmt::Display) -> Error {
        Error::Input(message.to_string())
    }

    /// Returns any other error: a bug in the plugin, or a condition that it cannot handle.
    pub fn internal(message: impl std::fmt::Display) -> Error {
        Error::Internal(message.to_string())
    }

    /// Returns the message, without the kind.
    pub fn message(&self) -> &str {
        match self {
            Error::Config(message) | Error::Input(message) | Error::Internal(message) => message,
        }
    }
}

/// Rejects a row: the `Err` of a plugin function. Anything that can be displayed converts with `?` or `into()`: a string, or any
/// error. The row goes to the stage's rejected rows, and the job continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    reason: String,
}

impl Rejection {
    /// Returns the reason as text.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

// `Rejection` does not implement `Display`, as that would conflict with `impl From<T> for T`.
impl<E: std::fmt::Display> From<E> for Rejection {
    fn from(error: E) -> Rejection {
        Rejection { reason: error.to_string() }
    }
}

/// A rejected row of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Index of the row in the batch.
    pub row: u32,
    /// The reason.
    pub rejection: Rejection,
}
