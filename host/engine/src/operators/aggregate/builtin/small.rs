//! Built-in aggregate functions without DataFusion: the same results and partial results, fewer functions, simpler loops. Smallest, largest, first
//! and last values are stored as the bytes by which `arrow` compares rows.

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, UInt64Array, new_empty_array,
};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, UInt64Type};
use arrow::row::{OwnedRow, RowConverter, SortField};
use millstream_base::built;
use millstream_base::error::{Error, Result};
use millstream_job::spec::AggregateFunction;
use std::sync::Arc;

/// Additional digits of a sum of decimals.
const SUM_DIGITS: u8 = 10;
/// Maximum digits of a decimal.
const DIGITS_MAX: u8 = 38;

/// An aggregate function.
#[derive(Clone)]
pub struct Total {
    function: AggregateFunction,
    argument: DataType,
}

/// Its accumulated state per group.
pub struct Accumulator {
    total: Total,
    known: SmallValues,
}

enum SmallValues {
    Count(Vec<i64>),
    Floats(Vec<Option<f64>>),
    Decimals(Vec<Option<i128>>),
    Average { counts: Vec<u64>, sums: Vec<f64> },
    Values { converter: RowConverter, kept: Vec<Option<OwnedRow>> },
}

impl Total {
    /// Creates the function for an argument of this type.
    pub fn new(function: AggregateFunction, argument: &DataType, _nullable: bool, distinct: bool) -> Result<Total> {
        let what = match (function, argument) {
            _ if distinct => "`count(distinct …)`",
            (AggregateFunction::Avg, DataType::Decimal128(..)) => "`avg` of decimals",
            (AggregateFunction::Sum, DataType::Float64 | DataType::Decimal128(..))
            | (AggregateFunction::Avg, DataType::Float64) => "",
            (AggregateFunction::Sum | AggregateFunction::Avg, _) => "such a total",
            _ => "",
        };
        match what {
            "" => Ok(Total { function, argument: argument.clone() }),
            what => Err(Error::job(built::absent(what, "sql"))),
        }
    }

    /// Returns the types of the columns of partial results.
    pub fn states(&self) -> Result<Vec<DataType>> {
        Ok(match self.function {
            AggregateFunction::Avg => vec![DataType::UInt64, DataType::Float64],
            AggregateFunction::First | AggregateFunction::Last => vec![self.output(), DataType::Boolean],
            _ => vec![self.output()],
        })
    }

    /// Returns the type of results.
    pub fn output(&self) -> DataType {
        match (self.function, &self.argument) {
            (AggregateFunction::Count, _) => DataType::Int64,
            (AggregateFunction::Sum, DataType::Decimal128(digits, scale)) => {
                DataType::Decimal128(digits.saturating_add(SUM_DIGITS).min(DIGITS_MAX), *scale)
            }
            (_, argument) => argument.clone(),
        }
    }

    /// Returns the result of no rows, as one row.
    pub fn empty_result(&self) -> Result<ArrayRef> {
        let mut accumulator = self.accumulator()?;
        accumulator.grow(1);
        accumulator.results()
    }

    /// Creates an empty accumulator.
    pub fn accumulator(&self) -> Result<Accumulator> {
        let known = match (self.function, &self.argument) {
            (AggregateFunction::Count, _) => SmallValues::Count(Vec::new()),
            (AggregateFunction::Sum, DataType::Float64) => SmallValues::Floats(Vec::new()),
            (AggregateFunction::Sum, _) => SmallValues::Decimals(Vec::new()),
            (AggregateFunction::Avg, _) => SmallValues::Average { counts: Vec::new(), sums: Vec::new() },
            (_, argument) => {
                let converter = RowConverter::new(vec![SortField::new(argument.clone())]).map_err(Error::arrow)?;
                SmallValues::Values { converter, kept: Vec::new() }
            }
        };
        Ok(Accumulator { total: self.clone(), known })
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
        self.grow(count);
        let is_taken = |row: usize| taken.is_none_or(|taken| taken.is_valid(row) && taken.value(row));
        // For the first and the last value, a null counts too.
        let with_nulls = matches!(self.total.function, AggregateFunction::First | AggregateFunction::Last);
        let rows = groups.iter().enumerate().map(|(row, group)| (row, *group));
        let rows = rows.filter(|(row, _)| is_taken(*row) && (with_nulls || values.is_valid(*row)));
        match &mut self.known {
            SmallValues::Count(counts) => rows.for_each(|(_, group)| counts[group] += 1),
            SmallValues::Floats(sums) => {
                let values = values.as_primitive::<Float64Type>();
                rows.for_each(|(row, group)| *sums[group].get_or_insert(0.) += values.value(row));
            }
            SmallValues::Decimals(sums) => {
                let values = values.as_primitive::<Decimal128Type>();
                for (row, group) in rows {
                    let sum = sums[group].get_or_insert(0);
                    *sum = sum.wrapping_add(values.value(row));
                }
            }
            SmallValues::Average { counts, sums } => {
                let values = values.as_primitive::<Float64Type>();
                for (row, group) in rows {
                    counts[group] += 1;
                    sums[group] += values.value(row);
                }
            }
            SmallValues::Values { converter, kept } => {
                let values = converter.convert_columns(std::slice::from_ref(&values)).map_err(Error::arrow)?;
                for (row, group) in rows {
                    let (kept, value) = (&mut kept[group], values.row(row));
                    let better = match (&kept, self.total.function) {
                        (None, _) | (_, AggregateFunction::Last) => true,
                        (Some(kept), AggregateFunction::Min) => value < kept.row(),
                        (Some(kept), AggregateFunction::Max) => value > kept.row(),
                        _ => false,
                    };
                    if better {
                        *kept = Some(value.owned());
                    }
                }
            }
        }
        Ok(())
    }

