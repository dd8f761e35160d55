//! What stands for sources that read from a server which is named by a URL: a job with one is refused when its file is read. Rows of
//! messages of Arrow are read all the same.

mod flight {
    pub mod batches;
    mod fits;
}

pub use flight::batches::Batches;

use super::polled::MakeReader;
use millstream_base::built;
use millstream_base::error::{Error, Result};
use millstream_base::job::spec::{Origin, ServerSourceSpec, SourceSpec};
use millstream_base::owner::Owner;
use std::sync::Arc;

/// Refuses the source.
pub fn check(_source: &SourceSpec, _server: &ServerSourceSpec, _origin: &Origin) -> Result<()> {
    Err(absent())
}

/// What makes nobody who reads.
pub fn readers(
    _source: &SourceSpec,
    _server: &ServerSourceSpec,
    _origin: &Origin,
    _owner: Option<&Owner>,
) -> MakeReader {
    Arc::new(|| Err(absent()))
}

fn absent() -> Error {
    Error::job(built::absent("such a source", "brokers"))
}
