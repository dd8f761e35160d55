//! A numbered file through a plugin with state into parts and into a queue, with a reader that looks all the time.

use super::entries::{Entry, compare, expected, keys};
use millstream_tests::{Killer, Process, Trial, Victim, plugin};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The configuration of the job.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub rows: u64,
    /// As in the job file.
    pub batch: &'static str,
    pub every: &'static str,
    /// Whether the reader moves parts away.
    pub consumes: bool,
    /// Which process writes the parts.
    pub parts: &'static str,
    /// Lines of the sink about parts that grow.
    pub roll: &'static str,
}

/// A trial with a setting of the killer's choice.
pub fn trial(killer: &mut Killer, kills: u64) -> Result<(), String> {
    let batch = *killer.random.one_of(&["0s", "5ms", "20ms"]);
    let every = *killer.random.one_of(&["3", "8", "\"30ms\"", "\"100ms\""]);
    let consumes = killer.random.from(0, 1) == 1;
    let parts = *killer.random.one_of(&["batch", "worker"]);
    let roll = *killer.random.one_of(&["", "roll = { size = \"4KiB\", time = \"60ms\" }"]);
    trial_of(killer, kills, Setting { rows: 6000, batch, every, consumes, parts, roll })
}

/// Runs the job to its end, killed this many times, and compares.
pub fn trial_of(killer: &mut Killer, kills: u64, setting: Setting) -> Result<(), String> {
    let keys = keys(setting.rows, &mut killer.random);
    let expected = expected(&keys);
    let job = Files { trial: Trial::new(&job_file(setting)) };
    let lines = (1..).zip(&keys).map(|(n, k)| format!("{{\"n\":{n},\"k\":\"{k}\"}}\n"));
    job.trial.write("lines.jsonl", lines.collect::<String>());
    fs::create_dir(job.trial.path("taken")).expect("a folder can be made");
    let reader = Reader::start(job.dir(), setting.consumes);
    let ran = killer.run(&job, kills);
    let read = reader.stop();
    ran.map_err(|output| format!("{setting:?}: {output}"))?;
    let compared = read.and_then(|seen| {
        let rows = compare("parts", &seen.rows()?, &expected)?;
        Ok(rows + compare("queue", &lines_of(&seen.log)?, &expected)?)
    });
    killer.tally.rows += compared.map_err(|output| format!("{setting:?}: {output}"))?;
    Ok(())
}

fn job_file(setting: Setting) -> String {
    let Setting { batch, every, parts, roll, .. } = setting;
    let plugin = plugin("ledger");
    let plugin = plugin.display();
    format!(
        r#"name = "files"
batch = "{batch}"
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
plugin = "{plugin}"
[sinks.parts]
from = "entries"
kind = "files"
path = "out"
parts = "{parts}"
{roll}
[sinks.log]
from = "entries"
kind = "queue"
path = "log.jsonl"
"#
    )
}

/// A job with a `files` sink in its own directory.
pub struct Files {
    pub trial: Trial,
}

impl Victim for Files {
    fn dir(&self) -> &Path {
        self.trial.dir()
    }

    fn start(&self, workers: u64, faults: &str) -> Process {
        let mut command = self.trial.command(&["run", "job.toml", "--workers", &workers.to_string()]);
        Process::start(command.env("MILLSTREAM_TEST_FAULT", faults))
    }
}

/// Looks at the sinks while the job runs.
pub struct Reader {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Seen, String>>,
}

/// What the reader has seen.
#[derive(Default)]
pub struct Seen {
    /// Parts as they were when they were seen first.
    pub parts: BTreeMap<String, Vec<u8>>,
    numbers: BTreeSet<i64>,
    /// The complete lines of the queue.
    log: Vec<u8>,
}

impl Reader {
    pub fn start(dir: &Path, consumes: bool) -> Reader {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, dir) = (stop.clone(), dir.to_owned());
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            loop {
                // Looked at before, so that the last look sees all.
                let last = stopped.load(Ordering::Acquire);
                seen.look_at_parts(&dir, consumes, last)?;
                seen.look_at_queue(&dir.join("log.jsonl"))?;
                if last {
                    return Ok(seen);
                }
                std::thread::sleep(Duration::from_millis(4));
            }
        });
        Reader { stop, thread }
    }

    /// Stops the reader. Returns what it has seen, or the first error.
    pub fn stop(self) -> Result<Seen, String> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("the reader does not panic")
    }
}

impl Seen {
    /// Parts that were seen before must be as they were: at each look the newest, at the last one all.
    fn look_at_parts(&mut self, dir: &Path, consumes: bool, all: bool) -> Result<(), String> {
        let out = dir.join("out");
        let entries = fs::read_dir(&out).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let names: BTreeSet<String> = names.filter(|name| name.starts_with("part-")).collect();
        for name in &names {
            let path = if consumes { take_part(dir, name)? } else { out.join(name) };
            let output = |what: &str| format!("reader: {name} {what}");
            match self.parts.get(name) {
                Some(_) if consumes => return Err(output("is there again")),
                Some(_) if !all && names.last() != Some(name) => {}
                Some(before) if fs::read(&path).ok().as_ref() == Some(before) => {}
                Some(_) => return Err(output("has changed")),
                None => {
                    let bytes = fs::read(&path).map_err(|error| output(&error.to_string()))?;
                    for row in rows_of(&bytes).map_err(|what| output(&what))? {
                        if !self.numbers.insert(row.n) {
                            return Err(output(&format!("has a row that was seen before: {row:?}")));
                        }
                    }
                    self.parts.insert(name.clone(), bytes);
                }
            }
        }
        match self.parts.keys().find(|name| !consumes && !names.contains(*name)) {
            Some(gone) => Err(format!("reader: {gone} was there and is gone")),
            None => Ok(()),
        }
    }

    fn look_at_queue(&mut self, path: &Path) -> Result<(), String> {
        let mut log = fs::read(path).unwrap_or_default();
        let complete = log.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        log.truncate(complete);
        if !log.starts_with(&self.log) {
            return Err("reader: lines of the queue that were there have changed or are gone".into());
        }
        self.log = log;
        Ok(())
    }

    /// The rows of all parts, in order.
    pub fn rows(&self) -> Result<Vec<Entry>, String> {
        let parts = self.parts.values().map(|bytes| rows_of(bytes)).collect::<Result<Vec<_>, _>>()?;
        Ok(parts.concat())
    }
}

/// Moves a part away, as a consumer does.
fn take_part(dir: &Path, name: &str) -> Result<PathBuf, String> {
    let path = dir.join("taken").join(name);
    let moved = fs::rename(dir.join("out").join(name), &path);
    moved.map(|()| path).map_err(|error| format!("reader: {name}: {error}"))
}

/// The rows of a part: complete lines of JSON.
fn rows_of(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    if !text.ends_with('\n') {
        return Err("is half a part".into());
    }
    text.lines().map(|line| Entry::of(&serde_json::from_str(line).map_err(|error| error.to_string())?)).collect()
}

/// The rows of a queue, whose batches have rising numbers.
fn lines_of(log: &[u8]) -> Result<Vec<Entry>, String> {
    let mut rows = Vec::new();
    let mut before = 0;
    for line in std::str::from_utf8(log).map_err(|error| error.to_string())?.lines() {
        let line: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let batch = line["batch"].as_u64().unwrap_or(0);
        if batch <= before {
            return Err(format!("queue: batch {batch} comes behind batch {before}"));
        }
        before = batch;
        for row in line["rows"].as_array().into_iter().flatten() {
            rows.push(Entry::of(row)?);
        }
    }
    Ok(rows)
}
