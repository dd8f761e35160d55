//! Times as a source writes them: RFC 3339, text in a pattern, or numbers of a unit.

use super::column::{ColumnSpec, TimeForm, TimeUnit};
use super::parse;
use arrow::array::timezone::Tz;
use chrono::format::{Fixed, Item, Parsed, StrftimeItems};
use chrono::{DateTime, NaiveDateTime, NaiveTime, SecondsFormat, TimeZone, Utc};
use millstream_base::zone::Zone;

/// How the times of a column are read.
pub struct TimeParser {
    form: TimeFormKind,
    zone: Option<Zone>,
    /// UTC, and an offset of one hour.
    utc: Option<(Tz, Tz)>,
}

enum TimeFormKind {
    Text,
    Number(TimeUnit),
    Pattern(String, Vec<Item<'static>>),
}

/// Why a string is not a time of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TimeParseError {
    /// The syntax is wrong.
    Syntax,
    /// It is out of the range of microseconds in 64 bits.
    Range,
    /// A number without a known unit.
    NoUnit,
    /// A local time that the zone skipped.
    Skipped,
}

impl TimeParser {
    /// Creates the parser of a column.
    pub fn new(column: &ColumnSpec) -> TimeParser {
        let form = match &column.form {
            TimeForm::Text => TimeFormKind::Text,
            TimeForm::Number(unit) => TimeFormKind::Number(*unit),
            // An invalid pattern was rejected with the job; no text matches it.
            TimeForm::Pattern(pattern) => TimeFormKind::Pattern(pattern.clone(), items(pattern).unwrap_or_default()),
        };
        TimeParser { form, zone: column.zone, utc: "+00:00".parse().ok().zip("+01:00".parse().ok()) }
    }

    /// Returns whether integers are microseconds.
    pub fn is_micros(&self) -> bool {
        matches!(self.form, TimeFormKind::Number(TimeUnit::Micros))
    }

    /// Converts a number of the column's unit to microseconds since 1970.
    pub fn scale(&self, number: i64) -> Result<i64, TimeParseError> {
        match self.form {
            TimeFormKind::Number(unit) => decimal(i128::from(number), unit.power()),
            TimeFormKind::Text | TimeFormKind::Pattern(..) => Err(TimeParseError::NoUnit),
        }
    }

    /// Converts a local time of the column's zone to microseconds since 1970; UTC if the column has no zone.
    #[inline]
    pub fn local(&self, us: i64) -> Result<i64, TimeParseError> {
        let Some(zone) = self.zone else { return Ok(us) };
        let local = DateTime::<Utc>::from_timestamp_micros(us).ok_or(TimeParseError::Range)?;
        zone.moment_us(local.naive_utc()).ok_or(TimeParseError::Skipped)
    }

    /// Parses text, which may be a number, as microseconds since 1970.
    #[inline]
    pub fn read(&self, text: &str) -> Result<i64, TimeParseError> {
        // Such a time is not a number, and the same in each zone if it has an offset.
        match parse::plain_timestamp(text, self.zone.is_none()) {
            Some(us) if !matches!(self.form, TimeFormKind::Pattern(..)) => Ok(us),
            _ => self.read_any(text),
        }
    }

    fn read_any(&self, text: &str) -> Result<i64, TimeParseError> {
        match &self.form {
            TimeFormKind::Pattern(_, items) => self.by_pattern(text, items),
            TimeFormKind::Number(unit) => match number(text) {
                Some((number, power)) => decimal(number, power.saturating_add(unit.power())),
                None => self.rfc3339(text),
            },
            TimeFormKind::Text if number(text).is_some() => Err(TimeParseError::NoUnit),
            TimeFormKind::Text => self.rfc3339(text),
        }
    }

    fn rfc3339(&self, text: &str) -> Result<i64, TimeParseError> {
        let (utc, one_hour) = self.utc.as_ref().ok_or(TimeParseError::Syntax)?;
        let us = parse::timestamp(text, Some(utc)).ok_or(TimeParseError::Syntax)?;
        match self.zone {
            // If the text has no offset, it is another instant with another offset.
            Some(_) if parse::timestamp(text, Some(one_hour)) != Some(us) => self.local(us),
            _ => Ok(us),
        }
    }

