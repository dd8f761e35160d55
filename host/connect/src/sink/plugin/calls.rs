//! Splits the rows of a batch into calls of a sink plugin.
//!
//! The number of workers determines how rows are split into parts. A plugin may number what it sends in each call, and use these numbers to
//! recognize a repeated batch, even after rescaling. So calls depend only on the rows.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use millstream_base::error::Error;
use millstream_base::limits::PLUGIN_CALL_MAX;
use millstream_rows::batch::slices::RowBytes;
use millstream_rows::batch::writing::WriteError;

/// Makes calls with the rows of these parts, in order: each with the maximum number of rows for one call, and with at least one.
pub fn each(
    parts: &[RecordBatch],
    mut call: impl FnMut(RecordBatch) -> Result<(), WriteError>,
) -> Result<(), WriteError> {
    let (mut next, mut room) = (Vec::new(), PLUGIN_CALL_MAX);
    for part in parts {
        let (bytes, rows) = (RowBytes::measure([part]), part.num_rows());
        let mut start = 0;
        while start < rows {
            let end = match next.is_empty() {
                true => bytes.slice_end(start, rows, room),
                false => bytes.fitting_end(start, rows, room),
            };
            if end > start {
                next.push(part.slice(start, end - start));
                room.rows = room.rows.saturating_sub(end - start);
                room.bytes = room.bytes.saturating_sub(bytes.of_range(&(start..end)));
            }
            if end < rows {
                call(concatenate(std::mem::take(&mut next))?)?;
                room = PLUGIN_CALL_MAX;
            }
            start = end;
        }
    }
    if next.is_empty() { Ok(()) } else { call(concatenate(next)?) }
}

fn concatenate(mut pieces: Vec<RecordBatch>) -> Result<RecordBatch, WriteError> {
    match (pieces.len(), pieces.first().map(RecordBatch::schema)) {
        (2.., Some(schema)) => {
            let to_error =
                |cause| WriteError::Permanent(Error::bug(format!("the rows of a batch do not fit together: {cause}")));
            concat_batches(&schema, &pieces).map_err(to_error)
        }
        _ => pieces.pop().ok_or_else(|| WriteError::Permanent(Error::bug("a call without rows"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, BooleanArray, StringArray};
    use millstream_base::limits::{PLUGIN_CALL_BYTES_MAX, PLUGIN_CALL_ROWS_MAX};
    use std::sync::Arc;

    /// Returns how many rows each call gets, for strings of these lengths in parts that end at these indices.
    fn calls(lengths: &[usize], ends: &[usize]) -> Vec<usize> {
        let strings: ArrayRef =
            Arc::new(StringArray::from_iter_values(lengths.iter().map(|length| "x".repeat(*length))));
        let flags: ArrayRef = Arc::new(BooleanArray::from_iter(lengths.iter().map(|length| Some(length % 3 == 0))));
        let all = RecordBatch::try_from_iter([("text", strings), ("flag", flags)]).unwrap();
        let starts = [0].into_iter().chain(ends.iter().copied());
        let ends = ends.iter().copied().chain([lengths.len()]);
        let parts: Vec<_> = starts.zip(ends).map(|(start, end)| all.slice(start, end - start)).collect();
        let mut calls = Vec::new();
        each(&parts, |rows| {
            calls.push(rows);
            Ok(())
        })
        .unwrap();
        let counts = calls.iter().map(RecordBatch::num_rows).collect();
        assert_eq!(concat_batches(&all.schema(), &calls).unwrap(), all);
        counts
    }

    #[test]
    fn calls_are_the_same_wherever_parts_end() {
        let few = vec![3; 20_000];
        let third = PLUGIN_CALL_BYTES_MAX / 3;
        let large = [third - 5, third - 5, third - 4, 1, 2 * PLUGIN_CALL_BYTES_MAX, 0, third, 2 * third, 9];
        for (lengths, expected) in [
            (&few[..], &[PLUGIN_CALL_ROWS_MAX, 20_000 - PLUGIN_CALL_ROWS_MAX][..]),
            (&large, &[3, 1, 1, 2, 2]),
            (&[], &[]),
        ] {
            for ends in [&[][..], &[1], &[3], &[4], &[5], &[2, 2, 6], &[1, 2, 3, 4, 5, 6, 7, 8]] {
                let ends: Vec<usize> = ends.iter().map(|end| *end.min(&lengths.len())).collect();
                assert_eq!(calls(lengths, &ends), expected, "{ends:?}");
            }
        }
        for ends in [vec![PLUGIN_CALL_ROWS_MAX], vec![7, 16_000, 19_999], (1..20_000).step_by(37).collect()] {
            assert_eq!(calls(&few, &ends), [PLUGIN_CALL_ROWS_MAX, 20_000 - PLUGIN_CALL_ROWS_MAX], "{ends:?}");
        }
    }
}
