//! `millstream ask-registry`: the process that talks to a registry. Millstream starts it by itself.

pub use millstream_plugins::registry::oci::{RegistryArguments, obey};
