//! Sinks of kind `files` whose parts are in directories by their values, grow over batches, or are objects of a real S3 server
//! that is killed and restarted.

use millstream_tests::{Expected, Process, Trial, WeedServer, kill, root, two_hosts, wait_until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

const DAYS: [&str; 3] = ["mon/day", "tue", "wed"];

/// A job with checkpoints that passes numbered rows of three days to a sink of two workers.
fn job(rows: u64, sink: &str) -> Trial {
    let trial = Trial::new(&format!(
        "workers = 2\nbatch = \"5ms\"\n[checkpoint]\ndir = \"kept\"\nevery = 4\n[sources.in]\nkind = \"file\"\n\
         path = \"in.jsonl\"\nformat = \"json\"\nschema = {{ n = \"int64\", day = \"text\" }}\nrows_per_batch_max = 20\n\
         [sinks.out]\nfrom = \"in\"\nkind = \"files\"\n{sink}\n"
    ));
    trial.write("in.jsonl", (0..rows).map(|n| format!("{{\"n\":{n},\"day\":{}}}\n", day(n))).collect::<String>());
    trial
}

/// The day of a row, as JSON.
fn day(n: u64) -> String {
    match n % 10 {
        9 => "null".into(),
        n => format!("\"{}\"", DAYS[n as usize % 3]),
    }
}

/// The directory name of the day of a row.
fn dir(n: u64) -> &'static str {
    match n % 10 {
        9 => "day=__HIVE_DEFAULT_PARTITION__",
        n => ["day=mon%2Fday", "day=tue", "day=wed"][n as usize % 3],
    }
}

/// Files below a directory by relative path, without hidden ones.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("a text");
        if name.starts_with('.') {
            continue;
        }
        if entry.path().is_dir() {
            found.extend(files(&entry.path()).into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        } else if let Ok(bytes) = fs::read(entry.path()) {
            found.insert(name, bytes);
        }
    }
    found
}

/// Objects below `out/` of the bucket, without hidden ones; `None` if the server does not respond.
fn objects(server: &WeedServer) -> Option<BTreeMap<String, Vec<u8>>> {
    let names = server.names("out/")?;
    let seen = names.iter().map(|name| &name["out/".len()..]).filter(|name| !name.starts_with('.'));
    seen.map(|name| Some((name.to_owned(), server.get(&format!("out/{name}"))?))).collect()
}

/// The numbers in parts of JSON lines, each of which must be complete and in the right directory.
#[track_caller]
fn numbers(parts: &BTreeMap<String, Vec<u8>>, partitioned: bool) -> Vec<u64> {
    let mut numbers = Vec::new();
    for (name, bytes) in parts {
        let text = std::str::from_utf8(bytes).expect("a text");
        assert!(text.ends_with('\n'), "{name} is half a part: {text}");
        for line in text.lines() {
            let row: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{name}: {error}: {line}"));
            let n = row["n"].as_u64().expect("a number");
            if partitioned {
                assert!(name.starts_with(dir(n)), "row {n} is in {name}");
                assert!(row.get("day").is_none(), "{line}");
            }
            numbers.push(n);
        }
    }
    numbers.sort_unstable();
    numbers
}

fn start(trial: &Trial, arguments: &[&str], settings: &[(String, String)], fault: &str) -> Process {
    let all = [&["run", "job.toml"], arguments].concat();
    let mut command = trial.command(&all);
    Process::start(command.envs(settings.iter().cloned()).env("MILLSTREAM_TEST_FAULT", fault))
}

#[track_caller]
fn run(trial: &Trial, settings: &[(String, String)]) -> String {
    let ended = start(trial, &[], settings, "").wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stderr
}

/// Runs the job until it kills itself at a step.
#[track_caller]
fn killed(trial: &Trial, settings: &[(String, String)], step: &str) {
    let ended = start(trial, &["--unsupervised"], settings, &format!("kill@{step}")).wait();
    assert_eq!(ended.code, None, "it does not come to {step}: {}", ended.stderr);
}

const ROLLED: &str = "partition_by = [\"day\"]\nroll = { size = \"1KiB\", time = \"1h\" }";

#[test]
fn rows_are_written_to_directories_by_their_values() {
    let trial = job(50, "path = \"out\"\npartition_by = \"day\"");
    run(&trial, &[]);
    let parts = files(&trial.path("out"));
    assert_eq!(numbers(&parts, true), (0..50).collect::<Vec<_>>());
    // Each batch has a part in each directory for which it has rows.
    assert!(parts.keys().any(|name| name == "day=tue/part-0000000002.jsonl"), "{:?}", parts.keys());
    let hidden: Vec<_> = fs::read_dir(trial.path("out/.millstream-open")).expect("a folder").collect();
    assert!(hidden.is_empty(), "{hidden:?}");
}

