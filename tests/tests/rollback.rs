//! Going back to the state before an upgrade: the batches since run again with the plugin of before, and nothing that sinks
//! hold is written twice.

use millstream_tests::{Process, Trial, write_varied};
use serde_json::{Value, json};

/// A job with virtual time that keeps a sum of each word in a local component, with a checkpoint every two batches.
fn sums(way: &str) -> Trial {
    let trial = Trial::new(
        r#"
        name = "sums"
        clock = "manual"
        workers = 2
        [checkpoint]
        dir = "checkpoint"
        every = 2
        [sources.words]
        kind = "queue"
        path = "input.jsonl"
        schema = { word = "text", n = "int64" }
        [stages.totals]
        from = "words"
        key = "word"
        plugin = "totals.wasm"
        [sinks.out]
        from = "totals"
        kind = "queue"
        path = "out.jsonl"
        "#,
    );
    write_varied("varied-update", way, &trial.path("totals.wasm"));
    trial
}

/// Batches of one row, of the word `a`.
fn lines(numbers: &[i64]) -> String {
    numbers.iter().map(|n| format!("[[\"a\",{n}]]\n")).collect()
}

fn sums_of(trial: &Trial) -> Vec<i64> {
    trial.rows("out.jsonl").iter().map(|row| row["sum"].as_i64().expect("a sum")).collect()
}

/// The newest state, by SQL.
fn state(trial: &Trial) -> Value {
    let query = ["state", "job.toml", "--sql", "select word, sum from totals", "--json"];
    let ended = Process::start(&mut trial.command(&query)).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")).collect()
}

/// What sinks hold stays, the state is as if the other plugin had run since the checkpoint, and the job goes on.
fn went_back(trial: &Trial, before: &str, arguments: &[&str]) {
    let ended = trial.run_well(arguments);
    assert!(ended.stderr.contains("after the checkpoint of batch 2"), "{}", ended.stderr);
    assert!(ended.stderr.contains("4 batches to run again"), "{}", ended.stderr);
    assert_eq!(trial.text("out.jsonl"), before, "sinks keep what they hold");
}

#[test]
fn batches_behind_a_checkpoint_run_again_with_another_plugin_and_sinks_keep_what_they_hold() {
    let trial = sums("same");
    trial.write("input.jsonl", lines(&[1, 9, 9, 1, 9, 1]));
    trial.run_well(&[]);
    assert_eq!(sums_of(&trial), [1, 10, 19, 20, 29, 30]);
    let before = trial.text("out.jsonl");
    write_varied("varied-update", "plus", &trial.path("totals.wasm"));
    went_back(&trial, &before, &["--replay-from", "2"]);
    assert_eq!(state(&trial), json!([{"word": "a", "sum": 32}]));
    // 1 and 9 by the old plugin, then 10, 1, 10 and 1 by the new one.
    trial.write("input.jsonl", lines(&[1, 9, 9, 1, 9, 1, 5]));
    trial.run_well(&[]);
    assert_eq!(sums_of(&trial).last(), Some(&37));
    let batches: Vec<Value> = trial.batches("out.jsonl").iter().map(|batch| batch["batch"].clone()).collect();
    assert_eq!(batches, (1..=7).map(|batch| json!(batch)).collect::<Vec<_>>(), "no id is used twice");
}

#[test]
fn a_start_that_was_killed_on_its_way_back_needs_no_second_word() {
    for fault in ["start.claimed", "replay.batch:2", "checkpoint.manifest"] {
        let trial = sums("same");
        trial.write("input.jsonl", lines(&[1, 9, 9, 1, 9, 1]));
        trial.run_well(&[]);
        let before = trial.text("out.jsonl");
        write_varied("varied-update", "plus", &trial.path("totals.wasm"));
        let mut killed = trial.command(&["run", "job.toml", "--unsupervised", "--replay-from", "2"]);
        let ended = Process::start(killed.env("MILLSTREAM_TEST_FAULT", format!("kill@{fault}"))).wait();
        assert_eq!(ended.code, None, "it does not come to {fault}: {}", ended.stderr);
        went_back(&trial, &before, &[]);
        trial.write("input.jsonl", lines(&[1, 9, 9, 1, 9, 1, 5]));
        trial.run_well(&[]);
        assert_eq!(sums_of(&trial).last(), Some(&37), "{fault}");
    }
}

#[test]
fn a_batch_without_a_checkpoint_is_refused_with_those_that_have_one() {
    let trial = sums("same");
    trial.write("input.jsonl", lines(&[1, 9, 9, 1, 9, 1]));
    trial.run_well(&[]);
    let told = trial.refused(&["run", "job.toml", "--replay-from", "3"]);
    assert!(told.contains("`--replay-from 3`") && told.contains("Batches with such a checkpoint: 2, 4, 6."), "{told}");
    let told = Process::start(&mut trial.command(&["run", "job.toml", "--replay-from", "2", "--fresh"])).wait();
    assert_eq!(told.code, Some(2), "{}", told.stderr);
}
