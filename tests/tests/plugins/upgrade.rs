//! Another version of a plugin in a running job: each batch runs on one version, nothing is lost or duplicated, and a job that
//! dies in the middle comes back with one of the two.

mod scaled;

use millstream_tests::{
    DEADLINE, Expected, Feeder, Process, Trial, free_port, holds_within, plugin, stopped, varied, varied_line,
    wait_until, write_varied,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// The count of each row: every number ends in 9, and the version `plus` adds one to such a number.
const OLD: i64 = 9;
const NEW: i64 = 10;

/// A job whose stage `made` has `old.wasm`, of a test plugin with several variants; `raw` keeps the input.
fn job(port: u16, stage: &str, more: &str) -> Trial {
    Trial::new(&format!(
        r#"
        name = "upgraded"
        batch = "20ms"
        {more}
        [sources.lines]
        kind = "socket"
        address = "127.0.0.1:{port}"
        format = "csv"
        schema = {{ word = "text", n = "int64" }}
        [stages.others]
        from = "lines"
        filter = "n > 0"
        [stages.made]
        from = "lines"
        plugin = "old.wasm"
        {stage}
        [sinks.raw]
        from = "lines"
        kind = "queue"
        path = "raw.jsonl"
        [sinks.out]
        from = "made"
        kind = "queue"
        path = "out.jsonl"
        "#
    ))
}

const CHECKPOINT: &str = "[checkpoint]\ndir = \"checkpoint\"\nevery = \"100ms\"\n";

/// A job with the test plugin `name` as `old.wasm`, and a version of it that counts differently as `new.wasm`.
fn of(name: &str, port: u16, stage: &str, more: &str) -> Trial {
    let trial = job(port, stage, more);
    write_varied(name, "same", &trial.path("old.wasm"));
    write_varied(name, "plus", &trial.path("new.wasm"));
    trial
}

fn start(trial: &Trial, arguments: &[&str]) -> Process {
    Process::start(&mut trial.isolated_command(&[&["run", "job.toml"], arguments].concat()))
}

fn status(trial: &Trial) -> Option<Value> {
    let ended = trial.run_command(&["status", "job.toml", "--json"]);
    (ended.code == Some(0)).then(|| serde_json::from_str(&ended.stdout).expect("JSON"))
}

/// The status of the stage `made`.
fn stage_status(status: &Value) -> &Value {
    status["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == "made").unwrap()
}

/// The rows by batch that a sink holds, with their times.
fn by_batch(trial: &Trial, sink: &str) -> Batches {
    let batch = |batch: Value| {
        let rows = batch["rows"].as_array().unwrap().clone();
        (batch["batch"].as_u64().unwrap(), (batch["time"].as_str().unwrap().to_owned(), rows))
    };
    let batches: Vec<_> = trial.batches(sink).into_iter().map(batch).collect();
    let count = batches.len();
    let by_batch: BTreeMap<_, _> = batches.into_iter().collect();
    assert_eq!(by_batch.len(), count, "a batch came twice");
    by_batch
}

fn text<'a>(row: &'a Value, column: &str) -> &'a str {
    row[column].as_str().unwrap_or_else(|| panic!("no {column}: {row}"))
}

fn number(row: &Value, column: &str) -> i64 {
    row[column].as_i64().unwrap_or_else(|| panic!("no {column}: {row}"))
}

/// The count of a row in a batch, if the old version ran up to `after`.
fn counted(n: i64, batch: u64, after: u64) -> i64 {
    if batch > after { n + NEW - OLD } else { n }
}

/// The rows by batch, with the batch times.
type Batches = BTreeMap<u64, (String, Vec<Value>)>;

/// Checks the rows of a batch against the input: each is `(word, sum)`.
type Check = fn(&Batches, &Batches, u64);

fn transformed(raw: &Batches, out: &Batches, after: u64) {
    for (batch, (_, rows)) in raw {
        let expected: Vec<Value> = rows
            .iter()
            .map(|row| json!({"word": row["word"], "n": counted(number(row, "n"), *batch, after)}))
            .collect();
        assert_eq!(out[batch].1, expected, "batch {batch}, after {after}");
    }
}

