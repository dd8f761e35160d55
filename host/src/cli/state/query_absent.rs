//! Replaces queries over the tables in builds without SQL.

use super::{Show, StageState};
use millstream_base::built;
use millstream_base::error::{Error, Result};

/// Rejects the query.
pub(super) fn run_query(_tables: &[StageState], _sql: &str, _json: bool, _show: Show<'_>) -> Result<()> {
    Err(Error::job(built::absent("SQL", "sql")))
}
