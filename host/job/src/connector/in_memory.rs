//! A source without a receiver, for records that its user has in memory.

use crate::spec::{SourceConfig, SourceStart};
use millstream_base::error::{Error, Result};
use millstream_rows::decode::spec::RecordBounds;

/// Records in memory, delimited like those of a file, for their framer and decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InMemory;

impl SourceConfig for InMemory {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn bounds(&self) -> RecordBounds {
        RecordBounds::File
    }

    fn start(&self, start: SourceStart<'_>) -> Result<()> {
        Err(Error::bug(format!("source `{}` has no receiver", start.source.name)))
    }
}