fn sums(rows: &[Value], column: &str) -> BTreeMap<String, i64> {
    rows.iter().map(|row| (text(row, "word").to_owned(), number(row, column))).collect()
}

fn summed_since_the_start(raw: &Batches, out: &Batches, after: u64) {
    let mut all: BTreeMap<String, i64> = BTreeMap::new();
    for (batch, (_, rows)) in raw {
        for row in rows {
            *all.entry(text(row, "word").to_owned()).or_default() += counted(number(row, "n"), *batch, after);
        }
        let touched = sums(rows, "n").into_keys().map(|word| (word.clone(), all[&word])).collect();
        assert_eq!(sums(&out[batch].1, "sum"), touched, "batch {batch}, after {after}");
    }
}

fn summed_by_batch(raw: &Batches, out: &Batches, after: u64) {
    for (batch, (_, rows)) in raw {
        let mut expected: BTreeMap<String, i64> = BTreeMap::new();
        for row in rows {
            *expected.entry(text(row, "word").to_owned()).or_default() += counted(number(row, "n"), *batch, after);
        }
        assert_eq!(sums(&out[batch].1, "sum"), expected, "batch {batch}, after {after}");
    }
}

/// Sliding windows of 100 ms with a step of 20 ms: the part from old batches was made by the old version.
fn summed_by_window(raw: &Batches, out: &Batches, after: u64) {
    let us = |time: &str| time_us(time);
    for (batch, (time, _)) in raw {
        let mut expected: BTreeMap<String, i64> = BTreeMap::new();
        for (other, (_, rows)) in
            raw.iter().filter(|(_, (other, _))| (us(time) - 100_000..us(time)).contains(&(us(other) - 1)))
        {
            for row in rows {
                *expected.entry(text(row, "word").to_owned()).or_default() += counted(number(row, "n"), *other, after);
            }
        }
        assert_eq!(sums(&out[batch].1, "sum"), expected, "batch {batch}, after {after}");
    }
}

/// Microseconds since 1970, as a queue sink writes times.
fn time_us(time: &str) -> i64 {
    let (date, clock) = time.trim_end_matches('Z').split_once(['T', ' ']).unwrap_or_else(|| panic!("no time: {time}"));
    let numbers = |text: &str, between: char| -> Vec<f64> {
        text.split(between).map(|number| number.parse().unwrap_or_else(|_| panic!("no time: {time}"))).collect()
    };
    let (&[year, month, day], &[hours, minutes, seconds]) = (&numbers(date, '-')[..], &numbers(clock, ':')[..]) else {
        panic!("no time: {time}")
    };
    // Years begin in March here, so that the leap day is the last one.
    let (year, month) = if month < 3.0 { (year - 1.0, month + 9.0) } else { (year, month - 3.0) };
    let leap = (year / 4.0).floor() - (year / 100.0).floor() + (year / 400.0).floor();
    let days = year * 365.0 + leap + ((153.0 * month + 2.0) / 5.0).floor() + day - 719_469.0;
    days as i64 * 86_400_000_000 + ((hours * 3600.0 + minutes * 60.0 + seconds) * 1e6).round() as i64
}

/// The last batch of the old version, from the status.
fn after(status: &Value) -> u64 {
    status["upgrade"]["step"]["done"]["after"].as_u64().unwrap_or_else(|| panic!("no upgrade is done: {status}"))
}

/// Runs a job under load, upgrades it, and compares every row with what came in.
fn upgraded(name: &str, stage: &str, more: &str, arguments: &[&str], check: Check) {
    upgraded_with(Feeder::start(varied_line), name, stage, more, arguments, check);
}

