//! `enrich` with a lookup table.

pub mod check;
pub mod node;
pub mod run;
