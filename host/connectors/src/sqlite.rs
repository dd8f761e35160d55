//! SQLite databases: the `sqlite` sink, and lookup tables of `enrich` stages.

pub mod declaration;
pub mod settings;
mod sink;
mod table;
mod target;

pub use table::TABLE;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::path::Path;
use std::time::Duration;

/// How long a statement waits while another process writes to the database.
const BUSY_MAX: Duration = Duration::from_secs(5);

/// An error of a database.
#[derive(Debug)]
enum DatabaseFault {
    /// Transient: another process writes to it, or there is no room.
    Transient(String),
    /// Permanent.
    Permanent(String),
    /// Another start of the job has taken it over, so this process must stop writing.
    TakenOver(String),
    /// A row is invalid: a retry would fail on the same row.
    Row(String),
}

impl From<rusqlite::Error> for DatabaseFault {
    fn from(error: rusqlite::Error) -> DatabaseFault {
        let is_transient = matches!(
            error.sqlite_error_code(),
            Some(
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull | ErrorCode::SystemIoFailure
            )
        );
        if is_transient {
            DatabaseFault::Transient(error.to_string())
        } else {
            DatabaseFault::Permanent(error.to_string())
        }
    }
}

/// Opens a database file. Only regular files are opened: opening a pipe would block.
fn open(path: &Path, flags: OpenFlags) -> Result<Connection, DatabaseFault> {
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            return Err(DatabaseFault::Permanent("it is not a regular file; name another one".into()));
        }
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(DatabaseFault::Permanent(error.to_string()));
        }
        _ => {}
    }
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_MAX)?;
    // Schema objects of others in the file must not run with unnecessary rights.
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    Ok(connection)
}

/// Quotes an identifier.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests;
