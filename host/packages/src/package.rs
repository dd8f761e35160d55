//! Packages: plugins as they are shared. A package is one component and nothing else: what it is called, what it needs and
//! what it makes stands in its custom sections, and is read without running it.

pub mod difference;
pub mod facts;
pub mod manifest;
pub mod oci;
