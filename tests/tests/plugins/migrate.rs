//! A job continues with another version of its plugin, whose state has other columns: the plugin migrates the previous version's
//! state, or the start is rejected.

use millstream_tests::{Ended, Process, Trial, root};
use serde_json::{Value, json};
use std::fs;

/// Keys with and without rows in the second half, and one whose account is closed.
const FIRST: &str = "[[\"a\",1],[\"b\",2],[\"a\",3]]\n[[\"c\",4],[\"b\",5]]\n[[\"d\",17],[\"a\",6]]\n";
const SECOND: &str = "[[\"a\",7],[\"e\",8]]\n[[\"b\",9],[\"d\",10]]\n[[\"a\",11],[\"b\",12],[\"c\",13]]\n";

fn job(plugin: &str) -> String {
    format!(
        r#"name = "accounts"
clock = "manual"

[checkpoint]
dir = "checkpoint"
every = 2

[sources.lines]
kind = "queue"
path = "input.jsonl"
schema = {{ k = "text", n = "int64" }}

[stages.accounts]
from = "lines"
key = "k"
plugin = "{}/tests/plugins/{plugin}"
timeout = "1h"

[sinks.out]
from = "accounts"
kind = "queue"
path = "out.jsonl"
"#,
        root().display()
    )
}

/// A job whose first version has run.
fn trial() -> Trial {
    let trial = Trial::new(&job("ledger"));
    trial.write("input.jsonl", FIRST);
    trial.run_ok(&[]);
    trial
}

/// The same with the rest of the input, and another plugin.
fn changed(plugin: &str) -> Trial {
    let trial = trial();
    trial.write("job.toml", job(plugin));
    trial.write("input.jsonl", format!("{FIRST}{SECOND}"));
    trial
}

/// The output of the first version alone.
fn golden() -> String {
    let trial = Trial::new(&job("ledger"));
    trial.write("input.jsonl", format!("{FIRST}{SECOND}"));
    trial.run_ok(&[]);
    assert_eq!(trial.batches("out.jsonl").len(), 6);
    trial.text("out.jsonl")
}

/// The state after the newest checkpoint.
fn states(trial: &Trial) -> Vec<Value> {
    let ended = Process::start(&mut trial.command(&[
        "state",
        "job.toml",
        "--sql",
        "select * from accounts order by k",
        "--json",
    ]))
    .wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout.lines().map(|line| serde_json::from_str(line).expect("a row")).collect()
}

fn killed(trial: &Trial, fault: &str) -> Ended {
    trial.killed(fault, &[])
}

#[test]
fn a_version_migrates_the_state_of_the_previous_one() {
    let golden = golden();
    for workers in ["1", "2", "3"] {
        let trial = changed("ledger-2");
        let message = trial.run_ok(&["--workers", workers]).stderr;
        assert!(message.contains("stage `accounts`: plugin ledger-2 0.2.0 took over"), "{message}");
        assert!(message.contains("states of version 0.1.0 in "), "{message}");
        assert_eq!(trial.text("out.jsonl"), golden, "{workers} workers");
        let rows = states(&trial);
        let taken = |k: &str| {
            rows.iter().find(|row| row["k"] == k).map(|row| (&row["place"], &row["taken_over"], &row["note"]))
        };
        assert_eq!(taken("a"), Some((&json!(5), &json!(3), &json!("3 rows before"))), "{rows:?}");
        assert_eq!(taken("c"), Some((&json!(2), &json!(1), &json!("1 rows before"))), "{rows:?}");
        assert_eq!(taken("d"), Some((&json!(1), &Value::Null, &json!(""))), "its account was closed before: {rows:?}");
        assert_eq!(taken("e"), Some((&json!(1), &Value::Null, &json!(""))), "{rows:?}");

        // The state is the new version's now: it is loaded as it is.
        trial.write("input.jsonl", format!("{FIRST}{SECOND}[[\"b\",14]]\n"));
        let message = trial.run_ok(&["--workers", "1"]).stderr;
        assert!(!message.contains("took over"), "{message}");
        let b = trial.rows("out.jsonl").into_iter().rfind(|row| row["k"] == "b").expect("rows of b");
        assert_eq!((&b["n"], &b["place"]), (&json!(14), &json!(5)));
    }
}

