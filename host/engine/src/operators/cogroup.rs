//! `cogroup`: a plugin gets all rows of a key, of several inputs.

pub mod check;
pub mod node;
pub mod run;
