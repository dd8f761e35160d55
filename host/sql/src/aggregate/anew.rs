//! An aggregate over a frame that moves on, computed of all its rows for each row: of what remembers its values (texts put
//! together, values that count once, what is only estimated) parts can neither be taken out nor kept for each row.

use super::super::budget;
use super::factory::AccumulatorFactory;
use arrow::array::{Array, ArrayRef};
use arrow::compute::concat;
use datafusion::common::{Result, ScalarValue, exec_datafusion_err};
use datafusion::logical_expr::Accumulator;
use std::collections::VecDeque;

/// A frame that grows by a row at a time is put together when it has so many pieces.
const PIECES_MAX: usize = 64;

/// See above.
#[derive(Debug)]
pub struct AnewAccumulator {
    make: AccumulatorFactory,
    /// The rows of the frame, in pieces, the oldest first.
    pieces: VecDeque<Vec<ArrayRef>>,
}

impl AnewAccumulator {
    /// Over a frame without rows. An error where the function does not take such values.
    pub fn new(make: AccumulatorFactory) -> Result<AnewAccumulator> {
        make.accumulator()?;
        Ok(AnewAccumulator { make, pieces: VecDeque::new() })
    }

    fn put_together(&mut self) -> Result<()> {
        let columns = self.pieces.front().map_or(0, Vec::len);
        let whole = |column: usize| {
            let parts: Vec<&dyn Array> = self.pieces.iter().map(|piece| piece[column].as_ref()).collect();
            concat(&parts)
        };
        let whole: Vec<ArrayRef> = (0..columns).map(whole).collect::<std::result::Result<_, _>>()?;
        self.pieces.clear();
        self.pieces.push_back(whole);
        Ok(())
    }
}

fn rows_of(piece: &[ArrayRef]) -> usize {
    piece.first().map_or(0, |column| column.len())
}

impl Accumulator for AnewAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if rows_of(values) > 0 {
            self.pieces.push_back(values.to_vec());
        }
        if self.pieces.len() > PIECES_MAX { self.put_together() } else { Ok(()) }
    }

    /// The rows that leave are always the oldest.
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
        // Each row looks at its whole frame, which may take long.
        budget::check()?;
        let mut whole = self.make.accumulator()?;
        self.pieces.iter().try_for_each(|piece| whole.update_batch(piece))?;
        whole.evaluate()
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