#[test]
fn parts_grow_over_batches_up_to_their_size_and_their_age() {
    let trial = job(2000, &format!("path = \"out\"\n{ROLLED}"));
    run(&trial, &[]);
    let parts = files(&trial.path("out"));
    assert_eq!(numbers(&parts, true), (0..2000).collect::<Vec<_>>());
    // 2,000 rows of about 10 bytes: at most as many parts as full ones, plus one per directory that the end completed.
    assert!(parts.len() <= 25, "{:?}", parts.keys());
    assert!(parts.values().filter(|bytes| bytes.len() < 1024).count() <= 4, "{:?}", parts.keys());
    assert!(parts.values().all(|bytes| bytes.len() < 1024 + 400), "one batch more at most");
    // By the time of batches, which are 5 ms apart by this clock.
    let trial = job(200, "path = \"out\"\nroll = { time = \"3ms\" }");
    trial.change("batch = \"5ms\"", "batch = \"5ms\"\nclock = \"manual\"");
    trial.change("kind = \"file\"", "kind = \"queue\"");
    trial.change("format = \"json\"\n", "");
    trial.change("rows_per_batch_max = 20\n", "");
    let rows: Vec<_> = trial.text("in.jsonl").lines().map(str::to_owned).collect();
    trial.write("in.jsonl", rows.chunks(20).map(|batch| format!("[{}]\n", batch.join(","))).collect::<String>());
    run(&trial, &[]);
    assert_eq!(files(&trial.path("out")).len(), 10, "each batch is older than that");
    // By the clock, without a batch.
    let trial = job(30, "path = \"out\"\nroll = { time = \"1s\" }");
    trial.change("kind = \"file\"\npath = \"in.jsonl\"", "kind = \"directory\"\npath = \"in\"\nsettle = \"0ms\"");
    trial.change("batch = \"5ms\"", "batch = \"0s\"");
    let rows = trial.text("in.jsonl");
    fs::create_dir(trial.path("in")).expect("a folder");
    trial.write("in/1.jsonl", rows);
    let job = start(&trial, &[], &[], "");
    wait_until("the part is there while the job runs", || !files(&trial.path("out")).is_empty());
    assert_eq!(numbers(&files(&trial.path("out")), false), (0..30).collect::<Vec<_>>());
    job.stop();
}

#[test]
fn more_parts_than_may_be_open_are_completed_early() {
    let trial = job(400, &format!("path = \"out\"\n{ROLLED}\nopen_parts_max = 2"));
    run(&trial, &[]);
    let parts = files(&trial.path("out"));
    assert_eq!(numbers(&parts, true), (0..400).collect::<Vec<_>>());
    assert!(parts.values().filter(|bytes| bytes.len() < 1024).count() > 10, "{:?}", parts.keys());
}

/// The steps at which a job dies: nothing of a batch is stored; its rows are but the marker is not; before and after parts get
/// their names; at the end, when everything open is completed; and in the start that completes it.
const STEPS: [&str; 8] = [
    "commit.before:9",
    "commit.written:9",
    "commit.marked:9",
    "commit.after:9",
    "finish.before:1",
    "start.sink:1",
    "start.settled:1",
    "store.append:3",
];

/// Kills a job at a step, which may be one of the start after a kill, and lets it complete.
#[track_caller]
fn killed_and_run(trial: &Trial, settings: &[(String, String)], step: &str) {
    if step.starts_with("start.") {
        killed(trial, settings, "commit.after:9");
    }
    killed(trial, settings, step);
    run(trial, settings);
}

#[test]
fn rows_of_open_parts_survive_a_kill_at_every_step() {
    for parts in ["batch", "worker"] {
        for step in STEPS {
            let trial = job(600, &format!("path = \"out\"\nparts = \"{parts}\"\n{ROLLED}"));
            killed_and_run(&trial, &[], step);
            assert_eq!(numbers(&files(&trial.path("out")), true), (0..600).collect::<Vec<_>>(), "{parts} {step}");
        }
    }
}

