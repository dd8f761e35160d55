//! Times and sizes as a job file writes them: `"500ms"`, `"64MiB"`.

use crate::time::microseconds;
use std::time::Duration;

/// The units of times, in microseconds.
const TIMES: &[(&str, u64)] =
    &[("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000), ("d", DAY_US)];
/// A day. Messages show hours, as days of a time zone differ in length.
const DAY_US: u64 = 86_400_000_000;

/// The units of sizes, in bytes.
const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// The maximum time in a job: ten years. Batch times stay far from the ends of 64 bits.
const TIME_US_MAX: u64 = 10 * 366 * 86_400 * 1_000_000;

/// JSON Schema patterns for [`time`] and [`size`].
pub const TIME_PATTERN: &str = "^[0-9]+(us|ms|s|m|h|d)$";
/// See [`TIME_PATTERN`]; for [`signed_time_us`].
pub const SIGNED_TIME_PATTERN: &str = "^[-+]?[0-9]+(us|ms|s|m|h|d)$";
/// See [`TIME_PATTERN`].
pub const SIZE_PATTERN: &str = "^[0-9]+(B|KB|MB|GB|KiB|MiB|GiB)$";
/// See [`TIME_PATTERN`]; for [`percent`].
pub const PERCENT_PATTERN: &str = "^([0-9]{1,2}([.][0-9]+)?|100([.]0+)?)%$";
/// How to write a time.
pub const TIME_HELP: &str = "write an integer and one of us, ms, s, m, h, d, for example \"1s\"";
/// How to write a size.
pub const SIZE_HELP: &str = "write bytes as a number, or with one of B, KB, MB, GB, KiB, MiB, GiB, for \
    example \"64MiB\"";

/// Parses a duration of a job file: an integer and a unit, for example `1s` or `250ms`. The error says how to write it.
pub fn time(text: &str) -> Result<Duration, String> {
    let us = measure(text, TIMES).ok_or(TIME_HELP)?;
    if us > TIME_US_MAX {
        return Err("that is more than ten years; write a shorter time".into());
    }
    Ok(Duration::from_micros(us))
}

/// Parses a time that may have a sign, in microseconds: `-5s`.
pub fn signed_time_us(text: &str) -> Result<i64, String> {
    let (bare, sign) = match text.strip_prefix('-') {
        Some(rest) => (rest, -1),
        None => (text.strip_prefix('+').unwrap_or(text), 1),
    };
    Ok(sign * microseconds(time(bare)?))
}

/// Returns whether a program may use such a long time: what [`time`] reads is never longer.
pub fn fits(time: Duration) -> bool {
    time.as_micros() <= u128::from(TIME_US_MAX)
}

/// Parses a size such as `64MiB`, in bytes; the error says what to write.
pub fn size(text: &str) -> Result<u64, String> {
    measure(text, SIZES).ok_or_else(|| SIZE_HELP.into())
}

/// Parses a share such as `10%` or `0.5%`, from 0 to 1.
pub fn percent(text: &str) -> Option<f64> {
    let number = text.strip_suffix('%')?;
    let plain = number.starts_with(|c: char| c.is_ascii_digit()) && number.ends_with(|c: char| c.is_ascii_digit());
    let plain = plain && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let share = number.parse::<f64>().ok().filter(|_| plain)? / 100.0;
    (share <= 1.0).then_some(share)
}

/// Returns a time as an integer in the largest possible unit, for messages.
pub fn show_time(time: Duration) -> String {
    let us = time.as_micros();
    let unit = TIMES.iter().rev().skip(1).find(|(_, each)| us != 0 && us.is_multiple_of(u128::from(*each)));
    match unit {
        Some((unit, each)) => format!("{}{unit}", us / u128::from(*each)),
        None if us == 0 => "0s".into(),
        None => format!("{us}us"),
    }
}

/// Returns a size as an integer in the largest possible binary unit, for messages.
pub fn show_size(bytes: u64) -> String {
    let unit =
        SIZES.iter().rev().find(|(name, each)| name.ends_with("iB") && bytes != 0 && bytes.is_multiple_of(*each));
    match unit {
        Some((unit, each)) => format!("{}{unit}", bytes / each),
        None => format!("{bytes}B"),
    }
}

/// Returns a size as people write it: `256 MiB`, or bytes if it is not an integer of a unit.
pub fn format_bytes(count: u64) -> String {
    match count {
        n if n > 0 && n % (1 << 20) == 0 => format!("{} MiB", n >> 20),
        n if n > 0 && n % (1 << 10) == 0 => format!("{} KiB", n >> 10),
        n => format!("{n} bytes"),
    }
}

/// Returns a size in full MiB, for messages: `12 MiB`.
pub fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// Parses number and unit as one number; `None` if the syntax is wrong, or it does not fit into 64 bits.
fn measure(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let (_, each) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*each)
}

/// Returns a number with thousands separators (commas).
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
