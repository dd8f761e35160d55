//! Replaces object stores in builds without them.

use millstream_base::built;
use millstream_base::error::{Error, Result};

/// A bucket, which cannot exist in this build.
pub enum Bucket {}

impl Bucket {
    /// Returns an error, as this build has no object stores.
    pub fn open(url: &str) -> Result<Bucket> {
        let (what, feature) = if url.starts_with("hdfs://") { ("HDFS", "hdfs") } else { ("a bucket", "objects") };
        Err(Error::job(built::absent(what, feature)))
    }

    /// Returns the bucket and the prefix as a URL.
    pub fn url(&self) -> &str {
        match *self {}
    }
}

/// Returns no environment variables, as none is used.
pub fn environment() -> Vec<(String, String)> {
    Vec::new()
}
