//! Which packages are trusted: keys, signatures over the digest of a manifest, and policies. All of it works offline.
//!
//! A *signer* is a name; each user decides which keys belong to it (`key`, `policy`). A signature (`signature`) says that a signer vouches
//! for a manifest under a name and a version; a manifest names the bytes of the component by their digest. A policy (`policy`) says which
//! registries may be used, and who must have signed.

pub mod config;
pub mod key;
pub mod policy;
pub mod signature;
