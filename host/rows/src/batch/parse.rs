//! Numbers and times as text, and error messages for invalid text.

use crate::batch::types::ColumnType;
use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::string_to_datetime;
use arrow::datatypes::DataType;
use chrono::{NaiveDateTime, Offset as _, TimeZone as _};
use std::borrow::Cow;

/// Why a string is not a value of a type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueParseError {
    /// The syntax is wrong.
    Syntax,
    /// The type cannot hold the value.
    Range,
    /// A float that represents several integers.
    Inexact,
    /// A decimal would lose digits after the point.
    Digits,
}

/// The column that an error is about.
#[derive(Clone, Copy)]
pub struct ErrorColumn<'a> {
    /// The column.
    pub name: &'a str,
    /// Its type.
    pub kind: &'a ColumnType,
}

/// Maximum length of a wrong value in an error.
const SHOWN_CHARS_MAX: usize = 60;

/// Returns the beginning of a value, for an error.
pub fn shown(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        None => text.into(),
        Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()).into(),
    }
}

impl ValueParseError {
    /// Returns the reason of a rejected row.
    #[cold]
    pub fn message(self, about: ErrorColumn<'_>, text: &str) -> String {
        let ErrorColumn { name, kind } = about;
        let shown = shown(text);
        let article = if *kind == ColumnType::Int64 { "an" } else { "a" };
        let hint = match kind {
            ColumnType::Bool => " (true or false)",
            ColumnType::Arrow(DataType::Date32) => " (for example 2026-11-20)",
            _ => "",
        };
        match self {
            ValueParseError::Syntax => format!("column `{name}`: `{shown}` is not {article} {kind}{hint}"),
            ValueParseError::Range => format!("column `{name}`: {shown} is out of range of {kind}"),
            ValueParseError::Digits => {
                format!("column `{name}`: {shown} has more digits after the decimal point than {kind} can hold")
            }
            ValueParseError::Inexact => {
                format!("column `{name}`: {shown} is not an integer that a float represents exactly")
            }
        }
    }
}

/// Parses integers of at most 18 digits: nearly all.
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

/// Floats up to this one represent only one integer. The next one also represents its neighbor, which has no float.
const EXACT_MAX: f64 = 9_007_199_254_740_991.0;

/// Parses an integer; a float is accepted if it is exact.
pub fn int64(text: &str) -> Result<i64, ValueParseError> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    match text.parse::<i64>() {
        Ok(value) => Ok(value),
        Err(error) if matches!(error.kind(), PosOverflow | NegOverflow) => Err(ValueParseError::Range),
        Err(_) => match float64(text) {
            Ok(value) if value.fract() == 0.0 && value.abs() <= EXACT_MAX => Ok(value as i64),
            Ok(value) if value.abs() >= i64::MAX as f64 && !is_within_int64(text) => Err(ValueParseError::Range),
            Ok(value) if value.fract() == 0.0 => Err(ValueParseError::Inexact),
            Err(ValueParseError::Range) => Err(ValueParseError::Range),
            _ => Err(ValueParseError::Syntax),
        },
    }
}

/// Returns whether an integer with a point or an exponent fits into 64 bits; no float has its last digits.
fn is_within_int64(text: &str) -> bool {
    decimal(text, 38, 0).is_ok_and(|number| i64::try_from(number).is_ok())
}

/// Parses a float, including `NaN` and `inf`; a number that is too large is an error, not infinity.
pub fn float64(text: &str) -> Result<f64, ValueParseError> {
    match text.parse::<f64>() {
        Ok(value) if value.is_infinite() && text.bytes().any(|byte| byte.is_ascii_digit()) => {
            Err(ValueParseError::Range)
        }
        Ok(value) => Ok(value),
        Err(_) => Err(ValueParseError::Syntax),
    }
}

/// Parses a decimal as a multiple of its last digit: 12.5 with scale 2 is 1250. Losing a digit is an error.
pub fn decimal(text: &str, precision: u8, scale: i8) -> Result<i128, ValueParseError> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().map_err(|_| ValueParseError::Syntax)?;
    let digits = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
    let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (integer.is_empty() && fraction.is_empty()) || !plain(integer) || !plain(fraction) {
        return Err(ValueParseError::Syntax);
    }
    let (mut value, mut lost) = (0_i128, false);
    // How many digits of the number come before the last one that is kept.
    let kept = integer.len() as i64 + i64::from(exponent) + i64::from(scale);
    for (index, digit) in (0_i64..).zip(integer.bytes().chain(fraction.bytes())) {
        if index >= kept {
            lost |= digit != b'0';
        } else {
            value = value.checked_mul(10).ok_or(ValueParseError::Range)? + i128::from(digit - b'0');
        }
    }
    let missing = kept - (integer.len() + fraction.len()) as i64;
    if value != 0 && missing > 0 {
        let power = u32::try_from(missing).ok().and_then(|missing| 10_i128.checked_pow(missing));
        value = power.and_then(|power| value.checked_mul(power)).ok_or(ValueParseError::Range)?;
    }
    if value >= 10_i128.pow(u32::from(precision)) {
        return Err(ValueParseError::Range);
    }
    match lost {
        true => Err(ValueParseError::Digits),
        false => Ok(if mantissa.starts_with('-') { -value } else { value }),
    }
}

