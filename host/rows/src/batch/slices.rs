//! The size of rows in bytes, and slices of rows of bounded size.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use millstream_base::limits::SliceMax;
use std::ops::Range;

/// The size of rows that lie side by side in one or several batches.
pub struct RowBytes<'a>(Vec<SlicedColumn<'a>>);

enum SlicedColumn<'a> {
    /// Values between offsets.
    Sized(&'a [i32]),
    /// Bytes per row.
    Fixed(usize),
    /// Values of lists, between offsets.
    List(&'a [i32], Box<SlicedColumn<'a>>),
    /// Values of several fields.
    Fields(Vec<SlicedColumn<'a>>),
    /// Anything else: the average bytes per row.
    Average(usize),
}

impl<'a> RowBytes<'a> {
    /// Measures the rows of these batches, which have the same number of rows.
    pub fn measure(batches: impl IntoIterator<Item = &'a RecordBatch>) -> RowBytes<'a> {
        RowBytes(batches.into_iter().flat_map(RecordBatch::columns).map(SlicedColumn::new).collect())
    }

    /// Measures some columns of a batch, by index.
    pub fn of_columns(batch: &'a RecordBatch, indexes: &[usize]) -> RowBytes<'a> {
        RowBytes(indexes.iter().filter_map(|index| batch.columns().get(*index)).map(SlicedColumn::new).collect())
    }

    /// Returns the bytes of a range of rows.
    pub fn of_range(&self, rows: &Range<usize>) -> usize {
        self.0.iter().fold(0_usize, |sum, column| sum.saturating_add(column.bytes(rows)))
    }

    /// Returns the end of the slice that begins at `start`, with at least one of `rows` rows. The same rows are always cut in the same way.
    pub fn slice_end(&self, start: usize, rows: usize, max: SliceMax) -> usize {
        self.fitting_end(start, rows, max).max(start.saturating_add(1)).min(rows)
    }

    /// Returns the end of the rows from `start` that fit into `max`; possibly none do.
    pub fn fitting_end(&self, start: usize, rows: usize, max: SliceMax) -> usize {
        let (mut good, mut bad) = (start, start.saturating_add(max.rows).min(rows));
        if good >= bad || self.of_range(&(start..bad)) <= max.bytes {
            return bad;
        }
        // More rows never have fewer bytes.
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            if self.of_range(&(start..middle)) <= max.bytes {
                good = middle;
            } else {
                bad = middle;
            }
        }
        good
    }

    /// Cuts `rows` rows into slices; no rows are one empty slice.
    pub fn slices(&self, rows: usize, max: SliceMax) -> Vec<Range<usize>> {
        let mut slices = Vec::new();
        let mut start = 0;
        while start < rows {
            let end = self.slice_end(start, rows, max);
            slices.push(start..end);
            start = end;
        }
        if slices.is_empty() {
            slices.push(0..0);
        }
        slices
    }
}

impl<'a> SlicedColumn<'a> {
    fn new(array: &'a ArrayRef) -> SlicedColumn<'a> {
        match array.data_type() {
            DataType::Utf8 => SlicedColumn::Sized(array.as_string::<i32>().value_offsets()),
            DataType::Binary => SlicedColumn::Sized(array.as_binary::<i32>().value_offsets()),
            DataType::List(_) => {
                let lists = array.as_list::<i32>();
                SlicedColumn::List(lists.value_offsets(), Box::new(SlicedColumn::new(lists.values())))
            }
            DataType::Struct(_) => {
                SlicedColumn::Fields(array.as_struct().columns().iter().map(SlicedColumn::new).collect())
            }
            // A bit in fact; with a byte, the size of rows is the sum of the sizes of each, however they are cut.
            DataType::Boolean => SlicedColumn::Fixed(1),
            other => other.primitive_width().map_or_else(|| SlicedColumn::average(array), SlicedColumn::Fixed),
        }
    }

    fn bytes(&self, rows: &Range<usize>) -> usize {
        match self {
            SlicedColumn::Sized(offsets) => {
                let at = |row: usize| offsets.get(row).copied().unwrap_or_default();
                let values = usize::try_from(i64::from(at(rows.end)) - i64::from(at(rows.start))).unwrap_or_default();
                values + size_of::<i32>() * rows.len()
            }
            SlicedColumn::List(offsets, values) => {
                let at =
                    |row: usize| usize::try_from(offsets.get(row).copied().unwrap_or_default()).unwrap_or_default();
                values.bytes(&(at(rows.start)..at(rows.end))).saturating_add(size_of::<i32>() * rows.len())
            }
            SlicedColumn::Fields(fields) => {
                fields.iter().fold(0, |sum: usize, field| sum.saturating_add(field.bytes(rows)))
            }
            SlicedColumn::Fixed(bytes) | SlicedColumn::Average(bytes) => bytes.saturating_mul(rows.len()),
        }
    }

    fn average(array: &ArrayRef) -> SlicedColumn<'a> {
        let bytes = array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size());
        SlicedColumn::Average(bytes / array.len().max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{BooleanArray, Int64Array, ListArray, StringArray, StructArray};
    use arrow::datatypes::{Field, Int64Type};
    use std::sync::Arc;

    fn strings(lengths: &[usize]) -> RecordBatch {
        let strings: ArrayRef =
            Arc::new(StringArray::from_iter_values(lengths.iter().map(|length| "x".repeat(*length))));
        RecordBatch::try_from_iter([("text", strings)]).unwrap()
    }

    #[test]
    fn slices_hold_no_more_than_they_may_but_a_row() {
        let rows = strings(&[6, 6, 16, 1, 1, 1, 1, 100, 3]);
        let bytes = RowBytes::measure([&rows]);
        let slices = |rows: usize, max: usize| bytes.slices(9, SliceMax { rows, bytes: max });
        assert_eq!(slices(100, 20), [0..2, 2..3, 3..7, 7..8, 8..9]);
        assert_eq!(slices(2, 20), [0..2, 2..3, 3..5, 5..7, 7..8, 8..9]);
        assert_eq!(slices(100, 1 << 20), vec![0..9; 1]);
        assert_eq!(slices(1, 0).len(), 9);
        assert_eq!(bytes.slices(0, SliceMax { rows: 1, bytes: 1 }), vec![0..0; 1]);
    }

    #[test]
    fn a_part_of_a_table_counts_as_its_own_rows() {
        let all = strings(&[1000, 2, 3, 1000]);
        let part = all.slice(1, 2);
        assert_eq!(RowBytes::measure([&part]).of_range(&(0..2)), 5 + 8);
        assert_eq!(RowBytes::measure([&part, &part]).of_range(&(1..2)), 2 * (3 + 4));
    }

    #[test]
    fn every_kind_of_column_counts() {
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>((0..4).map(|_| Some(vec![Some(1); 100])));
        let columns: [(&str, ArrayRef); 3] = [
            ("number", Arc::new(Int64Array::from(vec![1; 4]))),
            ("flag", Arc::new(BooleanArray::from(vec![true; 4]))),
            ("list", Arc::new(list)),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let bytes = RowBytes::measure([&rows]).of_range(&(1..3));
        assert_eq!(bytes, 16 + 2 + 2 * (800 + 4));
    }

    #[test]
    fn rows_of_lists_count_as_what_is_in_each_wherever_they_are_cut() {
        let lists =
            ListArray::from_iter_primitive::<Int64Type, _, _>([1, 100, 0, 7].map(|values| Some(vec![Some(1); values])));
        let lists: ArrayRef = Arc::new(lists);
        let fields = StructArray::from(vec![(Arc::new(Field::new("list", lists.data_type().clone(), true)), lists)]);
        let rows = RecordBatch::try_from_iter([("fields", Arc::new(fields) as ArrayRef)]).unwrap();
        let all = RowBytes::measure([&rows]);
        let each: Vec<usize> = (0..4).map(|row| all.of_range(&(row..row + 1))).collect();
        assert_eq!(each, [4 + 8, 4 + 800, 4, 4 + 56]);
        let cut = rows.slice(1, 3);
        assert_eq!(RowBytes::measure([&cut]).of_range(&(0..2)), all.of_range(&(1..3)));
        assert_eq!(all.fitting_end(1, 4, SliceMax { rows: 3, bytes: 803 }), 1);
        assert_eq!(all.fitting_end(1, 4, SliceMax { rows: 3, bytes: 808 }), 3);
        assert_eq!(all.fitting_end(1, 4, SliceMax { rows: 0, bytes: 808 }), 1);
    }
}
