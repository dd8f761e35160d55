//! Files of rows in a folder or a bucket: sink `files`, and `delta`, whose log says which files are there.

pub mod declaration;
pub mod settings;
mod sink;
#[cfg(test)]
mod tests;
