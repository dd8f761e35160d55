//! Sources for tests of decoding, of whose records nothing counts but what tells them from each other.

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

    /// As of those that are batches.
    fn takes_values(&self) -> bool {
        self.0 == RecordBounds::Ends
    }

    fn start(&self, _start: SourceStart<'_>) -> Result<()> {
        Ok(())
    }
}

/// Such a kind.
pub fn bounded(bounds: RecordBounds) -> SourceKind {
    SourceKind::Declared(Arc::new(Bounded(bounds)))
}
