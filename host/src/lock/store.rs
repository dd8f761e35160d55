//! The bytes of packages, by digest: a folder of the user that all jobs share. What is read is compared with its digest.

use crate::error::{Error, Result};
use crate::package::digest::Digest;
use std::path::PathBuf;

/// The store.
#[derive(Clone, Debug)]
pub struct Store {
    /// Its folder.
    pub folder: PathBuf,
}

impl Store {
    /// Of the user: `$MILLSTREAM_STORE`, or `store` in the cache folder.
    pub fn of_user() -> Result<Store> {
        Err(Error::bug("the store is not there yet"))
    }

    /// Keeps bytes. Whoever dies meanwhile leaves nothing half written under the digest.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest> {
        Err(Error::bug(format!("the store {} keeps nothing yet ({})", self.folder.display(), bytes.len())))
    }

    /// The bytes with this digest; `None`: they are not there. Damaged ones are an error that says what to do.
    pub fn get(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        Err(Error::bug(format!("the store {} has no {digest} yet", self.folder.display())))
    }

    /// The file of these bytes, just compared with their digest; `None`: they are not there.
    pub fn file(&self, digest: &Digest) -> Result<Option<PathBuf>> {
        Err(Error::bug(format!("the store {} has no {digest} yet", self.folder.display())))
    }
}
