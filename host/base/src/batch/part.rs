//! What flows along the edges of the graph.

use super::slices::RowBytes;
use crate::ids::{BatchTime, ClockId, PartOrder};
use crate::limits::PLUGIN_CALL_MAX;
use arrow::array::RecordBatch;
use arrow::ipc::{reader::StreamReader, writer::StreamWriter};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};
use std::ops::Range;

/// A columnar sub-batch: one timely record, many rows. Its batch id is its timely timestamp.
#[derive(Clone, Debug)]
pub struct Part {
    /// The worker that an exchange sends it to; without meaning elsewhere.
    pub to: u64,
    /// Its place among the parts of the batch.
    pub order: PartOrder,
    /// Whose clock the times in its rows follow.
    pub clock_id: ClockId,
    /// Which of its stage's inputs it came in by, or which stream it goes out by; 0 where there is one.
    pub input: u32,
    /// The batch time.
    pub time: BatchTime,
    /// The rows.
    pub rows: RecordBatch,
}

impl Part {
    /// The part in pieces that each fit into one call of a plugin. They depend on its rows alone, and their places lie within
    /// its own.
    pub fn for_calls(self) -> Vec<Part> {
        let slices = RowBytes::of([&self.rows]).slices(self.rows.num_rows(), PLUGIN_CALL_MAX);
        if slices.len() == 1 {
            return vec![self];
        }
        let piece = |(place, slice): (u64, Range<usize>)| {
            let (order, rows) = (self.order.clone().then(place), self.rows.slice(slice.start, slice.len()));
            Part { order, rows, ..self.clone() }
        };
        (0..).zip(slices).map(piece).collect()
    }
}

/// Between processes a part travels as an Arrow IPC stream; within a process it is moved.
impl Serialize for Part {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(self.rows.get_array_memory_size() + 1024);
        let mut writer = StreamWriter::try_new(&mut bytes, &self.rows.schema()).map_err(S::Error::custom)?;
        writer.write(&self.rows).and_then(|()| writer.finish()).map_err(S::Error::custom)?;
        drop(writer);
        (self.to, &self.order, self.clock_id, self.input, self.time, bytes).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Part, D::Error> {
        type Fields = (u64, PartOrder, ClockId, u32, BatchTime, Vec<u8>);
        let (to, order, clock_id, input, time, bytes): Fields = Deserialize::deserialize(deserializer)?;
        let mut reader = StreamReader::try_new(bytes.as_slice(), None).map_err(D::Error::custom)?;
        let rows = reader.next().ok_or_else(|| D::Error::custom("a part without rows"))?.map_err(D::Error::custom)?;
        Ok(Part { to, order, clock_id, input, time, rows })
    }
}
