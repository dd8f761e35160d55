//! `min` and `max` of floats for many groups. DataFusion's begin with the smallest and the largest finite number, which is wrong if all values are
//! infinite. Their result for a NaN depends on its position.

use arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray};
use arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type};
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use std::cmp::Ordering;
use std::sync::Arc;

/// Returns an accumulator for the smallest or largest value of each group; `None` if DataFusion's own is correct.
pub fn groups_accumulator(name: &str, arguments: &AccumulatorArgs<'_>) -> Option<Box<dyn GroupsAccumulator>> {
    let wins = match name {
        "min" => Ordering::Less,
        "max" => Ordering::Greater,
        _ => return None,
    };
    Some(match arguments.return_field.data_type() {
        DataType::Float16 => Box::new(Extremes::<Float16Type> { wins, best: Vec::new() }),
        DataType::Float32 => Box::new(Extremes::<Float32Type> { wins, best: Vec::new() }),
        DataType::Float64 => Box::new(Extremes::<Float64Type> { wins, best: Vec::new() }),
        _ => return None,
    })
}

struct Extremes<T: ArrowPrimitiveType> {
    /// How a value compares with those that it replaces, in an order in which NaN is the largest.
    wins: Ordering,
    /// `None` if there was no value.
    best: Vec<Option<T::Native>>,
}

fn numbers<T: ArrowPrimitiveType>(values: &[ArrayRef]) -> Result<&PrimitiveArray<T>> {
    let column = values.first().and_then(|values| values.as_primitive_opt::<T>());
    column.ok_or_else(|| internal_datafusion_err!("values of another type than declared"))
}

impl<T: ArrowPrimitiveType> GroupsAccumulator for Extremes<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        self.best.resize(count, None);
        let values = numbers::<T>(values)?;
        let counts = |row: usize| values.is_valid(row) && filter.is_none_or(|f| f.is_valid(row) && f.value(row));
        for (row, group) in groups.iter().enumerate().filter(|(row, _)| counts(*row)) {
            let value = values.value(row);
            let best = &mut self.best[*group];
            if best.is_none_or(|best| value.compare(best) == self.wins) {
                *best = Some(value);
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.update_batch(states, groups, None, count)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        Ok(Arc::new(emit_to.take_needed(&mut self.best).into_iter().collect::<PrimitiveArray<T>>()))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit_to)?])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = numbers::<T>(values)?;
        let counts = |row: usize| values.is_valid(row) && filter.is_none_or(|f| f.is_valid(row) && f.value(row));
        let states: PrimitiveArray<T> = (0..values.len()).map(|row| counts(row).then(|| values.value(row))).collect();
        Ok(vec![Arc::new(states)])
    }

    fn size(&self) -> usize {
        self.best.capacity() * size_of::<Option<T::Native>>()
    }
}
