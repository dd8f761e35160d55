//! Windows of processing time in a job that is disturbed all the time: it is suspended, killed, and resumed with other numbers of
//! workers, so that batches are late or missing. Whatever batches there were, their times and rows determine the content of every
//! window.

use millstream_tests::{Process, Random, Trial, clock_library, plugin};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

const MS: i64 = 1_000;
const FILES: u64 = 100;
const BATCH_MS: i64 = 100;

/// What a stage makes of the rows of a window.
type Make = fn(&[Value]) -> Vec<Value>;

/// A stage: name, length of its windows and time between them in milliseconds, text, and what it must give.
type Stage = (&'static str, i64, i64, &'static str, Make);

/// The stages of a job that is disturbed.
const STAGES: &[Stage] = &[
    ("counted", 500, 500, "aggregate = { n = \"count(*)\" }", |rows| vec![json!({ "n": rows.len() })]),
    ("every", 300, 100, "aggregate = { n = \"count(*)\" }", |rows| vec![json!({ "n": rows.len() })]),
    ("keyed", 900, 300, "key = \"k\"\naggregate = { n = \"count(*)\", total = \"sum(n)\" }", by_key),
    (
        "undone",
        1000,
        500,
        "key = \"k\"\ninverse = true\nfilter = \"n > 0\"\naggregate = { n = \"count(*)\", total = \"sum(n)\" }",
        by_key,
    ),
    ("apart", 200, 500, "key = \"k\"\naggregate = { n = \"count(*)\", total = \"sum(n)\" }", by_key),
    ("rows", 600, 200, "", |rows| rows.to_vec()),
    ("asked", 400, 400, "sql = \"select k, count(*) as n, sum(n) as total from numbers group by k\"", by_key),
    ("best", 500, 500, "top = { n = 2, by = \"n\" }", |rows| {
        let mut rows = rows.to_vec();
        rows.sort_by_key(|row| -row["n"].as_i64().unwrap());
        rows.truncate(2);
        rows
    }),
    ("kinds", 600, 300, "distinct = \"n\"", |rows| rows.to_vec()),
    ("pairs", 300, 300, "join = { with = \"others\", on = \"n\" }", |rows| {
        rows.iter().map(|row| json!({ "k": row["k"], "n": row["n"], "m": 1 })).collect()
    }),
    (
        "summed",
        800,
        400,
        "key = \"k\"\nplugin = \"PLUGIN\"\nconfig = { column = \"n\" }\nfilter = \"sum is not null\"",
        |rows| by_key(rows).into_iter().map(|row| json!({ "k": row["k"], "sum": row["total"] })).collect(),
    ),
];

fn by_key(rows: &[Value]) -> Vec<Value> {
    let mut keys: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for row in rows {
        let (count, sum) = keys.entry(row["k"].as_str().unwrap()).or_default();
        (*count, *sum) = (*count + 1, *sum + row["n"].as_i64().unwrap());
    }
    keys.iter().map(|(k, (count, sum))| json!({ "k": k, "n": count, "total": sum })).collect()
}

fn job(stages: &[Stage]) -> Trial {
    job_with("", stages)
}

/// The job with this line of its head.
fn job_with(state: &str, stages: &[Stage]) -> Trial {
    let mut text = format!(
        r#"
        name = "stalls"
        batch = "{BATCH_MS}ms"
        {state}
        [checkpoint]
        dir = "checkpoint"
        every = "400ms"
        [sources.numbers]
        kind = "directory"
        path = "in"
        poll = "10ms"
        format = "json"
        schema = {{ k = "text", n = "int64" }}
        [stages.others]
        from = "numbers"
        select = "n, 1 as m"
        [sinks.all]
        from = "numbers"
        kind = "queue"
        path = "all.jsonl"
        "#
    );
    for (name, size, slide, operator, _) in stages {
        let operator = operator.replace("PLUGIN", &plugin("sum").display().to_string());
        text += &format!(
            "[stages.{name}]\nfrom = \"numbers\"\nwindow = {{ size = \"{size}ms\", slide = \"{slide}ms\" }}\n{operator}\n\
             [sinks.{name}-out]\nfrom = \"{name}\"\nkind = \"queue\"\npath = \"{name}.jsonl\"\n"
        );
    }
    let trial = Trial::new(&text);
    std::fs::create_dir_all(trial.path("in")).unwrap();
    trial
}

