//! Files of a directory or a bucket: the sources `directory` and `file`, and sinks that write files of rows: `files`, and `delta`, whose log lists the
//! table's files.

pub mod declaration;
pub mod settings;
mod sink;
pub mod source;
#[cfg(test)]
mod tests;
