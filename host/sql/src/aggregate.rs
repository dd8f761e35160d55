//! Corrections of DataFusion's aggregates: sums of integers that detect overflow, and minima and maxima of floats. Moving frames of window functions
//! do not subtract floats from sums, which would change the results.

mod recomputed;
mod extreme;
mod factory;
mod percentile;
mod sliding;
mod sum;

use super::budget;
use crate::limits::CENTROIDS_MAX;
use arrow::array::ArrayRef;
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::expr::{AggregateFunctionParams, WindowFunctionParams};
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF, SetMonotonicity,
    Signature, StatisticsArgs,
};
use datafusion::physical_expr::expressions::Literal;
use factory::AccumulatorFactory;
use recomputed::RecomputedAccumulator;
use sliding::SlidingAccumulator;
use std::sync::Arc;

/// Name of the sum.
pub const SUM: &str = "sum";

/// Name of the average.
pub const AVG: &str = "avg";

/// Aggregates with a single value, from which DataFusion does not subtract; for a frame, two parts are merged.
const MERGED: [&str; 4] = ["bool_and", "bool_or", "bit_and", "bit_or"];

/// Returns the corrected function.
pub fn exact(function: &Arc<AggregateUDF>) -> Arc<AggregateUDF> {
    match function.inner().is::<ExactAggregate>() {
        true => function.clone(),
        false => Arc::new(AggregateUDF::new_from_impl(ExactAggregate { plain: function.clone() })),
    }
}

/// Returns the type that these functions assume for an untyped null. It may become one of another type if a union has other branches.
pub fn kind_of_nulls(name: &str) -> Option<DataType> {
    match name {
        SUM => Some(DataType::Int64),
        AVG => Some(DataType::Float64),
        _ => None,
    }
}

