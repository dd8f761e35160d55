//! Assembles the rows of a join from pairs of rows.

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::interleave;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

/// Position of a row of one side: the batch, and the row in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowPosition {
    /// Index of its batch.
    pub chunk: u32,
    /// Index in the batch.
    pub row: u32,
}

/// Two matching rows, or one without a partner.
pub type Pair = [Option<RowPosition>; 2];

/// Source of a column's values: indexes in the layouts of the sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnSource {
    /// The same value on both sides: from the first, or from the second if there is no first.
    Both(usize),
    /// A column of the first side.
    First(usize),
    /// A column of the second side.
    Second(usize),
}

/// The output columns of a join.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The schema.
    pub schema: SchemaRef,
    /// The source of each column.
    pub sources: Vec<ColumnSource>,
}

impl Joined {
    /// Returns the rows of these pairs, in order. `sides` has the batches of the pairs.
    pub fn rows(&self, sides: [&[&RecordBatch]; 2], pairs: &[Pair]) -> Result<RecordBatch, ArrowError> {
        let first = RowPicks::new(sides[0], pairs.iter().map(|pair| pair[0]));
        let second = RowPicks::new(sides[1], pairs.iter().map(|pair| pair[1]));
        let both = RowPicks::either(&first, &second);
        let column = |(source, field): (&ColumnSource, &arrow::datatypes::FieldRef)| {
            let kind = field.data_type();
            match source {
                ColumnSource::First(index) => first.column(&[(sides[0], *index)], kind),
                ColumnSource::Second(index) => second.column(&[(sides[1], *index)], kind),
                ColumnSource::Both(index) => both.column(&[(sides[0], *index), (sides[1], *index)], kind),
            }
        };
        let columns = self.sources.iter().zip(self.schema.fields()).map(column).collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(pairs.len()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
    }
}

/// Selected rows, in the format of `interleave`.
struct RowPicks {
    /// Batch and row; for a missing row, row 0 of the batch after the last.
    indexes: Vec<(usize, usize)>,
    /// Number of batches.
    chunks: usize,
    /// Whether any row is missing.
    gaps: bool,
}

impl RowPicks {
    fn new(chunks: &[&RecordBatch], rows: impl Iterator<Item = Option<RowPosition>>) -> RowPicks {
        let mut gaps = false;
        let index = |at: Option<RowPosition>| match at {
            Some(at) => (at.chunk as usize, at.row as usize),
            None => {
                gaps = true;
                (chunks.len(), 0)
            }
        };
        let indexes = rows.map(index).collect();
        RowPicks { indexes, chunks: chunks.len(), gaps }
    }

    /// Selects the rows of the first side, or of the second if missing; the batches of both are given in this order.
    fn either(first: &RowPicks, second: &RowPicks) -> RowPicks {
        let (chunks, after_last) = (first.chunks + second.chunks, first.chunks);
        let index =
            |(a, b): (&(usize, usize), &(usize, usize))| if a.0 < after_last { *a } else { (after_last + b.0, b.1) };
        let indexes = first.indexes.iter().zip(&second.indexes).map(index).collect();
        RowPicks { indexes, chunks, gaps: first.gaps && second.gaps }
    }

    fn column(
        &self,
        from: &[(&[&RecordBatch], usize)],
        kind: &arrow::datatypes::DataType,
    ) -> Result<ArrayRef, ArrowError> {
        let column = |chunk: &&RecordBatch, index: usize| {
            let missing = || ArrowError::SchemaError(format!("a row of a join lacks column {index}"));
            chunk.columns().get(index).cloned().ok_or_else(missing)
        };
        let columns = from.iter().flat_map(|(chunks, index)| chunks.iter().map(|chunk| column(chunk, *index)));
        let mut columns: Vec<ArrayRef> = columns.collect::<Result<_, _>>()?;
        if self.gaps || columns.is_empty() {
            columns.push(new_null_array(kind, 1));
        }
        let columns: Vec<&dyn Array> = columns.iter().map(AsRef::as_ref).collect();
        interleave(&columns, &self.indexes)
    }
}
