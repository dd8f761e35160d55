//! Sinks of kind `delta`, whose tables deltalake reads, and writes to as well.

mod upsert;

use millstream_tests::{Hdfs, Process, Trial, WeedServer, python_with, root, wait_until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

type Settings = [(String, String)];

/// A job with checkpoints that passes numbered rows of three days to a sink of two workers.
fn job(rows: u64, sink: &str) -> Trial {
    let trial = Trial::new(&format!(
        "workers = 2\nbatch = \"5ms\"\n[checkpoint]\ndir = \"kept\"\nevery = 4\n[sources.in]\nkind = \"file\"\n\
         path = \"in.jsonl\"\nformat = \"json\"\nschema = {{ n = \"int64\", day = \"text\" }}\nrows_per_batch_max = 20\n\
         [sinks.out]\nfrom = \"in\"\nkind = \"delta\"\n{sink}\n"
    ));
    let day = |n: u64| ["\"mon/day å\"", "\"tue\"", "null"][n as usize % 3];
    trial.write("in.jsonl", (0..rows).map(|n| format!("{{\"n\":{n},\"day\":{}}}\n", day(n))).collect::<String>());
    trial
}

fn start(trial: &Trial, arguments: &[&str], settings: &Settings, fault: &str) -> Process {
    let all = [&["run", "job.toml"], arguments].concat();
    let mut command = trial.command(&all);
    Process::start(command.envs(settings.iter().cloned()).env("MILLSTREAM_TEST_FAULT", fault))
}

#[track_caller]
fn run(trial: &Trial, settings: &Settings) -> String {
    let ended = start(trial, &[], settings, "").wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stderr
}

/// Runs the job until it kills itself at a step.
#[track_caller]
fn killed(trial: &Trial, settings: &Settings, step: &str) {
    let ended = start(trial, &["--unsupervised"], settings, &format!("kill@{step}")).wait();
    assert_eq!(ended.code, None, "it does not come to {step}: {}", ended.stderr);
}

/// Another program that reads or writes the table.
fn other(trial: &Trial, settings: &Settings, arguments: &[&str]) -> Process {
    let mut command = python_with("deltalake");
    command.arg(root().join("tests/tests/connectors/delta.py")).args(arguments).current_dir(trial.dir());
    Process::start(command.envs(settings.iter().cloned()))
}

#[track_caller]
fn run_script(trial: &Trial, settings: &Settings, arguments: &[&str]) -> String {
    let ended = other(trial, settings, arguments).wait_within(Duration::from_secs(120));
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
    ended.stdout
}

/// Returns the content of the table.
#[track_caller]
fn read(trial: &Trial, settings: &Settings, path: &str) -> Value {
    serde_json::from_str(&run_script(trial, settings, &["read", path])).expect("JSON")
}

fn numbers(table: &Value) -> Vec<u64> {
    table["numbers"].as_array().expect("numbers").iter().map(|n| n.as_u64().expect("a number")).collect()
}

/// The table holds these rows, in any order, and no others.
#[track_caller]
fn assert_rows(table: &Value, expected: impl IntoIterator<Item = u64>, what: &str) {
    let mut counts: BTreeMap<u64, i64> = BTreeMap::new();
    numbers(table).into_iter().for_each(|n| *counts.entry(n).or_default() += 1);
    expected.into_iter().for_each(|n| *counts.entry(n).or_default() -= 1);
    counts.retain(|_, count| *count != 0);
    let some: Vec<_> = counts.iter().take(20).collect();
    assert!(counts.is_empty(), "{what}: {} rows are missing (-1) or too many (1): {some:?}", counts.len());
}

#[test]
fn a_table_is_created_with_the_types_of_its_rows() {
    let trial = Trial::new(
        "[sources.in]\nkind = \"file\"\npath = \"in.jsonl\"\nformat = \"json\"\n[sources.in.schema]\nn = \"int64\"\nat = \
         \"timestamp\"\nprice = \"decimal(12,2)\"\nborn = \"date\"\nyes = \"bool\"\nshare = \"float64\"\nraw = \"binary\"\nwords = \
         \"list<text>\"\nof = \"struct<a: int64, b: text>\"\n[sinks.out]\nfrom = \"in\"\nkind = \"delta\"\npath = \"lake/orders\"\n",
    );
    trial.write(
        "in.jsonl",
        "{\"n\":1,\"at\":\"2026-11-21T12:00:00.123456+01:00\",\"price\":12.5,\"born\":\"2000-02-29\",\"yes\":true,\"share\":0.5,\"raw\":\"00ff\",\
         \"words\":[\"a\",null],\"of\":{\"a\":7,\"b\":\"x\"}}\n{\"n\":2}\n",
    );
    run(&trial, &[]);
    let table: Value = serde_json::from_str(&run_script(&trial, &[], &["read", "lake/orders", "rows"])).expect("JSON");
    let columns = &table["columns"];
    assert_eq!(columns["at"], "timestamp[us, tz=UTC]", "{columns}");
    assert_eq!(columns["price"], "decimal128(12, 2)");
    assert_eq!(columns["born"], "date32[day]");
    assert_eq!(columns["n"], "int64");
    let row = &table["rows"][0];
    assert_eq!(row["at"], "2026-11-21 11:00:00.123456+00:00", "{row}");
    assert_eq!((&row["price"], &row["born"]), (&Value::from("12.50"), &Value::from("2000-02-29")));
    assert_eq!((&row["words"], &row["of"]["b"]), (&serde_json::json!(["a", null]), &Value::from("x")));
    assert_eq!(table["rows"][1]["of"], Value::Null);
    assert_eq!(table["counted"], 2, "what a commit says of its files");
}

const ROLLED: &str = "roll = { size = \"1KiB\", time = \"1h\" }";
const PARTED: &str = "partition_by = \"day\"";

#[test]
fn a_job_without_checkpoints_adds_rows_each_time() {
    let trial = job(40, "path = \"out\"");
    trial.change("[checkpoint]\ndir = \"kept\"\nevery = 4\n", "");
    run(&trial, &[]);
    run(&trial, &[]);
    let table = read(&trial, &[], "out");
    assert_rows(&table, (0..40).chain(0..40), "two runs");
}

#[test]
fn rows_are_partitioned_and_files_grow() {
    let trial = job(600, &format!("path = \"out\"\n{PARTED}\n{ROLLED}"));
    run(&trial, &[]);
    let table = read(&trial, &[], "out");
    assert_rows(&table, 0..600, "partitions");
    assert_eq!(table["counted"], 600);
    assert_eq!(table["partitions"], serde_json::json!(["day"]));
    assert_eq!(table["days"], serde_json::json!(["None", "mon/day å", "tue"]));
    assert!(table["files"].as_array().expect("files").len() <= 25, "{}", table["files"]);
    let output = Process::start(&mut trial.command(&["validate", "job.toml"])).wait();
    assert!(output.stdout.contains("exactly once, with [checkpoint]"), "{}{}", output.stdout, output.stderr);
}

/// The steps at which a job dies: nothing of a batch is stored, its rows are, the marker is, files have their final names,
/// directly before and after the commit of the table; at the end; in the start that completes it; and around a checkpoint of the
/// log.
const STEPS: [&str; 12] = [
    "delta.create:1",
    "commit.before:9",
    "commit.written:9",
    "commit.marked:9",
    "commit.shown:3",
    "delta.commit:3",
    "delta.committed:3",
    "commit.after:9",
    "finish.before:1",
    "start.sink:1",
    "start.settled:1",
    "store.append:3",
];

/// Kills a job at a step, which may be one of the start after a kill, and lets it complete.
#[track_caller]
fn killed_and_run(trial: &Trial, settings: &Settings, step: &str) {
    if step.starts_with("start.") {
        killed(trial, settings, "commit.after:9");
    }
    killed(trial, settings, step);
    run(trial, settings);
}

/// What an earlier start left open belongs to the job, even if its sink has another name and another layout now.
#[test]
fn a_sink_may_get_another_name_and_another_layout() {
    let trial = job(610, &format!("path = \"out\"\n{ROLLED}"));
    killed(&trial, &[], "commit.after:9");
    trial.change("[sinks.out]", "[sinks.lake]");
    killed(&trial, &[], "delta.committed:2");
    trial.change(ROLLED, "parts = \"worker\"");
    killed(&trial, &[], "commit.shown:3");
    trial.change("parts = \"worker\"", "");
    run(&trial, &[]);
    assert_rows(&read(&trial, &[], "out"), 0..610, "another name");
}

/// The log is read from a checkpoint on, whichever program wrote it, and does not grow without one.
#[test]
fn a_log_has_checkpoints() {
    let trial = job(5000, "path = \"out\"");
    killed(&trial, &[], "delta.checkpoint:1");
    killed(&trial, &[], "delta.checkpointed:1");
    let last: Value = serde_json::from_str(&trial.text("out/_delta_log/_last_checkpoint")).expect("JSON");
    let last = last["version"].as_u64().expect("a version");
    assert!((100..=110).contains(&last), "{last}");
    // Neither we nor others read anything before it.
    for version in 0..last {
        fs::remove_file(trial.path(&format!("out/_delta_log/{version:020}.json"))).expect("a commit");
    }
    killed(&trial, &[], "commit.after:30");
    let table = read(&trial, &[], "out");
    let seen = numbers(&table);
    assert_rows(&table, 0..seen.len() as u64, "from our checkpoint on");
    assert_eq!(table["counted"].as_u64(), Some(seen.len() as u64));
    // A checkpoint of another program, with files that replaced ours.
    let compacted: u64 = run_script(&trial, &[], &["compact", "out"]).trim().parse().expect("a version");
    for version in last..=compacted {
        fs::remove_file(trial.path(&format!("out/_delta_log/{version:020}.json"))).expect("a commit");
    }
    run(&trial, &[]);
    let table = read(&trial, &[], "out");
    assert_rows(&table, 0..5000, "from their checkpoint on");
    let last: Value = serde_json::from_str(&trial.text("out/_delta_log/_last_checkpoint")).expect("JSON");
    assert!(last["version"].as_u64().expect("a version") >= compacted + 90, "{last}");
    // The checkpoint after theirs knows which files they have replaced.
    let removed = table["files"].as_array().expect("files").len() as u64;
    assert!(removed < 250, "{removed} files");
}

/// Whatever characters the partition values have, others find the files by their paths, and deleted files of ours do not reappear
/// in a checkpoint.
#[test]
fn rows_deleted_by_others_stay_deleted() {
    let server = WeedServer::start();
    for (path, settings) in [("out", vec![]), ("s3://bucket/letters", server.settings())] {
        let trial = job(0, &format!("path = \"{path}\"\n{PARTED}"));
        let days = ["a,b", "c+d!e@f", "&$;()", " å%/=:#?x", "%2C", "tue"];
        let row = |n: u64| serde_json::json!({ "n": n, "day": days[n as usize % days.len()] });
        trial.write("in.jsonl", (0..600).map(|n| format!("{}\n", row(n))).collect::<String>());
        killed(&trial, &settings, "commit.after:4");
        // From now on each commit gets a checkpoint of ours.
        run_script(&trial, &settings, &["property", path, "delta.checkpointInterval", "1"]);
        killed(&trial, &settings, "commit.after:8");
        let before = numbers(&read(&trial, &settings, path));
        let seen = before.len() as u64;
        assert!(seen < 600, "all rows are there already");
        // All of some days, and some rows of the others.
        let removed: u64 = run_script(&trial, &settings, &["delete", path, "day in ('a,b', '&$;()', '%2C') or n < 50"])
            .trim()
            .parse()
            .expect("files");
        assert!(removed > 0);
        run(&trial, &settings);
        let gone = |n: &u64| *n < seen && (*n < 50 || [0, 2, 4].contains(&(*n % 6)));
        let table = read(&trial, &settings, path);
        assert_rows(&table, (0..600).filter(|n| !gone(n)), path);
        assert_eq!(table["days"].as_array().map(Vec::len), Some(days.len()), "{}", table["days"]);
        if settings.is_empty() {
            // Only our checkpoint records it.
            let version = table["version"].as_u64().expect("a version");
            assert!(trial.path(&format!("out/_delta_log/{version:020}.checkpoint.parquet")).exists());
            for version in 0..version {
                fs::remove_file(trial.path(&format!("out/_delta_log/{version:020}.json"))).expect("a commit");
            }
            assert_rows(&read(&trial, &settings, path), (0..600).filter(|n| !gone(n)), "our checkpoint");
        }
    }
}

#[test]
fn others_may_write_to_the_table_at_the_same_time() {
    let trial = job(3000, "path = \"out\"");
    killed(&trial, &[], "commit.after:2");
    let adds = other(&trial, &[], &["append", "out", "10000", "10030"]);
    for step in ["commit.after:40", "delta.commit:30", "delta.committed:20"] {
        killed(&trial, &[], step);
    }
    // It would not continue with columns that were added meanwhile.
    let ended = adds.wait_within(Duration::from_secs(120));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    run_script(&trial, &[], &["widen", "out"]);
    run(&trial, &[]);
    // A job of its own in the same table.
    let second = job(50, &format!("path = \"{}\"", trial.path("out").display()));
    run(&second, &[]);
    assert_rows(&read(&trial, &[], "out"), (0..3000).chain(10_000..10_030).chain(0..50), "four who write");
}

/// An older start that was taken for dead comes back directly before it commits to the table.
#[test]
fn an_older_start_adds_nothing_more() {
    let server = WeedServer::start();
    let settings = server.settings();
    for step in ["commit.written:9", "commit.marked:9", "delta.commit:9"] {
        let path = format!("s3://bucket/{}", step.replace([':', '.'], "-"));
        let trial = job(600, &format!("path = \"{path}\""));
        trial.change("dir = \"kept\"", &format!("dir = \"{path}-kept\""));
        let mut old = start(&trial, &["--unsupervised"], &settings, &format!("stop@{step}"));
        let state = format!("/proc/{}/stat", old.id());
        old.wait_until("it stands still", |_| fs::read_to_string(&state).is_ok_and(|text| text.contains(") T ")));
        run(&trial, &settings);
        old.signal("CONT");
        let ended = old.wait();
        assert_ne!(ended.code, Some(0), "{step}: {}", ended.stderr);
        assert_rows(&read(&trial, &settings, &path), 0..600, step);
    }
}

#[test]
fn unsuitable_settings_are_reported() {
    let trial = job(20, "path = \"out\"");
    run_script(&trial, &[], &["make", "out"]);
    let message = trial.rejected_message(&["validate", "job.toml"]);
    for part in [
        "job.toml:15: sink `out`",
        "column `n` is string in the table, and long in the rows",
        "the table has no column `day`",
        "column `key` of the table is not nullable, and the rows do not have it",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }

    let trial = job(20, "path = \"out\"");
    run(&trial, &[]);
    trial.change("path = \"out\"", "path = \"out\"\npartition_by = \"day\"");
    let message = trial.rejected_message(&["validate", "job.toml"]);
    assert!(message.contains("the table is partitioned by []; write partition_by = []"), "{message}");
    trial.change("\npartition_by = \"day\"", "");
    // Another program changes the table's requirements, first while no job runs, and then under a job.
    run_script(&trial, &[], &["constrain", "out"]);
    let message = trial.rejected_message(&["validate", "job.toml"]);
    assert!(message.contains("the constraint `positive`"), "{message}");
    let property = job(20, "path = \"out\"");
    run(&property, &[]);
    run_script(&property, &[], &["property", "out", "delta.setTransactionRetentionDuration", "interval 30 days"]);
    let message = property.rejected_message(&["validate", "job.toml"]);
    assert!(
        message.contains("drop its record of a job's commits (`delta.setTransactionRetentionDuration`)"),
        "{message}"
    );
    let log = trial.path("out/_delta_log");
    let newest = fs::read_dir(&log).expect("a log").filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let newest = newest.filter(|name| name.ends_with(".json")).max().expect("a commit");
    fs::remove_file(log.join(&newest)).expect("a commit");
    let unknown = "{\"protocol\":{\"minReaderVersion\":3,\"minWriterVersion\":7,\"readerFeatures\":[\"deletionVectors\"],\
                   \"writerFeatures\":[\"deletionVectors\",\"rowTracking\"]}}\n";
    trial.write(&format!("out/_delta_log/{newest}"), unknown);
    let message = trial.rejected_message(&["validate", "job.toml"]);
    assert!(message.contains("this version does not support: `deletionVectors`, `rowTracking`"), "{message}");

    let trial = job(2000, "path = \"out\"");
    killed(&trial, &[], "commit.after:3");
    let mut running = start(&trial, &["--unsupervised"], &[], "stop@delta.commit:3");
    let state = format!("/proc/{}/stat", running.id());
    running.wait_until("it stands still", |_| fs::read_to_string(&state).is_ok_and(|text| text.contains(") T ")));
    let next = fs::read_dir(trial.path("out/_delta_log")).expect("a log").count();
    trial.write(&format!("out/_delta_log/{next:020}.json"), unknown);
    running.signal("CONT");
    let ended = running.wait();
    assert_ne!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("`deletionVectors`, `rowTracking`"), "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("{next:020}.json")), "{}", ended.stderr);

    let trial = job(20, "path = \"out\"");
    trial.write("out/part-0000000001.parquet", "x");
    let ended = start(&trial, &["--unsupervised"], &[], "").wait();
    assert!(ended.stderr.contains("holds files that a sink of kind `files` wrote"), "{}", ended.stderr);
    wait_until("nothing was made", || !trial.path("out/_delta_log").exists());
}

/// A deletion elsewhere would only be one more row here.
#[test]
fn a_changelog_is_rejected() {
    let trial = Trial::new(
        "[sources.orders]\nkind = \"postgres-changes\"\nurl = \"postgres://u@127.0.0.1/x\"\ntable = \"t\"\n[sources.orders.schema]\nop = { type = \
         \"text\", from = \"op\" }\nid = \"int64\"\n[sinks.out]\nfrom = \"orders\"\nkind = \"delta\"\npath = \"out\"\n",
    );
    let message = trial.rejected_message(&["validate", "job.toml"]);
    assert!(message.contains("write mode = \"upsert\" with the table's `key` and op = \"op\""), "{message}");
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    /// In HDFS a commit gets its name by a rename, and none of our readers speaks its protocol: the table is read from a copy.
    #[test]
    fn tables_in_hdfs_are_written_exactly_once() {
        let hdfs = Hdfs::start();
        let steps = ["commit.written:3", "commit.shown:2", "delta.commit:2", "delta.committed:2", "start.settled:1"];
        for (number, step) in steps.iter().enumerate() {
            let path = format!("/lake-{number}");
            let trial = job(250, &format!("path = \"{}\"\n{}", hdfs.url(&path), if number < 2 { "" } else { ROLLED }));
            killed_and_run(&trial, &[], step);
            for file in hdfs.paths(&path).expect("the cluster answers") {
                trial.write(file.trim_start_matches('/'), hdfs.get(&file).expect("a file"));
            }
            assert_rows(&read(&trial, &[], path.trim_start_matches('/')), 0..250, step);
        }
    }

    #[test]
    fn rows_are_stored_once_after_a_kill_at_every_step() {
        for sink in ["", ROLLED, "parts = \"worker\"\npartition_by = \"day\""] {
            for step in STEPS {
                if sink != ROLLED && ["finish.before:1", "start.settled:1"].contains(&step) {
                    continue;
                }
                // The last batch is still open at the end, where files grow.
                let trial = job(610, &format!("path = \"out\"\n{sink}"));
                killed_and_run(&trial, &[], step);
                assert_rows(&read(&trial, &[], "out"), 0..610, &format!("{sink} {step}"));
            }
        }
    }

    #[test]
    fn tables_in_buckets_are_written_exactly_once() {
        let server = WeedServer::start();
        let settings = server.settings();
        let sinks = ["", ROLLED, "parts = \"worker\"\npartition_by = \"day\""];
        for (number, step) in STEPS.iter().enumerate() {
            let sink = match *step {
                "finish.before:1" | "start.settled:1" => ROLLED,
                _ => sinks[number % sinks.len()],
            };
            let path = format!("s3://bucket/lake-{number}");
            let trial = job(610, &format!("path = \"{path}\"\n{sink}"));
            killed_and_run(&trial, &settings, step);
            assert_rows(&read(&trial, &settings, &path), 0..610, &format!("{sink} {step}"));
        }
    }

    /// Job and server are killed repeatedly, while another program adds rows.
    #[test]
    fn nothing_is_lost_or_duplicated_while_job_and_server_are_killed() {
        let mut server = WeedServer::start();
        let settings = server.settings();
        let path = "s3://bucket/lake";
        let trial = job(6000, &format!("path = \"{path}\"\nparts = \"worker\"\n{ROLLED}"));
        for round in 0..4 {
            let commits = |server: &WeedServer| server.names("lake/_delta_log/").map_or(0, |names| names.len());
            let before = commits(&server);
            // While the server lives in this round.
            let adds = (round == 2).then(|| other(&trial, &settings, &["append", path, "10000", "10003"]));
            let mut job = start(&trial, &["--unsupervised"], &settings, "");
            job.wait_until("it commits", |_| commits(&server) > before + round % 3);
            if round % 2 == 1 {
                server.kill();
                job.wait_for_stderr("paused: cannot ");
                server.start_again();
                job.wait_for_stderr("resumed after a pause");
            }
            job.kill();
            if let Some(adds) = adds {
                let ended = adds.wait_within(Duration::from_secs(120));
                assert_eq!(ended.code, Some(0), "{}", ended.stderr);
            }
        }
        run(&trial, &settings);
        assert_rows(&read(&trial, &settings, path), (0..6000).chain(10_000..10_003), "a server that is killed");
    }
}
