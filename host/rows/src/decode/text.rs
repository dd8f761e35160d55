//! Decodes lines into one text column in one pass: the bytes are copied without their delimiters, and checked once.

use super::delimiter::Delimiter;
use super::mark::UTF_8;
use crate::batch::chunk::Chunk;
use arrow::array::{ArrayRef, StringArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use std::sync::Arc;

/// Returns the records of a chunk as text; `None` if any of them was rejected or is not UTF-8 and must be checked separately.
pub fn decode(chunk: &Chunk, delimiter: Delimiter) -> Option<ArrayRef> {
    if !chunk.rejected.is_empty() || i32::try_from(chunk.bytes.len()).is_err() {
        return None;
    }
    let mut bytes = Vec::with_capacity(chunk.bytes.len());
    let mut offsets = Vec::with_capacity(chunk.rows() + 1);
    offsets.push(0);
    let mut start = 0;
    for end in &chunk.ends {
        let end = *end as usize;
        let record = delimiter.strip(chunk.bytes.get(start..end)?);
        // A message is a string of its own; for a stream, the receiver has skipped the mark.
        let record = if delimiter.is_line() { record } else { record.strip_prefix(UTF_8).unwrap_or(record) };
        bytes.extend_from_slice(record);
        offsets.push(bytes.len() as i32);
        start = end;
    }
    text_array(bytes, offsets, None)
}

/// Creates a text array from all bytes and the end of each value, with a leading 0. `None` if they are not UTF-8, or if a value begins or ends
/// within a character. `nulls` has one bit per value.
pub fn text_array(bytes: Vec<u8>, ends: Vec<i32>, nulls: Option<NullBuffer>) -> Option<ArrayRef> {
    let text = simdutf8::basic::from_utf8(&bytes).ok()?;
    let are_valid = ends.iter().all(|end| usize::try_from(*end).is_ok_and(|end| text.is_char_boundary(end)));
    let strings = ends.len().checked_sub(1)?;
    if !are_valid || nulls.as_ref().is_some_and(|nulls| nulls.len() != strings) {
        return None;
    }
    let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
    // SAFETY: all bytes are UTF-8, no value begins or ends within a character or after the bytes, and there is a bit for each, as was just checked.
    // `OffsetBuffer` checks that no value ends before it begins. Arrow itself would check all bytes more slowly.
    Some(Arc::new(unsafe { StringArray::new_unchecked(offsets, Buffer::from_vec(bytes), nulls) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_texts_are_an_array() {
        let array = |bytes: &[u8], ends: &[i32]| text_array(bytes.to_vec(), ends.to_vec(), None);
        let good = array("aé".as_bytes(), &[0, 1, 1, 3]).unwrap();
        assert_eq!(good.as_ref(), &StringArray::from(vec!["a", "", "é"]));
        assert!(array("aé".as_bytes(), &[0, 2, 3]).is_none(), "within a character");
        assert!(array("aé".as_bytes(), &[0, 4]).is_none(), "behind the end");
        assert!(array(b"a\xff", &[0, 1]).is_none(), "not UTF-8, be it behind the texts");
        assert!(array(b"", &[]).is_none(), "nothing begins");
        let nulls = |bits| Some(NullBuffer::new_null(bits));
        assert!(text_array(b"a".to_vec(), vec![0, 1], nulls(2)).is_none(), "more bits than texts");
        assert_eq!(text_array(b"".to_vec(), vec![0, 0], nulls(1)).unwrap().null_count(), 1);
    }
}
