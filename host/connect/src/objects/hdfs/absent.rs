//! Replaces HDFS in builds without it.

use millstream_base::built;
use object_store::Error;
use std::fmt;

/// An error of a cluster, which never occurs.
#[derive(Debug)]
pub struct HdfsFault {
    /// Whether a retry may help.
    pub is_transient: bool,
}

impl fmt::Display for HdfsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&built::absent("HDFS", "hdfs"))
    }
}

impl std::error::Error for HdfsFault {}

/// Returns an error, as this build has no client.
pub fn absent() -> Error {
    Error::Generic { store: "HDFS", source: Box::new(HdfsFault { is_transient: false }) }
}

/// Whether a name is that of a file that is being written: always `false`.
pub fn is_draft(_name: &str) -> bool {
    false
}
