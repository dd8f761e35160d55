//! The queries of Nexmark: events per second of processor time, and memory.

use crate::measure::{children_cpu, figure, median, millstream, peak_memory, root};
use std::path::Path;

/// Events of all kinds, unless `NEXMARK_EVENTS` is set.
const EVENTS: u64 = 5_000_000;
/// How often each query is measured, after one warm-up.
const RUNS: usize = 5;
const MIB: f64 = 1024.0 * 1024.0;
/// Target events per second of processor time for some queries.
const TARGETS: [(usize, &str); 7] = [
    (0, "target: at least 3,000,000"),
    (1, "target: at least 3,000,000"),
    (2, "target: at least 3,000,000"),
    (5, "target: at least 1,000,000"),
    (7, "target: at least 1,000,000"),
    (8, "target: at least 1,500,000"),
    (11, "target: at least 1,500,000"),
];

/// Runs this part.
pub fn run() {
    let events = std::env::var("NEXMARK_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(EVENTS);
    println!(
        "  millstream run docs/examples/nexmark/qN.toml --workers 1 --no-ui --set sinks.out.kind=nothing, and for each source"
    );
    println!(
        "  --set sources.bid.events_max={events}; process start, making the events and all threads included; medians of {RUNS}"
    );
    let start = median((0..RUNS).map(|_| measured(0, 1).0).collect());
    figure("of that the start alone, ms of processor time", format!("{:.0}", start * 1e3), "");
    for query in 0..=22 {
        measured(query, events);
        let (seconds, peaks): (Vec<f64>, Vec<f64>) = (0..RUNS).map(|_| measured(query, events)).unzip();
        let (rate, peak) = (events as f64 / median(seconds), median(peaks));
        let target = TARGETS.iter().find(|(of, _)| *of == query).map_or("", |(_, target)| target);
        figure(&format!("q{query}, events a second of processor time"), grouped(rate as u64), target);
        figure("  memory at its peak, MiB", format!("{:.0}", peak / MIB), "target: at most 1024");
    }
}

/// Returns the seconds of processor time of a query, and its memory.
fn measured(query: usize, events: u64) -> (f64, f64) {
    let job = root().join(format!("docs/examples/nexmark/q{query}.toml"));
    let text = std::fs::read_to_string(&job).expect("the query");
    let mut command = millstream(&["run", &job.to_string_lossy(), "--workers", "1", "--no-ui"]);
    for source in ["person", "auction", "bid"].iter().filter(|source| text.contains(&format!("[sources.{source}]"))) {
        command.args(["--set", &format!("sources.{source}.events_max={events}")]);
    }
    let out = tempfile::tempdir().expect("a directory");
    command.args(["--set", &set_sink(query, out.path())]);
    let before = children_cpu();
    let peak = peak_memory(command.spawn().expect("the program"));
    (children_cpu() - before, peak)
}

/// Sets a sink that counts and drops the output, except for the query that is about its files.
fn set_sink(query: usize, out: &Path) -> String {
    if query == 10 { format!("sinks.out.path={}", out.display()) } else { "sinks.out.kind=nothing".into() }
}

/// Formats a number with thousands separators.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let parts = digits.as_bytes().rchunks(3).rev();
    parts.map(|part| String::from_utf8_lossy(part)).collect::<Vec<_>>().join(",")
}