    /// Merges partial results.
    pub fn merge(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.grow(count);
        let first = states.first().ok_or_else(|| Error::bug("a partial result without columns"))?;
        let rows = groups.iter().enumerate().map(|(row, group)| (row, *group));
        match (&mut self.known, states) {
            (SmallValues::Count(counts), _) => {
                let states = first.as_primitive::<Int64Type>();
                rows.for_each(|(row, group)| counts[group] += states.value(row));
                Ok(())
            }
            (SmallValues::Average { counts, sums }, [given, given_sums]) => {
                let (given, given_sums) =
                    (given.as_primitive::<UInt64Type>(), given_sums.as_primitive::<Float64Type>());
                for (row, group) in rows.filter(|(row, _)| given.is_valid(*row) && given_sums.is_valid(*row)) {
                    counts[group] += given.value(row);
                    sums[group] += given_sums.value(row);
                }
                Ok(())
            }
            // Sums are added, and the smallest of the smallest is taken. The second column says whether there was a value.
            (_, [_, is_set]) => self.update(first.clone(), groups, is_set.as_boolean_opt(), count),
            _ => self.update(first.clone(), groups, None, count),
        }
    }

    /// Returns the partial results of all groups.
    pub fn states(&mut self) -> Result<Vec<ArrayRef>> {
        if let SmallValues::Average { counts, sums } = &mut self.known {
            let (counts, sums) = (std::mem::take(counts), std::mem::take(sums));
            let some = counts.iter().zip(&sums).map(|(count, sum)| (*count > 0).then_some(*sum));
            let some_counts: UInt64Array = counts.iter().map(|count| (*count > 0).then_some(*count)).collect();
            return Ok(vec![Arc::new(some_counts), Arc::new(some.collect::<Float64Array>())]);
        }
        if let (AggregateFunction::First | AggregateFunction::Last, SmallValues::Values { kept, .. }) =
            (self.total.function, &self.known)
        {
            let is_set: BooleanArray = kept.iter().map(|kept| Some(kept.is_some())).collect();
            return Ok(vec![self.results()?, Arc::new(is_set)]);
        }
        Ok(vec![self.results()?])
    }

    /// Returns the results of all groups.
    pub fn results(&mut self) -> Result<ArrayRef> {
        Ok(match &mut self.known {
            SmallValues::Count(counts) => Arc::new(Int64Array::from(std::mem::take(counts))),
            SmallValues::Floats(sums) => Arc::new(Float64Array::from(std::mem::take(sums))),
            SmallValues::Decimals(sums) => {
                let sums = Decimal128Array::from(std::mem::take(sums));
                Arc::new(sums.with_data_type(self.total.output()))
            }
            SmallValues::Average { counts, sums } => {
                let means =
                    counts.iter().zip(sums.iter()).map(|(count, sum)| (*count > 0).then(|| sum / *count as f64));
                Arc::new(means.collect::<Float64Array>())
            }
            SmallValues::Values { converter, kept } => values(converter, &std::mem::take(kept), &self.total.argument)?,
        })
    }

