//! The position of a source after a chunk of its records.

use crate::batch::chunk::{Chunk, ExtentUnit};
use crate::batch::identity;
use crate::batch::position::{Extent, Position};

impl Chunk {
    /// Returns the source's position after all records of the chunk.
    pub fn end_position(&self) -> Position {
        if identity::is_name(&self.extent.file) {
            return identity::position_after(self);
        }
        let Extent { start, bytes, row, .. } = self.extent;
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let rows = row.saturating_add(self.rows() as u64);
        match self.counted() {
            ExtentUnit::Bytes => Position { offset: start.saturating_add(bytes), mark: signed(row) },
            ExtentUnit::Offsets => Position { offset: start.saturating_add(bytes), mark: 0 },
            ExtentUnit::Line => Position { offset: start, mark: signed(rows) },
            // Odd marks are reserved for the ends of files.
            ExtentUnit::Blocks => Position { offset: start, mark: signed(rows).saturating_mul(2).min(i64::MAX - 1) },
            ExtentUnit::Rows => Position { offset: rows, mark: signed(start) },
        }
    }
}
