//! `enrich` with a stream: the latest row of the same key beside each row.

pub mod check;
pub mod node;
pub mod run;
