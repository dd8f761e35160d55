//! `join`: rows of two inputs side by side.

pub mod check;
pub mod node;
pub mod run;
pub mod state;
