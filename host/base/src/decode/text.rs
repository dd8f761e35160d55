//! Lines into one text column, in one go: the bytes are copied without what delimits them, and checked once.

use super::Delimiter;
use crate::batch::chunk::Chunk;
use arrow::array::{ArrayRef, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use std::sync::Arc;

/// The records of a chunk as texts; `None` if any of them is refused or not UTF-8, and has to be looked at by itself.
pub fn decode(chunk: &Chunk, delimiter: Delimiter) -> Option<ArrayRef> {
    if !chunk.refused.is_empty() || i32::try_from(chunk.bytes.len()).is_err() {
        return None;
    }
    let mut bytes = Vec::with_capacity(chunk.bytes.len());
    let mut offsets = Vec::with_capacity(chunk.rows() + 1);
    offsets.push(0);
    let mut start = 0;
    for end in &chunk.ends {
        let end = *end as usize;
        let record = delimiter.strip(chunk.bytes.get(start..end)?);
        bytes.extend_from_slice(record);
        offsets.push(bytes.len() as i32);
        start = end;
    }
    // Arrow checks that the whole is UTF-8 and that no record begins or ends within a character.
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    StringArray::try_new(offsets, Buffer::from_vec(bytes), None).ok().map(|array| Arc::new(array) as ArrayRef)
}
