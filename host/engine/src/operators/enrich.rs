//! `enrich` with a table from outside.

pub mod check;
pub mod node;
pub mod run;
