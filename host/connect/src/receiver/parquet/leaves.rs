//! Converts values without nested values to the form of lines: in the job's types, or as text.

use super::columns::{ConversionResult, ReadTarget, Rejection, shown_path};
use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, GenericByteArray, Int64Array, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    ByteArrayType, DataType, Date64Type, Field, Int32Type, Int64Type, IntervalUnit, IntervalYearMonthType, TimeUnit,
};
use arrow::error::ArrowError;
use arrow::temporal_conversions::{time32ms_to_time, time64ns_to_time};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use millstream_rows::batch::cell;
use millstream_rows::batch::column::TimeUnit as Unit;
use millstream_rows::batch::json::written_out;
use millstream_rows::batch::times::{TimeParser, local_text, micros_of};
use std::fmt::Write as _;
use std::sync::Arc;

/// Type information of a leaf in addition to its Arrow type.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum LeafKind {
    #[default]
    Plain,
    /// A 16-byte UUID.
    Uuid,
    /// 96-bit timestamps.
    Int96,
}

/// An array of values without nested values.
pub struct Leaf<'a> {
    pub array: &'a ArrayRef,
    /// The same times in milliseconds; for intervals, the months.
    pub wide: Option<&'a ArrayRef>,
    pub kind: LeafKind,
    pub wants: &'a [ReadTarget<'a>],
}

const DAY_MS: i64 = 86_400_000;
const DAY_NS: i64 = 86_400_000_000_000;

/// Converts the values to the type that lines are written from.
pub fn convert(leaf: &Leaf<'_>) -> ConversionResult {
    let array = leaf.array;
    match array.data_type() {
        DataType::Timestamp(unit, zone) => leaf.times(*unit, zone.is_none()),
        DataType::Date64 => leaf.days(),
        DataType::Time32(unit) => {
            let (numbers, factor) = (cast(array, &DataType::Int32)?, if *unit == TimeUnit::Second { 1_000 } else { 1 });
            let numbers = numbers.as_primitive::<Int32Type>();
            leaf.times_of_day(numbers.iter().map(|ms| ms.map(|ms| i64::from(ms) * factor)), DAY_MS, |ms| {
                time32ms_to_time(i32::try_from(ms).ok()?)
            })
        }
        DataType::Time64(unit) => {
            let (numbers, factor) =
                (cast(array, &DataType::Int64)?, if *unit == TimeUnit::Microsecond { 1_000 } else { 1 });
            let numbers = numbers.as_primitive::<Int64Type>();
            leaf.times_of_day(numbers.iter().map(|ns| ns.map(|ns| ns.saturating_mul(factor))), DAY_NS, time64ns_to_time)
        }
        DataType::Duration(TimeUnit::Second) => leaf.durations(1_000),
        DataType::Duration(TimeUnit::Millisecond) => leaf.durations(1),
        DataType::Interval(IntervalUnit::DayTime) if leaf.wide.is_some() => leaf.intervals(),
        DataType::Float16 | DataType::Float32 => Ok((cast(array, &DataType::Float64)?, Vec::new())),
        DataType::FixedSizeBinary(16) if leaf.kind == LeafKind::Uuid && leaf.is_text() => leaf.uuids(),
        DataType::FixedSizeBinary(_) | DataType::LargeBinary | DataType::BinaryView if leaf.is_text() => {
            leaf.bytes_to_texts(cast(array, &DataType::Binary)?.as_binary::<i32>())
        }
        DataType::Binary if leaf.is_text() => leaf.bytes_to_texts(array.as_binary::<i32>()),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View if leaf.is_binary() => leaf.texts_to_bytes(),
        _ => Ok((array.clone(), Vec::new())),
    }
}