fn upgraded_with(feeder: Feeder, name: &str, stage: &str, more: &str, arguments: &[&str], check: Check) {
    let port = feeder.port();
    let trial = of(name, port, stage, more);
    let mut running = start(&trial, arguments);
    running.wait_until("rows come out", |_| trial.batches("out.jsonl").len() > 20);
    let output = trial.run_command_ok(&["upgrade", "job.toml", "made", "new.wasm", "--accept"]);
    assert!(output.contains("pause between batches: "), "{output}");
    let now = status(&trial).expect("the job runs");
    let after = after(&now);
    running.wait_until("rows of the new version come out", |_| trial.batches("out.jsonl").len() as u64 > after + 20);
    let sent = feeder.pause();
    running.wait_until("all rows are out", |_| trial.rows("raw.jsonl").len() as u64 == sent);
    let now = status(&trial).expect("the job runs");
    let [old, new] = stage_status(&now)["plugins"].as_array().unwrap().as_slice() else { panic!("{now}") };
    assert_ne!(old["digest"], new["digest"]);
    assert_eq!(stage_status(&now)["plugin"]["digest"], new["digest"], "the one that runs");
    assert!(trial.text("job.toml").contains("plugin = \"new.wasm\""), "{}", trial.text("job.toml"));
    assert_eq!(trial.run_command_ok(&["stop", "job.toml"]), "job.toml: stopped\n");
    assert_eq!(running.wait().code, Some(0));
    let (raw, out) = (by_batch(&trial, "raw.jsonl"), by_batch(&trial, "out.jsonl"));
    assert!(after > 20 && raw.keys().any(|batch| *batch > after + 20));
    check(&raw, &out, after);
    if more.contains("[checkpoint]") {
        check_replay(&trial, after);
    }
}

/// Replays the batches around an upgrade with the plugins of that time.
fn check_replay(trial: &Trial, after: u64) {
    let newest = *by_batch(trial, "out.jsonl").keys().last().unwrap();
    for batch in [after, after + 1, newest] {
        let ended = trial.run_command(&["replay", "job.toml", "--as-it-was", "--batch", &batch.to_string()]);
        // Checkpoints are kept for a while only.
        if ended.code == Some(2) && ended.stderr.contains("cannot be replayed") && batch != newest {
            continue;
        }
        assert_eq!(ended.code, Some(0), "batch {batch}, after {after}: {}{}", ended.stdout, ended.stderr);
        assert_eq!(ended.stdout.matches("the same as was committed").count(), 2, "{}", ended.stdout);
    }
}

#[test]
fn a_transform_is_replaced_between_two_batches() {
    upgraded("varied", "", &format!("workers = 2\n{CHECKPOINT}"), &[], transformed);
}

#[test]
fn a_transform_of_a_job_without_checkpoints_is_replaced() {
    upgraded("varied", "", "workers = 1", &[], transformed);
}

#[test]
fn an_update_continues_with_the_existing_state() {
    upgraded("varied-update", "key = \"word\"", &format!("workers = 1\n{CHECKPOINT}"), &[], summed_since_the_start);
}

/// Words so long that most of them do not fit into memory.
#[test]
fn an_update_continues_with_spilled_state() {
    let line = |number: u64| format!("{}{},{}", "x".repeat(4_000), number * 7 % 2_003, number % 5 * 10 + 9);
    let more = format!("workers = 2\nstate = {{ memory = \"1MiB\", folder = \"cold\" }}\n{CHECKPOINT}");
    let feeder = Feeder::start(line);
    upgraded_with(feeder, "varied-update", "key = \"word\"", &more, &[], summed_since_the_start);
}

#[test]
fn an_update_on_two_workers_without_checkpoints_continues_with_its_state() {
    upgraded("varied-update", "key = \"word\"", "workers = 2", &[], summed_since_the_start);
}

#[test]
fn an_aggregate_is_replaced_between_two_batches() {
    upgraded("varied-aggregate", "key = \"word\"", &format!("workers = 2\n{CHECKPOINT}"), &[], summed_by_batch);
}

#[test]
fn windows_keep_the_results_of_the_old_version() {
    let stage = "key = \"word\"\nwindow = { size = \"100ms\", slide = \"20ms\" }";
    upgraded("varied-aggregate", stage, &format!("workers = 2\n{CHECKPOINT}"), &[], summed_by_window);
}

/// Both inputs are the same rows, and only the right side is counted differently.
fn cogrouped(raw: &Batches, out: &Batches, after: u64) {
    for (batch, (_, rows)) in raw {
        let mut sums: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
        for row in rows {
            let (left, right) = sums.entry(text(row, "word")).or_default();
            let n = number(row, "n");
            (*left, *right) = (*left + n, *right + counted(n, *batch, after));
        }
        let mut made: Vec<(i64, i64)> =
            out[batch].1.iter().map(|row| (number(row, "left"), number(row, "right"))).collect();
        let mut expected: Vec<(i64, i64)> = sums.into_values().collect();
        made.sort_unstable();
        expected.sort_unstable();
        assert_eq!(made, expected, "batch {batch}, after {after}");
    }
}

