//! Upper bound of a function's output bytes, computed from its arguments in advance.

use super::budget::{self, bytes_of};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::compute::kernels::length::length;
use arrow::datatypes::{DataType, Int64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit};
use datafusion::common::Result;
use datafusion::logical_expr::ColumnarValue;
use std::ops::Range;

/// Output bytes of each row of a call, if all rows together might be too large.
pub struct OutputSize {
    rows: Vec<u64>,
}

/// Output bytes per input byte of functions that are not listed here.
const BYTES_OF_ONE: u64 = 8;
/// Output bytes per input byte of functions that split strings: each element of a list has an offset.
const BYTES_OF_ONE_CUT: u64 = 24;
/// Bytes of a value of a fixed size, with overhead.
const FIXED_BYTES: u64 = 16;
/// Steps of `levenshtein` that count as one byte: it produces no bytes, but takes time.
const STEPS_OF_A_BYTE: u64 = 16;

impl OutputSize {
    /// Estimates a call; `None` if all rows together are small enough. `open`: its values have unlimited size.
    pub fn new(name: &str, arguments: &[ColumnarValue], rows: usize, open: bool) -> Result<Option<OutputSize>> {
        if !open && name != "levenshtein" {
            return Ok(None);
        }
        let constant = arguments.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if constant { rows.min(1) } else { rows };
        let each = each(name, arguments, rows)?;
        let total = each.iter().fold(0u64, |sum, bytes| sum.saturating_add(*bytes));
        Ok((total > budget::bytes_max()).then_some(OutputSize { rows: each }))
    }

    /// Fails if a single row would be too large.
    pub fn single(&self, what: &str) -> Result<()> {
        self.rows.iter().try_for_each(|bytes| budget::allow(what, *bytes))
    }

    /// Returns ranges of rows that are small enough together.
    pub fn pieces(&self) -> Vec<Range<usize>> {
        let (mut pieces, mut start, mut bytes) = (Vec::new(), 0, 0u64);
        for (row, wanted) in self.rows.iter().enumerate() {
            if row > start && bytes.saturating_add(*wanted) > budget::bytes_max() {
                pieces.push(start..row);
                (start, bytes) = (row, 0);
            }
            bytes = bytes.saturating_add(*wanted);
        }
        pieces.push(start..self.rows.len());
        pieces
    }
}

/// Returns the output bytes of each row.
fn each(name: &str, arguments: &[ColumnarValue], rows: usize) -> Result<Vec<u64>> {
    let length = |index: usize| NumberArgument::lengths(arguments.get(index));
    let number = |index: usize| NumberArgument::numbers(arguments.get(index));
    let weight = |index: usize| NumberArgument::weights(arguments.get(index));
    let times = |a: u64, b: i64| a.saturating_mul(u64::try_from(b).unwrap_or(0));
    let row_by_row = |bytes: &dyn Fn(usize) -> u64| (0..rows).map(bytes).collect::<Vec<u64>>();
    Ok(match name {
        "repeat" => {
            let (text, count) = (length(0)?, number(1)?);
            row_by_row(&|row| times(text.at(row) as u64, count.at(row)))
        }
        "lpad" | "rpad" => {
            // Characters have at most four bytes.
            let (text, count) = (length(0)?, number(1)?);
            row_by_row(&|row| times(4, count.at(row)).max(text.at(row) as u64))
        }
        "replace" => {
            let (text, from, to) = (length(0)?, length(1)?, length(2)?);
            row_by_row(&|row| {
                let found = text.at(row) / from.at(row).max(1) + 1;
                times(to.at(row) as u64, found).saturating_add(text.at(row) as u64)
            })
        }
        "regexp_replace" => {
            // Parts of the text that are replaced do not overlap.
            let (text, to) = (length(0)?, length(2)?);
            row_by_row(&|row| times(2 * (to.at(row) as u64 + 1), text.at(row) + 1))
        }
        "array_repeat" => {
            let (value, count) = (weight(0)?, number(1)?);
            row_by_row(&|row| times(value.at(row) as u64, count.at(row)))
        }
        "array_resize" => {
            let (list, count, value) = (weight(0)?, number(1)?, weight(2)?);
            row_by_row(&|row| {
                times(value.at(row) as u64 + FIXED_BYTES, count.at(row)).saturating_add(list.at(row) as u64)
            })
        }
        "range" | "generate_series" => series(arguments, rows)?,
        "array_to_string" => {
            let (list, count, between, null) = (weight(0)?, length(0)?, length(1)?, length(2)?);
            row_by_row(&|row| {
                let of_one = (between.at(row) + null.at(row)) as u64;
                times(of_one, count.at(row)).saturating_add((list.at(row) as u64).saturating_mul(BYTES_OF_ONE))
            })
        }
        "array_replace" | "array_replace_n" | "array_replace_all" => {
            let (list, count, to) = (weight(0)?, length(0)?, weight(2)?);
            row_by_row(&|row| times(to.at(row) as u64, count.at(row)).saturating_add(list.at(row) as u64))
        }
        "levenshtein" => {
            let (left, right) = (length(0)?, length(1)?);
            row_by_row(&|row| times(left.at(row) as u64, right.at(row)) / STEPS_OF_A_BYTE)
        }
        _ => {
            let cuts = ["string_to_array", "regexp_match"].contains(&name);
            let of_one = if cuts { BYTES_OF_ONE_CUT } else { BYTES_OF_ONE.max(arguments.len() as u64) };
            let weights = (0..arguments.len()).map(weight).collect::<Result<Vec<_>>>()?;
            row_by_row(&|row| {
                let given = weights.iter().fold(0u64, |sum, weight| sum.saturating_add(weight.at(row) as u64));
                given.saturating_mul(of_one)
            })
        }
    })
}

