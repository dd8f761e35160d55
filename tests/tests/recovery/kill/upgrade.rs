//! A job that is upgraded all the time while it is killed: first to a version whose state has other columns, which migrates, then
//! back and forth between two versions with the same state. Only one column of the output depends on the version. So no row may
//! be lost, duplicated or changed, and no batch may be of two versions.

use super::entries::{compare, expected, keys};
use super::files::{Files, Reader, Seen};
use millstream_tests::{DEADLINE, Killer, Process, Trial, Victim, plugin};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const ROWS: u64 = 8000;

/// Runs the job to its end, killed this many times and upgraded all the time, and compares.
pub fn trial(killer: &mut Killer, kills: u64) -> Result<(), String> {
    let every = *killer.random.one_of(&["3", "8", "\"100ms\""]);
    let keys = keys(ROWS, &mut killer.random);
    let job = Files { trial: Trial::new(&job_file(every)) };
    let lines = (1..).zip(&keys).map(|(n, k)| format!("{{\"n\":{n},\"k\":\"{k}\"}}\n"));
    job.trial.write("lines.jsonl", lines.collect::<String>());
    // It occurs once in the life of a job, and early.
    killer.next_at("upgrade.migrated");
    let reader = Reader::start(job.dir(), false);
    let upgrader = Upgrader::start(job.dir());
    let ran = killer.run(&job, kills);
    let upgrades = upgrader.stop();
    let read = reader.stop();
    ran.map_err(|output| format!("every {every}, {upgrades:?}: {output}"))?;
    let compared = read.and_then(|seen| {
        let rows = compare("parts", &seen.rows()?, &expected(&keys))?;
        one_version_a_batch(&seen)?;
        Ok(rows)
    });
    killer.tally.rows += compared.map_err(|output| format!("every {every}, {upgrades:?}: {output}"))?;
    for (to, times) in upgrades? {
        *killer.tally.upgrades.entry(to).or_default() += times;
    }
    Ok(())
}

fn job_file(every: &str) -> String {
    format!(
        r#"name = "upgraded"
batch = "10ms"
[checkpoint]
dir = "checkpoint"
every = {every}
[sources.lines]
kind = "file"
path = "lines.jsonl"
format = "json"
schema = {{ n = "int64", k = "text" }}
rows_per_batch_max = 20
[stages.entries]
from = "lines"
key = "k"
plugin = "{}"
[sinks.parts]
from = "entries"
kind = "files"
path = "out"
"#,
        plugin("upgraded-1").display()
    )
}

/// Each part has rows of one version, and the first one is not seen again once its state was migrated.
fn one_version_a_batch(seen: &Seen) -> Result<(), String> {
    let mut highest = 1;
    for (name, bytes) in &seen.parts {
        let rows = std::str::from_utf8(bytes).map_err(|error| error.to_string())?.lines();
        let version = |line: &str| serde_json::from_str::<Value>(line).ok()?["version"].as_i64();
        let versions: BTreeSet<_> = rows.map(version).collect();
        match versions.into_iter().collect::<Vec<_>>()[..] {
            [] => {}
            [Some(1)] if highest > 1 => return Err(format!("{name} is of version 1, behind a part of a later one")),
            [Some(version @ 1..=3)] => highest = highest.max(version),
            ref versions => return Err(format!("{name} is of these versions: {versions:?}")),
        }
    }
    Ok(())
}

/// Upgrades the job of a directory whenever it responds.
struct Upgrader {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<BTreeMap<&'static str, u64>, String>>,
}

impl Upgrader {
    fn start(dir: &Path) -> Upgrader {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, dir) = (stop.clone(), dir.to_owned());
        let thread = std::thread::spawn(move || {
            let mut upgrades = BTreeMap::new();
            while !stopped.load(Ordering::Acquire) {
                let to = next(&dir)?;
                if upgrade(&dir, to)? {
                    *upgrades.entry(to).or_default() += 1;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(upgrades)
        });
        Upgrader { stop, thread }
    }

    /// Stops, and returns the number of upgrades to each version.
    fn stop(self) -> Result<BTreeMap<&'static str, u64>, String> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("the upgrader does not panic")
    }
}

/// The version after that of the job file, which is always complete.
fn next(dir: &Path) -> Result<&'static str, String> {
    let text = fs::read_to_string(dir.join("job.toml")).map_err(|error| error.to_string())?;
    let job: toml::Table =
        toml::from_str(&text).map_err(|error| format!("the job file is damaged: {error}\n{text}"))?;
    let now = job["stages"]["entries"]["plugin"].as_str().map(PathBuf::from).unwrap_or_default();
    match now.file_name().and_then(|name| name.to_str()) {
        Some("upgraded-1" | "upgraded-3") => Ok("upgraded-2"),
        Some("upgraded-2") => Ok("upgraded-3"),
        _ => Err(format!("the job file has the plugin {}", now.display())),
    }
}

/// Whether the job was upgraded. It may be dying at any time, which is not an error; a job that does not respond is.
fn upgrade(dir: &Path, to: &str) -> Result<bool, String> {
    let mut command = Command::new(millstream_tests::millstream());
    command.current_dir(dir).args(["upgrade", "job.toml", "entries"]).arg(plugin(to)).arg("--accept");
    let ended = Process::start(&mut command).wait_within(DEADLINE);
    match ended.code {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        // If the job file changed meanwhile, the stage may have this version already.
        Some(2) if ended.stderr.contains("already") => Ok(false),
        _ => Err(format!("upgrade to {to}: {ended:?}")),
    }
}