#[test]
fn a_cogroup_is_replaced_between_two_batches() {
    upgraded("varied-cogroup", "key = \"word\"\ncogroup = [\"others\"]", "workers = 2", &[], cogrouped);
}

/// Rows of fifty milliseconds of event time, then a gap of a second.
fn line_in_time(number: u64) -> String {
    format!("w{},{},{}", number % 7, number % 5 * 10 + 9, number + number / 50 * 1000)
}

/// Event-time windows contain what each version made of the rows in its batches.
fn upgraded_in_event_time(window: &str) {
    let feeder = Feeder::start(line_in_time);
    let port = feeder.port();
    let stage = format!("key = \"word\"\ntime = \"to_timestamp_millis(ms)\"\nwindow = {window}");
    let trial = of("varied-aggregate", port, &stage, &format!("workers = 2\n{CHECKPOINT}"));
    let schema = "n = \"int64\"";
    trial.write("job.toml", trial.text("job.toml").replacen(schema, &format!("{schema}, ms = \"int64\""), 1));
    let mut running = start(&trial, &[]);
    running.wait_until("windows come out", |_| trial.rows("out.jsonl").len() > 50);
    trial.run_command_ok(&["upgrade", "job.toml", "made", "new.wasm", "--accept"]);
    let after = after(&status(&trial).expect("the job runs"));
    let before = trial.rows("out.jsonl").len();
    running.wait_until("windows of the new version come out", |_| trial.rows("out.jsonl").len() > before + 100);
    drop(feeder);
    trial.run_command_ok(&["stop", "job.toml"]);
    assert_eq!(running.wait().code, Some(0));
    let raw = by_batch(&trial, "raw.jsonl");
    let windows = trial.rows("out.jsonl");
    for window in &windows {
        let bounds = time_us(text(window, "window_start")) / 1000..time_us(text(window, "window_end")) / 1000;
        let mut sum = 0;
        for (batch, row) in raw.iter().flat_map(|(batch, (_, rows))| rows.iter().map(move |row| (*batch, row))) {
            if row["word"] == window["word"] && bounds.contains(&number(row, "ms")) {
                sum += counted(number(row, "n"), batch, after);
            }
        }
        assert_eq!(number(window, "sum"), sum, "after {after}: {window}");
    }
    check_replay(&trial, after);
}

#[test]
fn windows_of_event_time_continue_over_an_upgrade() {
    upgraded_in_event_time("{ size = \"200ms\", slide = \"50ms\" }");
}

#[test]
fn sessions_continue_over_an_upgrade() {
    upgraded_in_event_time("{ gap = \"300ms\" }");
}

#[test]
fn all_processes_of_a_job_change_with_the_same_batch() {
    let ports = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}")).join(",");
    let more = format!("workers = 1\n{CHECKPOINT}");
    let arguments = ["--processes", "2", "--hosts", &ports];
    upgraded("varied-update", "key = \"word\"", &more, &arguments, summed_since_the_start);
}

/// Kills the job at a step of an upgrade: afterwards the upgrade is complete or has not happened.
#[test]
fn an_upgrade_waits_for_a_starting_job() {
    let feeder = Feeder::start(varied_line);
    let trial = of("varied-update", feeder.port(), "key = \"word\"", CHECKPOINT);
    let mut job = trial.isolated_command(&["run", "job.toml"]);
    let mut job = Process::start(job.env("MILLSTREAM_TEST_FAULT", "stop@start.claim:1"));
    wait_until("it stands in the middle of its start", || job.children().into_iter().any(stopped));
    let mut upgrade =
        Process::start(&mut trial.isolated_command(&["upgrade", "job.toml", "made", "new.wasm", "--accept"]));
    upgrade.wait_for_stderr("is starting; waiting until it responds");
    // A process that is stopped for long is killed, and the next one reaches the same point.
    wait_until("it is upgraded", || {
        for child in job.children().into_iter().filter(|child| stopped(*child)) {
            let _ = Command::new("sh").args(["-c", &format!("kill -CONT {child}")]).status();
        }
        upgrade.has_ended()
    });
    let upgraded = upgrade.wait();
    assert_eq!(upgraded.code, Some(0), "{}", upgraded.stderr);
    assert!(trial.text("job.toml").contains("plugin = \"new.wasm\""), "{}", upgraded.stdout);
    job.wait_until("rows come out", |_| trial.batches("out.jsonl").len() > 5);
    drop(feeder);
    trial.run_command_ok(&["stop", "job.toml"]);
    job.wait();
}

