//! Built-in functions over windows: accumulators that can be put together again and again, a row for each key.

use super::kept::{Kept, halves_of, wide};
use super::{Builtin, Convert, Function, datafusion};
use crate::error::{Error, Result};
use crate::job::spec::AggregateFunction;
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::binary;
use arrow::datatypes::{Field, Int64Type, Schema, SchemaRef};
use datafusion_expr::EmitTo;
use std::ops::Range;
use std::sync::Arc;

impl Builtin {
    /// The same with one more key column, of the rows' windows: the last of the rows, at this place.
    pub fn by_pane(&self, place: usize, field: Field) -> Builtin {
        let mut fields: Vec<Arc<Field>> = self.partial.fields().iter().cloned().collect();
        fields.insert(self.keys.len(), Arc::new(field));
        let keys = self.keys.iter().copied().chain([place]).collect();
        Builtin { keys, partial: Arc::new(Schema::new(fields)), ..self.clone() }
    }

    /// The columns of a partial result, as [`Builtin::partial`] makes it.
    pub fn partial_schema(&self) -> &SchemaRef {
        &self.partial
    }

    /// The columns of accumulators, without the key.
    pub fn accumulators(&self) -> Result<SchemaRef> {
        let mut fields = Vec::new();
        for field in self.partial.fields().iter().skip(self.keys.len()) {
            fields.extend(Kept::of(field.data_type())?.fields(field.name()));
        }
        Ok(Arc::new(Schema::new(fields)))
    }

    /// The first function that cannot take out again what it took in.
    pub fn without_inverse(&self) -> Option<&str> {
        let function = self.functions.iter().find(|function| function.simple().is_none())?;
        Some(&function.name)
    }

    /// The functions in words that change when their accumulators mean something else.
    pub fn words(&self) -> String {
        let told = |function: &Function| {
            let (kind, distinct) = (function.function, if function.distinct { "distinct " } else { "" });
            format!("{} = {kind:?} {distinct}{:?}", function.name, function.argument)
        };
        self.functions.iter().map(told).collect::<Vec<_>>().join(", ")
    }

    /// Puts partial results of groups together, in the order of the rows: accumulators, a row for each group. `states`
    /// are the columns of partial results behind the key.
    pub fn merge(&self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<RecordBatch> {
        self.make(count, |function, at, kept| {
            let mut accumulator = function.accumulator()?;
            let states = states.get(at..at + function.state_columns).ok_or_else(missing)?;
            accumulator.merge_batch(states, groups, count).map_err(datafusion)?;
            function.keep(&accumulator.state(EmitTo::All).map_err(datafusion)?, kept)
        })
    }

    /// Puts accumulators together, row by row; what is left comes first.
    pub fn combine(&self, left: &RecordBatch, right: &RecordBatch) -> Result<RecordBatch> {
        let rows = left.num_rows();
        let groups: Vec<usize> = (0..rows).collect();
        self.pairwise(left, right, |function, left, right, kept| match function.simple() {
            Some(Simple::Count) => add(left, right, i64::wrapping_add, kept),
            Some(Simple::Sum) => add_wide(left, right, i128::wrapping_add, kept),
            None => {
                let mut accumulator = function.accumulator()?;
                accumulator.merge_batch(&function.bring_back(left)?, &groups, rows).map_err(datafusion)?;
                accumulator.merge_batch(&function.bring_back(right)?, &groups, rows).map_err(datafusion)?;
                function.keep(&accumulator.state(EmitTo::All).map_err(datafusion)?, kept)
            }
        })
    }

    /// Takes the accumulators of `part` out of those of `whole`, row by row. A sum of which nothing is left is 0.
    pub fn inverse(&self, whole: &RecordBatch, part: &RecordBatch) -> Result<RecordBatch> {
        self.pairwise(whole, part, |function, whole, part, kept| match function.simple() {
            Some(Simple::Count) => add(whole, part, i64::wrapping_sub, kept),
            Some(Simple::Sum) => add_wide(whole, part, i128::wrapping_sub, kept),
            None => Err(Error::bug(format!("`{}` has no inverse", function.name))),
        })
    }

    /// The results of accumulators: a column for each function.
    pub fn lower(&self, accumulators: &RecordBatch) -> Result<RecordBatch> {
        let rows = accumulators.num_rows();
        let mut columns = Vec::new();
        for (function, range) in self.ranges()? {
            let kept = accumulators.columns().get(range).ok_or_else(missing)?;
            columns.push(match (function.simple(), kept) {
                (Some(Simple::Count), [count]) => count.clone(),
                (Some(Simple::Sum), [upper, lower]) => Arc::new(function.narrow(upper, lower)?),
                _ => {
                    let mut accumulator = function.accumulator()?;
                    let groups: Vec<usize> = (0..rows).collect();
                    accumulator.merge_batch(&function.bring_back(kept)?, &groups, rows).map_err(datafusion)?;
                    function.result(accumulator.evaluate(EmitTo::All).map_err(datafusion)?)?
                }
            });
        }
        let schema = Arc::new(self.output.project(&self.result_places()).map_err(Error::arrow)?);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(schema, columns, &options).map_err(Error::arrow)
    }

    /// The places of the results in the output.
    fn result_places(&self) -> Vec<usize> {
        let keys = self.output.fields().len() - self.functions.len();
        (keys..self.output.fields().len()).collect()
    }

    /// The functions, and where their columns are among those of accumulators.
    fn ranges(&self) -> Result<Vec<(&Function, Range<usize>)>> {
        let mut start = 0;
        let mut ranges = Vec::new();
        for function in &self.functions {
            let columns: usize = function.kept()?.iter().map(Kept::columns).sum();
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

/// A function whose accumulators are numbers that are added.
enum Simple {
    /// One int64, never null.
    Count,
    /// 128 bits; null: there was no value.
    Sum,
}

impl Function {
    fn simple(&self) -> Option<Simple> {
        match self.function {
            AggregateFunction::Count if !self.distinct => Some(Simple::Count),
            AggregateFunction::Sum if self.convert == Convert::Wide && !self.distinct => Some(Simple::Sum),
            _ => None,
        }
    }

    fn kept(&self) -> Result<Vec<Kept>> {
        self.states.iter().map(Kept::of).collect()
    }

    fn keep(&self, states: &[ArrayRef], columns: &mut Vec<ArrayRef>) -> Result<()> {
        self.kept()?.iter().zip(states).try_for_each(|(kept, state)| kept.keep(state, columns))
    }

    fn bring_back(&self, columns: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        let (mut at, mut states) = (0, Vec::new());
        for kept in self.kept()? {
            states.push(kept.bring_back(columns.get(at..at + kept.columns()).ok_or_else(missing)?)?);
            at += kept.columns();
        }
        Ok(states)
    }

    /// A sum as it leaves the stage.
    fn narrow(&self, upper: &ArrayRef, lower: &ArrayRef) -> Result<Int64Array> {
        let narrow = |sum: i128| i64::try_from(sum).map_err(|_| self.does_not_fit());
        wide(upper, lower).map(|sum| sum.map(narrow).transpose()).collect()
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
    kept.extend(halves_of(wide(upper, lower).zip(wide(right_upper, right_lower)).map(one)));
    Ok(())
}

fn missing() -> Error {
    Error::bug("an accumulator lacks a column")
}
