//! Types whose values are encoded as text at the boundary: dates, decimals, structs and lists.

use crate::bindings::transform::millstream::plugin::types::Column;
use crate::cell::BytesReader;
use crate::writer::BytesWriter;
use crate::{Cell, Field, Type, row};
use std::fmt;
use std::str::FromStr;

/// A date, as days since 1970-01-01. The column is a `date`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(pub i32);

/// A decimal number of at most `P` digits, `S` of them after the point. Stored as the integer without the point: 12.50 with scale
/// 2 is 1250. The column is a `decimal(P,S)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal<const P: u8, const S: u8>(pub i128);

/// A string that is not a date, or not a decimal number with this precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotWritten;

impl fmt::Display for NotWritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the text is not a value of this type")
    }
}

impl std::error::Error for NotWritten {}

impl Date {
    /// Returns the date of a year, a month from 1 and a day from 1. `None` if there is no such day.
    pub fn of(year: i64, month: u8, day: u8) -> Option<Date> {
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year.unsigned_abs() > 6_000_000 {
            return None;
        }
        // Years start in March, so that the leap day is the last day of its year (Howard Hinnant, `days_from_civil`).
        let shifted = year - i64::from(month <= 2);
        let (era, year_of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
        let day_of_year = (153 * ((i64::from(month) + 9) % 12) + 2) / 5 + i64::from(day) - 1;
        let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
        let date = Date(i32::try_from(days).ok()?);
        (date.parts() == (year, month, day)).then_some(date)
    }

    /// Returns year, month and day.
    pub fn parts(self) -> (i64, u8, u8) {
        let days = i64::from(self.0) + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        (year_of_era + era * 400 + i64::from(month <= 2), month as u8, day as u8)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            (year @ 0..=9999, month, day) => write!(f, "{year:04}-{month:02}-{day:02}"),
            (year, month, day) => write!(f, "{year:+05}-{month:02}-{day:02}"),
        }
    }
}

impl FromStr for Date {
    type Err = NotWritten;

    /// Parses a date, for example `2026-11-20`. Years with more or fewer than four digits have a sign.
    fn from_str(text: &str) -> Result<Date, NotWritten> {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let mut parts = digits.splitn(3, '-');
        let mut number = || parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
        let (year, month, day) = (number(), number(), number());
        let year: Option<i64> = year.and_then(|year| year.parse().ok());
        let small = |part: Option<&str>| part.and_then(|part| part.parse().ok());
        let (Some(year), Some(month), Some(day)) = (year, small(month), small(day)) else { return Err(NotWritten) };
        Date::of(sign * year, month, day).ok_or(NotWritten)
    }
}

impl<const P: u8, const S: u8> fmt::Display for Decimal<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let digits = format!("{:0>width$}", self.0.unsigned_abs(), width = usize::from(S) + 1);
        let (whole, fraction) = digits.split_at(digits.len() - usize::from(S));
        if S == 0 { write!(f, "{sign}{whole}") } else { write!(f, "{sign}{whole}.{fraction}") }
    }
}

impl<const P: u8, const S: u8> FromStr for Decimal<P, S> {
    type Err = NotWritten;

    /// Parses a decimal, for example `12.5`, with at most `S` digits after the point.
    fn from_str(text: &str) -> Result<Decimal<P, S>, NotWritten> {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let missing = usize::from(S).checked_sub(fraction.len()).ok_or(NotWritten)?;
        let all = format!("{whole}{fraction}{}", "0".repeat(missing));
        let is_number = !(whole.is_empty() && fraction.is_empty()) && all.bytes().all(|byte| byte.is_ascii_digit());
        let units: i128 = Some(all).filter(|_| is_number).and_then(|all| all.parse().ok()).ok_or(NotWritten)?;
        match units >= 10_i128.pow(u32::from(P)) {
            true => Err(NotWritten),
            false => Ok(Decimal(if text.starts_with('-') { -units } else { units })),
        }
    }
}

macro_rules! written {
    ([$($generics:tt)*] $type:ty, $column_type:expr) => {
        impl<$($generics)*> Cell for $type {
            type Of<'x> = $type;
            type Reader<'x> = BytesReader<'x>;
            type Writer<'a> = BytesWriter<'a>;

            fn column_type() -> Type {
                Type::Arrow($column_type)
            }

            fn reader(column: &Column, rows: usize) -> Result<Self::Reader<'_>, &'static str> {
                BytesReader::new(column, rows)
            }

            // The host writes checked values. The placeholder of a null is read as zero.
            fn read<'x>(reader: &Self::Reader<'x>, row: usize) -> Self::Of<'x> {
                let text = std::str::from_utf8(reader.get(row)).ok();
                text.and_then(|text| text.parse().ok()).unwrap_or_default()
            }

            fn write(writer: &mut BytesWriter<'_>, value: $type) {
                writer.push(value.to_string().as_bytes());
            }

            fn write_empty(writer: &mut BytesWriter<'_>) {
                writer.push(&[]);
            }
        }
    };
}

written!([] Date, "date".to_owned());
written!([const P: u8, const S: u8] Decimal<P, S>, format!("decimal({P},{S})"));

/// A text field that may be a column of another type, named by `#[row(type = "…")]`. The text is the encoded value.
pub trait Text: Cell {}

impl Text for &str {}
impl Text for String {}
impl<T: Text> Text for Option<T> {}

/// Returns the column of such a field. Called by the derived code.
pub fn field<C: Text>(name: &str, type_: &str) -> Field {
    let type_ = Type::from_name(type_).unwrap_or_else(|| Type::Arrow(type_.to_owned()));
    Field { type_, ..row::field::<C>(name) }
}

/// Returns whether the values of a type that is not plain are encoded as text: whether it has a name in job files.
pub fn is_written(name: &str) -> bool {
    name == "date" || ["decimal(", "list<", "struct<"].iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (days, text) in [
            (0, "1970-01-01"),
            (20_777, "2026-11-20"),
            (-1, "1969-12-31"),
            (19_782, "2024-02-29"),
            (2_932_897, "+10000-01-01"),
            (-719_529, "-0001-12-31"),
            (i32::MAX, "+5881580-07-11"),
            (i32::MIN, "-5877641-06-23"),
        ] {
            assert_eq!(Date(days).to_string(), text);
            assert_eq!(text.parse(), Ok(Date(days)));
        }
        for wrong in ["", "2026-02-29", "2026-13-01", "2026-11", "2026-11-2x", "x", "99999999999-01-01", "2026-11-20-1"]
        {
            assert_eq!(wrong.parse::<Date>(), Err(NotWritten), "{wrong}");
        }
    }

    #[test]
    fn decimals() {
        for (units, text) in [(1250, "12.50"), (-1, "-0.01"), (0, "0.00"), (-123_456, "-1234.56")] {
            assert_eq!(Decimal::<8, 2>(units).to_string(), text);
            assert_eq!(text.parse(), Ok(Decimal::<8, 2>(units)));
        }
        assert_eq!(Decimal::<3, 0>(-7).to_string(), "-7");
        assert_eq!("12.5".parse(), Ok(Decimal::<8, 2>(1250)));
        assert_eq!(".5".parse(), Ok(Decimal::<8, 2>(50)));
        for wrong in ["", ".", "-", "1.234", "1000000", "1e3", "--1", "NaN"] {
            assert_eq!(wrong.parse::<Decimal<8, 2>>(), Err(NotWritten), "{wrong}");
        }
    }
}
