//! A running total per user: JSON rows, a plugin of world `update`, keyed state.

use crate::measure::{dir, figure, in_turn, job, job_seconds, median, millstream, peak_memory, root, seconds};
use crate::native;
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::path::Path;

const ROWS: usize = 1_000_000;
const KEYS: usize = 20_000;
const MANY_KEYS: usize = 1_000_000;

/// Runs this part.
pub fn run() {
    let dir = dir();
    let text = job_text();
    let path = job(dir.path(), &text);
    crate::measure::show(&text);
    write_rows(&dir.path().join("rows.json"), KEYS);
    let rows = dir.path().join("rows.json");
    let mut native = || seconds(|| _ = black_box(native::running_total(&rows)));
    let mut one = || job_seconds(&path, 1);
    let mut two = || job_seconds(&path, 2);
    let [native_s, one_s, two_s] = in_turn(&mut [&mut native, &mut one, &mut two])[..] else { return };
    let rate = |seconds: f64| format!("{:.2}", ROWS as f64 / seconds / 1e6);
    println!("  {ROWS} JSON rows, {KEYS} keys; process start included");
    figure("native loop, million rows a second", rate(native_s), "");
    figure("one worker", rate(one_s), "");
    figure("  ratio to native", format!("{:.2}", native_s / one_s), "target: at least 0.4");
    figure("two workers", rate(two_s), "");
    figure("  ratio to one worker", format!("{:.2}", one_s / two_s), "");
    let memory = |keys: usize| {
        write_rows(&rows, keys);
        let run = || millstream(&["run", &path.to_string_lossy(), "--workers", "1"]).spawn().expect("the job starts");
        median((0..3).map(|_| peak_memory(run())).collect())
    };
    let (few, many) = (memory(1), memory(MANY_KEYS));
    println!("  the most memory with {MANY_KEYS} keys of 16 bytes, less that with one key");
    figure("memory a key, bytes", format!("{:.0}", (many - few) / MANY_KEYS as f64), "target: at most 120");
}

fn job_text() -> String {
    format!(
        r#"name = "totals"
batch = "0s"
[sources.payments]
kind = "file"
path = "rows.json"
format = "json"
schema = {{ user = "text", amount = "int64" }}
[stages.totals]
from = "payments"
key = "user"
plugin = "{}"
[sinks.screen]
from = "totals"
kind = "print"
rows = 1
"#,
        root().join("plugins/running-total").display()
    )
}

/// Rows whose users come in an order without a pattern; names of 16 bytes.
fn write_rows(path: &Path, keys: usize) {
    let mut file = BufWriter::new(std::fs::File::create(path).expect("the rows"));
    for row in 0..ROWS {
        let user = row.wrapping_mul(7_919) % keys;
        let written = writeln!(file, r#"{{"user":"user-{user:011}","amount":{}}}"#, row % 1000);
        written.expect("a row is written");
    }
}