/// Parses a date such as 2026-11-20 as days since 1970; years that do not have four digits have a sign.
pub fn date(text: &str) -> Result<i32, ValueParseError> {
    let day = || {
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (year, rest) = unsigned.split_once('-')?;
        let (month, day) = rest.split_once('-')?;
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let shape = digits(year) && digits(month) && digits(day) && month.len() == 2 && day.len() == 2;
        if !shape || year.len() < 4 || (unsigned.len() == text.len() && year.len() != 4) {
            return None;
        }
        let year: i64 = year.parse().ok().filter(|year| *year <= DATE_YEARS_MAX)?;
        let year = if text.starts_with('-') { -year } else { year };
        let (month, day) = (month.parse().ok()?, day.parse().ok()?);
        (1..=days_of(year, month)?).contains(&day).then(|| days_from_civil(year, month, day))
    };
    let days = day().ok_or(ValueParseError::Syntax)?;
    i32::try_from(days).map_err(|_| ValueParseError::Range)
}

/// Beyond the range of days in 32 bits.
const DATE_YEARS_MAX: i64 = 6_000_000;

/// Returns the number of days of a month.
fn days_of(year: i64, month: u32) -> Option<u32> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    Some(match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    })
}

/// Parses a time in RFC 3339 as microseconds since 1970; without an offset it is in the zone `utc`. Years outside of RFC 3339 are read as our sinks
/// write them.
pub fn timestamp(text: &str, utc: Option<&Tz>) -> Option<i64> {
    // Arrow's parser slices text at byte indexes.
    if !text.is_ascii() {
        return None;
    }
    if text.starts_with(['+', '-']) {
        let day = || moment(i64::from(date(text).ok()?).checked_mul(86_400_000_000)?, utc?);
        return far_timestamp(text, utc).or_else(day);
    }
    string_to_datetime(utc?, text).ok().map(|time| time.timestamp_micros())
}