#[test]
fn every_row_is_in_its_windows_whatever_batches_there_were() {
    std::thread::scope(|scope| {
        for seed in [1, 2] {
            scope.spawn(move || disturbed(seed, "", &[""; 4]));
        }
        // Rows so long that most of the windows' content does not fit into memory.
        let long: Vec<String> = (0..30).map(|key| key.to_string().repeat(12_000)).collect();
        scope.spawn(move || {
            let keys: Vec<&str> = long.iter().map(String::as_str).collect();
            disturbed(3, "state = { memory = \"1MiB\", folder = \"cold\" }", &keys);
        });
    });
}

/// `keys`: the suffix after the number of each key.
fn disturbed(seed: u64, state: &str, keys: &[&str]) {
    let (mut random, trial) = (Random::new(seed), job_with(state, STAGES));
    std::fs::create_dir_all(trial.path("cold")).unwrap();
    let mut job = trial.start(&["--workers", "1"]);
    let mut next_harm = Instant::now() + Duration::from_millis(700);
    for file in 0..FILES {
        let rows = random.from(0, 6);
        let row = |row: u64| {
            let key = random.from(0, keys.len() as u64 - 1);
            format!("{{\"k\":\"k{key}{}\",\"n\":{}}}\n", keys[key as usize], file * 10 + row)
        };
        trial.move_in(&format!("in/{file:04}.json"), (0..rows).map(row).collect::<String>());
        pause(random.from(5, 60));
        if Instant::now() < next_harm {
            continue;
        }
        match random.from(0, 9) {
            0 => {
                job.kill();
                pause(random.from(0, 1500));
                job = trial.start(&["--workers", &random.from(1, 3).to_string()]);
            }
            1 | 2 => job.children().iter().for_each(|child| signal("KILL", *child)),
            _ => {
                let stopped = job.children();
                stopped.iter().for_each(|child| signal("STOP", *child));
                pause(random.from(50, 800));
                stopped.iter().for_each(|child| signal("CONT", *child));
            }
        }
        next_harm = Instant::now() + Duration::from_millis(random.from(100, 900));
    }
    // All rows are there, and the windows that hold them are over.
    let total: usize = (0..FILES).map(|file| lines(&trial, file)).sum();
    job.wait_until("all windows are over", |_| {
        let batches = batches(&trial);
        let rows = batches.iter().map(|(_, rows)| rows.len()).sum::<usize>();
        let last = batches.iter().rev().find(|(_, rows)| !rows.is_empty()).map(|(time, _)| *time);
        rows >= total && last.zip(batches.last()).is_some_and(|(last, (time, _))| time - last > 1200 * MS)
    });
    job.signal("TERM");
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "seed {seed}: {}", ended.stderr);
    let batches = batches(&trial);
    assert_eq!(batches.iter().map(|(_, rows)| rows.len()).sum::<usize>(), total, "seed {seed}: rows");
    for stage in STAGES {
        check(&format!("seed {seed}, {}", stage.0), &trial, &batches, stage);
    }
}

/// Checks that each window is emitted once, in a batch at its end, with the rows of the batches within it.
fn check(message: &str, trial: &Trial, batches: &[(i64, Vec<Value>)], (name, size, slide, _, make): &Stage) {
    let (size, slide, origin) = (size * MS, slide * MS, batches[0].0 - BATCH_MS * MS);
    let found = read(trial, &format!("{name}.jsonl"));
    assert_eq!(found.len(), batches.len(), "{message}: batches");
    for ((time, _), (at, rows)) in batches.iter().zip(&found) {
        assert_eq!(time, at, "{message}: batch times");
        let ends = time - origin > 0 && (time - origin) % slide == 0;
        let within = batches.iter().filter(|(at, _)| time - size < *at && at <= time);
        let held: Vec<Value> = within.flat_map(|(_, rows)| rows.clone()).collect();
        let expected = if ends { make(&held) } else { Vec::new() };
        let sorted = |rows: &[Value]| {
            let mut rows: Vec<String> = rows.iter().map(Value::to_string).collect();
            rows.sort();
            rows
        };
        assert_eq!(sorted(rows), sorted(&expected), "{message}: at {} ms", (time - origin) / MS);
    }
    let last = batches[batches.len() - 1].0;
    for end in (1..).map(|number| origin + number * slide).take_while(|end| *end <= last) {
        let holds = batches.iter().any(|(at, rows)| end - size < *at && *at <= end && !rows.is_empty());
        let stands = batches.iter().any(|(at, _)| *at == end);
        assert!(stands || !holds, "{message}: no window ends at {} ms", (end - origin) / MS);
    }
}