/// The first checkpoint of the new version holds all of the state, also keys that have had no row since.
#[test]
fn nothing_is_lost_wherever_the_first_run_of_a_version_is_killed() {
    let golden = golden();
    for fault in ["start.loaded:1", "commit.after:1", "checkpoint.state:1", "checkpoint.published:1", "commit.after:3"]
    {
        let trial = changed("ledger-2");
        killed(&trial, fault);
        trial.run_ok(&["--workers", "2"]);
        assert_eq!(trial.text("out.jsonl"), golden, "{fault}");
        assert_eq!(states(&trial).len(), 5, "{fault}");
    }
}

/// Also if the new version is never called, on all workers or on one.
#[test]
fn unchanged_state_is_kept() {
    let accounts = |trial: &Trial| -> Vec<(Value, Value)> {
        states(trial).into_iter().map(|row| (row["k"].clone(), row["note"].clone())).collect()
    };
    let noted = |k: &str, rows: i64| (json!(k), json!(format!("{rows} rows before")));
    for rest in ["[]\n[]\n", "[]\n[[\"a\",7]]\n"] {
        let trial = changed("ledger-2");
        trial.write("input.jsonl", format!("{FIRST}{rest}"));
        trial.run_ok(&["--workers", "2"]);
        assert_eq!(accounts(&trial), [noted("a", 3), noted("b", 2), noted("c", 1)], "{rest}");
        // And it is loaded unchanged.
        trial.write("input.jsonl", format!("{FIRST}{rest}{SECOND}"));
        let message = trial.run_ok(&["--workers", "1"]).stderr;
        assert!(!message.contains("took over"), "{message}");
        assert_eq!(accounts(&trial)[..3], [noted("a", 3), noted("b", 2), noted("c", 1)], "{rest}");
    }
}

/// Batches that a sink holds are run as they were, by the version of then, before the new one takes over.
#[test]
fn batches_of_the_previous_version_are_replayed_unchanged() {
    let golden = golden();
    let trial = Trial::new(&job("ledger"));
    trial.write("input.jsonl", format!("{FIRST}{SECOND}"));
    killed(&trial, "commit.after:3");
    trial.write("job.toml", job("ledger-2"));
    let message = trial.run_ok(&[]).stderr;
    assert!(message.contains("states of version 0.1.0 in "), "{message}");
    assert_eq!(trial.text("out.jsonl"), golden);
}

/// A batch that ran on migrated state can be replayed, from the checkpoint that the previous version wrote.
#[test]
fn a_batch_after_the_change_can_be_replayed() {
    let trial = changed("ledger-2");
    trial.run_ok(&["--set", "checkpoint.every=100"]);
    let ended = Process::start(&mut trial.command(&["replay", "job.toml", "--batch", "5"])).wait();
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
}

/// The plugin has no influence on how long a key has been idle.
#[test]
fn keys_stay_as_idle_as_they_were() {
    let run = |plugin: &str| {
        let trial = Trial::new(&job("ledger").replace("1h", "3s"));
        trial.write("input.jsonl", "[[\"a\",1]]\n[]\n");
        trial.run_ok(&[]);
        trial.write("job.toml", job(plugin).replace("1h", "3s"));
        trial.write("input.jsonl", "[[\"a\",1]]\n[]\n[]\n[]\n[]\n");
        trial.run_ok(&[]);
        trial.text("out.jsonl")
    };
    let golden = run("ledger");
    assert!(golden.contains("-1"), "the key times out: {golden}");
    assert_eq!(run("ledger-2"), golden);
}

fn check_rejected(trial: &Trial, all: &[&str]) {
    let before = (trial.text("out.jsonl"), fs::read(trial.path("checkpoint/manifest.json")).expect("a manifest"));
    let message = trial.rejected_message(&["run", "job.toml"]);
    for part in all {
        assert!(message.contains(part), "no {part:?} in:\n{message}");
    }
    let after = (trial.text("out.jsonl"), fs::read(trial.path("checkpoint/manifest.json")).expect("a manifest"));
    assert!(before == after, "something was changed");
}

#[test]
fn without_migrate_the_difference_is_reported() {
    let state = "(rows int64, digest int64) of version 0.1.0; the job now needs key (k text or null), state (words text) of \
                 version 0.3.0";
    let choice =
        "use a version of the plugin that migrates it (world `update-migrating`), or let it start with empty state";
    check_rejected(&changed("ledger-3"), &["stage `accounts`: its state no longer fits", state, choice]);
}

/// The plugin has no influence on the key.
#[test]
fn only_the_state_is_migrated() {
    let trial = changed("ledger-2");
    let text = trial.text("job.toml").replace("k = \"text\"", "k = \"int64\"");
    trial.write("job.toml", text);
    check_rejected(&trial, &["its state no longer fits", "key (k int64 or null)", "--drop-state accounts"]);
}

