//! `--registry` of the commands that have it, and the process that talks to registries.

use crate::error::{Error, Result};
use crate::registry::Registry;
pub use crate::registry::oci::{RegistryArguments, obey};

/// The registry that a command was given.
pub fn registry(given: Option<&str>) -> Result<Registry> {
    let here = std::env::current_dir().map_err(|error| Error::environment(format!("the current folder: {error}")))?;
    match given {
        Some(text) => Registry::parse(text, &here),
        None => Err(Error::job("which registry? Write --registry oci://HOST/PATH, or --registry FOLDER")),
    }
}
