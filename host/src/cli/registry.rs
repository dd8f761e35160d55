//! `millstream ask-registry`: the process that talks to a registry. Millstream starts it automatically.

pub use millstream_packages::registry::oci::{RegistryArguments, obey};
