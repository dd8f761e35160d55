//! A job that is rescaled all the time while it is killed, also at the steps of rescaling. No row may be lost or duplicated, and
//! totals over all rows must continue as if it had run undisturbed.

use super::entries::keys;
use millstream_tests::{DEADLINE, Killer, Process, Trial, Victim};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const ROWS: u64 = 6000;

const JOB: &str = r#"name = "scaled"
batch = "10ms"
[checkpoint]
dir = "checkpoint"
every = EVERY
[sources.lines]
kind = "file"
path = "lines.jsonl"
format = "json"
schema = { n = "int64", k = "text" }
rows_per_batch_max = 20
[stages.totals]
from = "lines"
key = "k"
window = "all"
aggregate = { rows = "count(*)", sum = "sum(n)" }
[sinks.out]
from = "lines"
kind = "queue"
path = "out.jsonl"
[sinks.totals]
from = "totals"
kind = "queue"
path = "totals.jsonl"
"#;

/// Runs the job to its end, killed this many times and scaled all the time, and compares.
pub fn trial(killer: &mut Killer, kills: u64) -> Result<(), String> {
    let every = *killer.random.one_of(&["3", "8", "\"100ms\""]);
    let keys = keys(ROWS, &mut killer.random);
    let job = Scaled { trial: Trial::new(&JOB.replace("EVERY", every)) };
    let lines = (1..).zip(&keys).map(|(n, k)| format!("{{\"n\":{n},\"k\":\"{k}\"}}\n"));
    job.trial.write("lines.jsonl", lines.collect::<String>());
    let scaler = Scaler::start(job.dir(), killer.random.number());
    let ran = killer.run(&job, kills);
    let scaled = scaler.stop();
    ran.map_err(|output| format!("every {every}: {output}"))?;
    compare(&job.trial, &keys).map_err(|output| format!("every {every}: {output}"))?;
    killer.tally.rows += ROWS;
    *killer.tally.upgrades.entry("scaled").or_default() +=
        scaled.map_err(|output| format!("every {every}: {output}"))?;
    Ok(())
}

/// All rows arrived once and in order, and each total is one that its key had.
fn compare(trial: &Trial, keys: &[impl AsRef<str>]) -> Result<(), String> {
    let numbers: Vec<_> = trial.rows("out.jsonl").iter().map(|row| row["n"].as_u64().unwrap_or_default()).collect();
    if !numbers.iter().copied().eq(1..=ROWS) {
        return Err(format!("the rows came as {numbers:?}"));
    }
    // For each key, the sum after each of its rows.
    let mut sums: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (n, key) in (1..).zip(keys) {
        let of_key = sums.entry(key.as_ref()).or_default();
        of_key.push(of_key.last().copied().unwrap_or_default() + n);
    }
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for row in trial.rows("totals.jsonl") {
        let key = row["k"].as_str().unwrap_or_default();
        let (rows, sum) = (row["rows"].as_u64().unwrap_or_default(), row["sum"].as_u64().unwrap_or_default());
        let right = sums.get(key).and_then(|sums| sums.get(rows.checked_sub(1)? as usize));
        let before = last.insert(key.to_owned(), rows).unwrap_or_default();
        if right != Some(&sum) || rows <= before {
            return Err(format!("{key} has {rows} rows of {sum} behind {before}; right is {right:?}"));
        }
    }
    match sums.iter().find(|(key, sums)| last.get(**key) != Some(&(sums.len() as u64))) {
        Some((key, sums)) => Err(format!("{key} ends with {:?} rows of {}", last.get(*key), sums.len())),
        None => Ok(()),
    }
}

struct Scaled {
    trial: Trial,
}

impl Victim for Scaled {
    fn dir(&self) -> &Path {
        self.trial.dir()
    }

    fn start(&self, workers: u64, faults: &str) -> Process {
        let mut command = self.trial.command(&["run", "job.toml", "--workers", &workers.to_string()]);
        Process::start(command.env("MILLSTREAM_TEST_FAULT", faults))
    }

    fn done(&self) -> bool {
        false
    }
}

/// Rescales the job of a directory whenever it responds.
struct Scaler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64, String>>,
}

impl Scaler {
    fn start(dir: &Path, seed: u64) -> Scaler {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, dir) = (stop.clone(), dir.to_owned());
        let thread = std::thread::spawn(move || {
            let (mut scaled, mut number) = (0, seed);
            while !stopped.load(Ordering::Acquire) {
                number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let (workers, processes) = (1 + (number >> 33) % 3, 1 + (number >> 40) % 2);
                scaled += u64::from(scale(&dir, workers, processes)?);
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(scaled)
        });
        Scaler { stop, thread }
    }

    /// Stops, and returns how often the job was rescaled.
    fn stop(self) -> Result<u64, String> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("the scaler does not panic")
    }
}

/// Whether the job was rescaled. It may be dying at any time, which is not an error; a job that does not respond is.
fn scale(dir: &Path, workers: u64, processes: u64) -> Result<bool, String> {
    let mut command = Command::new(millstream_tests::millstream());
    command.current_dir(dir).args(["scale", "job.toml"]);
    command.args(["--workers", &workers.to_string(), "--processes", &processes.to_string()]);
    let ended = Process::start(&mut command).wait_within(DEADLINE);
    match ended.code {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => Err(format!("{ended:?}")),
    }
}
