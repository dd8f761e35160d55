//! Records as a receiver took them in, before decoding.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Whole records, undecoded: what a receiver hands over, what is exchanged to a worker and decoded there.
/// At most [`crate::limits::PART_ROWS_MAX`] records and, unless a single record is larger,
/// [`crate::limits::PART_BYTES_MAX`] bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// The records, one behind the other, with whatever delimits them (a line's `\n` or `\r\n`).
    pub bytes: Bytes,
    /// Where each record ends in `bytes`, its delimiter included. Record 0 begins at 0.
    pub ends: Vec<u32>,
    /// The record that names the columns (csv with a header), without its delimiter; empty where there is none.
    pub header: Bytes,
    /// Records that the receiver refused, in the order of their rows; `bytes` holds the first
    /// [`crate::limits::REJECTED_BYTES_KEPT`] bytes of each.
    pub refused: Vec<Refusal>,
}

/// A record that could not be taken in or decoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Index of the record in its chunk.
    pub row: u32,
    /// Why, for a person to read.
    pub reason: String,
}

impl Chunk {
    /// How many records it holds.
    pub fn rows(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of record `row`, delimiter included.
    pub fn record(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        &self.bytes[start..self.ends[row] as usize]
    }
}
