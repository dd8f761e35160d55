//! Plugins, without an engine: what loads and calls them under limits, the packages that they are shared as, where these come
//! from and whom to trust.

// What users see has its documentation, in the crate `millstream`; these are its insides.
#![allow(missing_docs)]

pub mod child;
pub mod hosting;
pub mod lock;
pub mod metrics;
pub mod package;
pub mod plugin;
pub mod registry;
pub mod sections;
pub mod trust;
