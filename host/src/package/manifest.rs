//! The manifest of a package in a registry: the layout for WebAssembly artifacts of the CNCF, which other tools read too.
//!
//! A config of type `application/vnd.wasm.config.v0+json` and exactly one layer of type `application/wasm`. The same
//! component makes the same manifest everywhere, so its digest names the package.

use super::digest::Digest;
use super::facts::Facts;
use crate::error::{Error, Result};

/// A package as it is pushed: manifest, config and component.
#[derive(Clone, Debug)]
pub struct Made {
    /// The manifest, as JSON.
    pub manifest: Vec<u8>,
    /// The config, as JSON.
    pub config: Vec<u8>,
    /// The component.
    pub component: Vec<u8>,
}

/// What a manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The config.
    pub config: Blob,
    /// The component.
    pub layer: Blob,
}

/// Some bytes in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Their digest.
    pub digest: Digest,
    /// How many.
    pub bytes: u64,
}

impl Made {
    /// Of a component.
    pub fn of(component: Vec<u8>, facts: &Facts) -> Result<Made> {
        let _ = (component, facts);
        Err(Error::bug("manifests are not made yet"))
    }

    /// The digest of the manifest.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }
}

/// Reads a manifest that anybody may have written. `shown` names the package in messages.
pub fn read(manifest: &[u8], shown: &str) -> Result<Layout> {
    let _ = manifest;
    Err(Error::bug(format!("{shown}: manifests are not read yet")))
}
