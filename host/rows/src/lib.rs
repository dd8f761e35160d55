//! Rows: batches and their columns, the formats that records are decoded from, and the queue between a receiver and its decoder.

// What the crate `millstream` exports must be documented (`warn` below); the rest has docs where they help.
#![allow(missing_docs)]

pub mod batch;
pub mod decode;
#[warn(missing_docs)]
pub mod formats;
pub mod inbox;
