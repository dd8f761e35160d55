//! A state of a million keys: how long a restart takes, and what a checkpoint writes after a few of them changed.

use crate::measure::{dir_on_disk, figure, job, median, millstream, root, show_command};
use std::fs;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const KEYS: usize = 1_000_000;
const CHANGED_KEYS: usize = 10_000;
/// `user-` and 11 digits.
const KEY_BYTES: usize = 16;
const ROUNDS: usize = 5;

/// Runs this part.
pub fn run() {
    let dir = dir_on_disk();
    super::show_disk(dir.path());
    let text = format!(
        r#"name = "totals"
batch = "100ms"
[checkpoint]
dir = "kept"
every = "1h"                       # only when the job ends
[sources.payments]
kind = "directory"
path = "in"
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
    );
    fs::create_dir(dir.path().join("in")).expect("a directory");
    let path = job(dir.path(), &text);
    show_command("millstream run job.toml --until-idle", &text);
    write_rows(&dir.path().join("in/1.json"), KEYS);
    run_until_idle(&path);

    println!("  then the same command again; the files are in the system's cache; median of {ROUNDS}");
    let (started, loaded): (Vec<_>, Vec<_>) = (0..ROUNDS).map(|_| recovery(&path)).unzip();
    figure(
        &format!("from the start of the process until {KEYS} keys are back, s"),
        format!("{:.2}", median(started)),
        "target: at most 2",
    );
    figure("  of that, by the message: \"loaded in\", s", format!("{:.2}", median(loaded)), "");

    println!("  then {CHANGED_KEYS} rows with a key each, and the same command once more");
    let before = state_bytes(dir.path());
    write_rows(&dir.path().join("in/2.json"), CHANGED_KEYS);
    run_until_idle(&path);
    let written = state_bytes(dir.path()) - before;
    let manifest = fs::metadata(dir.path().join("kept/manifest.json")).expect("the manifest").len();
    let keys = (CHANGED_KEYS * KEY_BYTES) as u64;
    figure("bytes of state written", written.to_string(), "");
    figure("  bytes of the manifest", manifest.to_string(), "");
    figure(&format!("  bytes of those {CHANGED_KEYS} keys (their totals: half of it)"), keys.to_string(), "");
    figure("  all that was written to the keys' bytes", ratio(written + manifest, keys), "target: at most 3");
}

fn ratio(bytes: u64, of: u64) -> String {
    format!("{:.2}", bytes as f64 / of as f64)
}

/// Writes one row per key, in an order without a pattern.
fn write_rows(path: &Path, rows: usize) {
    let mut file = BufWriter::new(fs::File::create(path).expect("the rows"));
    for row in 0..rows {
        let user = row * 7_919 % KEYS;
        writeln!(file, r#"{{"user":"user-{user:011}","amount":{}}}"#, row % 1000).expect("a row is written");
    }
}

fn run_until_idle(job: &Path) {
    let status = millstream(&["run", &job.to_string_lossy(), "--until-idle"]).status();
    assert!(status.is_ok_and(|status| status.success()), "the job failed");
}

/// Starts the job and stops it when it has resumed. Returns the seconds until then, and those that it reports itself.
fn recovery(job: &Path) -> (f64, f64) {
    let start = Instant::now();
    let mut command = millstream(&["run", &job.to_string_lossy()]);
    let mut child = command.env("MILLSTREAM_LOG", "info").stderr(Stdio::piped()).spawn().expect("the job starts");
    let mut lines = BufReader::new(child.stderr.take().expect("its log")).lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains("resumes after")).expect("the job goes on");
    let took = start.elapsed().as_secs_f64();
    assert!(line.contains(&format!(" {KEYS} state rows")), "{line}");
    let loaded = line.split("loaded in ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
    let stopped = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(stopped.is_ok_and(|status| status.success()), "the job is told to stop");
    lines.for_each(drop);
    child.wait().expect("it ends");
    (took, loaded.expect("the message says how long it took"))
}

/// Returns the bytes of all files of state.
fn state_bytes(dir: &Path) -> u64 {
    let files = fs::read_dir(dir.join("kept/state")).expect("the state").flatten();
    files.map(|file| file.metadata().map_or(0, |metadata| metadata.len())).sum()
}
