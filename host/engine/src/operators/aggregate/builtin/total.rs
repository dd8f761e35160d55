//! A built-in aggregate function, on DataFusion's vectorized accumulators.

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion_common::DataFusionError;
use datafusion_expr::{AggregateUDF, EmitTo, GroupsAccumulator};
use datafusion_functions_aggregate::{average, count, first_last, min_max, sum};
use datafusion_physical_expr::GroupsAccumulatorAdapter;
use datafusion_physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion_physical_expr::expressions::Column;
use millstream_base::error::{Error, Result};
use millstream_job::spec::AggregateFunction;
use std::sync::Arc;

/// An aggregate function.
#[derive(Clone)]
pub struct Total(Arc<AggregateFunctionExpr>);

/// Its accumulated state per group.
pub struct Accumulator(Box<dyn GroupsAccumulator>);

impl Total {
    /// Creates the function for an argument of this type, nullable or not. `distinct`: equal values count once.
    pub fn new(function: AggregateFunction, argument: &DataType, nullable: bool, distinct: bool) -> Result<Total> {
        let schema = Arc::new(Schema::new(vec![Field::new("argument", argument.clone(), nullable)]));
        let builder = AggregateExprBuilder::new(udaf(function), vec![Arc::new(Column::new("argument", 0))])
            .schema(schema)
            .alias("total")
            .with_distinct(distinct);
        builder.build().map(Arc::new).map(Total).map_err(failed)
    }

    /// Returns the types of the columns of partial results.
    pub fn states(&self) -> Result<Vec<DataType>> {
        let states = self.0.state_fields().map_err(failed)?;
        Ok(states.iter().map(|state| state.data_type().clone()).collect())
    }

    /// Returns the type of results.
    pub fn output(&self) -> DataType {
        self.0.field().data_type().clone()
    }

    /// Returns the result of no rows, as one row.
    pub fn empty_result(&self) -> Result<ArrayRef> {
        let value = || self.0.create_accumulator()?.evaluate()?.to_array_of_size(1);
        value().map_err(failed)
    }

    /// Creates an empty accumulator.
    pub fn accumulator(&self) -> Result<Accumulator> {
        if self.0.groups_accumulator_supported() {
            return self.0.create_groups_accumulator().map(Accumulator).map_err(failed);
        }
        let function = self.0.clone();
        Ok(Accumulator(Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator()))))
    }
}

impl Accumulator {
    /// Adds values: `groups` has the group of each value. Without a filter all values are taken. `count` is the number of groups.
    pub fn update(
        &mut self,
        values: ArrayRef,
        groups: &[usize],
        taken: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        self.0.update_batch(&[values], groups, taken, count).map_err(failed)
    }

    /// Merges partial results.
    pub fn merge(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.0.merge_batch(states, groups, count).map_err(failed)
    }

    /// Returns the partial results of all groups.
    pub fn states(&mut self) -> Result<Vec<ArrayRef>> {
        self.0.state(EmitTo::All).map_err(failed)
    }

    /// Returns the results of all groups.
    pub fn results(&mut self) -> Result<ArrayRef> {
        self.0.evaluate(EmitTo::All).map_err(failed)
    }
}

fn udaf(function: AggregateFunction) -> Arc<AggregateUDF> {
    match function {
        AggregateFunction::Count => count::count_udaf(),
        AggregateFunction::Sum => sum::sum_udaf(),
        AggregateFunction::Min => min_max::min_udaf(),
        AggregateFunction::Max => min_max::max_udaf(),
        AggregateFunction::Avg => average::avg_udaf(),
        AggregateFunction::First => first_last::first_value_udaf(),
        AggregateFunction::Last => first_last::last_value_udaf(),
    }
}

fn failed(error: DataFusionError) -> Error {
    Error::bug(format!("aggregate: {error}"))
}
