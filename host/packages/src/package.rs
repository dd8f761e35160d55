//! Packages: plugins in the form in which they are shared. A package is exactly one component. Its custom sections have its name, its
//! requirements and its columns, and are read without running it.

pub mod difference;
pub mod facts;
pub mod manifest;
pub mod oci;
