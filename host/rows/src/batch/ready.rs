//! Rows that arrived as columns and need no decoding.

use super::slices::RowBytes;
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::compute::concat_batches;
use arrow::error::ArrowError;
use arrow::ipc::{reader::StreamDecoder, writer::StreamWriter};
use bytes::Bytes;
use millstream_base::limits::SliceMax;
use millstream_base::panics::caught;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

/// Rows as columns, with the names and types of their source.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadyRows(RecordBatch);

impl ReadyRows {
    /// Wraps these rows.
    pub fn new(rows: RecordBatch) -> ReadyRows {
        ReadyRows(rows)
    }

    /// Returns the rows.
    pub fn rows(&self) -> &RecordBatch {
        &self.0
    }

    /// Returns the size of the values in bytes. The sizes of parts add up to that of the total.
    pub fn bytes(&self) -> usize {
        RowBytes::measure([&self.0]).of_range(&(0..self.0.num_rows()))
    }

    /// Returns how many of the first rows fit into `bytes`.
    pub fn rows_within(&self, bytes: u64) -> usize {
        let max = SliceMax { rows: usize::MAX, bytes: usize::try_from(bytes).unwrap_or(usize::MAX) };
        RowBytes::measure([&self.0]).fitting_end(0, self.0.num_rows(), max)
    }

    /// Removes and returns the first rows. Both share the memory of the values.
    #[must_use]
    pub fn cut_front(&mut self, rows: usize) -> ReadyRows {
        let rows = rows.min(self.0.num_rows());
        let front = self.0.slice(0, rows);
        self.0 = self.0.slice(rows, self.0.num_rows() - rows);
        ReadyRows(front)
    }

    /// Returns whether both can be rows of one batch.
    pub fn are_like(&self, other: &ReadyRows) -> bool {
        self.0.schema_ref() == other.0.schema_ref()
    }

    /// Concatenates rows with the same columns; `None` if there are none.
    pub fn joined(mut parts: Vec<ReadyRows>) -> Option<ReadyRows> {
        if parts.len() < 2 {
            return parts.pop();
        }
        let schema = parts.first()?.0.schema();
        // Rows with equal columns that together are no more than a part can be joined.
        concat_batches(&schema, parts.iter().map(|part| &part.0)).ok().map(ReadyRows)
    }

    /// Appends the rows as an Arrow IPC stream.
    pub fn write(&self, to: &mut Vec<u8>) -> Result<(), ArrowError> {
        let mut writer = StreamWriter::try_new(to, self.0.schema_ref())?;
        writer.write(&self.0)?;
        writer.finish()
    }

    /// Reads what [`ReadyRows::write`] wrote; the error says what is wrong.
    pub fn read(bytes: &[u8]) -> Result<ReadyRows, String> {
        // A stream reader would allocate whatever lengths the stream claims.
        let read = || {
            let (mut decoder, mut left) = (StreamDecoder::new(), Buffer::from(bytes));
            decoder.decode(&mut left)?.ok_or_else(|| ArrowError::ParseError("no columns".into()))
        };
        // Some errors make Arrow panic.
        let rows = caught(read)?.map_err(|error| error.to_string())?;
        Ok(ReadyRows(rows))
    }
}

/// Between processes the rows travel in their stored form.
impl Serialize for ReadyRows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(self.bytes());
        self.write(&mut bytes).map_err(S::Error::custom)?;
        // As bytes, not as a list of numbers.
        Bytes::from(bytes).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ReadyRows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ReadyRows, D::Error> {
        let bytes: Bytes = Deserialize::deserialize(deserializer)?;
        ReadyRows::read(&bytes).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use millstream_base::random::Random;
    use std::sync::Arc;

    fn rows(count: i64) -> ReadyRows {
        let n: ArrayRef = Arc::new(Int64Array::from_iter((0..count).map(|n| (n % 3 > 0).then_some(n))));
        let text: ArrayRef = Arc::new(StringArray::from_iter_values((0..count).map(|n| format!("row {n}"))));
        ReadyRows::new(RecordBatch::try_from_iter_with_nullable([("n", n, true), ("text", text, true)]).unwrap())
    }

    #[test]
    fn what_is_cut_joined_written_and_read_is_the_same() {
        let mut rest = rows(100);
        let parts = [rest.cut_front(7), rest.cut_front(60), rest.cut_front(1_000)];
        assert_eq!(parts.iter().map(|part| part.rows().num_rows()).collect::<Vec<_>>(), [7, 60, 33]);
        let read = parts.iter().map(|part| {
            let mut bytes = Vec::new();
            part.write(&mut bytes).unwrap();
            ReadyRows::read(&bytes).unwrap()
        });
        assert_eq!(ReadyRows::joined(read.collect()), Some(rows(100)));
        assert_eq!(ReadyRows::joined(Vec::new()), None);
        // 8 and 4 bytes, and a string of 5 or 6.
        assert_eq!((rows(20).bytes(), rows(20).rows_within(100)), (20 * 12 + 10 * 5 + 10 * 6, 5));
    }

    #[test]
    fn what_is_damaged_or_cut_short_is_an_error() {
        let mut bytes = Vec::new();
        rows(20).write(&mut bytes).unwrap();
        for length in [0, 3, 10, bytes.len() / 2] {
            assert!(ReadyRows::read(&bytes[..length]).is_err(), "{length}");
        }
        let mut random = Random(3);
        for _ in 0..20_000 {
            let mut damaged = bytes.clone();
            for _ in 0..=random.below(4) {
                let at = random.index(damaged.len());
                damaged[at] = random.below(256) as u8;
            }
            damaged.truncate(random.index(damaged.len() + 1).max(damaged.len() / 2));
            let _ = ReadyRows::read(&damaged);
        }
    }
}
