//! `tests/conformance/entries`: what cases do not show of a sink. Each language writes to the same server, in
//! jobs.

use super::built::{TAKES_AT_MOST, component};
use millstream::internals::author::language::Language;
use millstream_tests::ledger::Ledger;
use millstream_tests::{Ended, Process, Trial, free_port, kill, wait_until};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A batch of these is small, so that a job has many.
const ROWS_PER_BATCH: i64 = 20;

/// Entries as the source has them: these texts in turn, numbered by `seq`.
fn entries(strings: &[&str], count: i64) -> String {
    (0..count).zip(strings.iter().cycle()).fold(String::new(), |mut all, (seq, text)| {
        let half = if seq % 2 == 0 { (seq / 2).to_string() } else { "null".into() };
        let _ = writeln!(all, "{{\"seq\":{seq},\"text\":\"{text}\",\"half\":{half}}}");
        all
    })
}

/// The entries that a server keeps of them.
fn kept(strings: &[&str], count: i64) -> Vec<String> {
    let all = (0..count).zip(strings.iter().cycle()).filter(|(_, text)| **text != "wrong");
    all.map(|(seq, text)| match seq % 2 {
        0 => format!("{seq} {} {text}", seq / 2),
        _ => format!("{seq} - {text}"),
    })
    .collect()
}

/// A job that writes these entries to an address.
fn job(language: Language, config: &str, port: u16, more: &str) -> Trial {
    let plugin = component("entries", language).unwrap_or_else(|message| panic!("{language}: {message}"));
    let trial = Trial::new(&format!(
        r#"
        name = "entries"
        batch = "30ms"
        [checkpoint]
        dir = "checkpoint"
        every = "300ms"
        [sources.in]
        kind = "file"
        path = "entries.jsonl"
        format = "json"
        schema = {{ seq = "int64", text = "text", half = "int64" }}
        rows_per_batch_max = {ROWS_PER_BATCH}
        [sinks.out]
        from = "in"
        kind = "plugin"
        plugin = "{}"
        config = {{ {config} }}
        grant = {{ tcp = ["127.0.0.1:{port}"] }}
        {more}
        "#,
        plugin.display()
    ));
    trial.write("entries.jsonl", "");
    trial
}

fn writing(language: Language, port: u16, strings: &[&str], count: i64, more: &str) -> Trial {
    let trial = job(language, &format!("address = \"127.0.0.1:{port}\""), port, more);
    trial.write("entries.jsonl", entries(strings, count));
    trial
}

/// The same with all entries in batch 1, however late the machine reads them.
fn in_one_batch(trial: &Trial) -> &Trial {
    trial.change("kind = \"file\"", "kind = \"queue\"");
    trial.change("format = \"json\"", "");
    trial.change(&format!("rows_per_batch_max = {ROWS_PER_BATCH}"), "");
    let text = trial.text("entries.jsonl");
    trial.write("entries.jsonl", format!("[{}]\n", text.lines().collect::<Vec<_>>().join(",")));
    trial
}

fn run(trial: &Trial) -> Ended {
    Process::start(&mut trial.command(&["run", "job.toml"])).wait_within(TAKES_AT_MOST)
}

fn kill_workers(job: &Process) {
    for child in job.children() {
        kill(child);
    }
}

/// Connections are cut before and after commits, and the job is killed: all rows are there once, except rejected ones.
pub fn each_batch_once(language: Language) {
    let (strings, count) = (["zero", "wrong", "eins \u{e4}", "a b  c", ""], 600);
    let server = Ledger::start(free_port(), Some(3));
    let trial = writing(language, server.port, &strings, count, "on_error = \"reject\"");
    let job = trial.start(&[]);
    let batches = || server.sinks().values().map(|sink| sink.batches.len()).sum::<usize>();
    for more in [3, 12] {
        wait_until("some is there", || batches() >= more);
        kill_workers(&job);
    }
    let ended = job.wait_within(TAKES_AT_MOST);
    assert_eq!(ended.code, Some(0), "{language}: {}", ended.stderr);
    let sinks = server.sinks();
    let (key, sink) = sinks.first_key_value().unwrap();
    assert!(sinks.len() == 1 && key.ends_with("/out"), "{language}: {:?}", sinks.keys());
    assert_eq!(sink.rows(), kept(&strings, count), "{language}");
    assert!(sink.opened.is_sorted() && sink.opened.last() > sink.opened.first(), "{language}: {:?}", sink.opened);
    assert!(server.state().cut > 0, "{language}: the server was to cut connections");
    for message in ["entries/out is opened at 0", "entry 1 is wrong", "retries until it works"] {
        assert!(ended.stderr.contains(message), "{language}: {message} in {}", ended.stderr);
    }
    // The next start asks the server for its last batch.
    let again = run(&trial);
    assert_eq!(again.code, Some(0), "{language}: {}", again.stderr);
    assert_eq!(server.sinks().values().next().unwrap().rows(), kept(&strings, count), "{language}: nothing is left");
}