    fn grow(&mut self, count: usize) {
        match &mut self.known {
            SmallValues::Count(counts) => counts.resize(count.max(counts.len()), 0),
            SmallValues::Floats(sums) => sums.resize(count.max(sums.len()), None),
            SmallValues::Decimals(sums) => sums.resize(count.max(sums.len()), None),
            SmallValues::Average { counts, sums } => {
                counts.resize(count.max(counts.len()), 0);
                sums.resize(count.max(sums.len()), 0.);
            }
            SmallValues::Values { kept, .. } => kept.resize(count.max(kept.len()), None),
        }
    }
}

/// Returns the stored values; null for groups without one.
fn values(converter: &RowConverter, kept: &[Option<OwnedRow>], kind: &DataType) -> Result<ArrayRef> {
    if kept.is_empty() {
        return Ok(new_empty_array(kind));
    }
    let null = arrow::array::new_null_array(kind, 1);
    let null = converter.convert_columns(&[null]).map_err(Error::arrow)?;
    let rows = kept.iter().map(|kept| kept.as_ref().map_or_else(|| null.row(0), OwnedRow::row));
    let mut columns = converter.convert_rows(rows).map_err(Error::arrow)?;
    columns.pop().ok_or_else(|| Error::bug("a value without a column"))
}

#[cfg(feature = "sql")]
#[cfg(test)]
mod tests {
    use super::super::total;
    use super::*;
    use arrow::array::{BinaryArray, Date32Array, StringArray, TimestampMicrosecondArray};

    /// Results and partial results of the same rows, added in one step and as two merged parts.
    macro_rules! outcome {
        ($total:expr, $values:expr, $taken:expr) => {{
            let (total, values, taken) = ($total, $values, $taken);
            // Each part has rows of each group, as DataFusion requires. The second part has only nulls.
            let groups = [0, 1, 2, 1, 2, 0];
            let part = |start: usize, end: usize| {
                let mut part = total.accumulator().unwrap();
                let taken = taken.map(|taken: &BooleanArray| taken.slice(start, end - start));
                part.update(values.slice(start, end - start), &groups[start..end], taken.as_ref(), 3).unwrap();
                part
            };
            let mut merged = total.accumulator().unwrap();
            for (start, end) in [(0, 3), (3, 6)] {
                merged.merge(&part(start, end).states().unwrap(), &[0, 1, 2], 3).unwrap();
            }
            let kinds = (total.states().unwrap(), total.output());
            let complete = (part(0, 6).states().unwrap(), part(0, 6).results().unwrap());
            format!("{kinds:?}\n{complete:?}\n{:?}\n{:?}", merged.results().unwrap(), total.empty_result().unwrap())
        }};
    }

    #[test]
    fn results_are_those_of_datafusion() {
        use AggregateFunction::{Avg, Count, First, Last, Max, Min, Sum};
        let decimals = Decimal128Array::from(vec![Some(5), None, Some(-7), None, Some(11), Some(5)]);
        let columns: [ArrayRef; 8] = [
            Arc::new(Int64Array::from(vec![Some(5), None, Some(-2), None, Some(9), Some(1)])),
            Arc::new(Float64Array::from(vec![Some(0.5), None, Some(-3.25), None, Some(2.), Some(0.5)])),
            Arc::new(decimals.with_precision_and_scale(19, 2).unwrap()),
            Arc::new(StringArray::from(vec![Some("b"), None, Some(""), None, Some("ä"), Some("a")])),
            Arc::new(BinaryArray::from_opt_vec(vec![Some(b"\xff"), None, Some(b""), None, Some(b"a"), Some(b"b")])),
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), None, Some(true), Some(true)])),
            Arc::new(TimestampMicrosecondArray::from(vec![3, -7, 5, 3, 0, 9]).with_timezone("UTC")),
            Arc::new(Date32Array::from(vec![Some(3), None, Some(-400), None, Some(3), Some(0)])),
        ];
        let taken = BooleanArray::from(vec![Some(true), Some(true), None, Some(false), Some(true), Some(false)]);
        let mut compared = 0;
        for function in [Count, Sum, Min, Max, Avg, First, Last] {
            for values in &columns {
                let kind = values.data_type();
                let Ok(small) = Total::new(function, kind, true, false) else { continue };
                let large = total::Total::new(function, kind, true, false).unwrap();
                for taken in [None, Some(&taken)] {
                    let (small, large) = (outcome!(&small, values, taken), outcome!(&large, values, taken));
                    assert_eq!(small, large, "{function:?} of {kind}");
                    compared += 1;
                }
            }
        }
        assert_eq!(compared, 2 * (5 * 8 + 2 + 1));
    }
}
