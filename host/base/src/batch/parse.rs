//! Numbers and times as text, and what to say of text that is neither.

use crate::batch::types::ColumnType;
use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::string_to_datetime;
use std::borrow::Cow;

/// Why a text is not a value of a type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wrong {
    /// It looks like something else.
    Syntax,
    /// The type cannot hold it.
    Range,
    /// A float that stands for several whole numbers.
    Inexact,
}

/// What an error is about: a column's name and type.
#[derive(Clone, Copy)]
pub struct About<'a> {
    /// The column.
    pub name: &'a str,
    /// Its type.
    pub kind: &'a ColumnType,
}

/// How much of a wrong value an error shows.
const SHOWN_CHARS_MAX: usize = 60;

/// The beginning of a value, for an error.
pub fn shown(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        None => text.into(),
        Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()).into(),
    }
}

impl Wrong {
    /// The reason of a rejected row.
    #[cold]
    pub fn tell(self, about: About<'_>, text: &str) -> String {
        let About { name, kind } = about;
        let shown = shown(text);
        let article = if *kind == ColumnType::Int64 { "an" } else { "a" };
        let hint = match kind {
            ColumnType::Bool => " (true or false)",
            _ => "",
        };
        match self {
            Wrong::Syntax => format!("column `{name}`: `{shown}` is not {article} {kind}{hint}"),
            Wrong::Range => format!("column `{name}`: {shown} is out of range of {kind}"),
            Wrong::Inexact => format!("column `{name}`: {shown} is not a whole number that is exact as a float"),
        }
    }
}

/// Whole numbers of at most 18 digits: nearly all.
#[inline]
pub fn short_int64(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut value = 0_i64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if digits.len() < text.len() { -value } else { value })
}

/// Floats up to here stand for one whole number only; the next one also for its neighbour, which has no float.
const EXACT_MAX: f64 = 9_007_199_254_740_991.0;

/// A whole number; a float counts as one if it is exact.
pub fn int64(text: &str) -> Result<i64, Wrong> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    match text.parse::<i64>() {
        Ok(value) => Ok(value),
        Err(error) if matches!(error.kind(), PosOverflow | NegOverflow) => Err(Wrong::Range),
        Err(_) => match float64(text) {
            Ok(value) if value.fract() == 0.0 && value.abs() <= EXACT_MAX => Ok(value as i64),
            Ok(value) if value.abs() >= i64::MAX as f64 => Err(Wrong::Range),
            Ok(value) if value.fract() == 0.0 => Err(Wrong::Inexact),
            Err(Wrong::Range) => Err(Wrong::Range),
            _ => Err(Wrong::Syntax),
        },
    }
}

/// A float, also as `NaN` or `inf`; a number too large is not infinite.
pub fn float64(text: &str) -> Result<f64, Wrong> {
    match text.parse::<f64>() {
        Ok(value) if value.is_infinite() && text.bytes().any(|byte| byte.is_ascii_digit()) => Err(Wrong::Range),
        Ok(value) => Ok(value),
        Err(_) => Err(Wrong::Syntax),
    }
}

/// Microseconds since 1970 of a time in RFC 3339; without an offset it is of the zone `utc`. Years that RFC 3339 cannot write are read as
/// our sinks write them.
pub fn timestamp(text: &str, utc: Option<&Tz>) -> Option<i64> {
    // Arrow's parser cuts text at byte positions.
    if !text.is_ascii() {
        return None;
    }
    if text.starts_with(['+', '-']) {
        return far_timestamp(text);
    }
    string_to_datetime(utc?, text).ok().map(|time| time.timestamp_micros())
}

/// A time of a year with a sign: `+57000-01-31T12:00:00.000000Z`, and nothing else.
fn far_timestamp(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (date, day) = date.rsplit_once('-')?;
    let (year, month) = date.rsplit_once('-')?;
    let (time, micros) = time.split_once('.').filter(|(_, micros)| micros.len() == 6)?;
    let mut time = time.splitn(3, ':').map(|part| part.parse::<u32>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let (year, month, day) = (year.parse::<i64>().ok()?, month.parse::<u32>().ok()?, day.parse::<u32>().ok()?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 59 || year.abs() > YEARS_MAX {
        return None;
    }
    let seconds =
        i128::from(days_from_civil(year, month, day)) * 86_400 + i128::from((hour * 60 + minute) * 60 + second);
    i64::try_from(seconds * 1_000_000 + i128::from(micros.parse::<u32>().ok()?)).ok()
}

/// Further than microseconds in 64 bits reach.
const YEARS_MAX: i64 = 400_000;

/// Days since 1970 of a date, after Howard Hinnant: years begin in March, so that the leap day is the last.
fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = i64::from((153 * ((month + 9) % 12) + 2) / 5 + day - 1);
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_far_years_are_read_as_sinks_write_them() {
        for (text, micros) in [
            ("+294247-01-10T04:00:54.775807Z", Some(i64::MAX)),
            ("-290308-12-21T19:59:05.224192Z", Some(i64::MIN)),
            ("+10000-02-29T00:00:00.000001Z", Some(253_407_398_400_000_001)),
            ("-0001-12-31T23:59:59.999999Z", Some(-62_167_219_200_000_001)),
            ("+294247-01-10T04:00:54.775808Z", None),
            ("+10001-02-29T00:00:00.000000Z", None),
            ("+10000-13-01T00:00:00.000000Z", None),
            ("+10000-01-01T24:00:00.000000Z", None),
            ("+10000-01-01T00:00:00.0Z", None),
            ("+99999999999999999999-01-01T00:00:00.000000Z", None),
            ("-5", None),
        ] {
            assert_eq!(far_timestamp(text), micros, "{text}");
        }
    }
}