#[test]
fn rows_of_open_parts_are_stored_in_every_format() {
    for format in ["csv", "parquet", "avro"] {
        let trial = job(600, &format!("path = \"out\"\nformat = \"{format}\"\n{ROLLED}"));
        killed_and_run(&trial, &[], "commit.after:9");
        let python = Command::new(root().join("scripts/python.sh")).output().expect("a shell").stdout;
        let script = "import sys, glob, csv, json\n\
                      paths = sorted(glob.glob('out/day=*/part-*'))\nrows = []\n\
                      for path in paths:\n\
                      \x20   if path.endswith('.csv'): rows += [int(row['n']) for row in csv.DictReader(open(path))]\n\
                      \x20   elif path.endswith('.avro'):\n\
                      \x20       import fastavro\n\
                      \x20       rows += [row['n'] for row in fastavro.reader(open(path, 'rb'))]\n\
                      if paths[0].endswith('.parquet'):\n\
                      \x20   import pyarrow.dataset as ds\n\
                      \x20   table = ds.dataset('out', format='parquet', partitioning='hive').to_table()\n\
                      \x20   rows = table['n'].to_pylist()\n\
                      \x20   assert set(table['day'].to_pylist()) == {'mon/day', 'tue', 'wed', None}, table['day']\n\
                      print(json.dumps(sorted(rows)))";
        let python = String::from_utf8(python).expect("a path");
        let mut command = Command::new(python.trim());
        let read = Process::start(command.args(["-c", script]).current_dir(trial.dir())).wait();
        assert_eq!(read.code, Some(0), "{format}: {}", read.stderr);
        let rows: Vec<u64> = serde_json::from_str(&read.stdout).expect("numbers");
        assert_eq!(rows, (0..600).collect::<Vec<_>>(), "{format}");
    }
}

/// A sink that wrote one file per batch starts to roll, and stops again, without losing anything in between.
#[test]
fn the_layout_of_files_may_change() {
    let trial = job(600, "path = \"out\"");
    killed(&trial, &[], "commit.marked:5");
    trial.change("path = \"out\"\n", "path = \"out\"\nroll = { size = \"1MiB\", time = \"1h\" }\n");
    killed(&trial, &[], "commit.after:5");
    trial.change("path = \"out\"\nroll = { size = \"1MiB\", time = \"1h\" }\n", "path = \"out\"\n");
    run(&trial, &[]);
    let parts = files(&trial.path("out"));
    assert_eq!(numbers(&parts, false), (0..600).collect::<Vec<_>>(), "{:?}", parts.keys());
}

#[test]
fn objects_are_written_exactly_once() {
    let server = WeedServer::start();
    let settings = server.settings();
    let layouts = [("", "batch"), ("partition_by = \"day\"", "worker"), (ROLLED, "batch"), (ROLLED, "worker")];
    for (number, (layout, parts)) in layouts.iter().enumerate() {
        for step in &STEPS[number % 2..] {
            if *layout != ROLLED && ["finish.before:1", "start.settled:1"].contains(step) {
                continue;
            }
            let trial = job(300, &format!("path = \"s3://bucket/out\"\nparts = \"{parts}\"\n{layout}"));
            killed_and_run(&trial, &settings, step);
            let written = objects(&server).expect("the server answers");
            assert_eq!(
                numbers(&written, !layout.is_empty()),
                (0..300).collect::<Vec<_>>(),
                "{parts} {layout} {step}: {:?}",
                written.keys()
            );
            for name in server.names("out/").expect("the server answers") {
                server.delete(&name);
            }
        }
    }
}

/// An older start that was taken for dead comes back in the middle of a commit.
#[test]
fn an_older_start_writes_no_more() {
    let server = WeedServer::start();
    let settings = server.settings();
    let trial = job(600, &format!("path = \"s3://bucket/out\"\n{ROLLED}"));
    trial.change("dir = \"kept\"", "dir = \"s3://bucket/kept\"");
    let mut old = start(&trial, &["--unsupervised"], &settings, "stop@commit.written:9");
    let state = format!("/proc/{}/stat", old.id());
    old.wait_until("it stands still", |_| fs::read_to_string(&state).is_ok_and(|text| text.contains(") T ")));
    run(&trial, &settings);
    let before = objects(&server).expect("the server answers");
    old.signal("CONT");
    let ended = old.wait();
    assert_ne!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("was replaced") || ended.stderr.contains("has taken over the job"),
        "{}",
        ended.stderr
    );
    let after = objects(&server).expect("the server answers");
    assert_eq!(before, after);
    assert_eq!(numbers(&after, true), (0..600).collect::<Vec<_>>());
}

#[test]
fn an_unreachable_server_is_waited_for_and_its_errors_are_reported() {
    let mut server = WeedServer::start();
    let settings = server.settings();
    let trial = job(100, "path = \"s3://bucket/out\"");
    server.kill();
    let mut waiting = start(&trial, &["--unsupervised"], &settings, "");
    waiting.wait_for_stderr("paused: cannot ");
    server.start_again();
    let ended = waiting.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(numbers(&objects(&server).expect("the server answers"), false), (0..100).collect::<Vec<_>>());

    let message = |path: &str, settings: &[(String, String)]| {
        let trial = job(100, &format!("path = \"{path}\""));
        let ended = start(&trial, &["--unsupervised"], settings, "").wait();
        assert!(!matches!(ended.code, Some(0) | None), "{}", ended.stderr);
        ended.stderr
    };
    let strings = message("s3://bucket/out", &settings);
    assert!(strings.contains("s3://bucket/out belongs to another job"), "{strings}");
    let mut wrong = settings.clone();
    wrong.retain(|(name, _)| name != "AWS_SECRET_ACCESS_KEY");
    wrong.push(("AWS_SECRET_ACCESS_KEY".into(), "another".into()));
    let strings = message("s3://bucket/other", &wrong);
    assert!(strings.contains("check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"), "{strings}");
    let strings = message("s3://no-such-bucket/out", &settings);
    assert!(strings.contains("create the bucket first"), "{strings}");
    server.put("taken/day=x/part-0000000001.jsonl", "{}\n");
    let strings = message("s3://bucket/taken", &settings);
    assert!(strings.contains("holds parts of an earlier run (day=x/part-0000000001.jsonl)"), "{strings}");
}

