//! `sum` of integers, computed with 128 bits, so that overflow is detected. DataFusion's returns a wrong number.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray};
use arrow::datatypes::{
    DataType, Decimal128Type, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType,
    DurationSecondType, Int64Type, TimeUnit, UInt64Type,
};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, internal_datafusion_err};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use std::collections::HashMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

/// An integer type that is summed here.
trait Integer: ArrowPrimitiveType<Native: Into<i128> + TryFrom<i128>> + Debug + Send + Sync {}

impl<T: ArrowPrimitiveType<Native: Into<i128> + TryFrom<i128>> + Debug + Send + Sync> Integer for T {}

/// Returns an accumulator for such a sum, which can also subtract rows; `None` if DataFusion's own is correct.
pub fn accumulator(arguments: &AccumulatorArgs<'_>) -> Option<Box<dyn Accumulator>> {
    fn make<T: Integer>(kind: &DataType, distinct: bool) -> Box<dyn Accumulator> {
        match distinct {
            true => Box::new(DistinctSum::<T> { kind: kind.clone(), values: HashMap::new(), sum: 0, of: PhantomData }),
            false => Box::new(Sum::<T> { kind: kind.clone(), sum: 0, rows: 0, of: PhantomData }),
        }
    }
    let (kind, distinct) = (arguments.return_field.data_type(), arguments.is_distinct);
    Some(match kind {
        DataType::Int64 => make::<Int64Type>(kind, distinct),
        DataType::UInt64 => make::<UInt64Type>(kind, distinct),
        DataType::Decimal128(..) => make::<Decimal128Type>(kind, distinct),
        DataType::Duration(TimeUnit::Second) => make::<DurationSecondType>(kind, distinct),
        DataType::Duration(TimeUnit::Millisecond) => make::<DurationMillisecondType>(kind, distinct),
        DataType::Duration(TimeUnit::Microsecond) => make::<DurationMicrosecondType>(kind, distinct),
        DataType::Duration(TimeUnit::Nanosecond) => make::<DurationNanosecondType>(kind, distinct),
        _ => return None,
    })
}

/// As [`accumulator`], for many groups.
pub fn groups_accumulator(arguments: &AccumulatorArgs<'_>) -> Option<Box<dyn GroupsAccumulator>> {
    fn make<T: Integer>(kind: &DataType) -> Box<dyn GroupsAccumulator> {
        Box::new(GroupSums::<T> { kind: kind.clone(), sums: Vec::new(), any: Vec::new(), of: PhantomData })
    }
    if arguments.is_distinct {
        return None;
    }
    let kind = arguments.return_field.data_type();
    Some(match kind {
        DataType::Int64 => make::<Int64Type>(kind),
        DataType::UInt64 => make::<UInt64Type>(kind),
        DataType::Decimal128(..) => make::<Decimal128Type>(kind),
        DataType::Duration(TimeUnit::Second) => make::<DurationSecondType>(kind),
        DataType::Duration(TimeUnit::Millisecond) => make::<DurationMillisecondType>(kind),
        DataType::Duration(TimeUnit::Microsecond) => make::<DurationMicrosecondType>(kind),
        DataType::Duration(TimeUnit::Nanosecond) => make::<DurationNanosecondType>(kind),
        _ => return None,
    })
}

fn too_large(kind: &DataType) -> datafusion::common::DataFusionError {
    let kind = if kind == &DataType::Int64 { "int64".into() } else { kind.to_string() };
    exec_datafusion_err!("a sum does not fit {kind}; write sum(cast(… as double)), or sum(cast(… as decimal(38, 0)))")
}

/// Converts a sum to the output type; fails if it overflows.
fn narrow<T: Integer>(sum: i128, kind: &DataType) -> Result<T::Native> {
    T::Native::try_from(sum).map_err(|_| too_large(kind))
}

fn scalar<T: Integer>(sum: Option<T::Native>, kind: &DataType) -> Result<ScalarValue> {
    let one = PrimitiveArray::<T>::from_iter([sum]).with_data_type(kind.clone());
    ScalarValue::try_from_array(&one, 0)
}

fn numbers<T: Integer>(values: &[ArrayRef]) -> Result<&PrimitiveArray<T>> {
    let column = values.first().and_then(|values| values.as_primitive_opt::<T>());
    column.ok_or_else(|| internal_datafusion_err!("a sum over values of another type"))
}

