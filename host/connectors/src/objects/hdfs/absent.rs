//! What stands for HDFS in builds without it.

use millstream_base::built;
use object_store::Error;
use std::fmt;

/// What a cluster answers: nothing.
#[derive(Debug)]
pub struct HdfsFault {
    /// It may be possible later.
    pub passes: bool,
}

impl fmt::Display for HdfsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&built::absent("HDFS", "hdfs"))
    }
}

impl std::error::Error for HdfsFault {}

/// Why there is no client of a cluster.
pub fn absent() -> Error {
    Error::Generic { store: "HDFS", source: Box::new(HdfsFault { passes: false }) }
}

/// Whether a name is that of a file which is being written: there is none.
pub fn is_draft(_name: &str) -> bool {
    false
}
