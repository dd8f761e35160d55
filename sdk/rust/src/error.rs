//! Why a call fails, and why a row is rejected.

pub use crate::bindings::transform::millstream::plugin::types::Error;

impl Error {
    /// The stage's config is wrong.
    pub fn config(message: impl std::fmt::Display) -> Error {
        Error::Config(message.to_string())
    }

    /// The input's columns or the key do not fit.
    pub fn input(message: impl std::fmt::Display) -> Error {
        Error::Input(message.to_string())
    }

    /// Any other error: a bug of the plugin, or a condition that it cannot handle.
    pub fn internal(message: impl std::fmt::Display) -> Error {
        Error::Internal(message.to_string())
    }

    /// The message, without its kind.
    pub fn message(&self) -> &str {
        match self {
            Error::Config(message) | Error::Input(message) | Error::Internal(message) => message,
        }
    }
}

/// Why a plugin rejects a row: the `Err` of a plugin function. Anything that can be displayed converts with `?` or `into()`: a
/// string, or any error. The row then goes to the stage's rejected rows, and the job continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    reason: String,
}

impl Rejection {
    /// The reason, for a person to read.
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
    /// The row's index in the batch passed in.
    pub row: u32,
    /// Why.
    pub rejection: Rejection,
}