fn killed_at(fault: &str) {
    let feeder = Feeder::start(varied_line);
    let port = feeder.port();
    let trial = of("varied-update", port, "key = \"word\"", &format!("workers = 2\n{CHECKPOINT}"));
    let mut job = trial.isolated_command(&["run", "job.toml"]);
    let mut job = Process::start(job.env("MILLSTREAM_TEST_FAULT", format!("kill@{fault}")));
    job.wait_until("rows come out", |_| trial.batches("out.jsonl").len() > 20);
    let ended = trial.run_command(&["upgrade", "job.toml", "made", "new.wasm", "--accept"]);
    assert!(matches!(ended.code, Some(0 | 1)), "{fault}: {ended:?}");
    job.wait_for_stderr("worker process died (signal 9)");
    // The job file was written before: from the restart on the new one runs.
    let digest = |status: &Value| stage_status(status)["plugin"]["digest"].clone();
    let mut now = None;
    wait_until("the new version runs", || {
        now = status(&trial);
        now.as_ref().is_some_and(|now| !digest(now).is_null())
    });
    let before = trial.batches("out.jsonl").len();
    job.wait_until("rows of the new version come out", |_| trial.batches("out.jsonl").len() > before + 20);
    feeder.pause();
    trial.run_command_ok(&["stop", "job.toml"]);
    assert_eq!(job.wait().code, Some(0), "{fault}");
    let (raw, out) = (by_batch(&trial, "raw.jsonl"), by_batch(&trial, "out.jsonl"));
    assert_eq!(raw.keys().collect::<Vec<_>>(), out.keys().collect::<Vec<_>>());
    let fits = |after: u64| std::panic::catch_unwind(|| summed_since_the_start(&raw, &out, after)).is_ok();
    // The batch of the change is not known from elsewhere: the version changed once, between two batches.
    let grown = |batch: &u64| -> Option<bool> {
        let (old, new): (i64, i64) =
            raw[batch].1.iter().map(|row| number(row, "n")).fold((0, 0), |(old, new), n| (old + n, new + n + 1));
        let total = |of: &Batches, last: u64| -> i64 {
            let mut all = BTreeMap::new();
            of.range(..=last).for_each(|(_, (_, rows))| all.extend(sums(rows, "sum")));
            all.values().sum()
        };
        let step = total(&out, *batch) - total(&out, batch - 1);
        assert!(step == old || step == new, "{fault}: batch {batch} grew by {step}, neither {old} nor {new}");
        (old != new).then_some(step == new)
    };
    let steps: Vec<(u64, bool)> = raw.keys().filter_map(|batch| Some((*batch, grown(batch)?))).collect();
    let last_old = steps.iter().rev().find(|(_, new)| !new).map_or(0, |(batch, _)| *batch);
    assert!(steps.iter().all(|(batch, new)| *new == (*batch > last_old)), "{fault}: to and fro: {steps:?}");
    assert!(steps.last().unwrap().1, "{fault}: the new version runs in the end");
    assert!(fits(last_old), "{fault}");
    check_replay(&trial, last_old);
}

#[test]
fn a_job_that_dies_before_the_swap_restarts_with_the_new_version() {
    killed_at("upgrade.recorded:1");
    killed_at("upgrade.barrier:1");
}

#[test]
fn a_job_that_dies_right_after_the_swap_restarts_with_the_new_version() {
    killed_at("upgrade.swapped:1");
    killed_at("upgrade.published:1");
}

