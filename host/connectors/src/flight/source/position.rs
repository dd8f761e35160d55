//! How far a part of a stream was read. A server gives a part from its beginning on, so what was read is passed over; a digest of it
//! shows whether it is the same.

use millstream_base::batch::column::ColumnSpec;
use std::fmt::Write as _;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// How far a part of a stream was read, with a digest of its rows that tells whether they are the same again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlightPosition {
    /// How many parts the stream had.
    pub parts: usize,
    /// Rows that were read.
    pub rows: u64,
    /// Of these rows, as the columns of the job hold them.
    pub digest: u64,
    /// Of the columns: with others the same rows have another digest.
    pub columns: u64,
    /// Whether there are no more.
    pub ended: bool,
}

impl FlightPosition {
    /// The beginning of a part.
    pub fn beginning(parts: usize, columns: &[ColumnSpec]) -> FlightPosition {
        let mut text = String::new();
        for column in columns {
            let _ = writeln!(text, "{:?} {:?} {}", column.name, column.path, column.kind);
        }
        FlightPosition { parts, rows: 0, digest: 0, columns: xxh3_64(text.as_bytes()), ended: false }
    }

    /// The same for rows that stay columns: the digest is another one than that of lines.
    #[must_use]
    pub fn of_columns(self) -> FlightPosition {
        FlightPosition { columns: xxh3_64_with_seed(b"columns", self.columns), ..self }
    }

    /// One row further.
    pub fn add(&mut self, row: &[u8]) {
        self.rows += 1;
        self.digest = xxh3_64_with_seed(row, self.digest);
    }

    /// As it is kept.
    pub fn written(&self) -> Vec<u8> {
        let FlightPosition { parts, rows, digest, columns, ended } = self;
        format!("{rows} {digest:016x} {columns:016x} {parts}{}", if *ended { " end" } else { "" }).into_bytes()
    }

    /// Of what was kept.
    pub fn parse(position: &[u8]) -> Option<FlightPosition> {
        let mut words = std::str::from_utf8(position).ok()?.split(' ');
        let rows = words.next()?.parse().ok()?;
        let digest = u64::from_str_radix(words.next()?, 16).ok()?;
        let columns = u64::from_str_radix(words.next()?, 16).ok()?;
        let parts = words.next()?.parse().ok()?;
        let ended = match words.next() {
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
    use millstream_base::batch::types::ColumnType;

    #[test]
    fn a_position_is_read_as_it_was_written() {
        let columns = [ColumnSpec::new("n", ColumnType::Int64)];
        let mut at = FlightPosition::beginning(3, &columns);
        assert_eq!(FlightPosition::parse(&at.written()), Some(at));
        at.add(b"{\"n\":1}");
        at.add(b"{\"n\":2}");
        at.ended = true;
        assert_eq!(FlightPosition::parse(&at.written()), Some(at));
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
