//! Keys of signers: ed25519, in files of the user.

use crate::error::{Error, Result};
use std::path::PathBuf;

/// The folder of the user's own keys: `$MILLSTREAM_CONFIG/keys`, see [`super::policy::config_folder`].
pub fn folder() -> Result<PathBuf> {
    Ok(super::policy::config_folder()?.join("keys"))
}

/// A key that signs.
pub struct SecretKey {
    /// The signer's name.
    pub name: String,
}

impl SecretKey {
    /// The user's key of this name.
    pub fn of_user(name: &str) -> Result<SecretKey> {
        Err(Error::bug(format!("{name}: keys are not there yet")))
    }
}
