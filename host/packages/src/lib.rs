//! Where plugins come from: packages, the registries and folders that they lie in, the file that pins them, and whom to trust.

// What users see has its documentation, in the crate `millstream`; these are its insides.
#![allow(missing_docs)]

#[cfg_attr(not(feature = "packages"), allow(dead_code))]
mod limits;
pub mod lock;
pub mod package;
pub mod registry;
pub mod trust;
