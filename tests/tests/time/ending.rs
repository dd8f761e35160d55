//! Event time when sources end, in the program: everything that waits for it is output once, whatever happens meanwhile; a mere
//! stop is not an end.

use millstream_tests::{Process, Random, Trial, free_port, queue_sink, queue_source, wait_until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;

const FILE: &str = "kind = \"file\"\nformat = \"json\"\nschema = { k = \"text\", v = \"int64\", at = \"timestamp\" }\n";
/// The rows of ten seconds of event time are counted.
const COUNTED: &str = "time = \"at\"\nwindow = { size = \"10s\" }\naggregate = { n = \"count(*)\" }\n";
/// The columns of [`FILE`], for [`queue_source`].
const COLUMNS: &str = "k = \"text\", v = \"int64\", at = \"timestamp\"";

fn at(second: u64) -> String {
    format!("2026-01-01T00:{:02}:{:02}.000000Z", second / 60, second % 60)
}

fn lines(seconds: impl Iterator<Item = u64>, key: &str) -> String {
    seconds.fold(String::new(), |mut text, second| {
        let _ = writeln!(text, r#"{{"k":"{key}","v":{second},"at":"{}"}}"#, at(second));
        text
    })
}

/// Two files, of which one ends early, through chains of stages that wait for event time.
fn chain(more: &str) -> Trial {
    let job = format!(
        r#"
name = "ending"
batch = "100ms"
{more}
[sources.short]
path = "short.jsonl"
{FILE}
[sources.long]
path = "long.jsonl"
{FILE}
[stages.counts]
from = ["short", "long"]
key = "k"
time = "at"
window = {{ size = "10s" }}
aggregate = {{ n = "count(*)", total = "sum(v)" }}
[stages.both]
from = "counts"
time = "window_end"
window = {{ size = "20s" }}
aggregate = {{ n = "sum(n)", total = "sum(total)" }}
[stages.visits]
from = ["short", "long"]
key = "k"
time = "at"
window = {{ gap = "5s" }}
aggregate = {{ n = "count(*)" }}
[stages.pairs]
from = "long"
time = "at"
join = {{ with = "short", on = "v", within = ["-5s", "5s"], type = "left" }}
[stages.paired]
from = "pairs"
time = "at"
window = {{ size = "30s" }}
aggregate = {{ n = "count(*)", found = "count(short_k)" }}
"#
    );
    let mut job = job;
    for sink in ["counts", "both", "visits", "pairs", "paired"] {
        job += &queue_sink(&format!("{sink}-rows"), sink, sink);
    }
    for late in ["both", "paired"] {
        let name = format!("{late}-late");
        job += &queue_sink(&name, &format!("{late}.late"), &name);
    }
    let trial = Trial::new(&job);
    trial.write("short.jsonl", lines(0..10, "a"));
    trial.write("long.jsonl", lines(0..100, "b"));
    trial
}

fn sorted(trial: &Trial, name: &str) -> Vec<String> {
    let mut rows: Vec<String> = trial.rows(&format!("{name}.jsonl")).iter().map(Value::to_string).collect();
    rows.sort();
    rows
}

fn sum(trial: &Trial, name: &str, column: &str) -> u64 {
    trial.rows(&format!("{name}.jsonl")).iter().map(|row| row[column].as_u64().unwrap_or_default()).sum()
}

/// Checks the output of a complete run of [`chain`].
fn check_whole(trial: &Trial) {
    let counts = sorted(trial, "counts");
    assert_eq!(counts.len(), 11, "10 of `b`, 1 of `a`: {counts:?}");
    assert_eq!((sum(trial, "counts", "n"), sum(trial, "counts", "total")), (110, 45 + 4950));
    // Windows end at 10, 20 … 100 s, so that of 0–20 has the first only, and that of 100–120 the last.
    assert_eq!((sorted(trial, "both").len(), sum(trial, "both", "n")), (6, 110));
    assert_eq!((sorted(trial, "visits").len(), sum(trial, "visits", "n")), (2, 110));
    assert_eq!(sorted(trial, "pairs").len(), 100);
    assert_eq!((sorted(trial, "paired").len(), sum(trial, "paired", "n"), sum(trial, "paired", "found")), (4, 100, 10));
    for late in ["both-late", "paired-late"] {
        assert_eq!(sorted(trial, late), Vec::<String>::new(), "{late}");
    }
}

#[test]
fn when_every_source_has_ended_event_time_ends() {
    for (more, arguments) in [("workers = 1", &[][..]), ("batch = \"0s\"", &["--workers", "2"][..])] {
        let more = if more.starts_with("batch") { "" } else { more };
        let trial = chain(more);
        let zero = if arguments.is_empty() { &[][..] } else { &["--set", "batch=0s"][..] };
        let ended = trial.run_ok(&[arguments, zero].concat());
        check_whole(&trial);
        assert!(!ended.stderr.contains("left in state"), "{}", ended.stderr);
    }
}

#[test]
fn a_job_that_is_to_resume_keeps_open_windows() {
    let trial = chain("at_end = \"keep\"\n[checkpoint]\ndir = \"checkpoint\"");
    let ended = trial.run_ok(&[]);
    assert!(sorted(&trial, "counts").len() < 11, "the last window of `long` is open");
    assert!(ended.stderr.contains("left in state"), "{}", ended.stderr);
    assert!(ended.stderr.contains("stay in the checkpoint"), "{}", ended.stderr);
    // The user decides that this was the end.
    trial.run_ok(&["--set", "at_end=flush"]);
    check_whole(&trial);
}

#[test]
fn everything_is_output_once_if_killed_while_event_time_ends() {
    let mut random = Random::new(11);
    for point in ["plan.before", "plan.durable", "commit.before", "commit.written", "commit.after", "store.write"] {
        for _ in 0..2 {
            let trial = chain("[checkpoint]\ndir = \"checkpoint\"\nevery = 1");
            let mut kills = 0;
            for _ in 0..6 {
                let fault = format!("kill@{point}:{}", random.from(1, 20));
                let mut command = trial.command(&["run", "job.toml", "--workers", "2", "--unsupervised"]);
                let ended = Process::start(command.env("MILLSTREAM_TEST_FAULT", fault)).wait();
                assert!(matches!(ended.code, None | Some(0)), "{}", ended.stderr);
                kills += u64::from(ended.code.is_none());
                if ended.code.is_some() {
                    break;
                }
            }
            trial.run_ok(&["--workers", "3"]);
            check_whole(&trial);
            let again = trial.run_ok(&[]);
            assert!(again.stderr.contains("done: 0 batches"), "{point}, {kills} kills: {}", again.stderr);
            check_whole(&trial);
        }
    }
}

/// A stage whose sources have ended need not wait for the others of the job.
#[test]
fn event_time_of_a_stage_ends_with_its_own_sources() {
    let port = free_port();
    let mut server = Process::nc(port);
    let trial = Trial::new(&format!(
        r#"
batch = "0s"
[sources.rows]
path = "rows.jsonl"
{FILE}
[sources.wire]
kind = "socket"
address = "127.0.0.1:{port}"
format = "json"
schema = {{ at = "timestamp" }}
[stages.own]
from = "rows"
{COUNTED}
[stages.wired]
from = "wire"
{COUNTED}
{}{}
"#,
        queue_sink("own-rows", "own", "own"),
        queue_sink("wired-rows", "wired", "wired")
    ));
    trial.write("rows.jsonl", lines(0..25, "a"));
    let job = trial.start(&[]);
    wait_until("the windows of the file are there", || {
        trial.path("own.jsonl").exists() && sum(&trial, "own", "n") == 25
    });
    server.say(&format!("{{\"at\":\"{}\"}}\n", at(3)));
    wait_until("the row of the wire is in a batch", || trial.batches("wired.jsonl").len() > 2);
    // A stop is not an end: the source could have sent more.
    job.signal("TERM");
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(trial.rows("wired.jsonl"), Vec::<Value>::new());
    assert!(ended.stderr.contains("left in state"), "{}", ended.stderr);
    assert!(ended.stderr.contains("wired 1; they are lost"), "{}", ended.stderr);
}

/// A job over test batches with a stage `counts`, and its late rows.
fn counts() -> Trial {
    Trial::new(&format!(
        r#"
clock = "manual"
[checkpoint]
dir = "checkpoint"
{}
[stages.counts]
from = "rows"
{COUNTED}
{}{}
"#,
        queue_source("rows", COLUMNS),
        queue_sink("out", "counts", "out"),
        queue_sink("missed", "counts.late", "late")
    ))
}

fn queue(seconds: impl Iterator<Item = u64>) -> String {
    seconds.fold(String::new(), |text, second| format!("{text}[[\"a\",1,\"{}\"]]\n", at(second)))
}

/// Windows that came out are not opened again.
#[test]
fn rows_after_the_end_of_event_time_are_late() {
    let trial = counts();
    trial.write("rows.jsonl", queue(0..15));
    trial.run_ok(&[]);
    assert_eq!((sum(&trial, "out", "n"), trial.rows("late.jsonl").len()), (15, 0));
    let again = trial.run_ok(&[]);
    assert!(again.stderr.contains("done: 0 batches"), "{}", again.stderr);
    trial.write("rows.jsonl", queue(0..20));
    let ended = trial.run_ok(&[]);
    assert_eq!((sum(&trial, "out", "n"), trial.rows("late.jsonl").len()), (15, 5));
    assert!(ended.stderr.contains("event time has ended"), "{}", ended.stderr);
    // With `keep` they would have been counted.
    let trial = counts();
    trial.write("rows.jsonl", queue(0..15));
    trial.run_ok(&["--set", "at_end=keep"]);
    trial.write("rows.jsonl", queue(0..20));
    trial.run_ok(&[]);
    assert_eq!((sum(&trial, "out", "n"), trial.rows("late.jsonl").len()), (20, 0));
}

/// A limit does not end a source if the next start continues after it; without a checkpoint it does.
#[test]
fn a_limit_leaves_windows_open_for_the_next_start() {
    let job = format!(
        r#"
batch = "0s"
[sources.rows]
path = "rows.jsonl"
{FILE}
[stages.counts]
from = "rows"
{COUNTED}
{}
"#,
        queue_sink("out", "counts", "out")
    );
    let trial = Trial::new(&format!("{job}[checkpoint]\ndir = \"checkpoint\"\n"));
    trial.write("rows.jsonl", lines(0..30, "a"));
    for counted in [0, 10, 20] {
        let ended = trial.run_ok(&["--limit", "8"]);
        assert_eq!(sum(&trial, "out", "n"), counted, "{}", ended.stderr);
        assert!(ended.stderr.contains("left in state"), "{}", ended.stderr);
    }
    trial.run_ok(&["--limit", "8"]);
    assert_eq!(sum(&trial, "out", "n"), 30);
    let trial = Trial::new(&job);
    trial.write("rows.jsonl", lines(0..30, "a"));
    trial.run_ok(&["--limit", "8"]);
    assert_eq!(sum(&trial, "out", "n"), 8);
}

/// Input in pieces gives the same result as all of it together, also if one source has less of it for now than another one.
#[test]
fn a_source_that_resumes_later_does_not_find_its_windows_closed_by_others() {
    let trial = Trial::new(&format!(
        r#"
clock = "manual"
[checkpoint]
dir = "checkpoint"
{}{}
[stages.waiting]
from = "short"
time = "at"
window = {{ size = "20s" }}
select = "k, v, at"
[stages.counts]
from = ["waiting", "long"]
{COUNTED}
{}{}
"#,
        queue_source("short", COLUMNS),
        queue_source("long", COLUMNS),
        queue_sink("out", "counts", "out"),
        queue_sink("missed", "counts.late", "late")
    ));
    for (short, long, at_end) in [(5, 40, "keep"), (9, 40, "keep"), (30, 60, "flush")] {
        trial.write("short.jsonl", queue(0..short));
        trial.write("long.jsonl", queue(0..long));
        trial.run_ok(&["--set", &format!("at_end={at_end}")]);
    }
    assert_eq!((sum(&trial, "out", "n"), trial.rows("late.jsonl").len()), (90, 0));
}

/// The files of a directory are not its end: the next run with `--until-idle` resumes where this one stopped.
#[test]
fn an_idle_directory_has_not_ended() {
    let trial = Trial::new(&format!(
        r#"
batch = "100ms"
[checkpoint]
dir = "checkpoint"
[sources.rows]
kind = "directory"
format = "json"
path = "in"
schema = {{ k = "text", v = "int64", at = "timestamp" }}
[sources.once]
path = "once.jsonl"
{FILE}
[stages.counts]
from = ["rows", "once"]
{COUNTED}
{}
"#,
        queue_sink("out", "counts", "out")
    ));
    trial.write("once.jsonl", lines(0..5, "a"));
    trial.write("in/1.jsonl", lines(0..15, "a"));
    let ended = trial.run_ok(&["--until-idle"]);
    assert_eq!(sum(&trial, "out", "n"), 15, "0–10 s of both, as the file has ended");
    assert!(ended.stderr.contains("left in state"), "{}", ended.stderr);
    trial.move_in("in/2.jsonl", lines(15..25, "a"));
    trial.run_ok(&["--until-idle"]);
    assert_eq!(sum(&trial, "out", "n"), 25);
    let ends: BTreeSet<String> = trial.rows("out.jsonl").iter().map(|row| row["window_end"].to_string()).collect();
    assert_eq!(ends.len(), trial.rows("out.jsonl").len(), "each window once");
}

#[test]
fn until_idle_ends_if_the_server_is_unreachable() {
    let job = |port: u16| {
        Trial::new(&format!(
            r#"
batch = "100ms"
[sources.lines]
kind = "socket"
address = "127.0.0.1:{port}"
{}
"#,
            queue_sink("out", "lines", "out")
        ))
    };
    let ended = job(free_port()).run(&["--until-idle"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let port = free_port();
    let mut server = Process::nc(port);
    let trial = job(port);
    let mut running = trial.start(&["--until-idle"]);
    running.wait_for_stderr("connected to 127.0.0.1");
    server.say("one\n");
    wait_until("the line is there", || trial.rows("out.jsonl").len() == 1);
    server.kill();
    let ended = running.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}
