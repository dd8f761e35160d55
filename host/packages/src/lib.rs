//! Packages of plugins: registries and directories that share them, the file that pins them, and policies of trust.

// The public interface is documented in the crate `millstream`; these are its internals.
#![allow(missing_docs)]

#[cfg_attr(not(feature = "packages"), allow(dead_code))]
mod limits;
pub mod lock;
pub mod package;
pub mod registry;
pub mod trust;
