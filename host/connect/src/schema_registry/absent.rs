//! Replaces schema registries in builds without Kafka.

use bytes::Bytes;
use millstream_base::built;
use millstream_rows::formats::RegistrySpec;
use std::path::Path;

/// A registry that is never used.
pub struct SchemaRegistry;

/// Why a registry gave no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryFault {
    /// The registry is unreachable.
    Transient(String),
    /// A retry does not help.
    Permanent(String),
    /// The registry rejects the schema.
    Incompatible(String),
}

impl std::fmt::Display for RegistryFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (RegistryFault::Transient(message)
        | RegistryFault::Permanent(message)
        | RegistryFault::Incompatible(message)) = self;
        f.write_str(message)
    }
}

impl SchemaRegistry {
    /// Returns a registry that is never used.
    pub fn new(_spec: &RegistrySpec, _dir: &Path) -> SchemaRegistry {
        SchemaRegistry
    }

    /// Returns no schema.
    pub async fn schema(&self, _id: u32) -> Result<Option<Bytes>, RegistryFault> {
        Err(RegistryFault::Permanent(built::absent("schema registries", "kafka")))
    }
}
