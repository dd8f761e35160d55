//! Limits of this crate, with their defaults.

/// Maximum bytes of a package's manifest, and of its config.
pub const PACKAGE_MANIFEST_BYTES_MAX: usize = 256 << 10;
/// Maximum bytes of a lock file.
pub const LOCK_FILE_BYTES_MAX: u64 = 1 << 20;
/// Maximum signatures of one package that are read and kept.
pub const PACKAGE_SIGNATURES_MAX: usize = 64;
/// Maximum bytes of a registry's list of tags, packages or manifests.
pub const REGISTRY_INDEX_BYTES_MAX: u64 = 16 << 20;
/// Maximum packages of a registry, versions of a package, and files of a directory, each.
pub const REGISTRY_ENTRIES_MAX: usize = 10_000;
/// Maximum duration of one request to a registry, including the download of a package, in seconds.
pub const REGISTRY_TIME_S: u64 = 300;
/// Maximum time without a byte from a registry during a request, in seconds.
pub const REGISTRY_IDLE_S: u64 = 30;
/// Maximum time to connect to a registry, in seconds.
pub const REGISTRY_CONNECT_S: u64 = 10;
/// Maximum memory of the process that talks to a registry, in bytes.
pub const REGISTRY_MEMORY_BYTES_MAX: u64 = 512 << 20;
/// Maximum open files and connections of that process.
pub const REGISTRY_FILES_MAX: u64 = 64;
/// Maximum packages of a registry that a search reads.
pub const REGISTRY_SEARCHED_MAX: usize = 500;
/// Maximum bytes of a policy of registries and signers.
pub const POLICY_FILE_BYTES_MAX: u64 = 1 << 20;
