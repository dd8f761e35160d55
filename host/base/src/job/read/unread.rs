//! What stands in the place of a source whose kind is not known, so that nothing more is said of it.

use crate::error::Result;
use crate::job::spec::{Format, SourceConfig, SourceStart};

/// A source of no kind.
#[derive(Debug, PartialEq)]
pub(super) struct Unread;

impl SourceConfig for Unread {
    fn kind(&self) -> &'static str {
        "?"
    }

    fn format(&self) -> Format {
        Format::Json
    }

    fn gives_batches(&self) -> bool {
        true
    }

    fn start(&self, _start: SourceStart<'_>) -> Result<()> {
        Ok(())
    }
}