/// The job dies when batches of the new version are committed but in no checkpoint: they are replayed with it, and earlier output
/// stays as the old version made it.
fn check_late_death(bugs: &str) {
    let feeder = Feeder::start(varied_line);
    let port = feeder.port();
    let checkpoint = "[checkpoint]\ndir = \"checkpoint\"\nevery = \"1h\"\n";
    let trial = of("varied-update", port, "key = \"word\"", &format!("workers = 2\n{checkpoint}"));
    let mut job = Process::start(trial.isolated_command(&["run", "job.toml"]).env("MILLSTREAM_TEST_FAULT", bugs));
    job.wait_until("rows come out", |_| trial.batches("out.jsonl").len() > 20);
    trial.run_command_ok(&["upgrade", "job.toml", "made", "new.wasm", "--accept"]);
    let after = after(&status(&trial).expect("the job runs"));
    job.wait_until("rows of the new version come out", |_| trial.batches("out.jsonl").len() as u64 > after + 20);
    let [child] = job.children()[..] else { panic!("one worker process") };
    let killed = Command::new("sh").args(["-c", &format!("kill -KILL {child}")]).status();
    assert!(killed.expect("there is a shell").success());
    job.wait_for_stderr("worker process died (signal 9)");
    let before = trial.batches("out.jsonl").len();
    job.wait_until("the job goes on", |_| trial.batches("out.jsonl").len() > before + 20);
    drop(feeder);
    trial.run_command_ok(&["stop", "job.toml"]);
    let ended = job.wait();
    assert!(ended.stderr.contains(&format!("after the checkpoint of batch {after} ")), "{}", ended.stderr);
    let (raw, out) = (by_batch(&trial, "raw.jsonl"), by_batch(&trial, "out.jsonl"));
    summed_since_the_start(&raw, &out, after);
}

#[test]
fn a_job_that_dies_later_replays_batches_since_the_swap_with_the_new_version() {
    check_late_death("");
}

/// If the checkpoint does not record that the plugin was replaced, the old one is replayed, and the test above fails.
#[cfg(feature = "planted-bugs")]
#[test]
fn a_checkpoint_without_the_upgrade_is_detected() {
    assert!(std::panic::catch_unwind(|| check_late_death("bug@upgrade-untold")).is_err());
}

