//! `cogroup`: a plugin receives all rows of a key, from several inputs.

pub mod check;
pub mod node;
pub mod run;