/// Starts with the plugin that does this, from the state of the first version; returns the message.
fn wrong(how: &str, limits: &str) -> (Trial, String) {
    let trial = changed("ledger-bad");
    let text = job("ledger-bad").replace("timeout", &format!("config = {{ how = \"{how}\" }}\n{limits}\ntimeout"));
    trial.write("job.toml", text);
    let ended = trial.run(&["--unsupervised"]);
    assert_eq!(ended.code, Some(if how == "unheard of" { 2 } else { 1 }), "{how}: {}", ended.stderr);
    (trial, ended.stderr)
}

/// More than one call passes.
#[test]
fn many_and_large_states_are_migrated() {
    let line = |first: usize| {
        let rows: Vec<Value> = (0..40_000).map(|key| json!([format!("key {key}"), first + key + 1])).collect();
        format!("{}\n", Value::from(rows))
    };
    let run = |second: &str| {
        let trial = Trial::new(&job("ledger"));
        trial.write("input.jsonl", line(0));
        trial.run_ok(&[]);
        trial.write("job.toml", job(second));
        trial.write("input.jsonl", line(0) + &line(1));
        trial.run_ok(&["--workers", "2"]);
        trial.text("out.jsonl")
    };
    assert!(run("ledger") == run("ledger-2"));
}

#[test]
fn the_same_plugin_can_migrate_correctly() {
    let trial = changed("ledger-bad");
    trial.write("job.toml", job("ledger-bad").replace("timeout", "config = { how = \"right\" }\ntimeout"));
    trial.run_ok(&[]);
    let c = trial.rows("out.jsonl").into_iter().rfind(|row| row["k"] == "c").expect("rows of c");
    assert_eq!((&c["n"], &c["place"]), (&json!(13), &json!(2)));
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    /// Plugins in all languages do it alike.
    #[test]
    fn plugins_in_any_language_migrate_states() {
        let golden = golden();
        let states_of = |plugin: &str| {
            let trial = changed(plugin);
            let message = trial.run_ok(&["--workers", "2"]).stderr;
            assert!(message.contains("states of version 0.1.0 in "), "{plugin}: {message}");
            assert_eq!(trial.text("out.jsonl"), golden, "{plugin}");
            states(&trial)
        };
        let in_rust = states_of("ledger-2");
        for language in ["python", "js", "go", "c"] {
            assert_eq!(states_of(&format!("ledger-2-{language}")), in_rust, "{language}");
        }
    }

    #[test]
    fn a_failed_migration_changes_nothing() {
        let output = "limits = { output = \"1MiB\" }";
        let time = "limits = { time = \"200ms\" }";
        let cases = [
            ("error", "", "nothing is known of version 0.1.0 with rows int64, digest int64"),
            ("unheard of", "", "rejects its config in `migrate`: `how` must not be unheard of"),
            ("fewer rows", "", "returned invalid output in `migrate`: the new states: 2 rows instead of 3"),
            ("more rows", "", "returned invalid output in `migrate`: the new states: 4 rows instead of 3"),
            ("old columns", "", "the new states: 2 columns, but `describe` promised 3"),
            ("fewer columns", "", "the new states: 2 columns, but `describe` promised 3"),
            ("other types", "", "returned invalid output in `migrate`: the new states: column `digest`"),
            ("nulls", "", "column `place`, 3 rows: row 0 is null, but `describe` promised that none is"),
            ("trap", "", "failed in `migrate`: panicked at"),
            ("endless", time, "failed in `migrate`: it ran longer than its time limit of 200ms"),
            ("endless", "on_error = \"reject\"\nlimits = { time = \"50ms\" }", "failed in `migrate`: it ran more than"),
            ("memory", "", "failed in `migrate`: it needs more memory than its limit of 256 MiB"),
            ("output", output, "failed in `migrate`: it returned more than its output limit of 1 MiB"),
        ];
        for (how, limits, strings) in cases {
            let (trial, message) = wrong(how, limits);
            assert!(message.contains("stage `accounts`: plugin ledger-bad 0.4.0"), "{how}: {message}");
            assert!(message.contains(strings), "{how}: no {strings:?} in\n{message}");
            // The previous version resumes as if nothing had happened.
            trial.write("job.toml", job("ledger"));
            trial.run_ok(&[]);
            assert_eq!(trial.text("out.jsonl"), golden(), "{how}");
        }
    }
}