fn batches(trial: &Trial) -> Vec<(i64, Vec<Value>)> {
    read(trial, "all.jsonl")
}

/// The batches of a sink: time in microseconds and rows.
fn read(trial: &Trial, name: &str) -> Vec<(i64, Vec<Value>)> {
    let batch = |batch: Value| (micros(batch["time"].as_str().unwrap()), batch["rows"].as_array().unwrap().clone());
    trial.batches(name).into_iter().map(batch).collect()
}

/// `2026-11-21T05:34:41.100000Z` in microseconds since 1970.
fn micros(time: &str) -> i64 {
    arrow::compute::kernels::cast_utils::string_to_timestamp_nanos(time).unwrap() / 1000
}

fn lines(trial: &Trial, file: u64) -> usize {
    trial.text(&format!("in/{file:04}.json")).lines().count()
}

fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

fn signal(name: &str, id: u32) {
    // A process that has already exited was killed by its supervisor.
    let _ = Command::new("kill").args([&format!("-{name}"), &id.to_string()]).output();
}

/// A job that was suspended for a long time emits the windows with rows, and not one for each slide in between.
#[test]
fn a_long_stop_costs_few_windows() {
    // In steps of 500, 300 and 200 milliseconds.
    let stages: Vec<Stage> =
        STAGES.iter().filter(|stage| ["counted", "keyed", "rows"].contains(&stage.0)).copied().collect();
    let trial = job(&stages);
    trial.move_in("in/a.json", "{\"k\":\"a\",\"n\":1}\n");
    let mut first = trial.start(&[]);
    first.wait_until("the row is there", |_| !rows_of(&trial).is_empty());
    first.kill();
    // An hour later by the machine's clock, which the preload library sets.
    let library = clock_library(trial.dir());
    std::fs::write(trial.path("offset"), "3600").unwrap();
    let mut command = trial.command(&["run", "job.toml"]);
    let mut second = Process::start(command.env("LD_PRELOAD", &library).env("CLOCK_OFFSET", trial.path("offset")));
    trial.move_in("in/b.json", "{\"k\":\"b\",\"n\":2}\n");
    second.wait_until("the second row is in its windows", |_| {
        batches(&trial)
            .last()
            .is_some_and(|(time, _)| *time > second_row(&trial).unwrap_or(i64::MAX - 2_000_000) + 1_000_000)
    });
    second.signal("TERM");
    assert_eq!(second.wait().code, Some(0));
    let batches = batches(&trial);
    assert!(batches.len() < 800, "{} batches for an hour", batches.len());
    for stage in stages {
        let rows = read(&trial, &format!("{}.jsonl", stage.0));
        let held = rows.iter().flat_map(|(_, rows)| rows);
        if stage.0 == "counted" {
            assert_eq!(held.filter(|row| row["n"] == 1).count(), 2, "each row is in one window");
            continue;
        }
        let held = held.filter(|row| row["k"] == "a").count() as i64;
        assert_eq!(held, stage.1 / stage.2, "{}: windows that hold the row of before the stop", stage.0);
    }
}

fn rows_of(trial: &Trial) -> Vec<Value> {
    trial.rows("all.jsonl")
}

fn second_row(trial: &Trial) -> Option<i64> {
    batches(trial).into_iter().find(|(_, rows)| rows.iter().any(|row| row["n"] == 2)).map(|(time, _)| time)
}

