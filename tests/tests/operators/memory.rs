//! One memory budget for a job: whatever requests more than there is, resident memory stays within the budget and a tenth, and
//! the job reports what happened. The output of a job that fits is unchanged.

use millstream_tests::{Measured, Process, Trial, blocks, free_port, measure, measured, passing, plugin, queue_sink};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

const MIB: u64 = 1 << 20;
/// The exit code of a job that needs more memory than it may have.
const TOO_MUCH: i32 = 3;
const WITHIN: Duration = Duration::from_secs(120);

/// A job with one stage `s` over a file of JSON lines.
fn job(schema: &str, stage: &str, more: &str) -> Trial {
    let out = queue_sink("out", "s", "out");
    Trial::new(&format!(
        r#"batch = "0s"
[sources.rows]
kind = "file"
path = "input.jsonl"
format = "json"
schema = {schema}
[stages.s]
from = "rows"
{stage}
{out}{more}
"#
    ))
}

/// A job whose plugin does what its rows say.
fn greedy(stage: &str, more: &str) -> Trial {
    let plugin = plugin("greedy");
    let stage = format!("key = \"k\"\nplugin = \"{}\"\n{stage}", plugin.display());
    job("{ k = \"int64\", todo = \"text\", n = \"int64\" }", &stage, more)
}

/// The same over test batches: one batch per row.
fn one_by_one(stage: &str, rows: impl Iterator<Item = Value>) -> Trial {
    let trial = greedy(stage, "");
    let text = trial.text("job.toml");
    let text = text.replace("batch = \"0s\"", "clock = \"manual\"").replace("kind = \"file\"", "kind = \"queue\"");
    trial.write("job.toml", text.replace("format = \"json\"\n", ""));
    trial.write("input.jsonl", rows.fold(String::new(), |text, row| format!("{text}[{row}]\n")));
    trial
}

