//! The Nexmark queries in `docs/examples/nexmark`. The output of each must equal DuckDB's for the same events
//! (`kill/nexmark.py`), on one worker, and after kills and restarts with other workers.

use millstream_tests::{Killer, Process, Random, Trial, Victim, hosts, python_with, root};
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::{Table, Value};

/// The maximum time of the oracle.
const ORACLE_MAX: Duration = Duration::from_secs(120);

/// Events that queries are about.
#[derive(Clone, Copy)]
struct Events {
    per_second: i64,
    count: i64,
    /// Events of a batch at most.
    of_batch: i64,
}

/// A thousand seconds, for windows of seconds, and more than a day.
const SECONDS: Events = Events { per_second: 20, count: 20_000, of_batch: 1_500 };
const DAYS: Events = Events { per_second: 1, count: 100_000, of_batch: 9_000 };

/// The queries of days, and all others.
fn events_of(query: usize) -> Events {
    if (15..=17).contains(&query) { DAYS } else { SECONDS }
}

fn set(table: &mut Table, path: &str, value: impl Into<Value>) {
    let (parts, last) =
        path.rsplit_once('.').map_or((Vec::new(), path), |(parts, last)| (parts.split('.').collect(), last));
    let place = parts.into_iter().fold(table, |table, part| {
        let inner = table.entry(part).or_insert_with(|| Table::new().into());
        inner.as_table_mut().unwrap_or_else(|| panic!("`{part}` of {path} is a table"))
    });
    place.insert(last.into(), value.into());
}

/// The job of a query in its own directory; it writes its files to the directory `out` there.
fn job(query: usize, events: Events, every: Option<Value>) -> Trial {
    let text = fs::read_to_string(root().join(format!("docs/examples/nexmark/q{query}.toml"))).unwrap();
    let plugin = root().join("plugins/count-char").display().to_string();
    let mut table: Table = toml::from_str(&text.replace("../../../plugins/count-char", &plugin)).unwrap();
    let sources: Vec<String> = table["sources"].as_table().unwrap().keys().cloned().collect();
    for source in sources {
        let rows_of_50 = match source.as_str() {
            "person" => 1,
            "auction" => 3,
            _ => 46,
        };
        for (key, value) in [
            ("events_max", events.count),
            ("events_per_second", events.per_second),
            ("rows_per_batch_max", events.of_batch * rows_of_50 / 50),
        ] {
            set(&mut table, &format!("sources.{source}.{key}"), value);
        }
    }
    set(&mut table, "batch", "10ms");
    set(&mut table, "name", format!("nexmark-{query}"));
    if let Some(every) = every {
        set(&mut table, "checkpoint.dir", "checkpoint");
        set(&mut table, "checkpoint.every", every);
    }
    set(&mut table, "sinks.out.path", "out");
    if query == 12 {
        // The last window of ten seconds would not end.
        set(&mut table, "stages.q.window.size", "10ms");
    }
    if matches!(query, 4 | 6 | 9) {
        // With fewer events per second, auctions are open for longer.
        set(&mut table, "stages.offers.join.within", vec!["0s", "1h"]);
    }
    if query != 10 {
        for (key, value) in [("kind", "files"), ("format", "parquet"), ("changes", "rows")] {
            set(&mut table, &format!("sinks.out.{key}"), value);
        }
    }
    let trial = Trial::new(&toml::to_string(&table).unwrap());
    fs::copy(root().join("docs/examples/nexmark/side-input.csv"), trial.path("side-input.csv")).unwrap();
    trial
}

/// Writes all events as Parquet, one directory per kind.
fn written(events: Events) -> Trial {
    let text = fs::read_to_string(root().join("docs/examples/nexmark/job.toml")).unwrap();
    let mut table: Table = toml::from_str(&text).unwrap();
    for event in ["person", "auction", "bid"] {
        set(&mut table, &format!("sources.{event}.events_max"), events.count);
        set(&mut table, &format!("sources.{event}.events_per_second"), events.per_second);
    }
    let trial = Trial::new(&toml::to_string(&table).unwrap());
    trial.run_ok(&[]);
    trial
}

