//! What stands for queries against PostgreSQL as tables of `enrich` in builds without it.

use crate::postgres::ServerWait;
use bytes::Bytes;
use millstream_base::built;
use millstream_base::error::{Error, Result};
use std::time::Duration;

/// There is no database.
pub fn config(_url: &str) -> Result<(), String> {
    Err(built::absent("a table of PostgreSQL", "postgres"))
}

/// Asks nobody.
pub fn fetch(url: &str, _query: &str, _who: &str, _wait: Duration, _servers: ServerWait) -> Result<Bytes> {
    config(url).map_err(Error::job).map(|()| Bytes::new())
}