/// A rejected row names the version that ran in its batch.
#[test]
fn rejected_rows_name_the_version_that_rejected_them() {
    let feeder = Feeder::start(|number| format!("w,{}", if number % 3 == 0 { -1 } else { 9 }));
    let port = feeder.port();
    let sink = "[sinks.refused]\nfrom = \"made.rejected\"\nkind = \"queue\"\npath = \"rejected.jsonl\"\n";
    let stage = format!("on_error = \"reject\"\n{sink}");
    let trial = of("varied", port, &stage, "workers = 2");
    let mut running = start(&trial, &[]);
    running.wait_until("rows come out", |_| trial.batches("out.jsonl").len() > 10);
    trial.run_command_ok(&["upgrade", "job.toml", "made", "new.wasm", "--accept"]);
    let now = status(&trial).expect("the job runs");
    let (after, digests) = (after(&now), ["from", "to"].map(|which| now["upgrade"][which][1].clone()));
    running.wait_until("rows of the new version come out", |_| trial.batches("out.jsonl").len() as u64 > after + 10);
    drop(feeder);
    trial.run_command_ok(&["stop", "job.toml"]);
    assert_eq!(running.wait().code, Some(0));
    let rejected = by_batch(&trial, "rejected.jsonl");
    let mut counts = [0, 0];
    for (batch, (_, rows)) in &rejected {
        let which = usize::from(*batch > after);
        counts[which] += rows.len();
        assert!(rows.iter().all(|row| row["digest"] == digests[which]), "batch {batch}, after {after}: {rows:?}");
    }
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

/// A job whose stage keeps a running account of each key in `ledger`: every output row has its rank in the account and a digest
/// of all rows so far.
fn accounts(port: u16, every: &str) -> Trial {
    let checkpoint = format!("workers = 2\n[checkpoint]\ndir = \"checkpoint\"\nevery = \"{every}\"\n");
    let trial = job(port, "key = \"word\"", &checkpoint);
    for (name, file) in [("ledger", "old.wasm"), ("ledger-2", "new.wasm")] {
        trial.write(file, std::fs::read(plugin(name).join(format!("{name}.wasm"))).expect("it is built"));
    }
    trial
}

/// A line whose number selects its key. No number closes an account.
fn entry(number: u64) -> String {
    format!("w{},{}", number % 7, number * 17 + number % 7 + 1)
}

/// Checks that each account continues over all batches, whichever version kept it.
fn check_accounts_continue(trial: &Trial) {
    let (raw, out) = (by_batch(trial, "raw.jsonl"), by_batch(trial, "out.jsonl"));
    let mut accounts: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for (batch, (_, rows)) in &raw {
        let come: Vec<i64> = rows.iter().map(|row| number(row, "n")).collect();
        let mut gone: Vec<i64> = Vec::new();
        for row in &out[batch].1 {
            let n = number(row, "n");
            let (place, digest) = accounts.entry(n % 17).or_default();
            (*place, *digest) = (*place + 1, digest.wrapping_mul(1_000_003).wrapping_add(n));
            assert_eq!((number(row, "place"), number(row, "digest")), (*place, *digest), "batch {batch}");
            gone.push(n);
        }
        gone.sort_unstable();
        assert_eq!(gone, come, "batch {batch}");
    }
}

#[test]
fn state_with_other_columns_is_migrated_in_the_running_job() {
    for (every, dies) in [("50ms", false), ("1h", true)] {
        let feeder = Feeder::start(entry);
        let port = feeder.port();
        let trial = accounts(port, every);
        let mut job = start(&trial, &[]);
        job.wait_until("rows come out", |_| trial.batches("out.jsonl").len() > 20);
        trial.run_command_ok(&["upgrade", "job.toml", "made", "new.wasm", "--accept"]);
        let after = after(&status(&trial).expect("the job runs"));
        job.wait_until("rows of the new version come out", |_| trial.batches("out.jsonl").len() as u64 > after + 20);
        if dies {
            let [child] = job.children()[..] else { panic!("one worker process") };
            let killed = Command::new("sh").args(["-c", &format!("kill -KILL {child}")]).status();
            assert!(killed.expect("there is a shell").success());
            job.wait_for_stderr("worker process died (signal 9)");
            let before = trial.batches("out.jsonl").len();
            job.wait_until("the job goes on", |_| trial.batches("out.jsonl").len() > before + 20);
        }
        drop(feeder);
        trial.run_command_ok(&["stop", "job.toml"]);
        assert_eq!(job.wait().code, Some(0));
        check_accounts_continue(&trial);
        check_replay(&trial, after);
        let state = ["state", "job.toml", "--sql", "select * from made limit 1", "--json"];
        assert!(trial.run_command_ok(&state).contains("place"), "the columns of the new version");
    }
}

#[test]
fn a_failed_migration_leaves_the_job_unchanged() {
    let feeder = Feeder::start(varied_line);
    let port = feeder.port();
    let trial = of("varied-update", port, "key = \"word\"", &format!("workers = 2\n{CHECKPOINT}"));
    write_varied("varied-migrating", "fail", &trial.path("bad.wasm"));
    write_varied("varied-migrating", "same", &trial.path("good.wasm"));
    let mut job = start(&trial, &[]);
    job.wait_until("rows come out", |_| trial.batches("out.jsonl").len() > 20);
    let text = trial.text("job.toml");
    let ended = trial.run_command(&["upgrade", "job.toml", "made", "bad.wasm", "--accept"]);
    assert_eq!(ended.code, Some(1), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stderr.contains("no sums today"), "{}", ended.stderr);
    assert_eq!(trial.text("job.toml"), text);
    assert!(!trial.text("millstream.lock").contains("old.wasm"), "{}", trial.text("millstream.lock"));
    let before = trial.batches("out.jsonl").len();
    job.wait_until("the job goes on", |_| trial.batches("out.jsonl").len() > before + 20);
    // A suitable version replaces it anyway.
    trial.run_command_ok(&["upgrade", "job.toml", "made", "good.wasm", "--accept"]);
    let before = trial.batches("out.jsonl").len();
    job.wait_until("the job goes on", |_| trial.batches("out.jsonl").len() > before + 20);
    drop(feeder);
    trial.run_command_ok(&["stop", "job.toml"]);
    assert_eq!(job.wait().code, Some(0));
    summed_since_the_start(&by_batch(&trial, "raw.jsonl"), &by_batch(&trial, "out.jsonl"), u64::MAX);
}

/// Upgrades that are rejected, and parts of each message.
#[test]
fn what_does_not_fit_is_refused_and_the_job_goes_on() {
    let feeder = Feeder::start(varied_line);
    let port = feeder.port();
    let trial = of("varied", port, "", "workers = 1");
    trial.write("update.wasm", varied("varied-update", "same"));
    trial.write("same.wasm", varied("varied", "same"));
    trial.write("text.wasm", "no component");
    let mut running = start(&trial, &[]);
    running.wait_until("rows come out", |_| trial.batches("out.jsonl").len() > 5);
    let text = trial.text("job.toml");
    let mut expected = Expected::of(file!(), "what_does_not_fit_is_refused_and_the_job_goes_on");
    for (stage, to, code) in [
        ("made", "update.wasm", 2),
        ("made", "same.wasm", 2),
        ("made", "text.wasm", 2),
        ("made", "none.wasm", 2),
        ("made", "0.2.0", 2),
        ("others", "new.wasm", 2),
        ("nobody", "new.wasm", 2),
    ] {
        let ended = trial.run_command(&["upgrade", "job.toml", stage, to, "--accept"]);
        assert_eq!(ended.code, Some(code), "{stage} {to}: {}{}", ended.stdout, ended.stderr);
        expected.add(&format!("upgrade job.toml {stage} {to}"), &ended.stderr);
    }
    expected.check_parts();
    assert_eq!(trial.text("job.toml"), text, "nothing was changed");
    assert!(!Path::new(&trial.path("millstream.lock")).exists());
    let before = trial.batches("out.jsonl").len();
    running.wait_until("the job goes on", |_| trial.batches("out.jsonl").len() > before + 5);
    drop(feeder);
    trial.run_command_ok(&["stop", "job.toml"]);
    assert_eq!(running.wait().code, Some(0));
    let (raw, out) = (by_batch(&trial, "raw.jsonl"), by_batch(&trial, "out.jsonl"));
    transformed(&raw, &out, u64::MAX);
}

#[test]
fn a_job_that_does_not_run_is_neither_upgraded_nor_stopped() {
    let trial = of("varied", free_port(), "", "");
    let text = trial.text("job.toml");
    for arguments in [&["upgrade", "job.toml", "made", "new.wasm", "--accept"][..], &["stop", "job.toml"]] {
        let ended = trial.run_command(arguments);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains("is not running"), "{}", ended.stderr);
    }
    assert_eq!(trial.text("job.toml"), text);
}

