//! Times and sizes as a job file writes them: `"500ms"`, `"64MiB"`.

use crate::time::microseconds;
use std::time::Duration;

/// The units of times, and what one is in microseconds.
const TIMES: &[(&str, u64)] =
    &[("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000), ("d", DAY_US)];
/// A day. Messages show hours, as days of a zone are not all as long.
const DAY_US: u64 = 86_400_000_000;

/// The units of sizes, and what one is in bytes.
const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// The longest time that a job may name: ten years. Batch times stay far from the ends of 64 bits.
const TIME_US_MAX: u64 = 10 * 366 * 86_400 * 1_000_000;

/// JSON Schema patterns of what [`time`] and [`size`] take.
pub(super) const TIME_PATTERN: &str = "^[0-9]+(us|ms|s|m|h|d)$";
/// See [`TIME_PATTERN`]; of [`signed_time_us`].
pub(super) const SIGNED_TIME_PATTERN: &str = "^[-+]?[0-9]+(us|ms|s|m|h|d)$";
/// See [`TIME_PATTERN`].
pub(super) const SIZE_PATTERN: &str = "^[0-9]+(B|KB|MB|GB|KiB|MiB|GiB)$";
/// See [`TIME_PATTERN`]; of [`percent`].
pub(super) const PERCENT_PATTERN: &str = "^([0-9]{1,2}([.][0-9]+)?|100([.]0+)?)%$";
/// What to write for a time.
pub(super) const TIME_HELP: &str = "write a whole number and one of us, ms, s, m, h, d, as \"1s\"";
/// What to write for a size.
pub(super) const SIZE_HELP: &str = "write bytes as a number, or with one of B, KB, MB, GB, KiB, MiB, GiB, as \"64MiB\"";

/// A length of time as job files write it: a whole number and a unit, as `1s` or `250ms`. The error says how to write it.
pub fn time(text: &str) -> Result<Duration, String> {
    let us = measure(text, TIMES).ok_or(TIME_HELP)?;
    if us > TIME_US_MAX {
        return Err("that is more than ten years; write a shorter time".into());
    }
    Ok(Duration::from_micros(us))
}

/// A time that may have a sign, in microseconds: `-5s`.
pub(super) fn signed_time_us(text: &str) -> Result<i64, String> {
    let (bare, sign) = match text.strip_prefix('-') {
        Some(rest) => (rest, -1),
        None => (text.strip_prefix('+').unwrap_or(text), 1),
    };
    Ok(sign * microseconds(time(bare)?))
}

/// Whether a program may ask for so long a time: what [`time`] reads is never longer.
pub(super) fn fits(time: Duration) -> bool {
    time.as_micros() <= u128::from(TIME_US_MAX)
}

/// A size such as `64MiB`, in bytes; an error says what to write.
pub fn size(text: &str) -> Result<u64, String> {
    measure(text, SIZES).ok_or_else(|| SIZE_HELP.into())
}

/// A share such as `10%` or `0.5%`, from 0 to 1.
pub(super) fn percent(text: &str) -> Option<f64> {
    let number = text.strip_suffix('%')?;
    let plain = number.starts_with(|c: char| c.is_ascii_digit()) && number.ends_with(|c: char| c.is_ascii_digit());
    let plain = plain && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let share = number.parse::<f64>().ok().filter(|_| plain)? / 100.0;
    (share <= 1.0).then_some(share)
}

/// A time in the shortest of our units that keeps it whole, for messages.
pub fn show_time(time: Duration) -> String {
    let us = time.as_micros();
    let unit = TIMES.iter().rev().skip(1).find(|(_, each)| us != 0 && us.is_multiple_of(u128::from(*each)));
    match unit {
        Some((unit, each)) => format!("{}{unit}", us / u128::from(*each)),
        None if us == 0 => "0s".into(),
        None => format!("{us}us"),
    }
}

/// A size in the largest binary unit that keeps it whole, for messages.
pub fn show_size(bytes: u64) -> String {
    let unit =
        SIZES.iter().rev().find(|(name, each)| name.ends_with("iB") && bytes != 0 && bytes.is_multiple_of(*each));
    match unit {
        Some((unit, each)) => format!("{}{unit}", bytes / each),
        None => format!("{bytes}B"),
    }
}

/// A size as people write it: `256 MiB`, or bytes where that is not whole.
pub fn in_words(count: u64) -> String {
    match count {
        n if n > 0 && n % (1 << 20) == 0 => format!("{} MiB", n >> 20),
        n if n > 0 && n % (1 << 10) == 0 => format!("{} KiB", n >> 10),
        n => format!("{n} bytes"),
    }
}

/// A size in whole MiB, for messages: `12 MiB`.
pub fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// Number and unit of a text as one number; `None`: it is not written so, or too large for 64 bits.
fn measure(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let (_, each) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*each)
}

/// A number with a comma before each three digits.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
