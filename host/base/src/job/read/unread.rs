//! Placeholder for a source of an unknown kind, so that it causes no further errors.

use crate::error::Result;
use crate::job::spec::{Format, SourceConfig, SourceStart};

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
