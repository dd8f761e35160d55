//! Sinks that write files of rows to a directory or a bucket: `files`, and `delta`, whose log lists the table's files.

pub mod declaration;
pub mod settings;
mod sink;
#[cfg(test)]
mod tests;
