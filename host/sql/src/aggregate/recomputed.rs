//! An aggregate over a moving frame that is recomputed from all its rows for each row. It serves functions that store their values (concatenated
//! strings, distinct values, estimates). From these, parts can neither be subtracted nor stored per row.

use super::super::budget;
use super::factory::AccumulatorFactory;
use arrow::array::{Array, ArrayRef};
use arrow::compute::concat;
use datafusion::common::{Result, ScalarValue, exec_datafusion_err};
use datafusion::logical_expr::Accumulator;
use std::collections::VecDeque;

/// Pieces of a frame that grows row by row are concatenated at this number.
const PIECES_MAX: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct RecomputedAccumulator {
    make: AccumulatorFactory,
    /// The rows of the frame, in pieces, the oldest first.
    pieces: VecDeque<Vec<ArrayRef>>,
}

impl RecomputedAccumulator {
    /// Creates an accumulator of a frame without rows. Fails if the function does not support such values.
    pub fn new(make: AccumulatorFactory) -> Result<RecomputedAccumulator> {
        make.accumulator()?;
        Ok(RecomputedAccumulator { make, pieces: VecDeque::new() })
    }

    fn concat_pieces(&mut self) -> Result<()> {
        let columns = self.pieces.front().map_or(0, Vec::len);
        let complete = |column: usize| {
            let parts: Vec<&dyn Array> = self.pieces.iter().map(|piece| piece[column].as_ref()).collect();
            concat(&parts)
        };
        let complete: Vec<ArrayRef> = (0..columns).map(complete).collect::<std::result::Result<_, _>>()?;
        self.pieces.clear();
        self.pieces.push_back(complete);
        Ok(())
    }
}

fn rows_of(piece: &[ArrayRef]) -> usize {
    piece.first().map_or(0, |column| column.len())
}

impl Accumulator for RecomputedAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if rows_of(values) > 0 {
            self.pieces.push_back(values.to_vec());
        }
        if self.pieces.len() > PIECES_MAX { self.concat_pieces() } else { Ok(()) }
    }

    /// Removes the oldest rows, which always leave first.
    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let mut leaving = rows_of(values);
        while leaving > 0 {
            let oldest = self.pieces.pop_front();
            let oldest = oldest.ok_or_else(|| exec_datafusion_err!("a frame loses rows that it never had"))?;
            let rows = rows_of(&oldest);
            if rows > leaving {
                self.pieces.push_front(oldest.iter().map(|column| column.slice(leaving, rows - leaving)).collect());
            }
            leaving = leaving.saturating_sub(rows);
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        // Each row scans its complete frame, which may take long.
        budget::check()?;
        let mut complete = self.make.accumulator()?;
        self.pieces.iter().try_for_each(|piece| complete.update_batch(piece))?;
        complete.evaluate()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Err(exec_datafusion_err!("an accumulator of a moving frame has no state"))
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        Err(exec_datafusion_err!("an accumulator of a moving frame is not put together with others"))
    }

    fn size(&self) -> usize {
        let rows: usize = self.pieces.iter().flatten().map(|column| column.get_array_memory_size()).sum();
        size_of_val(self) + rows
    }
}