/// Parses the most common form of times, `2026-11-22T19:35:58.123Z`, or with a space instead of the `T`. If `is_utc`, the `Z` is optional.
/// `None` if it has another form, which may be valid: see [`timestamp`].
pub fn plain_timestamp(text: &str, is_utc: bool) -> Option<i64> {
    let (time, fraction) = text.as_bytes().split_first_chunk::<19>()?;
    let [y1, y2, y3, y4, b'-', o1, o2, b'-', d1, d2, b'T' | b' ', h1, h2, b':', m1, m2, b':', s1, s2] = *time else {
        return None;
    };
    let number = |digits: &[u8]| {
        let all = digits.iter().all(u8::is_ascii_digit);
        all.then(|| digits.iter().fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0')))
    };
    let (year, month, day) = (number(&[y1, y2, y3, y4])?, number(&[o1, o2])?, number(&[d1, d2])?);
    let (hour, minute, second) = (number(&[h1, h2])?, number(&[m1, m2])?, number(&[s1, s2])?);
    let micros = match fraction.strip_suffix(b"Z").or_else(|| is_utc.then_some(fraction))? {
        [] => 0,
        [b'.', digits @ ..] if (1..=6).contains(&digits.len()) => number(digits)? * 10_u32.pow(6 - digits.len() as u32),
        _ => return None,
    };
    let year = i64::from(year);
    let fits = year > 0 && (1..=days_of(year, month)?).contains(&day) && hour < 24 && minute < 60 && second < 60;
    let days = fits.then(|| days_from_civil(year, month, day))?;
    Some((days * 86_400 + i64::from((hour * 60 + minute) * 60 + second)) * 1_000_000 + i64::from(micros))
}

/// Parses only times of a year with a sign: `+57000-01-31T12:00:00.000000Z`. Without the `Z` it is in the zone `utc`, a fixed offset.
fn far_timestamp(text: &str, utc: Option<&Tz>) -> Option<i64> {
    let (local, zone) = text.strip_suffix('Z').map_or((text, utc), |local| (local, None));
    if zone.is_none() && local.len() == text.len() {
        return None;
    }
    let (date, time) = local.split_once('T')?;
    let (date, day) = date.rsplit_once('-')?;
    let (year, month) = date.rsplit_once('-')?;
    let (time, micros) = time.split_once('.').filter(|(_, micros)| micros.len() == 6)?;
    let mut time = time.splitn(3, ':').map(|part| part.parse::<u32>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let (year, month, day) = (year.parse::<i64>().ok()?, month.parse::<u32>().ok()?, day.parse::<u32>().ok()?);
    let days = days_of(year, month)?;
    if !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 59 || year.abs() > YEARS_MAX {
        return None;
    }
    let seconds =
        i128::from(days_from_civil(year, month, day)) * 86_400 + i128::from((hour * 60 + minute) * 60 + second);
    let us = i64::try_from(seconds * 1_000_000 + i128::from(micros.parse::<u32>().ok()?)).ok()?;
    zone.map_or(Some(us), |zone| moment(us, zone))
}

/// Converts a local time in a zone with a fixed offset to microseconds since 1970.
fn moment(us: i64, zone: &Tz) -> Option<i64> {
    // The offset is the same at all times.
    let offset = zone.offset_from_utc_datetime(&NaiveDateTime::default()).fix().local_minus_utc();
    us.checked_sub(i64::from(offset) * 1_000_000)
}

/// Beyond the range of microseconds in 64 bits.
const YEARS_MAX: i64 = 400_000;

/// Returns a date as days since 1970, after Howard Hinnant: years begin in March, so that the leap day is the last.
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
    fn decimals_lose_no_digit() {
        for (text, precision, scale, value) in [
            ("12.5", 18, 2, Ok(1250)),
            ("-12.50", 18, 2, Ok(-1250)),
            ("0.0", 3, 1, Ok(0)),
            (".5", 3, 1, Ok(5)),
            ("5.", 3, 1, Ok(50)),
            ("1e3", 4, 0, Ok(1000)),
            ("1.25E1", 4, 1, Ok(125)),
            ("125e-2", 4, 2, Ok(125)),
            ("0e999999999", 4, 2, Ok(0)),
            ("12.345", 18, 2, Err(ValueParseError::Digits)),
            ("12.3400", 18, 2, Ok(1234)),
            ("999", 3, 0, Ok(999)),
            ("1000", 3, 0, Err(ValueParseError::Range)),
            ("1e999999999", 38, 0, Err(ValueParseError::Range)),
            ("1e-999999999", 38, 0, Err(ValueParseError::Digits)),
            ("99999999999999999999999999999999999999", 38, 0, Ok(10_i128.pow(38) - 1)),
            ("999999999999999999999999999999999999999999", 38, 0, Err(ValueParseError::Range)),
            ("", 3, 1, Err(ValueParseError::Syntax)),
            (".", 3, 1, Err(ValueParseError::Syntax)),
            ("--1", 3, 1, Err(ValueParseError::Syntax)),
            ("1_0", 3, 1, Err(ValueParseError::Syntax)),
            ("NaN", 3, 1, Err(ValueParseError::Syntax)),
            ("1e", 3, 1, Err(ValueParseError::Syntax)),
            ("1e99999999999", 3, 1, Err(ValueParseError::Syntax)),
        ] {
            assert_eq!(decimal(text, precision, scale), value, "{text} as ({precision},{scale})");
        }
    }

    #[test]
    fn dates_are_days() {
        for (text, days) in [
            ("1970-01-01", Ok(0)),
            ("2026-11-20", Ok(20_777)),
            ("1969-12-31", Ok(-1)),
            ("2024-02-29", Ok(19_782)),
            ("+10000-01-01", Ok(2_932_897)),
            ("+5881580-07-11", Ok(i32::MAX)),
            ("-5877641-06-23", Ok(i32::MIN)),
            ("+5881580-07-12", Err(ValueParseError::Range)),
            ("2023-02-29", Err(ValueParseError::Syntax)),
            ("2026-1-1", Err(ValueParseError::Syntax)),
            ("10000-01-01", Err(ValueParseError::Syntax)),
            ("2026-11-20T00:00:00Z", Err(ValueParseError::Syntax)),
            ("2026-00-01", Err(ValueParseError::Syntax)),
            ("", Err(ValueParseError::Syntax)),
        ] {
            assert_eq!(date(text), days, "{text}");
        }
    }

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
            assert_eq!(timestamp(text, None), micros, "{text}");
        }
        // Without the Z it is in the given zone.
        let utc = "+00:00".parse().ok();
        let local = "+10000-02-29T00:00:00.000001";
        assert_eq!((timestamp(local, None), timestamp(local, utc.as_ref())), (None, Some(253_407_398_400_000_001)));
        let one_hour = "+01:00".parse().ok();
        assert_eq!(timestamp(local, one_hour.as_ref()), Some(253_407_394_800_000_001));
        assert_eq!(timestamp("-0043-03-15T12:00:00", utc.as_ref()), None);
        // A date alone is its first instant, as in near years.
        for (text, micros) in [("+10000-01-01", 253_402_300_800_000_000), ("2026-11-20", 1_795_132_800_000_000)] {
            assert_eq!(timestamp(text, utc.as_ref()), Some(micros), "{text}");
            assert_eq!(timestamp(text, one_hour.as_ref()), Some(micros - 3_600_000_000), "{text}");
        }
    }
}
