//! `join`: matches rows of two inputs.

pub mod check;
pub mod node;
pub mod run;
pub mod state;
