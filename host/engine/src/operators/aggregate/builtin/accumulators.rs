//! Built-in functions over windows: accumulators that are merged repeatedly, one row per key.

use super::stored::{StoredColumn, to_halves, wide};
use super::{Builtin, Convert, Function, FunctionParts};
use arrow::array::{ArrayRef, AsArray, Decimal128Array, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::binary;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use millstream_base::error::{Error, Result};
use millstream_job::spec::AggregateFunction;
use std::ops::Range;
use std::sync::Arc;

impl Builtin {
    /// Returns the same functions with the window of a row as one more key column, at index `index`.
    pub fn by_pane(&self, index: usize, field: Field) -> Builtin {
        let mut fields: Vec<Arc<Field>> = self.partial.fields().iter().cloned().collect();
        fields.insert(self.keys.len(), Arc::new(field));
        let keys = self.keys.iter().copied().chain([index]).collect();
        Builtin { keys, partial: Arc::new(Schema::new(fields)), ..self.clone() }
    }

    /// Returns the columns of a partial result from [`Builtin::partial`].
    pub fn partial_schema(&self) -> &SchemaRef {
        &self.partial
    }

    /// Returns the columns of accumulators, without the key.
    pub fn accumulators(&self) -> Result<SchemaRef> {
        let mut fields = Vec::new();
        for field in self.partial.fields().iter().skip(self.keys.len()) {
            fields.extend(StoredColumn::for_type(field.data_type())?.fields(field.name()));
        }
        Ok(Arc::new(Schema::new(fields)))
    }

    /// Returns the first function that cannot subtract.
    pub fn without_inverse(&self) -> Option<&str> {
        let function = self.functions.iter().find(|function| function.simple().is_none())?;
        Some(&function.name)
    }

    /// Describes the functions by a string that changes if their accumulators change meaning.
    pub fn description(&self) -> String {
        let describe = |function: &Function| {
            let (kind, distinct) = (function.function, if function.distinct { "distinct " } else { "" });
            let filter = function.filter.as_ref().map_or(String::new(), |(text, _)| format!(" where {text}"));
            format!("{} = {kind:?} {distinct}{:?}{filter}", function.name, function.argument)
        };
        self.functions.iter().map(describe).collect::<Vec<_>>().join(", ")
    }

    /// Returns the identity of each function, for checkpoints.
    pub fn parts(&self) -> impl Iterator<Item = FunctionParts<'_>> {
        self.functions.iter().map(|function| {
            let distinct = if function.distinct { "distinct " } else { "" };
            let column = function.column_name.as_deref();
            FunctionParts {
                output: &function.name,
                signature: format!("{:?} {distinct}{:?}", function.function, function.argument),
                shown: format!("{:?}({distinct}{})", function.function, column.unwrap_or("*")).to_lowercase(),
                column,
                filter: function.filter.as_ref().map(|(_, filter)| filter),
            }
        })
    }

    /// Lists the input columns of the functions, in their order.
    pub fn reads(&self) -> String {
        let column = |function: &Function| function.column_name.clone().unwrap_or_else(|| "*".into());
        self.functions.iter().map(column).collect::<Vec<_>>().join(", ")
    }

    /// Merges partial results of groups in row order into accumulators, one row per group. `states` are the columns of partial results after the key.
    ///
    /// DataFusion's accumulators that work group by group fail if there is no group. This function and those below handle that case.
    pub fn merge(&self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<RecordBatch> {
        if count == 0 {
            return Ok(RecordBatch::new_empty(self.accumulators()?));
        }
        self.make(count, |function, at, kept| {
            let mut accumulator = function.accumulator()?;
            let states = states.get(at..at + function.state_columns).ok_or_else(missing)?;
            accumulator.merge(states, groups, count)?;
            function.keep(&accumulator.states()?, kept)
        })
    }

    /// Merges accumulators row by row; `left` comes first.
    pub fn combine(&self, left: &RecordBatch, right: &RecordBatch) -> Result<RecordBatch> {
        let rows = left.num_rows();
        let groups: Vec<usize> = (0..rows).collect();
        self.pairwise(left, right, |function, left, right, kept| match function.simple() {
            Some(Simple::Count) => add(left, right, i64::wrapping_add, kept),
            Some(Simple::Sum) => add_wide(left, right, i128::wrapping_add, kept),
            None => {
                let mut accumulator = function.accumulator()?;
                accumulator.merge(&function.restore(left)?, &groups, rows)?;
                accumulator.merge(&function.restore(right)?, &groups, rows)?;
                function.keep(&accumulator.states()?, kept)
            }
        })
    }

    /// Subtracts the accumulators `part` from `total`, row by row. A sum without values left is 0.
    pub fn inverse(&self, total: &RecordBatch, part: &RecordBatch) -> Result<RecordBatch> {
        self.pairwise(total, part, |function, total, part, kept| match function.simple() {
            Some(Simple::Count) => add(total, part, i64::wrapping_sub, kept),
            Some(Simple::Sum) => add_wide(total, part, i128::wrapping_sub, kept),
            None => Err(Error::bug(format!("`{}` has no inverse", function.name))),
        })
    }

    /// Returns the results of accumulators: one column per function.
    pub fn lower(&self, accumulators: &RecordBatch) -> Result<RecordBatch> {
        let rows = accumulators.num_rows();
        let schema = Arc::new(self.output.project(&self.result_indexes()).map_err(Error::arrow)?);
        if rows == 0 {
            return Ok(RecordBatch::new_empty(schema));
        }
        let mut columns = Vec::new();
        for (function, range) in self.ranges()? {
            let kept = accumulators.columns().get(range).ok_or_else(missing)?;
            columns.push(match (function.simple(), kept) {
                (Some(Simple::Count), [count]) => count.clone(),
                (Some(Simple::Sum), [upper, lower]) => function.narrow(upper, lower)?,
                _ => {
                    let mut accumulator = function.accumulator()?;
                    let groups: Vec<usize> = (0..rows).collect();
                    accumulator.merge(&function.restore(kept)?, &groups, rows)?;
                    function.result(accumulator.results()?)?
                }
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(schema, columns, &options).map_err(Error::arrow)
    }

    /// Returns the indexes of the results in the output.
    fn result_indexes(&self) -> Vec<usize> {
        let keys = self.output.fields().len() - self.functions.len();
        (keys..self.output.fields().len()).collect()
    }

    /// Returns the functions with the ranges of their accumulator columns.
    fn ranges(&self) -> Result<Vec<(&Function, Range<usize>)>> {
        let mut start = 0;
        let mut ranges = Vec::new();
        for function in &self.functions {
            let columns: usize = function.stored_columns()?.iter().map(StoredColumn::columns).sum();
            ranges.push((function, start..start + columns));
            start += columns;
        }
        Ok(ranges)
    }

    fn pairwise(
        &self,
        left: &RecordBatch,
        right: &RecordBatch,
        mut work: impl FnMut(&Function, &[ArrayRef], &[ArrayRef], &mut Vec<ArrayRef>) -> Result<()>,
    ) -> Result<RecordBatch> {
        if left.num_rows() == 0 {
            return Ok(left.clone());
        }
        let mut kept = Vec::new();
        for (function, range) in self.ranges()? {
            let of = |rows: &RecordBatch| rows.columns().get(range.clone()).map(<[ArrayRef]>::to_vec);
            let (left, right) = of(left).zip(of(right)).ok_or_else(missing)?;
            work(function, &left, &right, &mut kept)?;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(left.num_rows()));
        RecordBatch::try_new_with_options(left.schema(), kept, &options).map_err(Error::arrow)
    }

    fn make(
        &self,
        rows: usize,
        mut work: impl FnMut(&Function, usize, &mut Vec<ArrayRef>) -> Result<()>,
    ) -> Result<RecordBatch> {
        let (mut at, mut kept) = (0, Vec::new());
        for function in &self.functions {
            work(function, at, &mut kept)?;
            at += function.state_columns;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.accumulators()?, kept, &options).map_err(Error::arrow)
    }
}

/// A function whose accumulators are added as numbers.
enum Simple {
    /// One int64, never null.
    Count,
    /// 128 bits; null if there was no value.
    Sum,
}

impl Function {
    fn simple(&self) -> Option<Simple> {
        match self.function {
            AggregateFunction::Count if !self.distinct => Some(Simple::Count),
            AggregateFunction::Sum if matches!(self.argument, DataType::Decimal128(..)) && !self.distinct => {
                Some(Simple::Sum)
            }
            _ => None,
        }
    }

    fn stored_columns(&self) -> Result<Vec<StoredColumn>> {
        self.states.iter().map(StoredColumn::for_type).collect()
    }

    fn keep(&self, states: &[ArrayRef], columns: &mut Vec<ArrayRef>) -> Result<()> {
        self.stored_columns()?.iter().zip(states).try_for_each(|(kept, state)| kept.keep(state, columns))
    }

    fn restore(&self, columns: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        let (mut at, mut states) = (0, Vec::new());
        for kept in self.stored_columns()? {
            states.push(kept.restore(columns.get(at..at + kept.columns()).ok_or_else(missing)?)?);
            at += kept.columns();
        }
        Ok(states)
    }

    /// Converts a sum to the output type.
    fn narrow(&self, upper: &ArrayRef, lower: &ArrayRef) -> Result<ArrayRef> {
        if self.convert != Convert::Wide {
            let sums = wide(upper, lower).collect::<Decimal128Array>().with_data_type(self.output());
            sums.validate_decimal_precision(sums.precision()).map_err(|_| self.does_not_fit())?;
            return Ok(Arc::new(sums));
        }
        let narrow = |sum: i128| i64::try_from(sum).map_err(|_| self.does_not_fit());
        let sums: Int64Array = wide(upper, lower).map(|sum| sum.map(narrow).transpose()).collect::<Result<_>>()?;
        Ok(Arc::new(sums))
    }
}

fn add(left: &[ArrayRef], right: &[ArrayRef], op: fn(i64, i64) -> i64, kept: &mut Vec<ArrayRef>) -> Result<()> {
    let ([left], [right]) = (left, right) else { return Err(missing()) };
    let (left, right) = (left.as_primitive::<Int64Type>(), right.as_primitive::<Int64Type>());
    kept.push(Arc::new(binary::<_, _, _, Int64Type>(left, right, op).map_err(Error::arrow)?));
    Ok(())
}

fn add_wide(left: &[ArrayRef], right: &[ArrayRef], op: fn(i128, i128) -> i128, kept: &mut Vec<ArrayRef>) -> Result<()> {
    let ([upper, lower], [right_upper, right_lower]) = (left, right) else { return Err(missing()) };
    let one = |(left, right): (Option<i128>, Option<i128>)| match (left, right) {
        (left, None) => left,
        (left, Some(right)) => Some(op(left.unwrap_or(0), right)),
    };
    kept.extend(to_halves(wide(upper, lower).zip(wide(right_upper, right_lower)).map(one)));
    Ok(())
}

fn missing() -> Error {
    Error::bug("an accumulator lacks a column")
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        BinaryArray, BooleanArray, Date32Array, Float64Array, StringArray, TimestampMicrosecondArray, UInt32Array,
    };
    use arrow::compute::take_record_batch;
    use millstream_base::context::BatchContext;
    use millstream_base::ids::{BatchId, BatchTime};
    use millstream_job::spec::AggregateSpec;
    use millstream_rows::batch::group::Grouper;

    fn rows() -> RecordBatch {
        let numbers =
            Decimal128Array::from(vec![Some(12_3400), None, Some(-5), Some(10_i128.pow(28) - 1), Some(-5), Some(0)]);
        let columns: [(&str, ArrayRef); 8] = [
            ("i", Arc::new(Int64Array::from(vec![Some(5), None, Some(-2), Some(i64::MAX), Some(5), None]))),
            (
                "f",
                Arc::new(Float64Array::from(vec![Some(0.5), Some(f64::NAN), None, Some(-0.0), Some(0.0), Some(2.25)])),
            ),
            ("t", Arc::new(StringArray::from(vec![Some("b"), Some(""), None, Some("ä"), Some("b"), Some("c")]))),
            (
                "y",
                Arc::new(BinaryArray::from_opt_vec(vec![Some(b"\xff"), None, Some(b""), Some(b"a"), Some(b"a"), None])),
            ),
            ("b", Arc::new(BooleanArray::from(vec![None, Some(true), Some(false), Some(true), None, Some(true)]))),
            ("ts", Arc::new(TimestampMicrosecondArray::from(vec![3, -7, 5, 3, 0, 9]).with_timezone("UTC"))),
            ("d", Arc::new(Date32Array::from(vec![Some(3), None, Some(-400), Some(20_000), Some(3), Some(0)]))),
            ("n", Arc::new(numbers.with_precision_and_scale(28, 4).unwrap())),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn builtin(functions: &[(AggregateFunction, bool)]) -> Builtin {
        let mut specs = Vec::new();
        for (function, distinct) in functions {
            for column in ["i", "f", "t", "y", "b", "ts", "d", "n"] {
                let output = format!("{function:?}-{distinct}-{column}");
                let spec = AggregateSpec {
                    output,
                    function: *function,
                    column: Some(column.into()),
                    distinct: *distinct,
                    filter: None,
                };
                let only = Builtin::new(std::slice::from_ref(&spec), Vec::new(), &rows().schema());
                specs.extend(only.is_ok().then_some(spec));
            }
        }
        Builtin::new(&specs, Vec::new(), &rows().schema()).unwrap()
    }

    fn no_batch() -> BatchContext {
        BatchContext::new(BatchId(1), BatchTime(0))
    }

    fn accumulator(builtin: &Builtin, rows: &RecordBatch) -> RecordBatch {
        let (partial, _) = builtin.partial(no_batch(), rows, &mut Grouper::default()).unwrap();
        let merged = builtin.merge(partial.columns(), &[0], 1).unwrap();
        assert_eq!(merged.schema(), builtin.accumulators().unwrap());
        merged
    }

    #[test]
    fn accumulators_that_are_combined_give_what_the_rows_together_give() {
        use AggregateFunction::*;
        let mut functions = [Count, Sum, Min, Max, Avg, First, Last].map(|function| (function, false)).to_vec();
        functions.push((Count, true));
        let builtin = builtin(&functions);
        // The sum of all values overflows, which is an error; the sum of the values below does not.
        for order in [[0, 1, 2, 4, 5], [2, 3, 1, 5, 1], [5, 5, 1, 2, 0]] {
            let rows = take_record_batch(&rows(), &UInt32Array::from(order.to_vec())).unwrap();
            let (total, _) = builtin.partial(no_batch(), &rows, &mut Grouper::default()).unwrap();
            let expected = builtin.finish(&[total], &mut Grouper::default()).unwrap();
            for cut in 1..5 {
                let parts = [rows.slice(0, cut), rows.slice(cut, 5 - cut)].map(|rows| accumulator(&builtin, &rows));
                let combined = builtin.combine(&parts[0], &parts[1]).unwrap();
                assert_eq!(
                    format!("{:?}", builtin.lower(&combined).unwrap()),
                    format!("{expected:?}"),
                    "{order:?} {cut}"
                );
            }
        }
        let error = builtin.lower(&accumulator(&builtin, &rows())).unwrap_err();
        assert!(error.message.contains("does not fit int64"), "{}", error.message);
    }

    /// For example new keys, which have no rows yet.
    #[test]
    fn of_no_groups_there_is_no_result() {
        use AggregateFunction::*;
        let mut functions = [Count, Sum, Min, Max, Avg, First, Last].map(|function| (function, false)).to_vec();
        functions.push((Count, true));
        let builtin = builtin(&functions);
        let none = builtin.partial(no_batch(), &rows().slice(0, 0), &mut Grouper::default()).unwrap();
        assert_eq!(none, (RecordBatch::new_empty(builtin.partial_schema().clone()), Vec::new()));
        let partial = none.0;
        let merged = builtin.merge(partial.columns(), &[], 0).unwrap();
        assert_eq!((merged.num_rows(), merged.schema()), (0, builtin.accumulators().unwrap()));
        assert_eq!(builtin.combine(&merged, &merged).unwrap(), merged);
        let lowered = builtin.lower(&merged).unwrap();
        assert_eq!((lowered.num_rows(), lowered.schema()), (0, builtin.output()));
    }

    #[test]
    fn what_is_taken_out_leaves_the_rest() {
        let builtin = builtin(&[(AggregateFunction::Count, false)]);
        let sum = |column: &str| AggregateSpec {
            output: column.into(),
            function: AggregateFunction::Sum,
            column: Some(column.into()),
            distinct: false,
            filter: None,
        };
        let sums = Builtin::new(&["i", "n"].map(sum), Vec::new(), &rows().schema()).unwrap();
        for builtin in [builtin, sums] {
            assert_eq!(builtin.without_inverse(), None);
            let (front, back) = (rows().slice(2, 2), rows().slice(4, 1));
            let [front, back] = [front, back].map(|rows| accumulator(&builtin, &rows));
            let total = builtin.combine(&front, &back).unwrap();
            let rest = builtin.inverse(&total, &front).unwrap();
            assert_eq!(builtin.lower(&rest).unwrap(), builtin.lower(&back).unwrap());
        }
    }
}
