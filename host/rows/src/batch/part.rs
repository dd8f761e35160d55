//! The data on the edges of the graph.

use super::slices::RowBytes;
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::error::ArrowError;
use arrow::ipc::{reader::StreamDecoder, writer::StreamWriter};
use bytes::Bytes;
use millstream_base::ids::{BatchTime, ClockId, PartOrder};
use millstream_base::limits::PLUGIN_CALL_MAX;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// A columnar sub-batch: one timely record, many rows. Its batch ID is its timely timestamp.
#[derive(Clone, Debug)]
pub struct Part {
    /// The worker that an exchange sends it to; otherwise meaningless.
    pub to: u64,
    /// Its position among the parts of the batch.
    pub order: PartOrder,
    /// The watermark clock of the times in its rows.
    pub clock_id: ClockId,
    /// The index of the stage's input that it arrived by, or of the output stream; 0 if there is only one.
    pub input: u32,
    /// The batch time.
    pub time: BatchTime,
    /// The rows.
    pub rows: RecordBatch,
}

impl Part {
    /// Splits the part into pieces that each fit into one plugin call. The pieces depend only on its rows, and their positions lie within its own.
    pub fn for_calls(self) -> Vec<Part> {
        let slices = RowBytes::measure([&self.rows]).slices(self.rows.num_rows(), PLUGIN_CALL_MAX);
        if slices.len() == 1 {
            return vec![self];
        }
        let piece = |(index, slice): (u64, Range<usize>)| {
            let (order, rows) = (self.order.clone().then(index), self.rows.slice(slice.start, slice.len()));
            Part { order, rows, ..self.clone() }
        };
        (0..).zip(slices).map(piece).collect()
    }
}

thread_local! {
    /// Serialized rows whose length was requested and that are about to be sent.
    static WRITTEN: RefCell<VecDeque<(RecordBatch, Bytes)>> = const { RefCell::new(VecDeque::new()) };
}

/// Maximum parts to keep: more never go into one message.
const WRITTEN_MAX: usize = 256;

/// Serializes the rows as an Arrow IPC stream. timely requests the bytes of a message twice, the first time for their number; the second time they
/// come from the cache. Rows that are kept here cannot have changed.
fn written(rows: &RecordBatch) -> Result<Bytes, ArrowError> {
    let is_same = |other: &RecordBatch| {
        let columns = other.columns().iter().zip(rows.columns());
        Arc::ptr_eq(other.schema_ref(), rows.schema_ref())
            && (other.num_rows(), other.num_columns()) == (rows.num_rows(), rows.num_columns())
            && columns.into_iter().all(|(other, column)| Arc::ptr_eq(other, column))
    };
    let known = WRITTEN.with_borrow_mut(|written| written.pop_front_if(|(other, _)| is_same(other)));
    if let Some((_, bytes)) = known {
        return Ok(bytes);
    }
    let mut bytes = Vec::with_capacity(rows.get_array_memory_size() + 1024);
    let mut writer = StreamWriter::try_new(&mut bytes, &rows.schema())?;
    writer.write(rows)?;
    writer.finish()?;
    drop(writer);
    let bytes = Bytes::from(bytes);
    WRITTEN.with_borrow_mut(|written| {
        if written.len() >= WRITTEN_MAX {
            written.clear();
        }
        written.push_back((rows.clone(), bytes.clone()));
    });
    Ok(bytes)
}

/// Between processes a part travels as an Arrow IPC stream; within a process it is moved.
impl Serialize for Part {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = written(&self.rows).map_err(S::Error::custom)?;
        (self.to, &self.order, self.clock_id, self.input, self.time, bytes).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Part, D::Error> {
        type Fields = (u64, PartOrder, ClockId, u32, BatchTime, Bytes);
        let (to, order, clock_id, input, time, bytes): Fields = Deserialize::deserialize(deserializer)?;
        // The rows stay in the received buffer; a stream reader would copy them.
        let rows = StreamDecoder::new().decode(&mut Buffer::from(bytes)).map_err(D::Error::custom)?;
        let rows = rows.ok_or_else(|| D::Error::custom("a part without rows"))?;
        Ok(Part { to, order, clock_id, input, time, rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};

    fn part(first: i64) -> Part {
        let n: ArrayRef = Arc::new(Int64Array::from_iter_values(first..first + 9));
        let rows = RecordBatch::try_from_iter([("n", n)]).unwrap();
        Part { to: 1, order: PartOrder::at(0), clock_id: ClockId::NONE, input: 0, time: BatchTime(7), rows }
    }

    /// In any order, any number of times, and with rows at addresses that other rows had before.
    #[test]
    fn what_is_sent_are_the_rows_of_the_part() {
        let sent = |part: &Part| {
            let bytes = serde_json::to_vec(part).unwrap();
            assert_eq!(serde_json::from_slice::<Part>(&bytes).unwrap().rows, part.rows);
        };
        let parts = [part(1), part(2), part(1)];
        for round in 0..3 * WRITTEN_MAX {
            // First their lengths, then the content; sometimes only one of both.
            parts.iter().for_each(sent);
            parts.iter().skip(round % 3).for_each(sent);
            sent(&part(round as i64));
        }
        parts.iter().rev().for_each(sent);
        assert!(WRITTEN.with_borrow(VecDeque::len) <= WRITTEN_MAX);
    }
}
