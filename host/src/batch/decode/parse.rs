//! Numbers and times as text, and what to say of text that is neither.

use crate::batch::types::ColumnType;
use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::string_to_datetime;

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

impl Wrong {
    /// The reason of a rejected row.
    #[cold]
    pub fn tell(self, about: About<'_>, text: &str) -> String {
        let About { name, kind } = about;
        let cut = text.char_indices().nth(SHOWN_CHARS_MAX).map_or(text.len(), |(at, _)| at);
        let shown = text.get(..cut).unwrap_or_default();
        let more = if cut < text.len() { "…" } else { "" };
        let article = if *kind == ColumnType::Int64 { "an" } else { "a" };
        let hint = match kind {
            ColumnType::Timestamp => " (RFC 3339, as 2024-05-01T12:00:00Z, or whole microseconds since 1970)",
            ColumnType::Bool => " (true or false)",
            _ => "",
        };
        match self {
            Wrong::Syntax => format!("column `{name}`: `{shown}{more}` is not {article} {kind}{hint}"),
            Wrong::Range => format!("column `{name}`: {shown}{more} is out of range of {kind}"),
            Wrong::Inexact => format!("column `{name}`: {shown}{more} is not a whole number that is exact as a float"),
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

/// Microseconds since 1970 of a time in RFC 3339; without an offset it is UTC.
pub fn timestamp(text: &str, utc: Option<&Tz>) -> Option<i64> {
    // Arrow's parser cuts text at byte positions.
    if !text.is_ascii() {
        return None;
    }
    string_to_datetime(utc?, text).ok().map(|time| time.timestamp_micros())
}