impl Leaf<'_> {
    /// Returns whether a column of the job reads bytes as text.
    fn is_text(&self) -> bool {
        self.wants.iter().any(is_text)
    }

    /// Returns whether a column of the job reads text as bytes.
    fn is_binary(&self) -> bool {
        self.wants.iter().any(is_binary)
    }

    /// Rejects a value for all columns that read it.
    fn reject(&self, rejected: &mut Vec<Rejection>, at: usize, reason: impl Fn(&ReadTarget<'_>) -> String) {
        rejected.extend(self.wants.iter().map(|want| Rejection { at, column: want.column, reason: reason(want) }));
    }

    /// Converts to times in microseconds. Times without a zone are local times in the zone of the column.
    fn times(&self, unit: TimeUnit, is_local: bool) -> ConversionResult {
        let zoned =
            |want: &&ReadTarget<'_>| is_local && want.path.is_empty() && !want.outer && want.spec.zone.is_some();
        let local = self.wants.iter().find(zoned).map(|want| (TimeParser::new(want.spec), want));
        let numbers = cast(self.array, &DataType::Int64)?;
        let numbers = numbers.as_primitive::<Int64Type>();
        let wide =
            self.wide.filter(|_| self.kind == LeafKind::Int96).map(|wide| cast(wide, &DataType::Int64)).transpose()?;
        let wide = wide.as_ref().map(|wide| wide.as_primitive::<Int64Type>());
        let (mut converted_values, mut rejected) = (Vec::with_capacity(numbers.len()), Vec::new());
        for (at, number) in numbers.iter().enumerate() {
            let Some(number) = number else {
                converted_values.push(None);
                continue;
            };
            let number = exact_micros(number, wide, at);
            let us = micros_of(number, unit_of(unit));
            let time = us.and_then(|us| local.as_ref().map_or(Ok(us), |(times, _)| times.local(us)));
            if let Err(fault) = time {
                match (us, &local) {
                    (Ok(us), Some((times, want))) => rejected.push(Rejection {
                        at,
                        column: want.column,
                        reason: times.message(fault, &want.spec.name, &local_text(us)),
                    }),
                    _ => self.reject(&mut rejected, at, |want| {
                        format!("column `{}`: {number} is out of range of timestamp", want.spec.name)
                    }),
                }
            }
            converted_values.push(time.ok());
        }
        Ok((Arc::new(TimestampMicrosecondArray::from(converted_values).with_timezone("UTC")), rejected))
    }

    fn days(&self) -> ConversionResult {
        let (mut converted_values, mut rejected) = (Vec::with_capacity(self.array.len()), Vec::new());
        for (at, ms) in self.array.as_primitive::<Date64Type>().iter().enumerate() {
            let days = ms.map(|ms| i32::try_from(ms.div_euclid(DAY_MS)));
            if let (Some(ms), Some(Err(_))) = (ms, days) {
                self.reject(&mut rejected, at, |want| {
                    format!("column `{}`: {ms} milliseconds is out of range of date", want.spec.name)
                });
            }
            converted_values.push(days.and_then(Result::ok));
        }
        Ok((Arc::new(Date32Array::from(converted_values)), rejected))
    }

    /// Converts times of day to text. `day`: the start of the next day.
    fn times_of_day<T: std::fmt::Debug>(
        &self,
        numbers: impl Iterator<Item = Option<i64>>,
        day: i64,
        time: impl Fn(i64) -> Option<T>,
    ) -> ConversionResult {
        let (mut converted_values, mut rejected) = (StringBuilder::new(), Vec::new());
        for (at, number) in numbers.enumerate() {
            let found = number.filter(|number| (0..day).contains(number)).and_then(&time);
            match (number, found) {
                (_, Some(time)) => {
                    // Writing to a builder cannot fail.
                    let _ = write!(converted_values, "{time:?}");
                    converted_values.append_value("");
                }
                (Some(number), None) => {
                    let unit = if day == DAY_MS { "milliseconds" } else { "nanoseconds" };
                    self.reject(&mut rejected, at, |want| {
                        format!("column `{}`: {number} {unit} is not a time of day", want.spec.name)
                    });
                    converted_values.append_null();
                }
                (None, None) => converted_values.append_null(),
            }
        }
        Ok((Arc::new(converted_values.finish()), rejected))
    }

    /// Converts durations in units of `unit_ms` milliseconds. Durations that exceed 64 bits in milliseconds have no text and are rejected.
    fn durations(&self, unit_ms: i64) -> ConversionResult {
        let (mut converted_values, mut rejected) = (Vec::with_capacity(self.array.len()), Vec::new());
        let numbers = cast(self.array, &DataType::Int64)?;
        for (at, number) in numbers.as_primitive::<Int64Type>().iter().enumerate() {
            let fits = |number: &i64| number.checked_mul(unit_ms).is_some_and(|ms| ms > i64::MIN);
            if let Some(number) = number.filter(|number| !fits(number)) {
                self.reject(&mut rejected, at, |want| {
                    format!("column `{}`: {number} is out of range of durations", want.spec.name)
                });
            }
            converted_values.push(number.filter(fits));
        }
        Ok((cast(&Int64Array::from(converted_values), self.array.data_type())?, rejected))
    }

    /// Converts intervals to text. The array has their days and milliseconds.
    fn intervals(&self) -> ConversionResult {
        let days = ArrayFormatter::try_new(self.array, &FormatOptions::default())?;
        let months = self.wide.and_then(|wide| wide.as_primitive_opt::<IntervalYearMonthType>());
        let mut converted_values = StringBuilder::new();
        for at in 0..self.array.len() {
            if self.array.is_null(at) {
                converted_values.append_null();
                continue;
            }
            // Months are unsigned in the file.
            let months = months.filter(|months| at < months.len()).map_or(0, |months| months.value(at).cast_unsigned());
            let days = days.value(at);
            converted_values.append_value(if months == 0 { days.to_string() } else { format!("{months} mons {days}") });
        }
        Ok((Arc::new(converted_values.finish()), Vec::new()))
    }

    fn uuids(&self) -> ConversionResult {
        let mut converted_values = StringBuilder::new();
        for bytes in self.array.as_fixed_size_binary().iter() {
            converted_values.append_option(bytes.map(cell::uuid));
        }
        Ok((Arc::new(converted_values.finish()), Vec::new()))
    }

    /// Converts strings to bytes, which are hexadecimal digits in lines.
    fn texts_to_bytes(&self) -> ConversionResult {
        match self.wants.iter().any(|want| is_text(want) || want.outer) {
            true => Ok((self.array.clone(), self.conflicts())),
            false => Ok((cast(&cast(self.array, &DataType::Utf8)?, &DataType::Binary)?, Vec::new())),
        }
    }

    /// Rejects values that one column reads as bytes and another as text, as a line has only one of them.
    fn conflicts(&self) -> Vec<Rejection> {
        let mut rejected = Vec::new();
        for want in self.wants.iter().filter(|want| is_binary(want)) {
            let (name, path) = (&want.spec.name, shown_path(want.spec));
            let reason = format!(
                "column `{name}`: `{path}`, or its parent, is `text` for another column of the job, so it cannot be \
                 `binary` here; make it `text` too, or remove the other column"
            );
            let given = (0..self.array.len()).filter(|at| self.array.is_valid(*at));
            rejected.extend(given.map(|at| Rejection { at, column: want.column, reason: reason.clone() }));
        }
        rejected
    }

    /// Converts bytes that the file does not declare as text.
    fn bytes_to_texts<T: ByteArrayType<Native = [u8]>>(&self, bytes: &GenericByteArray<T>) -> ConversionResult {
        let (mut converted_values, mut rejected) = (StringBuilder::new(), self.conflicts());
        for (at, value) in bytes.iter().enumerate() {
            let text = value.map(std::str::from_utf8);
            if let Some(Err(_)) = text {
                self.reject(&mut rejected, at, |want| {
                    let path = shown_path(want.spec);
                    format!("its column `{path}` holds bytes that are not UTF-8; declare it as `binary`")
                });
            }
            converted_values.append_option(text.and_then(Result::ok));
        }
        Ok((Arc::new(converted_values.finish()), rejected))
    }
}

