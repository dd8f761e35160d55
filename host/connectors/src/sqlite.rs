//! Databases of SQLite: sink `sqlite`, and tables of stages with `enrich`.

pub mod declaration;
pub mod settings;
mod sink;
mod table;
mod target;

pub use table::TABLE;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::path::Path;
use std::time::Duration;

/// How long a statement waits while somebody else writes to the database.
const BUSY_MAX: Duration = Duration::from_secs(5);

/// What went wrong with a database.
#[derive(Debug)]
enum DatabaseFault {
    /// It may work later: somebody writes to it, or there is no room.
    Passing(String),
    /// It does not pass by itself.
    Lasting(String),
    /// Another start of the job has taken it over, so this process must not write any more.
    TakenOver(String),
    /// A row is to blame, so trying again would come to the same row.
    Row(String),
}

impl From<rusqlite::Error> for DatabaseFault {
    fn from(error: rusqlite::Error) -> DatabaseFault {
        let passes = matches!(
            error.sqlite_error_code(),
            Some(
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull | ErrorCode::SystemIoFailure
            )
        );
        if passes { DatabaseFault::Passing(error.to_string()) } else { DatabaseFault::Lasting(error.to_string()) }
    }
}

/// Opens the file of a database. Only regular files are opened: to open a pipe would wait for its other end.
fn open(path: &Path, flags: OpenFlags) -> Result<Connection, DatabaseFault> {
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            return Err(DatabaseFault::Lasting("it is not a regular file; name another one".into()));
        }
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(DatabaseFault::Lasting(error.to_string()));
        }
        _ => {}
    }
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_MAX)?;
    // Nothing that others have put into the file runs with more rights than it needs.
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    Ok(connection)
}

/// A name in quotes, so that it is taken as it is.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests;
