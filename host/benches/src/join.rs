//! Interval join of two streams, end to end.

use crate::measure::{dir, figure, in_turn_rounds, job, job_seconds, median, millstream, peak_memory, show};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Rows of each stream, one per millisecond of event time.
const ROWS: u64 = 500_000;
const KEYS: u64 = 10_000;
const ROUNDS: usize = 5;

/// Runs this part.
pub fn run() {
    let dir = dir();
    write(&dir.path().join("orders.csv"), 0);
    // Each payment comes half a second after its order, and finds it among others of the same user.
    write(&dir.path().join("payments.csv"), 500_000);
    let text = job_text("user", "5s");
    show(&text);
    let job = |name: &str, text: &str| {
        let inner = dir.path().join(name);
        std::fs::create_dir_all(&inner).expect("a directory");
        job(&inner, text)
    };
    let freed = job("freed", &text);
    let one = &mut || job_seconds(&freed, 1);
    let two = &mut || job_seconds(&freed, 2);
    let [one_s, two_s] = in_turn_rounds(ROUNDS, &mut [one, two])[..] else { return };
    let rate = |seconds: f64| format!("{:.2}", (2 * ROWS) as f64 / seconds / 1e6);
    println!("  two streams of {ROWS} rows of {KEYS} keys, a pair each; process start included");
    figure("one worker, million rows a second", rate(one_s), "target: at least 0.5");
    figure("two workers", rate(two_s), "");
    let memory = |job: &PathBuf| {
        let run = || millstream(&["run", &job.to_string_lossy(), "--workers", "1"]).spawn().expect("the job starts");
        median((0..3).map(|_| peak_memory(run())).collect())
    };
    let (freed, kept) = (memory(&freed), memory(&job("kept", &job_text("n", "1h"))));
    figure("resident memory where rows are freed, MB", format!("{:.0}", freed / 1e6), "");
    println!("  the same with a key for each pair, and an hour in place of 5 s, so that all rows wait");
    figure("memory a waiting row, bytes", format!("{:.0}", (kept - freed) / (2 * ROWS) as f64), "");
}

fn job_text(on: &str, within: &str) -> String {
    let source = |name: &str| {
        format!(
            "[sources.{name}]\nkind = \"file\"\npath = \"../{name}.csv\"\nformat = \"csv\"\n\
             schema = {{ at = \"timestamp\", user = \"text\", n = \"int64\" }}\n"
        )
    };
    format!(
        r#"name = "join"
batch = "0s"
{}{}[stages.paid]
from = "orders"
join = {{ with = "payments", on = "{on}", within = ["0s", "{within}"] }}
time = "at"
[sinks.screen]
from = "paid"
kind = "print"
rows = 1
"#,
        source("orders"),
        source("payments")
    )
}

fn write(path: &Path, later_us: u64) {
    let mut file = BufWriter::new(std::fs::File::create(path).expect("the rows"));
    writeln!(file, "at,user,n").expect("a row is written");
    for row in 0..ROWS {
        let (at_us, user) = (row * 1_000 + later_us, row.wrapping_mul(7_919) % KEYS);
        writeln!(file, "{at_us},user-{user:07},{row}").expect("a row is written");
    }
}
