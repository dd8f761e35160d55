//! Expressions and queries over the rows of a batch.

// What users see has its documentation, in the crate `millstream`; these are its insides.
#![allow(missing_docs)]

pub mod sql;
