//! Files of state tables: Arrow IPC files, as pyarrow, Polars and DuckDB read them, checked by checksum.
//!
//! Columns: the key, the state, [`TOUCHED`] where the stage has a timeout, and [`REMOVED`]. Rows are in the order of the
//! hashes of their keys; each key is there once.

use super::types::StateFile;
use crate::error::{Error, Result};
use arrow::array::RecordBatch;
use bytes::Bytes;

/// When the key last had rows: a timestamp, in microseconds.
pub const TOUCHED: &str = "millstream_touched";
/// Whether the key's state was removed: a boolean. Such a row has no state.
pub const REMOVED: &str = "millstream_removed";

/// A file with these rows.
pub fn encode(_rows: &RecordBatch) -> Result<Bytes> {
    Err(Error::bug("not yet"))
}

/// The rows of a file, after its length and checksum were compared with what the manifest says.
pub fn decode(_file: &StateFile, _bytes: &Bytes) -> Result<Vec<RecordBatch>> {
    Err(Error::bug("not yet"))
}

/// XXH3-64 as 16 hexadecimal digits.
pub fn checksum(bytes: &[u8]) -> String {
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(bytes))
}
