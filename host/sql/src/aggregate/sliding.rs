//! An aggregate over a moving frame that is assembled from the rows in it. Nothing is subtracted from a sum, as added floats cannot be subtracted
//! exactly, and never after an infinity or NaN.
//!
//! The rows of a frame are two stacks. For the rows after the bound, a single accumulator is kept. Before it each row has one, for this row and all
//! up to the bound. So the oldest row is removed by dropping its accumulator. When none is left, the bound moves to the newest row.

use super::factory::AccumulatorFactory;
use arrow::array::{Array, ArrayRef};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err};
use datafusion::logical_expr::Accumulator;
use std::collections::VecDeque;

type AccumulatorState = Vec<ScalarValue>;

/// See the module.
#[derive(Debug)]
pub struct SlidingAccumulator {
    make: AccumulatorFactory,
    /// The accumulator of each row before the bound, for it and those after it; the oldest row last.
    before: Vec<AccumulatorState>,
    /// The rows after the bound, in pieces, the oldest first.
    after: VecDeque<Vec<ArrayRef>>,
    /// The accumulator of these rows.
    sum: Box<dyn Accumulator>,
}

impl SlidingAccumulator {
    /// Creates an accumulator of a frame without rows.
    pub fn new(make: AccumulatorFactory) -> Result<SlidingAccumulator> {
        let sum = make.accumulator()?;
        Ok(SlidingAccumulator { make, before: Vec::new(), after: VecDeque::new(), sum })
    }

    /// Moves the bound to the newest row.
    fn move_bound(&mut self) -> Result<()> {
        let mut newer: Option<AccumulatorState> = None;
        for piece in std::mem::take(&mut self.after).into_iter().rev() {
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
            self.after.push_back(values.to_vec());
        }
        Ok(())
    }

    /// Removes the oldest rows, which always leave first.
    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for _ in 0..values.first().map_or(0, |column| column.len()) {
            if self.before.is_empty() {
                self.move_bound()?;
            }
            self.before.pop().ok_or_else(|| exec_datafusion_err!("a frame loses rows that it never had"))?;
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut complete = self.make.accumulator()?;
        if let Some(before) = self.before.last() {
            merge(&mut *complete, before)?;
        }
        if !self.after.is_empty() {
            let after = self.sum.state()?;
            merge(&mut *complete, &after)?;
        }
        complete.evaluate()
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
