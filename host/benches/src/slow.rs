//! One of two workers slowed to a quarter: how much of their combined speed a job without state keeps. Each worker is a process with one thread, and
//! the slow one is stopped for 30 of every 40 ms.

use crate::machines::start_all;
use crate::measure::{dir, figure, in_turn_rounds, job, root, seconds, show_command};
use millstream_tests::run_at_quarter_speed;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Child;
use std::thread::sleep;
use std::time::Duration;

const ROUNDS: usize = 3;
const ROWS: usize = 4_000_000;
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The expected fraction of two workers: one and a quarter.
const BOTH: f64 = 1.25 / 2.0;

/// Runs this part.
pub fn run() {
    let dir = dir();
    let text = text();
    let path = job(dir.path(), &text);
    let input = dir.path().join("points.csv");
    show_command("millstream run job.toml --workers 1 --processes 2 --hosts … --process 0, and 1", &text);
    // The startup time.
    fs::write(&input, "n\n1\n").expect("a file");
    let [start] = in_turn_rounds(ROUNDS, &mut [&mut || took(&path, None)])[..] else { return };
    let mut file = BufWriter::new(fs::File::create(&input).expect("a file"));
    writeln!(file, "n").expect("a row is written");
    (0..ROWS).for_each(|row| writeln!(file, "{}", row * 7_919 % 1_000_003).expect("a row is written"));
    drop(file);
    let mut variants = [None, Some(0), Some(1)].map(|slow| {
        let path = &path;
        move || took(path, slow)
    });
    let [none, first, second] = &mut variants;
    let [both, first, second] = in_turn_rounds(ROUNDS, &mut [none, first, second])[..] else { return };
    let rate = |took: f64| ROWS as f64 / (took - start) / 1e6;
    figure("two workers, million rows a second", format!("{:.2}", rate(both)), "");
    for (which, took) in [("the one with the source and the sink", first), ("the other", second)] {
        figure(&format!("{which} at a quarter"), format!("{:.2}", rate(took)), "");
        let part = rate(took) / (rate(both) * BOTH);
        figure("  of what both can do together", format!("{part:.2}"), "target: at least 0.8");
    }
}

/// Returns the seconds that the job takes; the process with this number is slow.
fn took(job: &Path, slow: Option<usize>) -> f64 {
    // No run overwrites the output of another one.
    let _ = fs::remove_dir_all(job.with_file_name("out"));
    seconds(|| {
        let mut all = start_all(job, 2, &[]);
        let slow = slow.and_then(|slow| all.get(slow)).map(Child::id);
        let mut ended = || {
            let ended = all.iter_mut().map(|process| process.try_wait().expect("a child"));
            let ended: Vec<_> =
                ended.inspect(|ended| assert!(ended.is_none_or(|how| how.success()), "the job failed")).collect();
            ended.iter().all(Option::is_some)
        };
        match slow {
            Some(slow) => run_at_quarter_speed(slow, ended),
            None => {
                while !ended() {
                    sleep(LOOK_EVERY)
                }
            }
        }
    })
}

fn text() -> String {
    format!(
        r#"name = "slow"
batch = "100ms"
[sources.points]
kind = "file"
path = "points.csv"
format = "csv"
schema = {{ n = "int64" }}
[stages.steps]
from = "points"
plugin = "{}"
[sinks.out]
from = "steps"
kind = "files"
format = "csv"
path = "out"
"#,
        root().join("host/benches/compute").display()
    )
}