#[test]
fn mistakes_are_told_with_their_lines() {
    let mut expected = Expected::of(file!(), "mistakes_are_told_with_their_lines");
    let refused = |sink: &str| job(1, sink).rejected_message(&["validate", "job.toml"]);
    expected.add("no such column", &refused("path = \"out\"\npartition_by = \"hour\""));
    expected.add("no column for the files", &refused("path = \"out\"\npartition_by = [\"n\", \"day\"]"));
    expected.add("too small", &refused("path = \"out\"\nroll = { size = \"1B\" }"));
    expected.add("open_parts_max without roll", &refused("path = \"out\"\nopen_parts_max = 3"));
    expected.add("no bucket", &refused("path = \"s3:///x\""));
    let trial = job(1, "path = \"s3://bucket/a/b\"");
    trial.change("dir = \"kept\"", "dir = \"s3://bucket/a\"");
    expected.add("checkpoints around the sink", &trial.rejected_message(&["validate", "job.toml"]));
    expected.check_parts();
}

/// Rows of a source without a key are stored by whichever worker has them: a replayed batch gives each worker the same rows.
#[test]
fn parts_of_workers_have_each_row_once_with_any_number_of_workers() {
    const ROWS: u64 = 4_000;
    let trial = Trial::new(
        "batch = \"20ms\"\n[checkpoint]\ndir = \"kept\"\nevery = 5\n[sources.in]\nkind = \"file\"\npath = \"in.jsonl\"\n\
         format = \"json\"\nbytes_per_batch_max = \"100KiB\"\nschema = { n = \"int64\", pad = \"text\" }\n[sinks.out]\nfrom = \"in\"\n\
         kind = \"files\"\npath = \"out\"\nparts = \"worker\"\n",
    );
    let pad = "x".repeat(1_000);
    trial.write("in.jsonl", (0..ROWS).map(|n| format!("{{\"n\":{n},\"pad\":\"{pad}\"}}\n")).collect::<String>());
    let hosts = two_hosts();
    let together = ["--workers", "1", "--processes", "2", "--hosts", &hosts];
    let out = || files(&trial.path("out"));
    // Each is killed after batches that it has committed since its last checkpoint; the next one replays these.
    for (place, layout) in
        [&["--workers", "2"][..], &together, &["--workers", "2"], &["--workers", "3"]].iter().enumerate()
    {
        let (mut job, parts) = (trial.start(layout), out().len());
        job.wait_until("there are more parts", |_| out().len() >= parts + 8);
        let children = job.children();
        job.kill();
        for child in children {
            kill(child);
        }
        assert!(out().len() < 60, "it was at its end too soon, layout {place}");
    }
    trial.run_ok(&[]);
    assert_eq!(numbers(&out(), false), (0..ROWS).collect::<Vec<_>>());
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    /// Job and server are killed repeatedly while a reader looks: what it has seen never changes.
    #[test]
    fn no_row_is_lost_or_seen_twice_while_job_and_server_are_killed() {
        let mut server = WeedServer::start();
        let settings = server.settings();
        let trial = job(6000, &format!("path = \"s3://bucket/out\"\nparts = \"worker\"\n{ROLLED}"));
        let mut seen: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for round in 0..6 {
            let mut job = start(&trial, &["--unsupervised"], &settings, "");
            let before = seen.len();
            job.wait_until("it writes", |_| {
                let Some(now) = objects(&server) else { return false };
                for (name, bytes) in &seen {
                    assert_eq!(now.get(name), Some(bytes), "{name} was seen before and is not as it was");
                }
                seen = now;
                seen.len() > before + round % 3
            });
            if round % 2 == 1 {
                server.kill();
                job.wait_for_stderr("paused: cannot ");
                server.start_again();
                job.wait_for_stderr("resumed after a pause");
            }
            job.kill();
        }
        run(&trial, &settings);
        let written = objects(&server).expect("the server answers");
        for (name, bytes) in &seen {
            assert_eq!(written.get(name), Some(bytes), "{name} was seen before and is not as it was");
        }
        assert_eq!(numbers(&written, true), (0..6000).collect::<Vec<_>>());
    }
}
