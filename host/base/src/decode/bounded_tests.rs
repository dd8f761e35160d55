//! Sources for tests of decoding. Only the record bounds matter.

use crate::error::Result;
use crate::job::spec::{RecordBounds, SourceConfig, SourceKind, SourceStart};
use std::sync::Arc;

#[derive(Debug, PartialEq)]
struct Bounded(RecordBounds);

impl SourceConfig for Bounded {
    fn kind(&self) -> &'static str {
        "bounded"
    }

    fn bounds(&self) -> RecordBounds {
        self.0
    }

    /// As for sources whose records are values.
    fn accepts_values(&self) -> bool {
        self.0 == RecordBounds::Ends
    }

    fn start(&self, _start: SourceStart<'_>) -> Result<()> {
        Ok(())
    }
}

/// Returns such a kind of source.
pub fn bounded(bounds: RecordBounds) -> SourceKind {
    SourceKind::Declared(Arc::new(Bounded(bounds)))
}
