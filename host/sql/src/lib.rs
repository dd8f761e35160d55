//! Expressions and queries over the rows of a batch.

// What users see has its documentation, in the crate `millstream`; these are its insides.
#![allow(missing_docs)]

pub mod sql;

use millstream_base::{batch, context, error, job, limits, memory, panics};

use millstream_plugins::{metrics, plugin};

#[cfg(test)]
use millstream_base::{ids, random};
