//! `percentile_cont` with exact interpolation. DataFusion's interpolates in millionths, and computes positions from the top as the rest of 1, which
//! is inexact since 1 - 0.9 is not 0.1.

use super::super::budget;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Builder, ListBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, ScalarValue, internal_datafusion_err};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use datafusion::physical_expr::expressions::Literal;

/// Name of the function.
pub const NAME: &str = "percentile_cont";

/// Returns an accumulator for one percentile; `None` if DataFusion reports an error, or returns null.
pub fn accumulator(arguments: &AccumulatorArgs<'_>) -> Option<Box<dyn Accumulator>> {
    let percentile = Percentile::new(arguments)?;
    Some(Box::new(OnePercentile { percentile, distinct: arguments.is_distinct, values: Vec::new() }))
}

/// As [`accumulator`], for many groups.
pub fn groups_accumulator(arguments: &AccumulatorArgs<'_>) -> Option<Box<dyn GroupsAccumulator>> {
    if arguments.is_distinct {
        return None;
    }
    Some(Box::new(GroupPercentiles { percentile: Percentile::new(arguments)?, values: Vec::new() }))
}

/// The requested percentile.
#[derive(Debug)]
struct Percentile {
    /// From 0 to 1.
    part: f64,
    descending: bool,
    /// A type of floats.
    kind: DataType,
}

impl Percentile {
    fn new(arguments: &AccumulatorArgs<'_>) -> Option<Percentile> {
        let part = match arguments.exprs.get(1)?.downcast_ref::<Literal>()?.value() {
            ScalarValue::Float64(Some(part)) => *part,
            ScalarValue::Float32(Some(part)) => f64::from(*part),
            _ => return None,
        };
        let kind = arguments.expr_fields.first()?.data_type().clone();
        let descending = arguments.order_bys.first().is_some_and(|sort| sort.options.descending);
        (kind.is_floating() && (0.0..=1.0).contains(&part)).then_some(Percentile { part, descending, kind })
    }

    /// Returns the value at the position, interpolated between its neighbors.
    fn value_at(&self, values: &mut [f64]) -> Option<f64> {
        let last = values.len().checked_sub(1)?;
        let order = |a: &f64, b: &f64| if self.descending { b.total_cmp(a) } else { a.total_cmp(b) };
        let exact = self.part * last as f64;
        // A position such as 0.29 * 100 is an integer, though neither float is exact.
        let rounded = (exact - exact.round()).abs() <= exact * f64::EPSILON;
        let exact = if rounded { exact.round() } else { exact };
        let index = (exact as usize).min(last);
        let (_, lower, above) = values.select_nth_unstable_by(index, order);
        let lower = *lower;
        let upper = above.iter().copied().min_by(order).filter(|_| !rounded);
        Some(upper.map_or(lower, |upper| interpolate(lower, upper, exact - index as f64)))
    }

    fn scalar(&self, value: Option<f64>) -> Result<ScalarValue> {
        ScalarValue::Float64(value).cast_to(&self.kind)
    }

    /// Returns lists of values as states, which can be merged.
    fn lists<'a>(&self, lists: impl Iterator<Item = &'a [f64]>) -> Result<ArrayRef> {
        let mut out = ListBuilder::new(Float64Builder::new());
        for values in lists {
            out.values().append_slice(values);
            out.append(true);
        }
        let kind = DataType::new_list(self.kind.clone(), true);
        Ok(cast(&out.finish(), &kind)?)
    }
}

/// Interpolates between two numbers.
fn interpolate(lower: f64, upper: f64, part: f64) -> f64 {
    let distance = upper - lower;
    if lower == upper {
        lower
    } else if distance.is_finite() {
        lower + distance * part
    } else {
        lower * (1.0 - part) + upper * part
    }
}

/// Reads the values, with nulls as `None`.
fn numbers(values: Option<&ArrayRef>) -> Result<Vec<Option<f64>>> {
    let values = values.ok_or_else(|| internal_datafusion_err!("a percentile of no column"))?;
    let values = cast(values, &DataType::Float64)?;
    Ok(values.as_primitive::<Float64Type>().iter().collect())
}

/// Reads the lists from states.
fn lists(states: &[ArrayRef]) -> Result<Vec<Option<ArrayRef>>> {
    let lists = states.first().and_then(|states| states.as_list_opt::<i32>());
    Ok(lists.ok_or_else(|| internal_datafusion_err!("a percentile of other states than its own"))?.iter().collect())
}

#[derive(Debug)]
struct OnePercentile {
    percentile: Percentile,
    /// Whether duplicate values count once.
    distinct: bool,
    values: Vec<f64>,
}

impl Accumulator for OnePercentile {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values.extend(numbers(values.first())?.into_iter().flatten());
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        lists(states)?.into_iter().flatten().try_for_each(|values| self.update_batch(&[values]))
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.distinct {
            self.values.sort_unstable_by(f64::total_cmp);
            self.values.dedup_by_key(|value| value.to_bits());
        }
        self.percentile.scalar(self.percentile.value_at(&mut self.values))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let one = self.percentile.lists([self.values.as_slice()].into_iter())?;
        Ok(vec![ScalarValue::try_from_array(&one, 0)?])
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<f64>()
    }
}

/// The values of each group.
struct GroupPercentiles {
    percentile: Percentile,
    values: Vec<Vec<f64>>,
}

impl GroupsAccumulator for GroupPercentiles {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        self.values.resize(count, Vec::new());
        let counts = |row: usize| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        for (row, (value, group)) in numbers(values.first())?.into_iter().zip(groups).enumerate() {
            self.values[*group].extend(value.filter(|_| counts(row)));
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.values.resize(count, Vec::new());
        for (values, group) in lists(states)?.into_iter().zip(groups) {
            if values.is_some() {
                self.values[*group].extend(numbers(values.as_ref())?.into_iter().flatten());
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let mut groups = emit_to.take_needed(&mut self.values);
        let mut out = Float64Builder::with_capacity(groups.len());
        for values in &mut groups {
            budget::check()?;
            out.append_option(self.percentile.value_at(values));
        }
        Ok(cast(&out.finish(), &self.percentile.kind)?)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let groups = emit_to.take_needed(&mut self.values);
        Ok(vec![self.percentile.lists(groups.iter().map(Vec::as_slice))?])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let counts = |row: usize| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        let values = numbers(values.first())?;
        let kept: Vec<Option<f64>> =
            values.into_iter().enumerate().map(|(row, value)| value.filter(|_| counts(row))).collect();
        Ok(vec![self.percentile.lists(kept.iter().map(Option::as_slice))?])
    }

    fn size(&self) -> usize {
        let values: usize = self.values.iter().map(Vec::capacity).sum();
        values * size_of::<f64>() + self.values.capacity() * size_of::<Vec<f64>>()
    }
}
