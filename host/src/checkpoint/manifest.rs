//! The manifest as bytes, and its replacement: the only commit point of a checkpoint.

use super::store::{Store, Version};
use super::types::Manifest;
use crate::error::{Error, Result};
use bytes::Bytes;

/// Its path in the store.
pub const PATH: &str = "manifest.json";

/// What became of an attempt to replace the manifest.
#[derive(Debug)]
pub enum Replaced {
    /// It is this version now.
    Done(Version),
    /// Somebody else replaced it: this process has lost the job.
    Lost,
}

/// The manifest's bytes: versioned and checksummed.
pub fn encode(_manifest: &Manifest) -> Bytes {
    Bytes::new()
}

/// Reads the bytes of a manifest; the error names `place` and says what is wrong with it.
pub fn decode(_place: &str, _bytes: &Bytes) -> Result<Manifest> {
    Err(Error::bug("not yet"))
}

/// The store's manifest; `None`: the store is empty.
pub fn read(_store: &dyn Store) -> Result<Option<(Manifest, Version)>> {
    Err(Error::bug("not yet"))
}

/// Replaces the manifest where it still is of this version; waits out what passes (a full disk).
pub fn replace(_store: &dyn Store, _manifest: &Manifest, _expected: Option<&Version>) -> Result<Replaced> {
    Err(Error::bug("not yet"))
}
