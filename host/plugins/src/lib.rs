//! Plugins, without an engine: what loads and calls them under limits.

// What users see has its documentation, in the crate `millstream`; these are its insides.
#![allow(missing_docs)]

pub mod child;
mod limits;
pub mod plugin;
pub mod sections;
