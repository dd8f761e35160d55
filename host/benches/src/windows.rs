//! The cost of windows: sliding ones compared with tumbling ones, and a windowed word count compared with the plain one.

use crate::measure::{dir, figure, in_turn, job, job_seconds, root, show};
use std::fmt::Write as _;
use std::io::{BufWriter, Write};
use std::path::Path;

const ROWS: u64 = 2_000_000;
const KEYS: u64 = 100;
/// The event time over which the rows are distributed: few and many rows of a key in each slide.
const SECONDS: [u64; 2] = [3_600, 720];
/// Batches of virtual time, and rows of each.
const BATCHES: u64 = 900;
const BATCH_ROWS: u64 = 2_000;
/// Batches of text, and bytes of each.
const WORDS: [(usize, usize); 2] = [(90, 500_000), (45, 2_000_000)];

/// Runs this part.
pub fn run() {
    SECONDS.into_iter().for_each(event_time);
    processing_time();
    WORDS.into_iter().for_each(words);
}

/// Runs two jobs that differ in their window, in turn, and prints the cost of the second relative to the first.
fn compare(dir: &Path, names: [&str; 2], strings: [String; 2], rows: u64, what: &str, target: &str) {
    let jobs = [0, 1].map(|at| {
        let inner = dir.join(at.to_string());
        std::fs::create_dir_all(&inner).expect("a directory");
        job(&inner, &strings[at])
    });
    let [mut first, mut second] = jobs.each_ref().map(|job| move || job_seconds(job, 1));
    let [first_s, second_s] = in_turn(&mut [&mut first, &mut second])[..] else { return };
    for (name, seconds) in names.iter().zip([first_s, second_s]) {
        figure(&format!("{name}, ns a row"), format!("{:.0}", seconds / rows as f64 * 1e9), "");
    }
    figure(&format!("  {what}"), format!("{:.2}", second_s / first_s), target);
}

fn event_time(over_s: u64) {
    let dir = dir();
    let mut file = BufWriter::new(std::fs::File::create(dir.path().join("rows.csv")).expect("the rows"));
    writeln!(file, "ts,k,v").expect("a row is written");
    for row in 0..ROWS {
        let (time_us, key) = (row * over_s * 1_000_000 / ROWS, row.wrapping_mul(7_919) % KEYS);
        writeln!(file, "{time_us},key-{key},{}", row % 1_000).expect("a row is written");
    }
    drop(file);
    let text = |window: &str| {
        format!(
            r#"name = "windows"
batch = "0s"
[sources.rows]
kind = "file"
path = "../rows.csv"
format = "csv"
schema = {{ ts = "timestamp(us)", k = "text", v = "int64" }}
[stages.totals]
from = "rows"
key = "k"
time = "ts"
window = {{ {window} }}
aggregate = {{ n = "count(*)", total = "sum(v)" }}
[sinks.screen]
from = "totals"
kind = "print"
rows = 1
"#
        )
    };
    let strings = [text("size = \"300s\""), text("size = \"300s\", slide = \"1s\"")];
    show(&strings[1]);
    println!("  {ROWS} rows of {KEYS} keys over {over_s} s of event time, one worker; process start included");
    let names = ["event time: tumbling 300 s", "event time: 300 s every 1 s"];
    compare(dir.path(), names, strings, ROWS, "ratio of sliding to tumbling", "target: at most 2");
}

fn processing_time() {
    let dir = dir();
    let mut file = BufWriter::new(std::fs::File::create(dir.path().join("rows.jsonl")).expect("the rows"));
    for batch in 0..BATCHES {
        let row = |row: u64| format!("[\"key-{}\",{}]", (batch * BATCH_ROWS + row).wrapping_mul(7_919) % KEYS, row);
        let rows = (0..BATCH_ROWS).map(row).collect::<Vec<_>>();
        writeln!(file, "[{}]", rows.join(",")).expect("a batch is written");
    }
    drop(file);
    let text = |window: &str| {
        format!(
            r#"name = "windows"
batch = "1s"
clock = "manual"
[sources.rows]
kind = "queue"
path = "../rows.jsonl"
schema = {{ k = "text", v = "int64" }}
[stages.totals]
from = "rows"
key = "k"
window = {{ {window} }}
aggregate = {{ n = "count(*)", total = "sum(v)" }}
[sinks.screen]
from = "totals"
kind = "print"
rows = 1
"#
        )
    };
    let strings = [text("size = \"300s\", slide = \"300s\""), text("size = \"300s\", slide = \"1s\"")];
    println!("  {BATCHES} batches of {BATCH_ROWS} rows of {KEYS} keys, one worker; process start included");
    let names = ["processing time: tumbling 300 s", "processing time: 300 s every 1 s"];
    compare(dir.path(), names, strings, BATCHES * BATCH_ROWS, "ratio of sliding to tumbling", "target: at most 2");
}

fn words((batches, batch_bytes): (usize, usize)) {
    let dir = dir();
    let text = std::fs::read_to_string(root().join("demo/text.txt")).expect("the text of the demo");
    let mut lines = text.lines().cycle();
    let (mut queue, mut words) = (String::new(), 0);
    for _ in 0..batches {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while bytes < batch_bytes {
            let line = lines.next().unwrap_or_default();
            (bytes, words) = (bytes + line.len() + 1, words + line.split_whitespace().count() as u64);
            rows.push(line);
        }
        let _ = writeln!(queue, "{}", sonic_rs::to_string(&rows).expect("JSON"));
    }
    std::fs::write(dir.path().join("lines.jsonl"), queue).expect("the lines are written");
    let text = |window: &str| {
        format!(
            r#"name = "words"
batch = "1s"
clock = "manual"
[sources.lines]
kind = "queue"
path = "../lines.jsonl"
schema = {{ value = "text" }}
[stages.words]
from = "lines"
plugin = "{}"
[stages.counts]
from = "words"
key = "word"
aggregate = {{ n = "count(*)" }}
{window}
[sinks.screen]
from = "counts"
kind = "print"
rows = 1
"#,
            root().join("plugins/split-words").display()
        )
    };
    let strings = [text("window = { size = \"30s\", slide = \"10s\" }"), text("")];
    show(&strings[0]);
    println!("  {batches} batches of {batch_bytes} bytes, {words} words, one worker; process start included");
    let names = ["word count over 30 s every 10 s", "word count batch by batch"];
    compare(dir.path(), names, strings, words, "rate of the windowed one, as a share", "target: at least 0.7");
}
