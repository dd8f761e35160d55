//! Formats numbers in sentences.

pub use millstream_base::units::grouped;

/// Formats a count, for example `3 rows`.
pub fn count(number: u64, what: &str) -> String {
    let plural = match what {
        _ if number == 1 => "",
        "batch" => "es",
        _ => "s",
    };
    format!("{} {what}{plural}", grouped(number))
}

/// Formats a number with at most six characters, for example `12.3k`.
pub fn short(number: u64) -> String {
    match number {
        0..10_000 => number.to_string(),
        10_000..1_000_000 => format!("{:.1}k", number as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}M", number as f64 / 1e6),
        _ => format!("{:.1}G", number as f64 / 1e9),
    }
}

/// Formats microseconds, for example `1.2 s`.
pub fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{:.1} ms", us as f64 / 1e3),
        10_000..1_000_000 => format!("{} ms", us / 1_000),
        1_000_000..10_000_000 => format!("{:.1} s", us as f64 / 1e6),
        10_000_000..120_000_000 => format!("{} s", us / 1_000_000),
        120_000_000..7_200_000_000 => format!("{} min", us / 60_000_000),
        7_200_000_000..172_800_000_000 => format!("{} h", us / 3_600_000_000),
        _ => format!("{} days", us / 86_400_000_000),
    }
}

/// Converts a share to a percentage.
pub fn percent(share: f64) -> u64 {
    (share * 100.0).round().clamp(0.0, 100.0) as u64
}