#[test]
fn a_job_without_an_interval_is_upgraded_while_idle() {
    let port = free_port();
    let mut nc = Process::nc(port);
    let trial = of("varied", port, "", "workers = 2");
    let mut running = start(&trial, &["--set", "batch=0s"]);
    running.wait_for_stderr("connected to 127.0.0.1");
    wait_until("it can be asked", || status(&trial).is_some());
    // Also twice: after a barrier no other can follow before a batch does.
    for (to, n, expected) in [("new.wasm", 9, NEW), ("old.wasm", 9, OLD), ("new.wasm", 19, NEW + 10)] {
        trial.run_command_ok(&["upgrade", "job.toml", "made", to, "--accept"]);
        let rows = trial.rows("out.jsonl").len();
        nc.say(&format!("w,{n}\n"));
        running.wait_until("its row is out", |_| trial.rows("out.jsonl").len() > rows);
        assert_eq!(trial.rows("out.jsonl").last().unwrap()["n"], expected);
    }
    trial.run_command_ok(&["upgrade", "job.toml", "made", "old.wasm", "--accept"]);
    trial.run_command_ok(&["upgrade", "job.toml", "made", "new.wasm", "--accept"]);
    assert!(holds_within(DEADLINE, || status(&trial).is_some_and(|now| now["upgrade"]["step"]["done"].is_object())));
    trial.run_command_ok(&["stop", "job.toml"]);
    assert_eq!(running.wait().code, Some(0));
}