/// One sum.
#[derive(Debug)]
struct Sum<T> {
    kind: DataType,
    sum: i128,
    /// Number of rows with a value.
    rows: u64,
    of: PhantomData<T>,
}

impl<T: Integer> Accumulator for Sum<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in numbers::<T>(values)?.iter().flatten() {
            self.sum = self.sum.checked_add(value.into()).ok_or_else(|| too_large(&self.kind))?;
            self.rows += 1;
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in numbers::<T>(values)?.iter().flatten() {
            self.sum = self.sum.checked_sub(value.into()).ok_or_else(|| too_large(&self.kind))?;
            self.rows = self.rows.saturating_sub(1);
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = if self.rows == 0 { None } else { Some(narrow::<T>(self.sum, &self.kind)?) };
        scalar::<T>(sum, &self.kind)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// A sum of distinct values.
#[derive(Debug)]
struct DistinctSum<T> {
    kind: DataType,
    /// The count of each value.
    values: HashMap<i128, u64>,
    sum: i128,
    of: PhantomData<T>,
}

impl<T: Integer> DistinctSum<T> {
    fn add(&mut self, values: &PrimitiveArray<T>) -> Result<()> {
        for value in values.iter().flatten() {
            let value: i128 = value.into();
            let count = self.values.entry(value).or_default();
            if *count == 0 {
                self.sum = self.sum.checked_add(value).ok_or_else(|| too_large(&self.kind))?;
            }
            *count += 1;
        }
        Ok(())
    }
}

impl<T: Integer> Accumulator for DistinctSum<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(numbers::<T>(values)?)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some(lists) = states.first().and_then(|states| states.as_list_opt::<i32>()) else {
            return Err(internal_datafusion_err!("a sum of other states than its own"));
        };
        lists.iter().flatten().try_for_each(|values| self.add(numbers::<T>(&[values])?))
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in numbers::<T>(values)?.iter().flatten() {
            let value: i128 = value.into();
            let left = self.values.get_mut(&value).map(|count| {
                *count = count.saturating_sub(1);
                *count
            });
            if left == Some(0) {
                self.values.remove(&value);
                self.sum = self.sum.checked_sub(value).ok_or_else(|| too_large(&self.kind))?;
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = if self.values.is_empty() { None } else { Some(narrow::<T>(self.sum, &self.kind)?) };
        scalar::<T>(sum, &self.kind)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut values: Vec<i128> = self.values.keys().copied().collect();
        values.sort_unstable();
        let one = |value: i128| scalar::<T>(Some(narrow::<T>(value, &self.kind)?), &self.kind);
        let values = values.into_iter().map(one).collect::<Result<Vec<_>>>()?;
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(&values, &self.kind))])
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * (size_of::<(i128, u64)>() + 1)
    }
}

/// One sum per group.
struct GroupSums<T> {
    kind: DataType,
    sums: Vec<i128>,
    /// Whether there was a value.
    any: Vec<bool>,
    of: PhantomData<T>,
}

impl<T: Integer> GroupsAccumulator for GroupSums<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        self.sums.resize(count, 0);
        self.any.resize(count, false);
        let values = numbers::<T>(values)?;
        let counts = |row: usize| values.is_valid(row) && filter.is_none_or(|f| f.is_valid(row) && f.value(row));
        for (row, group) in groups.iter().enumerate().filter(|(row, _)| counts(*row)) {
            let sum = self.sums[*group].checked_add(values.value(row).into());
            self.sums[*group] = sum.ok_or_else(|| too_large(&self.kind))?;
            self.any[*group] = true;
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.update_batch(states, groups, None, count)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (sums, any) = (emit_to.take_needed(&mut self.sums), emit_to.take_needed(&mut self.any));
        let one = |(sum, any): (i128, bool)| any.then(|| narrow::<T>(sum, &self.kind)).transpose();
        let sums = sums.into_iter().zip(any).map(one).collect::<Result<PrimitiveArray<T>>>()?;
        Ok(Arc::new(sums.with_data_type(self.kind.clone())))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit_to)?])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = numbers::<T>(values)?;
        let counts = |row: usize| values.is_valid(row) && filter.is_none_or(|f| f.is_valid(row) && f.value(row));
        let states: PrimitiveArray<T> = (0..values.len()).map(|row| counts(row).then(|| values.value(row))).collect();
        Ok(vec![Arc::new(states.with_data_type(self.kind.clone()))])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i128>() + self.any.capacity()
    }
}