    fn by_pattern(&self, text: &str, items: &[Item<'_>]) -> Result<i64, TimeParseError> {
        let mut parsed = Parsed::new();
        chrono::format::parse(&mut parsed, text, items.iter()).map_err(|_| TimeParseError::Syntax)?;
        let local = in_zone(&parsed)?;
        if parsed.timestamp().is_some() {
            return Ok(local.and_utc().timestamp_micros());
        }
        match (parsed.offset(), self.zone) {
            (Some(offset), _) => {
                let offset = chrono::FixedOffset::east_opt(offset).ok_or(TimeParseError::Range)?;
                offset.from_local_datetime(&local).single().map(|t| t.timestamp_micros()).ok_or(TimeParseError::Range)
            }
            (None, Some(zone)) => zone.moment_us(local).ok_or(TimeParseError::Skipped),
            (None, None) => Ok(local.and_utc().timestamp_micros()),
        }
    }

    /// Returns the message for an invalid text of a column.
    #[cold]
    pub fn message(&self, fault: TimeParseError, column: &str, text: &str) -> String {
        let shown = parse::shown(text);
        let zone = self.zone.map_or_else(String::new, |zone| zone.to_string());
        match (fault, &self.form) {
            (TimeParseError::NoUnit, _) => {
                let (unit, us) = likely(text);
                let (word, name) = unit.names();
                let time = us.and_then(DateTime::<Utc>::from_timestamp_micros);
                let time = time.map_or_else(String::new, |t| {
                    format!(" (as {name} since 1970 it is {})", t.to_rfc3339_opts(SecondsFormat::AutoSi, true))
                });
                format!(
                    "column `{column}`: {shown} is a number without a unit; it looks like {name}{time}: write \
                     {column} = \"timestamp({word})\" in the schema, or the time as text, for example \
                     2024-05-01T12:00:00Z"
                )
            }
            (TimeParseError::Range, _) => format!("column `{column}`: {shown} is out of range of timestamp"),
            (TimeParseError::Skipped, _) => {
                format!("column `{column}`: `{shown}` does not exist in {zone}: daylight saving time skips it")
            }
            (TimeParseError::Syntax, TimeFormKind::Pattern(pattern, _)) => {
                format!("column `{column}`: `{shown}` is not a timestamp of the form {pattern}")
            }
            (TimeParseError::Syntax, TimeFormKind::Number(unit)) => {
                let (_, name) = unit.names();
                format!("column `{column}`: `{shown}` is not a timestamp ({name} since 1970, or RFC 3339)")
            }
            (TimeParseError::Syntax, TimeFormKind::Text) => {
                format!("column `{column}`: `{shown}` is not a timestamp (RFC 3339, for example 2024-05-01T12:00:00Z)")
            }
        }
    }
}

/// Converts a number of a unit to microseconds since 1970.
#[inline]
pub fn micros(number: i64, unit: TimeUnit) -> Result<i64, TimeParseError> {
    match unit {
        TimeUnit::Micros => Ok(number),
        TimeUnit::Millis => number.checked_mul(1_000).ok_or(TimeParseError::Range),
        unit => decimal(i128::from(number), unit.power()),
    }
}

/// Converts a wider number, as some sources have them. Fractions of a microsecond are rounded toward the past.
pub fn micros_of(number: i128, unit: TimeUnit) -> Result<i64, TimeParseError> {
    decimal(number, unit.power())
}

/// Returns a time without an offset as text, for messages.
pub fn local_text(us: i64) -> String {
    let mut text = String::new();
    super::cell::write_rfc3339(&mut text, us);
    text.truncate(text.trim_end_matches('Z').len());
    text
}

/// Returns the parsed local date and time. Missing parts of the time of day are zero.
fn in_zone(parsed: &Parsed) -> Result<NaiveDateTime, TimeParseError> {
    if parsed.timestamp().is_some() {
        return parsed.to_naive_datetime_with_offset(0).map_err(|_| TimeParseError::Syntax);
    }
    let date = parsed.to_naive_date().map_err(|_| TimeParseError::Syntax)?;
    let mut parsed = parsed.clone();
    let time = match (parsed.hour_mod_12(), parsed.minute()) {
        (None, None) => NaiveTime::MIN,
        (Some(_), None) => {
            parsed.set_minute(0).map_err(|_| TimeParseError::Syntax)?;
            parsed.to_naive_time().map_err(|_| TimeParseError::Syntax)?
        }
        _ => parsed.to_naive_time().map_err(|_| TimeParseError::Syntax)?,
    };
    Ok(date.and_time(time))
}

/// Returns the parts of a pattern; fails if one is unknown.
fn items(pattern: &str) -> Result<Vec<Item<'static>>, ()> {
    StrftimeItems::new(pattern).parse_to_owned().map_err(|_| ())
}

