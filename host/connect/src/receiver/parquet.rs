//! Reads the rows of Parquet files, and converts Arrow columns to those of a job.

pub mod columns;
mod leaves;
pub mod open;

use std::io;

/// Rows that are read at a time.
const ROWS: usize = 1_024;
/// Maximum bytes of a name in a message.
const SHOWN_BYTES_MAX: usize = 200;

/// Returns the error of a damaged file.
pub fn damaged(why: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_string())
}
