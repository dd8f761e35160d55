//! `pattern`: sequences of rows of a key.

pub mod check;
pub mod run;
pub mod state;