/// Returns an accumulator of DataFusion's function, or our replacement.
fn plain_accumulator(function: &AggregateUDF, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
    let own = match function.name() {
        SUM => sum::accumulator(&arguments),
        percentile::NAME => percentile::accumulator(&arguments),
        _ => None,
    };
    own.map_or_else(|| function.accumulator(arguments), Ok)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ExactAggregate {
    plain: Arc<AggregateUDF>,
}

impl ExactAggregate {
    /// Returns whether its state is a few floats, which cannot be subtracted exactly.
    fn is_lossy(&self, arguments: &AccumulatorArgs<'_>) -> Result<bool> {
        let kind = arguments.return_field.data_type();
        if !kind.is_floating() || arguments.is_distinct {
            return Ok(false);
        }
        let states = self.plain.state_fields(StateFieldsArgs {
            name: arguments.name,
            input_fields: arguments.expr_fields,
            return_field: arguments.return_field.clone(),
            ordering_fields: &[],
            is_distinct: false,
        })?;
        Ok(states.iter().all(|state| state.data_type().is_numeric()))
    }

    /// Returns the type of an average of decimals: four more digits after the decimal point if there is room for them. DataFusion takes them from the
    /// digits before it.
    fn average(&self, kind: &DataType) -> Option<DataType> {
        let DataType::Decimal128(digits, scale) = kind else { return None };
        if self.plain.name() != AVG {
            return None;
        }
        let before = i16::from(*digits) - i16::from(*scale);
        let max = i8::try_from(i16::from(DECIMAL128_MAX_PRECISION) - before).ok()?;
        let scale = scale.saturating_add(4).min(max);
        Some(DataType::Decimal128(digits.saturating_add(4).min(DECIMAL128_MAX_PRECISION), scale))
    }

    /// Checks numbers that determine the size of an aggregate's state.
    fn check(&self, arguments: &AccumulatorArgs<'_>) -> Result<()> {
        if !self.plain.name().starts_with("approx_percentile_cont") {
            return Ok(());
        }
        let max = CENTROIDS_MAX;
        for given in arguments.exprs.iter().skip(1) {
            let number = given.downcast_ref::<Literal>().map(Literal::value);
            let number = number.filter(|number| number.data_type().is_integer());
            let Some(ScalarValue::Int64(Some(count))) = number.and_then(|number| number.cast_to(&DataType::Int64).ok())
            else {
                continue;
            };
            if !(1..=max).contains(&count) {
                return exec_err!("`{}(…)` takes from 1 to {max} centroids, not {count}", self.plain.name());
            }
        }
        Ok(())
    }
}

impl AggregateUDFImpl for ExactAggregate {
    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.check(&arguments)?;
        Ok(Box::new(CountedAccumulator { inner: plain_accumulator(&self.plain, arguments)? }))
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs<'_>) -> bool {
        self.plain.groups_accumulator_supported(arguments)
    }

    fn create_groups_accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        self.check(&arguments)?;
        let own = match self.plain.name() {
            SUM => sum::groups_accumulator(&arguments),
            percentile::NAME => percentile::groups_accumulator(&arguments),
            name => extreme::groups_accumulator(name, &arguments),
        };
        match own {
            Some(own) => Ok(own),
            None => self.plain.create_groups_accumulator(arguments),
        }
    }

    fn create_sliding_accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.check(&arguments)?;
        let own = if self.plain.name() == SUM { sum::accumulator(&arguments) } else { None };
        let inner = match own {
            Some(own) => own,
            None => {
                let make = AccumulatorFactory::new(&self.plain, &arguments);
                if self.is_lossy(&arguments)? || MERGED.contains(&self.plain.name()) {
                    Box::new(SlidingAccumulator::new(make)?)
                } else if self.plain.name() == percentile::NAME {
                    Box::new(RecomputedAccumulator::new(make)?)
                } else {
                    let theirs = self.plain.create_sliding_accumulator(arguments)?;
                    if theirs.supports_retract_batch() { theirs } else { Box::new(RecomputedAccumulator::new(make)?) }
                }
            }
        };
        Ok(Box::new(CountedAccumulator { inner }))
    }

    fn name(&self) -> &str {
        self.plain.name()
    }

    fn aliases(&self) -> &[String] {
        self.plain.aliases()
    }

    fn schema_name(&self, params: &AggregateFunctionParams) -> Result<String> {
        self.plain.schema_name(params)
    }

    fn human_display(&self, params: &AggregateFunctionParams) -> Result<String> {
        self.plain.human_display(params)
    }

    fn window_function_schema_name(&self, params: &WindowFunctionParams) -> Result<String> {
        self.plain.window_function_schema_name(params)
    }

    fn display_name(&self, params: &AggregateFunctionParams) -> Result<String> {
        self.plain.display_name(params)
    }

    fn window_function_display_name(&self, params: &WindowFunctionParams) -> Result<String> {
        self.plain.window_function_display_name(params)
    }

    fn signature(&self) -> &Signature {
        self.plain.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        if let ([DataType::Null], Some(kind)) = (types, kind_of_nulls(self.name())) {
            return self.plain.return_type(&[kind]);
        }
        match types.first().and_then(|kind| self.average(kind)) {
            Some(kind) => Ok(kind),
            None => self.plain.return_type(types),
        }
    }

    fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        if let ([field], Some(kind)) = (fields, kind_of_nulls(self.name()))
            && field.data_type().is_null()
        {
            return self.plain.return_field(&[Arc::new(field.as_ref().clone().with_data_type(kind))]);
        }
        let field = self.plain.return_field(fields)?;
        Ok(match fields.first().and_then(|of| self.average(of.data_type())) {
            Some(kind) => Arc::new(field.as_ref().clone().with_data_type(kind)),
            None => field,
        })
    }

    fn is_nullable(&self) -> bool {
        self.plain.is_nullable()
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.plain.state_fields(arguments)
    }

    fn with_beneficial_ordering(self: Arc<Self>, ordering: bool) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        let plain = (*self.plain).clone().with_beneficial_ordering(ordering)?;
        Ok(plain.map(|plain| Arc::new(ExactAggregate { plain: Arc::new(plain) }) as Arc<dyn AggregateUDFImpl>))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.plain.order_sensitivity()
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        self.plain.simplify()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        match self.plain.reverse_udf() {
            ReversedUDAF::Reversed(other) => ReversedUDAF::Reversed(exact(&other)),
            other => other,
        }
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.plain.coerce_types(types)
    }

    fn is_descending(&self) -> Option<bool> {
        self.plain.is_descending()
    }

    fn value_from_stats(&self, arguments: &StatisticsArgs<'_>) -> Option<ScalarValue> {
        self.plain.value_from_stats(arguments)
    }

    fn default_value(&self, kind: &DataType) -> Result<ScalarValue> {
        self.plain.default_value(kind)
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.plain.supports_null_handling_clause()
    }

    fn supports_within_group_clause(&self) -> bool {
        self.plain.supports_within_group_clause()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.plain.documentation()
    }

    fn set_monotonicity(&self, kind: &DataType) -> SetMonotonicity {
        self.plain.inner().set_monotonicity(kind)
    }
}

/// An accumulator whose results are counted: a window function takes one result per row.
#[derive(Debug)]
struct CountedAccumulator {
    inner: Box<dyn Accumulator>,
}

impl Accumulator for CountedAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = self.inner.evaluate()?;
        budget::count_output(value.size())?;
        Ok(value)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}