/// Compares the output of these queries in these directories with DuckDB.
fn compare(events: &Trial, outputs: &[(usize, PathBuf)]) -> Result<u64, String> {
    let mut oracle = python_with("duckdb");
    oracle.arg(root().join("tests/tests/recovery/kill/nexmark.py")).arg(events.path("events"));
    for (query, out) in outputs {
        oracle.arg(format!("q{query}")).arg(out);
    }
    let ended = Process::start(&mut oracle).wait_within(ORACLE_MAX);
    match ended.code {
        Some(0) => Ok(ended.stdout.lines().filter_map(|line| line.split(' ').nth(1)?.parse::<u64>().ok()).sum()),
        _ => Err(format!("{}{}", ended.stdout, ended.stderr)),
    }
}

/// Runs each query on one worker, and on two until it is killed at some step, then on three to its end.
pub fn each_query(queries: &[usize]) {
    let run = |query: usize| {
        let complete = job(query, events_of(query), None);
        complete.run_ok(&["--workers", "1", "--no-ui"]);
        let killed = job(query, events_of(query), Some(3.into()));
        let mut random = Random::new(query as u64);
        // Some queries emit rows only at the end.
        let steps = [
            "plan.durable:3",
            "plan.durable:4",
            "checkpoint.state-written:3",
            "manifest.before:3",
            "checkpoint.published:2",
        ];
        killed.killed(random.one_of::<&str>(&steps), &["--workers", "2", "--no-ui"]);
        killed.run_ok(&["--workers", "3", "--no-ui"]);
        [(query, complete), (query, killed)]
    };
    // Each job waits at times.
    let shares = queries.chunks(queries.len().div_ceil(3));
    let trials: Vec<(usize, Trial)> = std::thread::scope(|scope| {
        let shares: Vec<_> = shares
            .map(|share| scope.spawn(move || share.iter().flat_map(|query| run(*query)).collect::<Vec<_>>()))
            .collect();
        shares.into_iter().flat_map(|share| share.join().unwrap()).collect()
    });
    for of_days in [false, true] {
        let of = |query: usize| (15..=17).contains(&query) == of_days;
        let outputs: Vec<_> =
            trials.iter().filter(|(query, _)| of(*query)).map(|(query, trial)| (*query, trial.path("out"))).collect();
        if outputs.is_empty() {
            continue;
        }
        let compared = compare(&written(if of_days { DAYS } else { SECONDS }), &outputs);
        assert!(compared.is_ok(), "{}", compared.unwrap_err());
    }
}

/// Runs a query that the killer chooses to its end, with this many kills, and compares its output.
pub fn trial(killer: &mut Killer, kills: u64) -> Result<(), String> {
    let query = killer.random.from(0, 22) as usize;
    let every = match killer.random.from(0, 2) {
        0 => Value::from("50ms"),
        batches => Value::from(batches as i64 * 3),
    };
    let events = Events { count: 3 * events_of(query).count, ..events_of(query) };
    let victim = Query { trial: job(query, events, Some(every.clone())), starts: Cell::new(0) };
    let output = |output: String| format!("query {query}, every {every}: {output}");
    // A few at most, so that there are many queries.
    let few = kills.min(killer.tally.kills + 6);
    killer.run(&victim, few).map_err(output)?;
    killer.tally.rows += compare(&written(events), &[(query, victim.trial.path("out"))]).map_err(output)?;
    Ok(())
}

struct Query {
    trial: Trial,
    starts: Cell<u64>,
}

impl Victim for Query {
    fn dir(&self) -> &Path {
        self.trial.dir()
    }

    fn start(&self, workers: u64, faults: &str) -> Process {
        let number = self.starts.replace(self.starts.get() + 1);
        let mut command = self.trial.command(&["run", "job.toml", "--no-ui", "--workers", &workers.to_string()]);
        if number % 4 == 3 {
            command.args(["--processes", "2", "--hosts", &hosts(2)]);
        }
        Process::start(command.env("MILLSTREAM_TEST_FAULT", faults))
    }
}
