//! Single values as people and text formats read them. All sinks use these forms.

use crate::batch::types::ColumnType;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array,
    StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType};
use std::fmt::Write as _;

/// A column by its type.
pub enum Cells<'a> {
    /// `bool`
    Bool(&'a BooleanArray),
    /// `int64`
    Int64(&'a Int64Array),
    /// `float64`
    Float64(&'a Float64Array),
    /// `text`
    Text(&'a StringArray),
    /// `binary`
    Binary(&'a BinaryArray),
    /// `timestamp`
    Timestamp(&'a TimestampMicrosecondArray),
    /// `date`
    Date(&'a Date32Array),
    /// `decimal`
    Decimal(&'a Decimal128Array),
    /// Any other Arrow type.
    Other(&'a ArrayRef),
}

impl<'a> Cells<'a> {
    /// Returns the typed column.
    pub fn new(array: &'a ArrayRef) -> Cells<'a> {
        let typed = match ColumnType::from_arrow(array.data_type()) {
            ColumnType::Bool => array.as_boolean_opt().map(Cells::Bool),
            ColumnType::Int64 => array.as_primitive_opt::<Int64Type>().map(Cells::Int64),
            ColumnType::Float64 => array.as_primitive_opt::<Float64Type>().map(Cells::Float64),
            ColumnType::Text => array.as_string_opt::<i32>().map(Cells::Text),
            ColumnType::Binary => array.as_binary_opt::<i32>().map(Cells::Binary),
            ColumnType::Timestamp => array.as_primitive_opt::<TimestampMicrosecondType>().map(Cells::Timestamp),
            ColumnType::Arrow(DataType::Date32) => array.as_primitive_opt::<Date32Type>().map(Cells::Date),
            ColumnType::Arrow(DataType::Decimal128(..)) => {
                array.as_primitive_opt::<Decimal128Type>().map(Cells::Decimal)
            }
            ColumnType::Arrow(_) => None,
        };
        typed.unwrap_or(Cells::Other(array))
    }
}

/// Appends the shortest decimal number that reads back as `value`: `0.1`, `2.0`, `1e300`. Infinities and NaN have the names that most JSON parsers
/// accept and our own sources read. All formats write floats this way, and so does a cast to text in SQL.
pub fn write_float(out: &mut String, value: f64) {
    match not_finite(value) {
        Some(word) => out.push_str(word),
        None => out.push_str(ryu::Buffer::new().format_finite(value)),
    }
}

/// Returns the text of [`write_float`].
pub fn float_text(value: f64) -> String {
    let mut text = String::new();
    write_float(&mut text, value);
    text
}

/// Returns the text of a 32-bit float, with no more digits than it has.
pub fn float32_text(value: f32) -> String {
    match not_finite(f64::from(value)) {
        Some(word) => word.to_owned(),
        None => ryu::Buffer::new().format_finite(value).to_owned(),
    }
}

/// Appends the float as JSON. Infinities and NaN are strings, as JSON has no numbers for them.
pub fn write_json_float(out: &mut Vec<u8>, value: f64) {
    match not_finite(value) {
        Some(word) => {
            out.push(b'"');
            out.extend_from_slice(word.as_bytes());
            out.push(b'"');
        }
        None => out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes()),
    }
}

fn not_finite(value: f64) -> Option<&'static str> {
    match value {
        _ if value.is_finite() => None,
        _ if value.is_nan() => Some("NaN"),
        _ if value > 0.0 => Some("Infinity"),
        _ => Some("-Infinity"),
    }
}

/// Returns the UUID of 16 bytes: `123e4567-e89b-12d3-a456-426614174000`.
pub fn uuid(bytes: &[u8]) -> String {
    let mut text = millstream_base::hex::encode(bytes);
    for index in [20, 16, 12, 8] {
        if text.is_char_boundary(index) {
            text.insert(index, '-');
        }
    }
    text
}

/// Appends a time in RFC 3339, UTC, with microseconds: `2026-11-20T08:30:01.123456Z`. Years outside of RFC 3339 get a sign.
pub fn write_rfc3339(out: &mut String, micros: i64) {
    let point = Civil::from_micros(micros);
    point.write_date(out);
    out.push('T');
    point.write_time(out);
    let _ = write!(out, ".{:06}Z", point.micros);
}

/// Appends a date: `2026-11-20`. Years that do not have four digits get a sign.
pub fn write_date(out: &mut String, days: i32) {
    Civil::of_day(days.into(), 0).write_date(out);
}

/// Appends a batch time for a header: `2026-11-20 08:30:01`, with milliseconds unless they are zero.
pub fn write_batch_time(out: &mut String, micros: i64) {
    let point = Civil::from_micros(micros);
    point.write_date(out);
    out.push(' ');
    point.write_time(out);
    if point.micros != 0 {
        let _ = write!(out, ".{:03}", point.micros / 1000);
    }
}

/// A point in time in the proleptic Gregorian calendar, UTC.
struct Civil {
    year: i64,
    month: u8,
    day: u8,
    second_of_day: u32,
    micros: u32,
}

impl Civil {
    /// Converts any 64-bit number of microseconds since 1970. The date follows Howard Hinnant's `civil_from_days`: years begin in March, so that the
    /// leap day is the last of its year, and 400 years are an integral number of days.
    fn from_micros(micros: i64) -> Civil {
        const MICROS_A_DAY: i64 = 86_400_000_000;
        Civil::of_day(micros.div_euclid(MICROS_A_DAY), micros.rem_euclid(MICROS_A_DAY))
    }

    /// Converts a day since 1970 and the microseconds within it. Days are those that fit into 64 bits as microseconds, or into 32 bits as days.
    fn of_day(days: i64, of_day: i64) -> Civil {
        const DAYS_AN_ERA: i64 = 146_097;
        let days = days + 719_468;
        let era = days.div_euclid(DAYS_AN_ERA);
        let day_of_era = days.rem_euclid(DAYS_AN_ERA);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Civil {
            year,
            month: month as u8,
            day: day as u8,
            second_of_day: (of_day / 1_000_000) as u32,
            micros: (of_day % 1_000_000) as u32,
        }
    }

    fn write_date(&self, out: &mut String) {
        let _ = match self.year {
            0..=9999 => write!(out, "{:04}-{:02}-{:02}", self.year, self.month, self.day),
            year => write!(out, "{year:+05}-{:02}-{:02}", self.month, self.day),
        };
    }

    fn write_time(&self, out: &mut String) {
        let s = self.second_of_day;
        let _ = write!(out, "{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rfc3339(micros: i64) -> String {
        let mut out = String::new();
        write_rfc3339(&mut out, micros);
        out
    }

    #[test]
    fn dates_agree_with_chrono_and_the_edges_do_not_panic() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999999Z");
        assert_eq!(rfc3339(951_782_400_000_000), "2000-02-29T00:00:00.000000Z");
        assert_eq!(rfc3339(i64::MAX), "+294247-01-10T04:00:54.775807Z");
        assert_eq!(rfc3339(i64::MIN), "-290308-12-21T19:59:05.224192Z");
        // Every 97 days and some hours over 5,000 years, compared with another author's calendar.
        let mut micros = -62_135_596_800_000_000_i64;
        while micros < 95_617_584_000_000_000 {
            let other = arrow::temporal_conversions::timestamp_us_to_datetime(micros).unwrap();
            assert_eq!(rfc3339(micros), other.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string());
            micros += 97 * 86_400_000_000 + 12_345_678_901;
        }
    }

    #[test]
    fn floats_are_short_and_hex_is_whole() {
        let mut out = String::new();
        for value in [0.1, 1.0, -0.0, 1e21, 5e-324, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            write_float(&mut out, value);
            out.push(' ');
        }
        assert_eq!(out, "0.1 1.0 -0.0 1e21 5e-324 NaN Infinity -Infinity ");
    }
}
