//! The host code that reads sources: async tasks that put chunks into an inbox.

pub mod inbox;

use crate::error::Result;
use crate::job::spec::{Origin, SourceSpec};
use inbox::Inbox;
use std::sync::Arc;

/// Checks what can be checked before anything runs: that files and folders exist.
pub fn check(_source: &SourceSpec, _origin: &Origin) -> Result<()> {
    Ok(())
}

/// Starts the receiver of a source on this runtime. It ends when the source is exhausted or `inbox` is closed.
pub fn start(_source: &SourceSpec, _origin: &Origin, _inbox: Arc<Inbox>, _runtime: &tokio::runtime::Handle) {}