/// Checks that what a pattern writes of a time it also reads. The error says what is wrong.
pub fn check_pattern(pattern: &str) -> Result<(), String> {
    let parts = items(pattern).map_err(|()| {
        format!("`{pattern}` has an invalid strftime specifier after `%`; write for example %Y-%m-%d %H:%M:%S")
    })?;
    if parts.iter().any(|part| matches!(part, Item::Fixed(Fixed::TimezoneName))) {
        return Err(format!(
            "`%Z` in `{pattern}` is a name such as CET, which is ambiguous; write %z for an offset, \
             or remove it and write zone = \"Europe/Berlin\""
        ));
    }
    // Noon of a day of the month above twelve.
    let example = DateTime::<Utc>::from_timestamp_micros(1_774_785_600_000_000).ok_or("no calendar is given")?;
    let mut text = String::new();
    let written = std::fmt::Write::write_fmt(&mut text, format_args!("{}", example.format_with_items(parts.iter())));
    let column = ColumnSpec::new("", crate::batch::types::ColumnType::Timestamp);
    let read = TimeParser::new(&column.written(TimeForm::Pattern(pattern.into()))).read(&text);
    let hour = example.date_naive().and_time(NaiveTime::MIN).and_utc().timestamp_micros();
    match (written, read) {
        (Ok(()), Ok(us)) if us == example.timestamp_micros() || us == hour => Ok(()),
        _ => Err(format!(
            "`{pattern}` is not a complete date: a time needs year, month and day, for example %Y-%m-%d %H:%M:%S"
        )),
    }
}

/// Returns the likely unit of a number, and the time in that unit.
fn likely(text: &str) -> (TimeUnit, Option<i64>) {
    let value = text.parse::<f64>().map_or(0.0, f64::abs);
    let unit = match value {
        _ if value < 1e11 => TimeUnit::Seconds,
        _ if value < 1e14 => TimeUnit::Millis,
        _ if value < 1e17 => TimeUnit::Micros,
        _ => TimeUnit::Nanos,
    };
    let us = number(text).and_then(|(number, power)| decimal(number, power.saturating_add(unit.power())).ok());
    (unit, us)
}

/// Digits of a number that are kept; more than microseconds of any time have.
const DIGITS_MAX: u32 = 36;

/// Parses a decimal number as an integer and a power of ten; `None` if the text is not a number.
fn number(text: &str) -> Option<(i128, i32)> {
    if let Some(short) = parse::short_int64(text) {
        return Some((i128::from(short), 0));
    }
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse::<i64>().ok()?.clamp(-1_000, 1_000) as i32;
    let digits = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let point = digits.len() > integer.len();
    if integer.is_empty() || (point && fraction.is_empty()) {
        return None;
    }
    let (mut number, mut power, mut kept) = (0_i128, exponent, 0);
    for (byte, is_fraction) in integer.bytes().map(|b| (b, false)).chain(fraction.bytes().map(|b| (b, true))) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        if kept < DIGITS_MAX {
            number = number * 10 + i128::from(digit);
            kept += u32::from(number != 0);
            power -= i32::from(is_fraction);
        } else {
            power += i32::from(!is_fraction);
        }
    }
    Some((if mantissa.len() > digits.len() { -number } else { number }, power))
}