/// Returns whether the column reads the value as text.
fn is_text(want: &ReadTarget<'_>) -> bool {
    want.path.is_empty() && !want.outer && want.kind == DataType::Utf8
}

/// Returns whether the column reads its bytes.
fn is_binary(want: &ReadTarget<'_>) -> bool {
    want.path.is_empty() && !want.outer && want.kind == DataType::Binary
}

/// Returns the exact microseconds of a time whose microseconds may have wrapped around; `wide` has its milliseconds, which have not.
fn exact_micros(us: i64, wide: Option<&Int64Array>, at: usize) -> i128 {
    match wide.filter(|wide| at < wide.len() && wide.is_valid(at)).map(|wide| wide.value(at)) {
        Some(ms) => i128::from(ms) * 1_000 + i128::from(us.wrapping_sub(ms.wrapping_mul(1_000))),
        None => i128::from(us),
    }
}

fn unit_of(unit: TimeUnit) -> Unit {
    match unit {
        TimeUnit::Second => Unit::Seconds,
        TimeUnit::Millisecond => Unit::Millis,
        TimeUnit::Microsecond => Unit::Micros,
        TimeUnit::Nanosecond => Unit::Nanos,
    }
}

/// Converts keys of maps to text: strings unchanged, other values as JSON without quotes.
pub fn key_texts(keys: &ArrayRef) -> Result<StringArray, ArrowError> {
    if let Some(strings) = keys.as_string_opt::<i32>() {
        let has_no_nulls = strings.null_count() == 0;
        return Ok(if has_no_nulls {
            strings.clone()
        } else {
            strings.iter().map(|key| Some(key.unwrap_or_default())).collect()
        });
    }
    if let DataType::LargeUtf8 | DataType::Utf8View = keys.data_type() {
        return key_texts(&cast(keys, &DataType::Utf8)?);
    }
    let field = Arc::new(Field::new("key", keys.data_type().clone(), true));
    let written = written_out(&field, keys).map_err(|error| ArrowError::ExternalError(Box::new(error)))?;
    let text = |key: Option<&str>| {
        let key = key.unwrap_or_default();
        let quoted = key.starts_with('"').then(|| serde_json::from_str::<String>(key).ok()).flatten();
        Some(quoted.unwrap_or_else(|| key.to_owned()))
    };
    Ok(written.iter().map(text).collect())
}
