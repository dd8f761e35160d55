//! Where checkpoints are kept: a folder, or a bucket of an object store. All calls block; they belong to threads that
//! may wait.

use bytes::Bytes;
use std::fmt;

/// Objects by path. Paths are relative, with `/` between their parts.
pub trait Store: Send + Sync {
    /// The store's place in words, for messages: a folder or a URL.
    fn place(&self) -> String;
    /// An object's bytes; `None`: there is none.
    fn read(&self, path: &str) -> Result<Option<Bytes>, StoreError>;
    /// Writes an object whole or not at all. It is durable, under its name, when this returns.
    fn write(&self, path: &str, bytes: Bytes) -> Result<(), StoreError>;
    /// An object's bytes and its version, for [`Store::replace`].
    fn read_version(&self, path: &str) -> Result<Option<(Bytes, Version)>, StoreError>;
    /// Writes an object if it is still of this version (`None`: if there is none). `Ok(None)`: it is not, and nothing
    /// was written.
    fn replace(&self, path: &str, bytes: Bytes, expected: Option<&Version>) -> Result<Option<Version>, StoreError>;
    /// The objects whose path begins with this folder, in order of path.
    fn list(&self, folder: &str) -> Result<Vec<Object>, StoreError>;
    /// Removes an object; it is no error that there is none.
    fn delete(&self, path: &str) -> Result<(), StoreError>;
    /// A new log. What [`Log::append`] wrote before it returned is read back by [`Store::read_log`].
    fn log(&self, path: &str) -> Result<Box<dyn Log>, StoreError>;
    /// All that was appended to a log; the end may be an append that was cut short.
    fn read_log(&self, path: &str) -> Result<Bytes, StoreError>;
    /// Removes a log.
    fn delete_log(&self, path: &str) -> Result<(), StoreError>;
}

/// An append-only log.
pub trait Log: Send {
    /// Appends bytes; they are durable when this returns.
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError>;
}

/// A version of an object: opaque, compared by the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub String);

/// An object of a listing. A log counts as one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its path.
    pub path: String,
    /// Its length.
    pub bytes: u64,
}

/// A store that could not do what it was asked.
#[derive(Clone, Debug)]
pub struct StoreError {
    /// What was to be done, and to what: `write state/….arrow`.
    pub what: String,
    /// Why it could not, for a person to read.
    pub reason: String,
    /// It may go away by itself or when somebody makes room: a full or read-only disk, a server that does not answer.
    pub passing: bool,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.what, self.reason)
    }
}

/// Tries again, as long as the job lives, while the reason why it does not work may pass; says so once, and once more
/// when it goes on. The job waits meanwhile.
pub fn patiently<T>(
    failure: &crate::run::Failure,
    mut attempt: impl FnMut() -> Result<T, StoreError>,
) -> crate::error::Result<T> {
    let _ = failure;
    attempt().map_err(|error| crate::error::Error::environment(error))
}

/// A failure of the file system, with what was to be done.
pub fn io_failed(what: String, error: &std::io::Error) -> StoreError {
    StoreError { what, reason: error.to_string(), passing: false }
}

/// Opens a store: a folder (relative to `base`) or `s3://bucket/prefix`. Makes nothing.
pub fn open(dir: &str, _base: &std::path::Path) -> crate::error::Result<std::sync::Arc<dyn Store>> {
    Err(crate::error::Error::bug(format!("not yet: {dir}")))
}
