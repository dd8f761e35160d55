//! An aggregate over a frame that moves on, put together from the rows that are in it: nothing is taken out of a sum, as
//! floats that were added cannot be taken out again exactly, and never after an infinity or NaN.
//!
//! The rows of a frame are two stacks. Of those behind the bound only one accumulator is kept; of those before it one for
//! each row, of this row and all up to the bound, so that the oldest row goes by throwing its accumulator away. When none
//! is left, the bound moves to the newest row.

use super::factory::AccumulatorFactory;
use arrow::array::{Array, ArrayRef};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err};
use datafusion::logical_expr::Accumulator;
use std::collections::VecDeque;

type AccumulatorState = Vec<ScalarValue>;

/// See above.
#[derive(Debug)]
pub struct SlidingAccumulator {
    make: AccumulatorFactory,
    /// The accumulator of each row before the bound, of it and those behind it; the oldest row last.
    before: Vec<AccumulatorState>,
    /// The rows behind the bound, in pieces, the oldest first.
    behind: VecDeque<Vec<ArrayRef>>,
    /// The accumulator of these.
    sum: Box<dyn Accumulator>,
}

impl SlidingAccumulator {
    /// Over a frame without rows.
    pub fn new(make: AccumulatorFactory) -> Result<SlidingAccumulator> {
        let sum = make.accumulator()?;
        Ok(SlidingAccumulator { make, before: Vec::new(), behind: VecDeque::new(), sum })
    }

    /// Moves the bound to the newest row.
    fn turn(&mut self) -> Result<()> {
        let mut newer: Option<AccumulatorState> = None;
        for piece in std::mem::take(&mut self.behind).into_iter().rev() {
            let rows = piece.first().map_or(0, |column| column.len());
            for row in (0..rows).rev() {
                let mut one = self.make.accumulator()?;
                let values: Vec<ArrayRef> = piece.iter().map(|column| column.slice(row, 1)).collect();
                one.update_batch(&values)?;
                if let Some(newer) = &newer {
                    merge(&mut *one, newer)?;
                }
                let state = one.state()?;
                self.before.push(state.clone());
                newer = Some(state);
            }
        }
        self.sum = self.make.accumulator()?;
        Ok(())
    }
}

fn merge(into: &mut dyn Accumulator, state: &AccumulatorState) -> Result<()> {
    let columns = state.iter().map(|value| value.to_array()).collect::<Result<Vec<_>>>()?;
    into.merge_batch(&columns)
}

impl Accumulator for SlidingAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if values.first().is_some_and(|column| !column.is_empty()) {
            self.sum.update_batch(values)?;
            self.behind.push_back(values.to_vec());
        }
        Ok(())
    }

    /// The rows that leave are always the oldest.
    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for _ in 0..values.first().map_or(0, |column| column.len()) {
            if self.before.is_empty() {
                self.turn()?;
            }
            self.before.pop().ok_or_else(|| exec_datafusion_err!("a frame loses rows that it never had"))?;
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut whole = self.make.accumulator()?;
        if let Some(before) = self.before.last() {
            merge(&mut *whole, before)?;
        }
        if !self.behind.is_empty() {
            let behind = self.sum.state()?;
            merge(&mut *whole, &behind)?;
        }
        whole.evaluate()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Err(exec_datafusion_err!("an accumulator of a moving frame has no state"))
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        Err(exec_datafusion_err!("an accumulator of a moving frame is not put together with others"))
    }

    fn size(&self) -> usize {
        let states: usize = self.before.first().map_or(0, |state| state.iter().map(ScalarValue::size).sum());
        size_of_val(self) + self.before.len() * (states + size_of::<AccumulatorState>())
    }
}
