//! Prints rows on standard output: the `print` sink, and the first rows of a stream.

pub mod declaration;
pub mod settings;
pub mod sink;