/// Series of numbers and times, by steps.
fn series(arguments: &[ColumnarValue], rows: usize) -> Result<Vec<u64>> {
    let steps = arguments.get(2);
    let interval = steps.is_some_and(|step| matches!(step.data_type(), DataType::Interval(_)));
    let (first, second) = (NumberArgument::numbers(arguments.first())?, NumberArgument::numbers(arguments.get(1))?);
    let (start, stop) = if arguments.len() == 1 { (NumberArgument::One(0), first) } else { (first, second) };
    let step = match steps {
        Some(step) if interval => NumberArgument::intervals(step)?,
        Some(step) => NumberArgument::numbers(Some(step))?,
        None => NumberArgument::One(1),
    };
    let bytes = |row: usize| {
        let span = i128::from(stop.at(row)) - i128::from(start.at(row));
        // Steps of intervals are in nanoseconds.
        let span = if interval { span * 1000 } else { span };
        match i128::from(step.at(row)) {
            0 => 0,
            step => u64::try_from((span / step + 1).max(0) * 8).unwrap_or(u64::MAX),
        }
    };
    Ok((0..rows).map(bytes).collect())
}

/// One number per row.
enum NumberArgument {
    One(i64),
    Each(Vec<i64>),
}

impl NumberArgument {
    fn at(&self, row: usize) -> i64 {
        match self {
            NumberArgument::One(number) => *number,
            NumberArgument::Each(numbers) => numbers.get(row).copied().unwrap_or(0),
        }
    }

    fn new(value: Option<&ColumnarValue>, make: impl Fn(&ArrayRef) -> Result<Vec<i64>>) -> Result<NumberArgument> {
        Ok(match value {
            None => NumberArgument::One(0),
            Some(ColumnarValue::Array(values)) => NumberArgument::Each(make(values)?),
            Some(ColumnarValue::Scalar(value)) => {
                NumberArgument::One(make(&value.to_array()?)?.first().copied().unwrap_or(0))
            }
        })
    }

    /// Reads integers, and times as microseconds.
    fn numbers(value: Option<&ColumnarValue>) -> Result<NumberArgument> {
        NumberArgument::new(value, |values| {
            let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
            let values = match values.data_type() {
                DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => cast(values, &micros)?,
                _ => values.clone(),
            };
            Ok(integers(&cast(&values, &DataType::Int64)?))
        })
    }

    /// Returns the minimum length of intervals, in nanoseconds.
    fn intervals(value: &ColumnarValue) -> Result<NumberArgument> {
        const DAY_NS: i128 = 24 * 3600 * 1_000_000_000;
        NumberArgument::new(Some(value), |values| {
            let values = cast(values, &DataType::Interval(IntervalUnit::MonthDayNano))?;
            let length = |value: arrow::datatypes::IntervalMonthDayNano| {
                let days = i128::from(value.months) * 28 + i128::from(value.days);
                let length = days * DAY_NS + i128::from(value.nanoseconds);
                length.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
            };
            let values = values.as_primitive::<IntervalMonthDayNanoType>();
            Ok(values.iter().map(|value| value.map_or(0, length)).collect())
        })
    }

    /// Returns bytes of strings, or elements of lists.
    fn lengths(value: Option<&ColumnarValue>) -> Result<NumberArgument> {
        NumberArgument::new(value, |values| match length(values) {
            Ok(lengths) => Ok(integers(&cast(&lengths, &DataType::Int64)?)),
            Err(_) => Ok(vec![1; values.len()]),
        })
    }

    /// Returns bytes of values.
    fn weights(value: Option<&ColumnarValue>) -> Result<NumberArgument> {
        NumberArgument::new(value, |values| {
            let fixed = FIXED_BYTES as i64;
            let Ok(lengths) = length(values) else {
                // For nested values only the average is known.
                let each = bytes_of(values) / (values.len() as u64).max(1);
                return Ok(vec![i64::try_from(each).unwrap_or(i64::MAX).max(fixed); values.len()]);
            };
            let lengths = integers(&cast(&lengths, &DataType::Int64)?);
            let elements = lengths.iter().fold(0i64, |sum, length| sum.saturating_add(*length));
            let of_one = i64::try_from(bytes_of(values)).unwrap_or(i64::MAX) / elements.max(1) + 1;
            let text = values.data_type().is_string() || values.data_type().is_binary();
            let of_one = if text { 1 } else { of_one };
            Ok(lengths.iter().map(|length| length.saturating_mul(of_one).saturating_add(fixed)).collect())
        })
    }
}

fn integers(values: &ArrayRef) -> Vec<i64> {
    values.as_primitive::<Int64Type>().iter().map(|value| value.unwrap_or(0)).collect()
}
