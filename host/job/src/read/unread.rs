//! Placeholder for a source of an unknown kind, so that it causes no further errors.

use crate::spec::{SourceConfig, SourceStart};
use millstream_base::error::Result;
use millstream_rows::formats::Format;

/// A source of an unknown kind.
#[derive(Debug, PartialEq)]
pub(super) struct UnknownSource;

impl SourceConfig for UnknownSource {
    fn kind(&self) -> &'static str {
        "?"
    }

    fn format(&self) -> Format {
        Format::Json
    }

    fn is_batch_source(&self) -> bool {
        true
    }

    fn start(&self, _start: SourceStart<'_>) -> Result<()> {
        Ok(())
    }
}
