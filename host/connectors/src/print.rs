//! Rows on standard output: sink `print`, and the first rows of a stream.

pub mod declaration;
pub mod settings;
pub mod sink;
