//! Makes the rows of a join of pairs of rows.

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::interleave;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

/// A row of one side: the batch among those that are there, and the row in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowPlace {
    /// The place of its batch.
    pub chunk: u32,
    /// Its place in the batch.
    pub row: u32,
}

/// Two rows that belong together, or one that has no partner.
pub type Pair = [Option<RowPlace>; 2];

/// Where the values of a column come from: places in the layouts of the sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnSource {
    /// The same value on both sides: of the first, or of the second where there is no first.
    Both(usize),
    /// A column of the first side.
    First(usize),
    /// A column of the second side.
    Second(usize),
}

/// The columns of a join.
#[derive(Clone, Debug)]
pub struct Joined {
    /// As they come out.
    pub schema: SchemaRef,
    /// Where each comes from.
    pub sources: Vec<ColumnSource>,
}

impl Joined {
    /// The rows of these pairs, in order. `sides`: the batches that the pairs point into.
    pub fn rows(&self, sides: [&[&RecordBatch]; 2], pairs: &[Pair]) -> Result<RecordBatch, ArrowError> {
        let first = RowPicks::new(sides[0], pairs.iter().map(|pair| pair[0]));
        let second = RowPicks::new(sides[1], pairs.iter().map(|pair| pair[1]));
        let both = RowPicks::either(&first, &second);
        let column = |(source, field): (&ColumnSource, &arrow::datatypes::FieldRef)| {
            let kind = field.data_type();
            match source {
                ColumnSource::First(place) => first.column(&[(sides[0], *place)], kind),
                ColumnSource::Second(place) => second.column(&[(sides[1], *place)], kind),
                ColumnSource::Both(place) => both.column(&[(sides[0], *place), (sides[1], *place)], kind),
            }
        };
        let columns = self.sources.iter().zip(self.schema.fields()).map(column).collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(pairs.len()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
    }
}

/// Which rows are taken, as `interleave` wants it.
struct RowPicks {
    /// Batch and row; where there is none, row 0 of the batch behind the last.
    places: Vec<(usize, usize)>,
    /// How many batches there are.
    chunks: usize,
    /// Whether there is none somewhere.
    gaps: bool,
}

impl RowPicks {
    fn new(chunks: &[&RecordBatch], rows: impl Iterator<Item = Option<RowPlace>>) -> RowPicks {
        let mut gaps = false;
        let place = |at: Option<RowPlace>| match at {
            Some(at) => (at.chunk as usize, at.row as usize),
            None => {
                gaps = true;
                (chunks.len(), 0)
            }
        };
        let places = rows.map(place).collect();
        RowPicks { places, chunks: chunks.len(), gaps }
    }

    /// The rows of the first side, or of the second where there are none; the batches of both are there in this order.
    fn either(first: &RowPicks, second: &RowPicks) -> RowPicks {
        let (chunks, behind) = (first.chunks + second.chunks, first.chunks);
        let place = |(a, b): (&(usize, usize), &(usize, usize))| if a.0 < behind { *a } else { (behind + b.0, b.1) };
        let places = first.places.iter().zip(&second.places).map(place).collect();
        RowPicks { places, chunks, gaps: first.gaps && second.gaps }
    }

    fn column(
        &self,
        from: &[(&[&RecordBatch], usize)],
        kind: &arrow::datatypes::DataType,
    ) -> Result<ArrayRef, ArrowError> {
        let column = |chunk: &&RecordBatch, place: usize| {
            let missing = || ArrowError::SchemaError(format!("a row of a join lacks column {place}"));
            chunk.columns().get(place).cloned().ok_or_else(missing)
        };
        let columns = from.iter().flat_map(|(chunks, place)| chunks.iter().map(|chunk| column(chunk, *place)));
        let mut columns: Vec<ArrayRef> = columns.collect::<Result<_, _>>()?;
        if self.gaps || columns.is_empty() {
            columns.push(new_null_array(kind, 1));
        }
        let columns: Vec<&dyn Array> = columns.iter().map(AsRef::as_ref).collect();
        interleave(&columns, &self.places)
    }
}