/// A server that keeps all rows and does not confirm the first commits.
pub fn at_least_once(language: Language) {
    let (strings, count) = (["zero", "one"], 200);
    let server = Ledger::start(free_port(), None);
    server.state().unresponsive = 2;
    let trial = writing(language, server.port, &strings, count, "");
    trial.change("config = { ", "config = { loose = true, ");
    let output = trial.run_command(&["validate", "job.toml"]);
    assert!(output.stdout.contains("at least once"), "{language}: {}", output.stdout);
    let job = trial.start(&[]);
    wait_until("some is there", || server.loose().len() > 100);
    kill_workers(&job);
    let ended = job.wait_within(TAKES_AT_MOST);
    assert_eq!(ended.code, Some(0), "{language}: {}", ended.stderr);
    let rows = server.loose();
    assert_eq!(
        rows.iter().cloned().collect::<BTreeSet<_>>(),
        kept(&strings, count).into_iter().collect(),
        "{language}"
    );
    let first = rows.iter().filter(|row| *row == "0 0 zero").count();
    assert!(first >= 2, "{language}: the first batch came again: {first}");
}

/// Errors are reported with their kind: an error of the config, of the rows, of the plugin, or a job that was replaced.
pub fn check_errors(language: Language) {
    for (config, message) in [
        ("address = \"\"", "`address` is empty"),
        ("", "missing field `address`"),
        ("address = \"127.0.0.1:1\", more = 1", "unknown field `more`"),
    ] {
        let ended = job(language, config, 1, "").run_command(&["validate", "job.toml"]);
        assert_eq!(ended.code, Some(2), "{language}, {config}: {}", ended.stderr);
        assert!(ended.stderr.contains(message), "{language}, {config}: {}", ended.stderr);
    }
    let server = Ledger::start(free_port(), None);
    for (text, code, message) in [
        ("wrong config", 2, &["rejects its config in batch 1: the config does not fit"][..]),
        ("wrong input", 2, &["rejects its input in batch 1: the rows do not fit"]),
        ("wrong", 1, &["its plugin rejected 1 of 3 rows: row 1 of the batch: entry 1 is wrong"]),
        (
            "mistake",
            1,
            &[
                "sink `out`: plugin conformance-entries 0.1.0 failed in batch 1: ",
                "cannot write `mistake`",
                "Fix the plugin; ",
            ],
        ),
    ] {
        let ended = run(in_one_batch(&writing(language, server.port, &["fine", text, "fine"], 3, "")));
        assert_eq!(ended.code, Some(code), "{language}, {text}: {}", ended.stderr);
        for message in message {
            assert!(ended.stderr.contains(message), "{language}, {text}: {message} in {}", ended.stderr);
        }
    }
    let text = writing(language, server.port, &["fine"], 1, "");
    text.write("entries.jsonl", "{\"seq\":null,\"text\":\"a\",\"half\":null}\n");
    let ended = run(&text);
    assert!(ended.stderr.contains("column `seq` is null"), "{language}: {}", ended.stderr);

    let server = Ledger::start(free_port(), None);
    let trial = writing(language, server.port, &["fine"], 100_000, "");
    let job = trial.start(&[]);
    wait_until("some is there", || server.sinks().values().any(|sink| sink.batches.len() > 3));
    server.overtake();
    let ended = job.wait_within(TAKES_AT_MOST);
    assert_eq!(ended.code, Some(2), "{language}: {}", ended.stderr);
    assert!(ended.stderr.contains("a later start of the job has taken over the sink"), "{language}: {}", ended.stderr);
    assert_eq!(server.sinks().values().next().unwrap().opened.len(), 1, "{language}: it was not started again");
}