/// The clock is set back by an hour, and forward again: batches continue, their times do too, and it is reported once.
#[test]
fn a_clock_that_is_set_back_stops_nothing() {
    let trial = job(&STAGES[..1]);
    let library = clock_library(trial.dir());
    std::fs::write(trial.path("offset"), "0").unwrap();
    let start = |trial: &Trial| {
        let mut command = trial.command(&["run", "job.toml"]);
        Process::start(command.env("LD_PRELOAD", &library).env("CLOCK_OFFSET", trial.path("offset")))
    };
    let mut job = start(&trial);
    job.wait_until("batches come", |_| batches(&trial).len() > 5);
    std::fs::write(trial.path("offset"), "-3600").unwrap();
    job.wait_for_stderr("the machine's clock was set back by 1h");
    let before = batches(&trial).len();
    job.wait_until("batches go on", |_| batches(&trial).len() > before + 20);
    assert_eq!(job.stderr().matches("set back").count(), 1, "{}", job.stderr());
    job.kill();
    let mut job = start(&trial);
    job.wait_for_stderr("behind the job's last batch");
    let before = batches(&trial).len();
    job.wait_until("batches go on after a restart", |_| batches(&trial).len() > before + 5);
    std::fs::write(trial.path("offset"), "7200").unwrap();
    job.wait_for_stderr("the machine's clock went forward by ");
    let before = batches(&trial).len();
    job.wait_until("batches go on after a step forward", |_| batches(&trial).len() > before + 200);
    job.signal("TERM");
    assert_eq!(job.wait().code, Some(0));
    let times: Vec<i64> = batches(&trial).iter().map(|(time, _)| *time).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "batch times go back");
    assert!(times[times.len() - 1] - times[0] > 3600 * 1_000_000, "batch times follow a clock that is set forward");
}

/// Time that passes while a job does not run makes no source idle, also if windows that ended meanwhile are emitted first.
#[test]
fn a_long_stop_makes_no_source_idle() {
    let trial = Trial::new(
        r#"
        name = "idle"
        batch = "100ms"
        [checkpoint]
        dir = "checkpoint"
        every = "200ms"
        [sources.a]
        kind = "directory"
        path = "a"
        poll = "10ms"
        format = "json"
        schema = { n = "int64", at = "timestamp" }
        [sources.b]
        kind = "directory"
        path = "b"
        poll = "10ms"
        format = "json"
        schema = { n = "int64", at = "timestamp" }
        [stages.counted]
        from = ["a", "b"]
        window = { size = "500ms", slide = "500ms" }
        aggregate = { n = "count(*)" }
        [stages.timed]
        from = ["a", "b"]
        time = "at"
        idle = "10m"
        window = { size = "1s" }
        aggregate = { n = "count(*)" }
        [sinks.all]
        from = ["a", "b"]
        kind = "queue"
        path = "all.jsonl"
        [sinks.timed-out]
        from = "timed"
        kind = "queue"
        path = "timed.jsonl"
        [sinks.counted-out]
        from = "counted"
        kind = "queue"
        path = "counted.jsonl"
        "#,
    );
    ["a", "b"].iter().for_each(|name| std::fs::create_dir_all(trial.path(name)).unwrap());
    let row = |n: u64, second: u64| format!("{{\"n\":{n},\"at\":\"2026-01-01T00:00:{second:02}Z\"}}\n");
    trial.move_in("a/1.json", row(1, 10));
    trial.move_in("b/1.json", row(2, 0));
    let mut first = trial.start(&[]);
    first.wait_until("both rows are there", |_| rows_of(&trial).len() == 2);
    first.kill();
    let library = clock_library(trial.dir());
    std::fs::write(trial.path("offset"), "3600").unwrap();
    let mut command = trial.command(&["run", "job.toml"]);
    let mut second = Process::start(command.env("LD_PRELOAD", &library).env("CLOCK_OFFSET", trial.path("offset")));
    trial.move_in("a/2.json", row(3, 20));
    second.wait_until("the third row is there", |_| rows_of(&trial).len() == 3);
    let count = batches(&trial).len();
    second.wait_until("batches go on", |_| batches(&trial).len() > count + 10);
    second.signal("TERM");
    assert_eq!(second.wait().code, Some(0));
    assert!(batches(&trial).len() > 100, "windows of the stop came out");
    assert!(trial.rows("timed.jsonl").is_empty(), "the source b is not idle: {:?}", trial.rows("timed.jsonl"));
    let counted: i64 = trial.rows("counted.jsonl").iter().map(|row| row["n"].as_i64().unwrap()).sum();
    assert_eq!(counted, 3);
}
