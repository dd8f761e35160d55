//! The measured rates in `host/connectors/notes/rates.md`, which are written if `RATES=write` is in the environment. `scripts/docs.py` copies them to
//! the connectors page.

use crate::measure::root;
use std::process::Command;

const RATES: &str = "host/connectors/notes/rates.md";

/// Writes a rate into the last column of the connector's line.
pub fn keep((connector, head): (&str, &str), rate: f64, ratio: f64, baseline: &str) {
    if std::env::var("RATES").is_ok_and(|rates| rates == "write") {
        let path = root().join(RATES);
        let page = std::fs::read_to_string(&path).expect("the page");
        let begin = format!("| {connector} | {head} |");
        let cell = cell(rate, ratio, baseline);
        let with_rate = |line: &str| match line.strip_suffix(" |").and_then(|line| line.rsplit_once("| ")) {
            Some((line, _)) if line.starts_with(&begin) => format!("{line}| {cell} |\n"),
            _ => format!("{line}\n"),
        };
        assert!(page.contains(&begin), "{RATES} has no line of {connector} as a {head}");
        std::fs::write(&path, page.lines().map(with_rate).collect::<String>()).expect("the page is written");
    }
}

/// `410,000 rows/s, 0.91 times the rate of a program with librdkafka (2 cores, 2026-11-23)`
fn cell(rate: f64, ratio: f64, baseline: &str) -> String {
    // More digits would not be meaningful.
    let unit = 10_f64.powf(rate.log10().floor() - 1.0);
    let rate = ((rate / unit).round() * unit) as u64;
    let rate = match rate {
        0..1_000 => rate.to_string(),
        1_000..1_000_000 => format!("{},{:03}", rate / 1_000, rate % 1_000),
        _ => format!("{},{:03},{:03}", rate / 1_000_000, rate / 1_000 % 1_000, rate % 1_000),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let date = Command::new("date").args(["-u", "+%F"]).output().expect("the date").stdout;
    format!(
        "{rate} rows/s, {ratio:.2} times the rate of {baseline} ({cores} cores, {})",
        String::from_utf8_lossy(&date).trim()
    )
}
