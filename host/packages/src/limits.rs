//! Limits of this crate, with their defaults.

/// Bytes of the manifest of a package, and of its config.
pub const PACKAGE_MANIFEST_BYTES_MAX: usize = 256 << 10;
/// Bytes of a lock file.
pub const LOCK_FILE_BYTES_MAX: u64 = 1 << 20;
/// Signatures of one package that are looked at and kept.
pub const PACKAGE_SIGNATURES_MAX: usize = 64;
/// Bytes of a list of a registry: of tags, of packages, of manifests.
pub const REGISTRY_INDEX_BYTES_MAX: u64 = 16 << 20;
/// Packages of a registry, versions of a package, and files of a folder, each.
pub const REGISTRY_ENTRIES_MAX: usize = 10_000;
/// How long one question to a registry may take, a whole package included, in seconds.
pub const REGISTRY_TIME_S: u64 = 300;
/// How long a registry may be silent in the middle of it, in seconds.
pub const REGISTRY_SILENCE_S: u64 = 30;
/// How long a connection to a registry may take, in seconds.
pub const REGISTRY_CONNECT_S: u64 = 10;
/// Memory of the process that talks to a registry, in bytes.
pub const REGISTRY_MEMORY_BYTES_MAX: u64 = 512 << 20;
/// Files and connections that it may have open.
pub const REGISTRY_FILES_MAX: u64 = 64;
/// Packages of a registry that a search looks at.
pub const REGISTRY_SEARCHED_MAX: usize = 500;
/// Bytes of a policy of registries and signers.
pub const POLICY_FILE_BYTES_MAX: u64 = 1 << 20;