fn orders(trial: &Trial, rows: impl Iterator<Item = (u64, &'static str, u64)>) {
    let mut text = String::new();
    rows.for_each(|(k, todo, n)| writeln!(text, "{}", json!({ "k": k, "todo": todo, "n": n })).unwrap());
    trial.write("input.jsonl", text);
}

fn run(trial: &Trial, budget: u64, more: &[&str]) -> Measured {
    let budget = format!("memory={budget}MiB");
    measured(&trial.command(&[&["run", "job.toml", "--set", &budget], more].concat()), WITHIN)
}

/// Checks that the job ends with the message, and was within its budget all the time. Returns its output.
#[track_caller]
fn check_ends(trial: &Trial, budget: u64, more: &[&str]) -> String {
    let Measured { ended, peak_bytes } = run(trial, budget, more);
    eprintln!("peak {} MiB of {budget}; {}", peak_bytes / MIB, ended.stderr);
    assert!(peak_bytes <= budget * MIB / 10 * 11, "{} MiB of {budget}: {}", peak_bytes / MIB, ended.stderr);
    assert_eq!(ended.code, Some(TOO_MUCH), "{}", ended.stderr);
    let error = ended.stderr.split_once("error: ").expect("it says why").1.to_owned();
    assert!(error.contains("the job needs more memory than it may have: "), "{error}");
    assert!(error.contains("Raise `memory` of the job, or reduce its use"), "{error}");
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    error
}

/// The job does what it should, within its budget.
#[track_caller]
fn run_within_budget(trial: &Trial, budget: u64, more: &[&str]) -> String {
    let Measured { ended, peak_bytes } = run(trial, budget, more);
    eprintln!("peak {} MiB of {budget}", peak_bytes / MIB);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(peak_bytes <= budget * MIB / 10 * 11, "{} MiB of {budget}: {}", peak_bytes / MIB, ended.stderr);
    ended.stderr
}

/// Not a test on its own: see [`measured`].
#[test]
fn measuring() {
    measure();
}

#[test]
fn rejected_rows_with_long_reasons() {
    let stage = "on_error = \"reject\"\nlimits = { rejected = \"64GiB\" }";
    let trial = greedy(stage, "[sinks.refused]\nfrom = \"s.rejected\"\nkind = \"queue\"\npath = \"rejected.jsonl\"");
    orders(&trial, (0..450_000).map(|k| (k, "refuse", 1000)));
    assert!(std::fs::metadata(trial.path("input.jsonl")).unwrap().len() > 16_000_000);
    // More than the limit passes in smaller batches.
    let text = trial.text("job.toml").replace("kind = \"file\"", "kind = \"file\"\nbytes_per_batch_max = \"1MiB\"");
    trial.write("job.toml", text);
    run_within_budget(&trial, 512, &["--workers", "2"]);
    let batches = trial.text("rejected.jsonl");
    assert_eq!(batches.matches("\"reason\":").count(), 450_000);
    // As one batch it does not fit.
    let trial = greedy(stage, "");
    let text = trial
        .text("job.toml")
        .replace("batch = \"0s\"", "clock = \"manual\"")
        .replace("kind = \"file\"", "kind = \"queue\"");
    trial.write("job.toml", text.replace("format = \"json\"\n", ""));
    let rows: Vec<Value> = (0..600_000).map(|k| json!([k, "refuse", 1000])).collect();
    trial.write("input.jsonl", format!("{}\n", Value::Array(rows)));
    let error = check_ends(&trial, 300, &["--workers", "2"]);
    assert!(error.contains("Busy: ") && error.contains("`s"), "{error}");
    assert!(trial.rows("out.jsonl").is_empty());
}

#[test]
fn timers_of_one_key() {
    let stage = "limits = { timers = 1000000000, timers_per_key = 1000000000 }";
    let trial = one_by_one(stage, (0..50).map(|_| json!([1, "timers", 1_000_000])));
    let error = check_ends(&trial, 512, &["--workers", "1"]);
    assert!(error.contains(" MiB: the state of stage `s`"), "{error}");
}

#[test]
fn long_names_in_backtraces() {
    let stage = "on_error = \"reject\"\nlimits = { rejected = \"64GiB\", backtrace = \"64KiB\" }";
    let trial = greedy(stage, "");
    orders(&trial, (0..5_000).map(|k| (k, "trap", 18)));
    // Names and backtraces are cut, so that they are not many times the rows.
    run_within_budget(&trial, 160, &["--workers", "2"]);
}

#[test]
fn state_that_grows_without_end() {
    for workers in ["1", "2"] {
        let trial = greedy("", "[checkpoint]\ndir = \"ck\"\nevery = \"100ms\"");
        // The report has the state after the last batch. On a busy machine, the first batch might be all rows. A tenth of the budget is
        // what plugins and other threads can fill until the process exits, which takes longer there.
        let text = trial.text("job.toml").replace("kind = \"file\"", "kind = \"file\"\nrows_per_batch_max = 10000");
        trial.write("job.toml", text);
        orders(&trial, (0..300_000).map(|k| (k, "keep", 1_000)));
        let error = check_ends(&trial, 384, &["--workers", workers]);
        assert!(error.contains(" MiB: the state of stage `s`"), "{error}");
        // It is not restarted repeatedly, and resumes with a larger budget.
        let again = check_ends(&trial, 384, &["--workers", workers]);
        assert!(again.contains("the budget of this process is 384 MiB"), "{again}");
        run_within_budget(&trial, 1200, &["--workers", workers]);
    }
}

#[test]
fn a_call_that_returns_far_too_much() {
    let limits = "limits = { memory = \"4GiB\", output = \"4GiB\", batch_output = \"64GiB\", expansion = 1000000000, time = \"0s\" }";
    let trial = greedy(limits, "");
    orders(&trial, [(1, "emit", 20_000_000)].into_iter());
    check_ends(&trial, 512, &[]);
}

#[test]
fn an_instance_that_holds_too_much() {
    // No row is to blame for what the job has left.
    let limits = "on_error = \"reject\"\nlimits = { memory = \"4GiB\" }";
    let trial = greedy(limits, "");
    orders(&trial, [(1, "hold", 1_500_000_000)].into_iter());
    let error = check_ends(&trial, 512, &[]);
    assert!(error.contains("plugin greedy 0.1.0: the job needs"), "{error}");
}

#[test]
fn a_join_that_explodes() {
    let stage = "join = { with = \"others\", on = \"k\" }\nwindow = { size = \"1s\" }";
    let trial =
        job("{ k = \"int64\", t = \"text\" }", stage, "[stages.others]\nfrom = \"rows\"\nselect = \"k, t as u\"");
    let text = trial.text("job.toml").replace("batch = \"0s\"", "batch = \"1s\"\nclock = \"manual\"");
    trial.write("job.toml", text.replace("kind = \"file\"", "kind = \"queue\"").replace("format = \"json\"\n", ""));
    let rows: Vec<Value> =
        (0..6_000).map(|_| json!([1, "some text that is there twice in each row of the join"])).collect();
    trial.write("input.jsonl", format!("{}\n", Value::Array(rows)));
    check_ends(&trial, 512, &[]);
}

#[test]
fn a_query_that_explodes_next_to_a_large_state() {
    let more = r#"
[stages.made]
from = "rows"
sql = "select a.n + b.n as n, a.todo || b.todo as t from rows as a cross join rows as b where a.n < 9000000 order by n"
limits = { memory = "64GiB", time = "0s" }
[sinks.made]
from = "made"
kind = "queue"
path = "made.jsonl"
"#;
    let trial = greedy("", more);
    orders(&trial, (0..80_000).map(|k| (k, "keep", 1_000)));
    check_ends(&trial, 512, &["--workers", "1"]);
}

#[test]
fn a_record_of_hundreds_of_megabytes() {
    let trial = job("{ k = \"text\" }", "filter = \"k <> ''\"", "");
    let text = trial.text("job.toml").replace("kind = \"file\"", "kind = \"file\"\nrecord_bytes_max = \"1GiB\"");
    trial.write("job.toml", text);
    trial.write("input.jsonl", format!("{{\"k\":\"{}\"}}\n", "x".repeat(450 << 20)));
    check_ends(&trial, 512, &[]);
}

#[test]
fn two_processes_share_the_budget() {
    let trial = greedy("", "[checkpoint]\ndir = \"ck\"\nevery = \"100ms\"");
    orders(&trial, (0..500_000).map(|k| (k, "keep", 1_000)));
    let ports = [free_port(), free_port()];
    let hosts = ports.map(|port| format!("127.0.0.1:{port}")).join(",");
    // The largest process counts here, which may use half of the budget.
    let Measured { ended, peak_bytes } = run(&trial, 400, &["--workers", "1", "--processes", "2", "--hosts", &hosts]);
    assert_eq!(ended.code, Some(TOO_MUCH), "{}", ended.stderr);
    assert!(ended.stderr.contains("the budget of this process is 200 MiB"), "{}", ended.stderr);
    assert!(peak_bytes <= 220 * MIB, "{} MiB: {}", peak_bytes / MIB, ended.stderr);
}

/// Much more data than the budget passes in total, in batches that would be too large.
#[test]
fn a_job_within_its_budget_gives_the_usual_output() {
    let stage = "key = \"k\"\naggregate = { n = \"count(*)\", total = \"sum(v)\" }\nwindow = \"all\"";
    let trial = job("{ k = \"text\", v = \"int64\", t = \"text\" }", stage, "");
    let (mut text, mut expected) = (String::new(), BTreeMap::<String, (i64, i64)>::new());
    let filler = "what nobody reads, and makes a batch large ".repeat(4);
    for row in 0..700_000_i64 {
        let (k, v) = (format!("key {}", row * row % 7_919), row % 1_000);
        let entry = expected.entry(k.clone()).or_default();
        *entry = (entry.0 + 1, entry.1 + v);
        writeln!(text, r#"{{"k":"{k}","v":{v},"t":"{filler}"}}"#).unwrap();
    }
    trial.write("input.jsonl", text);
    for workers in ["1", "2"] {
        run_within_budget(&trial, 256, &["--workers", workers]);
        let mut last = BTreeMap::new();
        for row in trial.rows("out.jsonl") {
            let number = |name: &str| row[name].as_i64().unwrap();
            last.insert(row["k"].as_str().unwrap().to_owned(), (number("n"), number("total")));
        }
        assert!(last == expected, "{workers} workers");
        std::fs::remove_file(trial.path("out.jsonl")).unwrap();
    }
}

/// Most of the budget is state, so that batches run one at a time, and all of them complete.
#[test]
fn batches_wait_for_each_other_if_memory_is_scarce() {
    let trial = greedy("", "");
    let keeping = (0..170_000).map(|k| (k, "keep", 1_000));
    orders(&trial, keeping.chain((0..200_000).map(|k| (k % 1_000, "count", 0))));
    let output =
        run_within_budget(&trial, 300, &["--workers", "2", "--set", "sources.rows.bytes_per_batch_max=256KiB"]);
    assert!(output.contains("until it uses less, sources wait, and batches are smaller"), "{output}");
    let counts: Vec<i64> = trial.rows("out.jsonl").iter().map(|row| row["n"].as_i64().unwrap()).collect();
    assert_eq!(counts.len(), 200_000, "a row for each row");
}

/// The page's job runs, and its message equals the program's.
#[test]
fn the_examples_of_the_page_print_what_they_show() {
    let of = |language: &str| {
        blocks("docs/how-to/bound-memory-and-state.md")
            .into_iter()
            .find(|block| block.language == language)
            .unwrap()
            .text
    };
    let trial = Trial::new(&of("toml"));
    trial.write("input.txt", "to be\n");
    assert!(trial.run_ok(&[]).stdout.contains("to be"));
    let trial = greedy("", "");
    orders(&trial, (0..200_000).map(|k| (k, "keep", 1_000)));
    let printed = format!("error: {}", check_ends(&trial, 160, &["--workers", "1"]));
    let number =
        |text: &str| text.split(|c: char| c.is_ascii_digit()).filter(|piece| !piece.is_empty()).collect::<String>();
    let (printed, shown) = (number(&printed), number(&of("text").replace("visits", "s").replace("clicks", "rows")));
    for line in shown.lines().filter(|line| !line.contains("error: ")) {
        let begin = line.trim_end_matches('…').trim_end();
        assert!(printed.contains(begin) || line.contains("the waiting rows of source"), "{line}\n{printed}");
    }
}

#[test]
fn the_status_shows_memory() {
    let trial = Trial::new(
        r#"memory = "1GiB"
[sources.rows]
kind = "rate"
rows_per_second = 100
[sinks.out]
from = "rows"
kind = "queue"
path = "out.jsonl"
"#,
    );
    let mut job = trial.start(&[]);
    job.wait_until("it runs", |_| !trial.rows("out.jsonl").is_empty());
    let status = Process::start(&mut trial.command(&["status", "job.toml", "--json"])).wait();
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!((&status["memory_bytes_max"], &status["memory_tight"]), (&json!(1 << 30), &json!(false)));
    assert!(status["memory_bytes"].as_u64().unwrap() > 8 * MIB, "{status}");
    let status = Process::start(&mut trial.command(&["status", "job.toml"])).wait();
    assert!(status.stdout.contains("\nmemory   ") && status.stdout.contains(" of 1.0 GiB\n"), "{}", status.stdout);
}

#[test]
fn a_too_small_budget_is_rejected() {
    let trial = job("{ k = \"int64\" }", "filter = \"k > 0\"", "");
    trial.write("input.jsonl", "");
    let output = trial.rejected_message(&["validate", "job.toml", "--set", "memory=64MiB"]);
    assert!(output.contains("`memory = \"64MiB\"` is out of range; write 128MiB to 1048576GiB"), "{output}");
    let ended = trial.run(&["--set", "memory=200MiB", "--processes", "2", "--process", "0"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("for 2 processes on this machine; each needs at least 128 MiB"), "{}", ended.stderr);
}

#[test]
fn compressed_input_that_decompresses_to_much_takes_no_memory() {
    let trial = passing(
        "batch = \"0s\"",
        "kind = \"file\"\npath = \"bomb.zst\"\nrecord_bytes_max = \"1MiB\"",
        &queue_sink("refused", "in.rejected", "refused"),
    );
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    let block = vec![b'a'; 1 << 20];
    for _ in 0..400 {
        encoder.write_all(&block).unwrap();
    }
    encoder.write_all(b"\nend\n").unwrap();
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    trial.write("bomb.zst", bomb);
    let Measured { ended, peak_bytes } = measured(&trial.command(&["run", "job.toml"]), WITHIN);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(peak_bytes < 300 << 20, "{peak_bytes} bytes for a line of 400 MiB");
    assert_eq!(trial.values("out.jsonl"), ["end"]);
    assert_eq!(trial.rows("refused.jsonl").len(), 1);
}
