//! Queues with virtual time through a plugin with state and a timeout, windows of processing and of event time, sessions,
//! a join, and plugins that fail on some rows, which are rejected: batches and their times are the same at every run, so
//! what the sinks hold must be the same to the byte, at every moment.

use millstream_tests::{Killer, Process, Random, Trial, Victim, plugin};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

const BATCHES: u64 = 250;
const JOB: &str = r#"name = "virtual-time"
batch = "1s"
clock = "manual"
[checkpoint]
dir = "checkpoint"
every = EVERY
[sources.lines]
kind = "queue"
path = "input.jsonl"
schema = { n = "int64", k = "text", ts = "timestamp(us)" }
[sources.others]
kind = "queue"
path = "others.jsonl"
schema = { n = "int64", k = "text", ts = "timestamp(us)" }
[stages.entries]
from = "lines"
key = "k"
plugin = "PLUGIN"
timeout = "9s"
[sinks.parts]
from = "entries"
kind = "files"
path = "out"
[sinks.log]
from = "entries"
kind = "queue"
path = "log.jsonl"
[stages.recent]
from = "lines"
key = "k"
window = { size = "20s", slide = "4s" }
aggregate = { rows = "count(*)", first = "first(n)", last = "last(n)" }
[stages.timed]
from = ["lines", "others"]
key = "k"
window = { size = "12s", slide = "3s", time = "ts", lateness = "2s", idle = "5s" }
aggregate = { rows = "count(*)", first = "first(n)", mean = "avg(n)" }
[stages.visits]
from = ["lines", "others"]
key = "k"
window = { gap = "6s", time = "ts", lateness = "1s" }
aggregate = { rows = "count(*)", most = "max(n)" }
[stages.pairs]
from = "lines"
time = "ts"
lateness = "2s"
join = { with = "others", on = "k", type = "left", within = "3s" }
[stages.words]
from = "lines"
select = "n, k, case when n % 5 = 0 then 'panic' when n % 7 = 0 then 'refuse' when n % 11 = 0 then 'abort' else k end as value"
[stages.picked]
from = "words"
plugin = "POISON"
on_error = "reject"
[stages.poisoned]
from = "lines"
select = "n, k, case when n % 3 = 0 then 'panic' else '' end as word"
[stages.sums]
from = "poisoned"
key = "k"
plugin = "POISON-UPDATE"
on_error = "reject"
max_rejected = "100%"
[sinks.picked-log]
from = "picked"
kind = "queue"
path = "picked.jsonl"
[sinks.picked-refused]
from = "picked.rejected"
kind = "queue"
path = "picked-rejected.jsonl"
[sinks.sums-log]
from = "sums"
kind = "queue"
path = "sums.jsonl"
[sinks.sums-refused]
from = "sums.rejected"
kind = "queue"
path = "sums-rejected.jsonl"
[sinks.recent-log]
from = "recent"
kind = "queue"
path = "recent.jsonl"
[sinks.timed-log]
from = "timed"
kind = "queue"
path = "timed.jsonl"
[sinks.late-log]
from = "timed.late"
kind = "queue"
path = "late.jsonl"
[sinks.visits-log]
from = "visits"
kind = "queue"
path = "visits.jsonl"
[sinks.pairs-log]
from = "pairs"
kind = "queue"
path = "pairs.jsonl"
"#;

/// The queues of the job.
const QUEUES: [&str; 10] =
    ["log", "recent", "timed", "late", "visits", "pairs", "picked", "picked-rejected", "sums", "sums-rejected"];

/// A trial with a checkpoint interval that the killer chooses.
pub fn trial(killer: &mut Killer, kills: u64) -> Result<(), String> {
    let every = *killer.random.one_of(&["3", "8", "\"5s\""]);
    trial_of(killer, kills, every)
}

/// Runs the job to its end, killed this many times, and compares.
pub fn trial_of(killer: &mut Killer, kills: u64, every: &str) -> Result<(), String> {
    let expected = undisturbed();
    let job = VirtualTime::new(every);
    killer.run(&job, kills).map_err(|message| format!("every {every}: {message}"))?;
    let found = job.output();
    if found.0 != expected.0 {
        return Err(format!("every {every}: {}", difference(&expected.0, &found.0)));
    }
    if found.1 != expected.1 {
        return Err(format!("every {every}: the parts are not what they are undisturbed"));
    }
    killer.tally.rows += found.0.matches("\"n\":").count() as u64;
    Ok(())
}

/// The text of the queues, and of all parts one after the other with their names.
type Output = (String, String);

/// The output of an undisturbed run.
fn undisturbed() -> &'static Output {
    static OUTPUT: OnceLock<Output> = OnceLock::new();
    OUTPUT.get_or_init(|| {
        let job = VirtualTime::new("8");
        let ended = job.start(1, "").wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let output = job.output();
        // The output covers everything to be tested: keys that time out, keys that are removed and come back, and rejected rows.
        assert!(["panicked at", "refused by itself", "poison-update"].iter().all(|words| output.0.contains(words)));
        assert!(output.0.contains("\"n\":-1") && output.0.matches("\"place\":1,").count() > 40);
        output
    })
}

fn difference(expected: &str, found: &str) -> String {
    let mut lines = expected.lines().zip(found.lines());
    match lines.find(|(expected, found)| expected != found) {
        Some((expected, found)) => format!("a line of the queue is\n{found}\nand undisturbed it is\n{expected}"),
        None => format!("the queue has {} lines, and undisturbed {}", found.lines().count(), expected.lines().count()),
    }
}

struct VirtualTime(Trial);

impl VirtualTime {
    fn new(every: &str) -> VirtualTime {
        let mut job = JOB.replace("EVERY", every);
        for (word, name) in [("POISON-UPDATE", "poison-update"), ("POISON", "poison"), ("PLUGIN", "ledger")] {
            job = job.replace(word, &plugin(name).display().to_string());
        }
        let trial = Trial::new(&job);
        trial.write("input.jsonl", input(7));
        trial.write("others.jsonl", input(8));
        VirtualTime(trial)
    }

    fn output(&self) -> Output {
        let mut names: Vec<_> = fs::read_dir(self.0.path("out"))
            .expect("the sink has made its folder")
            .map(|entry| entry.expect("it can be read").file_name().into_string().expect("names are text"))
            .filter(|name| name.starts_with("part-"))
            .collect();
        names.sort();
        let parts = names.iter().map(|name| format!("{name}\n{}", self.0.text(&format!("out/{name}")))).collect();
        (QUEUES.map(|name| format!("{name}\n{}", self.0.text(&format!("{name}.jsonl")))).concat(), parts)
    }
}

/// Few rows a batch, of few keys, so that some keys are idle for long; their times are more or less those of the batches.
fn input(seed: u64) -> String {
    let mut random = Random::new(seed);
    let (mut text, mut n) = (String::new(), 0);
    for batch in 0..BATCHES {
        let rows = (0..random.from(0, 6)).map(|_| {
            n += 1;
            let time_us = (batch + 10 - random.from(0, 4)) * 1_000_000;
            format!("[{n},\"k{}\",{time_us}]", random.from(1, 40))
        });
        let _ = writeln!(text, "[{}]", rows.collect::<Vec<_>>().join(","));
    }
    text
}

impl Victim for VirtualTime {
    fn dir(&self) -> &Path {
        self.0.dir()
    }

    fn start(&self, workers: u64, faults: &str) -> Process {
        let mut command = self.0.command(&["run", "job.toml", "--workers", &workers.to_string()]);
        Process::start(command.env("MILLSTREAM_TEST_FAULT", faults))
    }
}
