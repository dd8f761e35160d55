//! `window`: groups of rows that are processed together.

pub mod check;
pub mod ends;
pub mod node;
pub mod run;
pub mod state;
