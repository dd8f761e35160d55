//! What stands for object stores in builds without them.

use millstream_base::built;
use millstream_base::error::{Error, Result};

/// A bucket: there is none.
pub enum Bucket {}

impl Bucket {
    /// No bucket can be opened.
    pub fn open(url: &str) -> Result<Bucket> {
        let (what, feature) = if url.starts_with("hdfs://") { ("HDFS", "hdfs") } else { ("a bucket", "objects") };
        Err(Error::job(built::absent(what, feature)))
    }

    /// The bucket and the prefix, as a URL.
    pub fn place(&self) -> &str {
        match *self {}
    }
}

/// Environment variables, of which none is of use.
pub fn environment() -> Vec<(String, String)> {
    Vec::new()
}
