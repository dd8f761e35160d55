//! The process that compiles one component, see [`crate::plugin`].
