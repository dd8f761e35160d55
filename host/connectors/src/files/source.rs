//! Sources that read files: `directory`, for the files of a directory or the objects of a bucket, and `file`, for one file or a log that grows.

mod compressed;
mod content;
pub mod declaration;
mod directory;
pub(crate) mod file;
mod file_facts;
mod follow;
pub mod infer;
#[cfg_attr(not(feature = "objects"), path = "source/object/absent.rs")]
mod object;
mod parquet_lines;
mod replay;
pub mod retry;
pub mod settings;
