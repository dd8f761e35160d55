//! `latest`: keeps the latest row of each key.

pub mod check;
pub mod node;
pub mod run;
