//! Whom packages are taken from: keys, signatures over the digest of a manifest, and policies. All of it works offline.

pub mod key;
pub mod policy;
pub mod signature;
