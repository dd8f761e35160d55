//! The read position of a part of a stream. A server returns a part from its beginning, so rows that were read before are skipped. A digest
//! of them shows whether they are the same.

use millstream_rows::batch::column::ColumnSpec;
use std::fmt::Write as _;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The read position of a part of a stream, with a digest that shows whether its rows are the same again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlightPosition {
    /// How many parts the stream had.
    pub parts: usize,
    /// Number of rows read.
    pub rows: u64,
    /// The digest of these rows, as the job's columns hold them.
    pub digest: u64,
    /// The hash of the columns: with others the same rows have another digest.
    pub columns: u64,
    /// Whether the end was reached.
    pub ended: bool,
}

impl FlightPosition {
    /// Returns the beginning of a part.
    pub fn beginning(parts: usize, columns: &[ColumnSpec]) -> FlightPosition {
        let mut text = String::new();
        for column in columns {
            let _ = writeln!(text, "{:?} {:?} {}", column.name, column.path, column.kind);
        }
        FlightPosition { parts, rows: 0, digest: 0, columns: xxh3_64(text.as_bytes()), ended: false }
    }

    /// Returns the position for rows that stay columns: their digest differs from that of lines.
    #[must_use]
    pub fn of_columns(self) -> FlightPosition {
        FlightPosition { columns: xxh3_64_with_seed(b"columns", self.columns), ..self }
    }

    /// Advances by one row.
    pub fn add(&mut self, row: &[u8]) {
        self.rows += 1;
        self.digest = xxh3_64_with_seed(row, self.digest);
    }

    /// Encodes the position.
    pub fn encode(&self) -> Vec<u8> {
        let FlightPosition { parts, rows, digest, columns, ended } = self;
        format!("{rows} {digest:016x} {columns:016x} {parts}{}", if *ended { " end" } else { "" }).into_bytes()
    }

    /// Decodes a position.
    pub fn parse(position: &[u8]) -> Option<FlightPosition> {
        let mut fields = std::str::from_utf8(position).ok()?.split(' ');
        let rows = fields.next()?.parse().ok()?;
        let digest = u64::from_str_radix(fields.next()?, 16).ok()?;
        let columns = u64::from_str_radix(fields.next()?, 16).ok()?;
        let parts = fields.next()?.parse().ok()?;
        let ended = match fields.next() {
            None => false,
            Some("end") => true,
            Some(_) => return None,
        };
        Some(FlightPosition { parts, rows, digest, columns, ended })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_rows::batch::types::ColumnType;

    #[test]
    fn a_position_is_read_as_it_was_written() {
        let columns = [ColumnSpec::new("n", ColumnType::Int64)];
        let mut at = FlightPosition::beginning(3, &columns);
        assert_eq!(FlightPosition::parse(&at.encode()), Some(at));
        at.add(b"{\"n\":1}");
        at.add(b"{\"n\":2}");
        at.ended = true;
        assert_eq!(FlightPosition::parse(&at.encode()), Some(at));
        let mut other = FlightPosition::beginning(3, &columns);
        other.add(b"{\"n\":2}");
        other.add(b"{\"n\":1}");
        assert_ne!(other.digest, at.digest, "the order counts");
        assert_ne!(FlightPosition::beginning(3, &[ColumnSpec::new("n", ColumnType::Text)]).columns, at.columns);
        for wrong in ["", "1", "1 2 3", "1 x 3 4", "1 2 3 4 5"] {
            assert_eq!(FlightPosition::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
