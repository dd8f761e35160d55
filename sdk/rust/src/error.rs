//! Why a call fails, and why a row is refused.

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

    /// Anything else: the plugin itself is wrong, or meets what it cannot go on with.
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

/// Why a plugin refuses a row: the `Err` of a plugin function. Whatever can be displayed becomes one with `?` or
/// `into()`: a text, or any error. The row then goes to the stage's rejected rows, and the job goes on.
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

// A `Rejection` is no `Display` itself, or this would meet `impl From<T> for T`.
impl<E: std::fmt::Display> From<E> for Rejection {
    fn from(error: E) -> Rejection {
        Rejection { reason: error.to_string() }
    }
}

/// A refused row of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The row's index in the batch passed in.
    pub row: u32,
    /// Why.
    pub rejection: Rejection,
}
