//! What stands for registries of schemas in builds without Kafka.

use bytes::Bytes;
use millstream_base::built;
use millstream_base::job::spec::RegistrySpec;
use std::path::Path;

/// A registry that is never asked.
pub struct SchemaRegistry;

/// Why a registry gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryFault {
    /// It is away.
    Passing(String),
    /// Asking again does not help.
    Lasting(String),
    /// It does not take the schema.
    Refused(String),
}

impl std::fmt::Display for RegistryFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (RegistryFault::Passing(words) | RegistryFault::Lasting(words) | RegistryFault::Refused(words)) = self;
        f.write_str(words)
    }
}

impl SchemaRegistry {
    /// Any.
    pub fn new(_spec: &RegistrySpec, _folder: &Path) -> SchemaRegistry {
        SchemaRegistry
    }

    /// No schema.
    pub async fn schema(&self, _id: u32) -> Result<Option<Bytes>, RegistryFault> {
        Err(RegistryFault::Lasting(built::absent("a registry of schemas", "kafka")))
    }
}