/// Returns `number` times a power of ten, without the fraction.
fn decimal(number: i128, power: i32) -> Result<i64, TimeParseError> {
    let by = 10_i128.checked_pow(power.unsigned_abs());
    let value = match by {
        _ if number == 0 => Some(0),
        Some(by) if power >= 0 => number.checked_mul(by),
        Some(by) => Some(number.div_euclid(by)),
        None if power < 0 => Some(if number < 0 { -1 } else { 0 }),
        None => None,
    };
    value.and_then(|value| i64::try_from(value).ok()).ok_or(TimeParseError::Range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::types::ColumnType;

    fn column(word: &str, zone: Option<&str>) -> TimeParser {
        let (kind, form) = ColumnSpec::type_of(word).unwrap();
        assert_eq!(kind, ColumnType::Timestamp);
        let column = ColumnSpec::new("at", kind).written(form);
        TimeParser::new(&match zone {
            Some(zone) => column.within(Zone::named(zone).unwrap()),
            None => column,
        })
    }

    #[test]
    fn days_of_far_years_begin_as_clocks_of_the_zone_show() {
        let (zone, utc) = (column("timestamp", Some("Europe/Berlin")), column("timestamp", None));
        for (day, us) in [
            ("2026-01-15", 1_768_435_200_000_000),
            ("+12000-01-01", 316_516_204_800_000_000),
            ("-0001-01-01", -62_198_755_200_000_000),
        ] {
            assert_eq!(utc.read(day), Ok(us), "{day}");
            let there = zone.read(day).unwrap();
            assert!((us - 3_600_000_000..us).contains(&there), "{day}: {there}");
            assert_eq!(zone.read(&format!("{day}T00:00:00.000000")), Ok(there), "{day}");
            assert_eq!(zone.read(&format!("{day}T00:00:00.000000Z")), Ok(us), "{day}");
        }
    }

    #[test]
    fn plain_times_are_what_they_are_to_the_parser_of_all() {
        let (mut random, mut plain, mut without) = (millstream_base::random::Random(2), 0, 0);
        let (zone, utc) = (column("timestamp", Some("Europe/Berlin")), column("timestamp", None));
        for _ in 0..200_000 {
            let mut time = *b"2026-11-22T19:35:58.123456Z";
            for _ in 0..random.below(4) {
                time[random.index(27)] = b"0123459:-.TZ "[random.index(13)];
            }
            let end = if random.below(2) == 0 { 27 } else { random.index(27) };
            if random.below(2) == 0 {
                time[end.max(1) - 1] = b'Z';
            }
            let time = std::str::from_utf8(&time[..end]).unwrap();
            if let Some(us) = parse::plain_timestamp(time, false) {
                plain += 1;
                assert_eq!(zone.read_any(time), Ok(us), "{time}");
            }
            if let Some(us) = parse::plain_timestamp(time, true) {
                without += 1;
                assert_eq!(utc.read_any(time), Ok(us), "{time}");
            }
        }
        assert!(plain > 1_000 && without > plain + 1_000, "{plain} {without}");
        for (text, time) in [
            ("2003-10-11T22:14:15Z", Some("2003-10-11T22:14:15Z")),
            ("2004-02-29 22:14:15.25", Some("2004-02-29T22:14:15.25Z")),
            ("2003-02-29T22:14:15Z", None),
            ("2003-13-01T22:14:15Z", None),
            ("1969-12-31T23:59:59.5Z", Some("1969-12-31T23:59:59.5Z")),
            ("2003-10-11T22:14:15+01:00", None),
        ] {
            assert_eq!(parse::plain_timestamp(text, true), time.map(us), "{text}");
        }
        assert_eq!(parse::plain_timestamp("2004-02-29 22:14:15.25", false), None);
    }

    fn us(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
    }

    #[test]
    fn numbers_are_of_the_unit_that_the_column_says() {
        let noon = us("2026-01-01T00:00:00Z");
        for (word, text, expected) in [
            ("timestamp(s)", "1767225600", Ok(noon)),
            ("timestamp(s)", "1767225600.25", Ok(noon + 250_000)),
            ("timestamp(s)", "1767225600.1234569", Ok(noon + 123_456)),
            ("timestamp(s)", "1.7672256e9", Ok(noon)),
            ("timestamp(s)", "-0.000001", Ok(-1)),
            ("timestamp(s)", "-0.0000001", Ok(-1)),
            ("timestamp(s)", "1e-999999999999", Ok(0)),
            ("timestamp(s)", "9223372036855", Err(TimeParseError::Range)),
            ("timestamp(s)", "9223372036854.775807", Ok(i64::MAX)),
            ("timestamp(s)", "1e300", Err(TimeParseError::Range)),
            ("timestamp(s)", "0e300", Ok(0)),
            ("timestamp(s)", "2026-01-01T01:00:00+01:00", Ok(noon)),
            ("timestamp(s)", "NaN", Err(TimeParseError::Syntax)),
            ("timestamp(s)", "1.", Err(TimeParseError::Syntax)),
            ("timestamp(s)", ".5", Err(TimeParseError::Syntax)),
            ("timestamp(s)", "", Err(TimeParseError::Syntax)),
            ("timestamp(s)", "12x", Err(TimeParseError::Syntax)),
            ("timestamp(ms)", "1767225600000", Ok(noon)),
            ("timestamp(us)", "1767225600000001", Ok(noon + 1)),
            ("timestamp(us)", "-9223372036854775808", Ok(i64::MIN)),
            ("timestamp(us)", "9223372036854775808", Err(TimeParseError::Range)),
            ("timestamp(ns)", "1767225600000001999", Ok(noon + 1)),
            ("timestamp(ns)", "-1", Ok(-1)),
            ("timestamp", "1767225600", Err(TimeParseError::NoUnit)),
            ("timestamp", "1767225600.5", Err(TimeParseError::NoUnit)),
            ("timestamp", "2026-01-01 00:00:00", Ok(noon)),
        ] {
            assert_eq!(column(word, None).read(text), expected, "{word} {text}");
        }
    }

    #[test]
    fn a_number_without_a_unit_is_told_its_likely_one() {
        for (text, unit, time) in [
            ("1767225600", "timestamp(s)", "2026-01-01T00:00:00Z"),
            ("1767225600123", "timestamp(ms)", "2026-01-01T00:00:00.123Z"),
            ("1767225600123456", "timestamp(us)", "2026-01-01T00:00:00.123456Z"),
            ("1767225600123456789", "timestamp(ns)", "2026-01-01T00:00:00.123456Z"),
            ("0", "timestamp(s)", "1970-01-01T00:00:00Z"),
        ] {
            let text_of_error = column("timestamp", None).message(TimeParseError::NoUnit, "at", text);
            assert!(
                text_of_error.contains(&format!("at = \"{unit}\"")) && text_of_error.contains(time),
                "{text_of_error}"
            );
        }
    }

    #[test]
    fn patterns_are_read_with_offsets_and_in_zones() {
        let log = column("timestamp(%d/%b/%Y:%H:%M:%S %z)", None);
        assert_eq!(log.read("10/Oct/2000:13:55:36 -0700"), Ok(us("2000-10-10T20:55:36Z")));
        assert_eq!(log.read("10/Oct/2000:13:55:36"), Err(TimeParseError::Syntax));
        assert_eq!(column("timestamp(%d.%m.%Y %H:%M)", None).read("01.07.2026 12:30"), Ok(us("2026-07-01T12:30:00Z")));
        let local = column("timestamp(%d.%m.%Y %H:%M)", Some("Europe/Berlin"));
        assert_eq!(local.read("01.07.2026 12:30"), Ok(us("2026-07-01T10:30:00Z")));
        assert_eq!(local.read("29.03.2026 02:30"), Err(TimeParseError::Skipped));
        assert_eq!(local.read("25.10.2026 02:30"), Ok(us("2026-10-25T00:30:00Z")));
        assert_eq!(column("timestamp(%Y%m%d)", None).read("20260701"), Ok(us("2026-07-01T00:00:00Z")));
        assert_eq!(column("timestamp(%s)", None).read("1767225600"), Ok(us("2026-01-01T00:00:00Z")));
        assert_eq!(column("timestamp(%Y-%m-%d %I %p)", None).read("2026-07-01 03 PM"), Ok(us("2026-07-01T15:00:00Z")));
        let berlin = column("timestamp", Some("Europe/Berlin"));
        assert_eq!(berlin.read("2026-07-01T12:00:00"), Ok(us("2026-07-01T10:00:00Z")));
        assert_eq!(berlin.read("2026-07-01T12:00:00Z"), Ok(us("2026-07-01T12:00:00Z")));
        assert_eq!(berlin.read("2026-07-01T12:00:00-03:00"), Ok(us("2026-07-01T15:00:00Z")));
    }

    #[test]
    fn patterns_that_say_no_date_are_refused() {
        for good in ["%d/%b/%Y:%H:%M:%S %z", "%Y-%m-%d", "%s", "%+", "%Y%m%d%H", "%y-%m-%d %H:%M", "%Y-%j", "%s%.3f"] {
            assert_eq!(check_pattern(good), Ok(()), "{good}");
        }
        for bad in ["%H:%M:%S", "%b %d %H:%M:%S", "%Q", "%", "%Y-%m-%d %Z", "%Y-%m"] {
            assert!(check_pattern(bad).is_err(), "{bad}");
        }
    }
}
