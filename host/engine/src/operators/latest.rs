//! `enrich` with a stream: adds the latest row of the same key to each row.

pub mod check;
pub mod node;
pub mod run;
