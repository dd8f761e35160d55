//! `sum` of int64 that tells when it does not fit, where DataFusion's goes on with another number.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature,
};
use std::sync::{Arc, LazyLock};

/// The function, in place of DataFusion's.
pub fn checked() -> Arc<AggregateUDF> {
    static CHECKED: LazyLock<Arc<AggregateUDF>> =
        LazyLock::new(|| Arc::new(AggregateUDF::new_from_impl(CheckedSum { plain: sum_udaf() })));
    CHECKED.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedSum {
    plain: Arc<AggregateUDF>,
}

impl CheckedSum {
    fn is_checked(args: &AccumulatorArgs<'_>) -> bool {
        !args.is_distinct && args.return_field.data_type() == &DataType::Int64
    }
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        self.plain.name()
    }

    fn signature(&self) -> &Signature {
        self.plain.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.plain.inner().return_type(types)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if CheckedSum::is_checked(&args) { Ok(Box::new(Sum::default())) } else { self.plain.accumulator(args) }
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.plain.inner().state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.plain.inner().groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        match CheckedSum::is_checked(&args) {
            true => Ok(Box::new(Sums::default())),
            false => self.plain.inner().create_groups_accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.plain.inner().create_sliding_accumulator(args)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// Adds two numbers, or says that the sum does not fit.
fn add(sum: i64, value: i64) -> Result<i64> {
    sum.checked_add(value).ok_or_else(|| {
        exec_datafusion_err!(
            "a sum does not fit int64; write sum(cast(… as double)), or sum(cast(… as decimal(38, 0)))"
        )
    })
}

/// One sum; `None`: of nothing.
#[derive(Debug, Default)]
struct Sum(Option<i64>);

impl Accumulator for Sum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in values.first().map(|values| values.as_primitive::<Int64Type>()).into_iter().flatten().flatten() {
            self.0 = Some(add(self.0.unwrap_or(0), value)?);
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(self.0))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Int64(self.0)])
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// A sum for each group; `None`: of nothing.
#[derive(Default)]
struct Sums {
    sums: Vec<i64>,
    any: Vec<bool>,
}

impl GroupsAccumulator for Sums {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        self.sums.resize(count, 0);
        self.any.resize(count, false);
        let Some(values) = values.first().map(|values| values.as_primitive::<Int64Type>()) else { return Ok(()) };
        let counts = |row: usize| values.is_valid(row) && filter.is_none_or(|f| f.is_valid(row) && f.value(row));
        for (row, group) in groups.iter().enumerate().filter(|(row, _)| counts(*row)) {
            self.sums[*group] = add(self.sums[*group], values.value(row))?;
            self.any[*group] = true;
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.update_batch(states, groups, None, count)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (sums, any) = (emit_to.take_needed(&mut self.sums), emit_to.take_needed(&mut self.any));
        Ok(Arc::new(Int64Array::new(sums.into(), Some(NullBuffer::from(any)))))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit_to)?])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let Some(values) = values.first().map(|values| values.as_primitive::<Int64Type>()) else {
            return Ok(Vec::new());
        };
        let counts = |row: usize| values.is_valid(row) && filter.is_none_or(|f| f.is_valid(row) && f.value(row));
        let states: Int64Array = (0..values.len()).map(|row| counts(row).then(|| values.value(row))).collect();
        Ok(vec![Arc::new(states)])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i64>() + self.any.capacity()
    }
}
