//! Going back to the state before an upgrade: the batches since then are replayed with the previous plugin, and the output of
//! sinks is not written twice.

use millstream_tests::{
    DEADLINE, Ended, Feeder, Process, Trial, free_port, holds_within, signal, varied_line, wait_until, write_varied,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// A job with virtual time that keeps a sum of each word in a local component, whose plugin a test replaces.
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

/// Runs six batches, with a checkpoint after the second and the last.
fn six_batches(trial: &Trial) {
    trial.write("input.jsonl", lines(&[1, 9]));
    trial.run_ok(&["--set", "checkpoint.every=1000"]);
    trial.write("input.jsonl", lines(&[1, 9, 9, 1, 9, 1]));
    trial.run_ok(&["--set", "checkpoint.every=1000"]);
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

/// Rows are printed as they are produced: a reader of the first of very many need not wait for all.
#[test]
fn rows_of_a_query_are_printed_one_by_one() {
    let trial = sums("same");
    six_batches(&trial);
    let query = "select value from generate_series(1, 100000000000)";
    let mut command = trial.command(&["state", "job.toml", "--sql", query, "--json"]);
    let mut requests = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(requests.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first, "{\"value\":1}\n");
    // The output is no longer read, so the process exits.
    assert!(holds_within(DEADLINE, || requests.try_wait().unwrap().is_some()));
}

/// Checks that sinks keep their output, the state is as if the other plugin had run since the checkpoint, and the job continues.
fn check_went_back(trial: &Trial, before: &str, arguments: &[&str]) {
    let ended = trial.run_ok(arguments);
    assert!(ended.stderr.contains("after the checkpoint of batch 2"), "{}", ended.stderr);
    assert!(ended.stderr.contains("4 batches to replay"), "{}", ended.stderr);
    assert_eq!(trial.text("out.jsonl"), before, "sinks keep what they hold");
}

#[test]
fn batches_after_a_checkpoint_are_replayed_with_another_plugin_and_sinks_keep_their_output() {
    let trial = sums("same");
    six_batches(&trial);
    assert_eq!(sums_of(&trial), [1, 10, 19, 20, 29, 30]);
    let before = trial.text("out.jsonl");
    write_varied("varied-update", "plus", &trial.path("totals.wasm"));
    check_went_back(&trial, &before, &["--replay-from", "2"]);
    assert_eq!(state(&trial), json!([{"word": "a", "sum": 32}]));
    // 1 and 9 by the old plugin, then 10, 1, 10 and 1 by the new one.
    trial.write("input.jsonl", lines(&[1, 9, 9, 1, 9, 1, 5]));
    trial.run_ok(&[]);
    assert_eq!(sums_of(&trial).last(), Some(&37));
    let batches: Vec<Value> = trial.batches("out.jsonl").iter().map(|batch| batch["batch"].clone()).collect();
    assert_eq!(batches, (1..=7).map(|batch| json!(batch)).collect::<Vec<_>>(), "no id is used twice");
}

#[test]
fn a_rollback_that_was_killed_resumes_on_its_own() {
    for fault in ["start.claimed:1", "replay.batch:2", "checkpoint.manifest:1"] {
        let trial = sums("same");
        six_batches(&trial);
        let before = trial.text("out.jsonl");
        write_varied("varied-update", "plus", &trial.path("totals.wasm"));
        let mut killed = trial.command(&["run", "job.toml", "--unsupervised", "--replay-from", "2"]);
        let ended = Process::start(killed.env("MILLSTREAM_TEST_FAULT", format!("kill@{fault}"))).wait();
        assert_eq!(ended.code, None, "it does not come to {fault}: {}", ended.stderr);
        check_went_back(&trial, &before, &[]);
        trial.write("input.jsonl", lines(&[1, 9, 9, 1, 9, 1, 5]));
        trial.run_ok(&[]);
        assert_eq!(sums_of(&trial).last(), Some(&37), "{fault}");
    }
}

#[test]
fn a_batch_without_a_checkpoint_is_refused_with_those_that_have_one() {
    let trial = sums("same");
    six_batches(&trial);
    let output = trial.rejected_message(&["run", "job.toml", "--replay-from", "3"]);
    assert!(output.contains("`--replay-from 3`") && output.contains(" 2, 6."), "{output}");
    let output = Process::start(&mut trial.command(&["run", "job.toml", "--replay-from", "2", "--fresh"])).wait();
    assert_eq!(output.code, Some(2), "{}", output.stderr);
}

/// A job that keeps sums of what a feeder sends, in `old.wasm`; `raw` keeps what came in.
fn running(port: u16, world: &str) -> Trial {
    let trial = Trial::new(&format!(
        r#"
        name = "back"
        batch = "20ms"
        workers = 2
        [checkpoint]
        dir = "checkpoint"
        every = "100ms"
        [sources.lines]
        kind = "socket"
        address = "127.0.0.1:{port}"
        format = "csv"
        schema = {{ word = "text", n = "int64" }}
        [stages.made]
        from = "lines"
        plugin = "old.wasm" # the one that we trust
        {}
        [sinks.raw]
        from = "lines"
        kind = "queue"
        path = "raw.jsonl"
        [sinks.out]
        from = "made"
        kind = "queue"
        path = "out.jsonl"
        "#,
        if world == "varied" { "" } else { "key = \"word\"" }
    ));
    write_varied(world, "same", &trial.path("old.wasm"));
    write_varied(world, "plus", &trial.path("new.wasm"));
    trial
}

fn start(trial: &Trial, arguments: &[&str]) -> Process {
    let mut job = Process::start(&mut trial.isolated_command(&[&["run", "job.toml"], arguments].concat()));
    more_rows(trial, &mut job);
    job
}

/// Waits until there are more output rows.
fn more_rows(trial: &Trial, job: &mut Process) {
    let before = trial.rows("out.jsonl").len();
    job.wait_until("more rows come out", |_| trial.rows("out.jsonl").len() > before + 20);
}

/// The start number of the running job, and the digest of the running plugin.
fn status(trial: &Trial) -> (Value, Value) {
    let status: Value = serde_json::from_str(&trial.run_command_ok(&["status", "job.toml", "--json"])).expect("JSON");
    (status["since_us"].clone(), status["stages"][0]["plugin"]["digest"].clone())
}

/// The sum of each word: in the input rows, and in the last output rows.
fn sums_in_and_out(trial: &Trial) -> [BTreeMap<String, i64>; 2] {
    let (mut came, mut went) = (BTreeMap::new(), BTreeMap::new());
    for row in trial.rows("raw.jsonl") {
        *came.entry(row["word"].to_string()).or_insert(0) += row["n"].as_i64().expect("a number");
    }
    for row in trial.rows("out.jsonl") {
        went.insert(row["word"].to_string(), row["sum"].as_i64().expect("a sum"));
    }
    [came, went]
}

fn stop_ok(job: Process) -> Ended {
    job.signal("TERM");
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended
}

/// Each sink holds each batch once, in order.
fn in_order(trial: &Trial) {
    for sink in ["raw.jsonl", "out.jsonl"] {
        let ids: Vec<u64> = trial.batches(sink).iter().map(|batch| batch["batch"].as_u64().expect("an id")).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "{sink}: {ids:?}");
    }
}

#[test]
fn a_running_job_goes_back_to_the_state_before_its_upgrade() {
    for processes in [&[][..], &["--processes", "2"]] {
        let hosts = format!("127.0.0.1:{},127.0.0.1:{}", free_port(), free_port());
        let hosts = ["--hosts", &hosts];
        let arguments = if processes.is_empty() { Vec::new() } else { [processes, &hosts].concat() };
        let feeder = Feeder::start(varied_line);
        let port = feeder.port();
        let trial = running(port, "varied-update");
        let text = trial.text("job.toml");
        let mut job = start(&trial, &arguments);
        let (since, old) = status(&trial);
        trial.run_command_ok(&["upgrade", "job.toml", "made", "new.wasm", "--accept"]);
        assert!(trial.text("job.toml").contains("plugin = \"new.wasm\""));
        more_rows(&trial, &mut job);
        assert_ne!(status(&trial).1, old);
        let shown = trial.run_command_ok(&["rollback", "job.toml", "made"]);
        assert!(shown.contains("stage `made` has old.wasm again, with the state after batch "), "{shown}");
        assert_eq!(trial.text("job.toml"), text, "comments included");
        let (restarted, now) = status(&trial);
        assert!(now == old && restarted.as_i64() > since.as_i64(), "{now} {restarted}");
        more_rows(&trial, &mut job);
        // Every word has occurred since then.
        feeder.pause();
        wait_until("all is committed", || {
            let [came, went] = sums_in_and_out(&trial);
            came == went
        });
        in_order(&trial);
        let again = trial.run_command(&["rollback", "job.toml", "made"]);
        assert_eq!(again.code, Some(2), "{again:?}");
        assert!(again.stderr.contains("has no previous version"), "{}", again.stderr);
        stop_ok(job);
    }
}

/// The previous plugin was the result of an upgrade as well; and the job keeps the workers that it was started with, not the
/// default of this machine.
#[test]
fn a_job_that_was_upgraded_twice_goes_back_once() {
    let feeder = Feeder::start(varied_line);
    let trial = running(feeder.port(), "varied-update");
    let parts = "[sinks.parts]\nfrom = \"made\"\nkind = \"files\"\npath = \"parts\"\nparts = \"worker\"\n";
    trial.write("job.toml", trial.text("job.toml") + parts);
    let mut job = start(&trial, &["--workers", "3"]);
    let mut digests = Vec::new();
    for way in ["plus", "alike"] {
        write_varied("varied-update", way, &trial.path(&format!("{way}.wasm")));
        trial.run_command_ok(&["upgrade", "job.toml", "made", &format!("{way}.wasm"), "--accept"]);
        more_rows(&trial, &mut job);
        digests.push(status(&trial).1);
    }
    let shown = trial.run_command_ok(&["rollback", "job.toml", "made"]);
    assert!(shown.contains("stage `made` has plus.wasm again, with the state after batch "), "{shown}");
    assert_eq!(status(&trial).1, digests[0]);
    more_rows(&trial, &mut job);
    stop_ok(job);
}

/// Simulates a job that is being restarted, which is too short for a test.
#[test]
fn a_job_that_does_not_respond_is_not_treated_as_stopped() {
    let feeder = Feeder::start(varied_line);
    let trial = running(feeder.port(), "varied-update");
    let mut job = start(&trial, &[]);
    trial.run_command_ok(&["upgrade", "job.toml", "made", "new.wasm", "--accept"]);
    more_rows(&trial, &mut job);
    let text = trial.text("job.toml");
    // The supervisor as well: it would take the others for hung, and start them again, while the question waits.
    let all = |name: &str| {
        let children = job.children();
        job.signal(name);
        children.into_iter().for_each(|child| signal(name, child));
    };
    all("STOP");
    let output = trial.run_command(&["rollback", "job.toml", "made"]);
    all("CONT");
    assert_eq!((output.code, trial.text("job.toml")), (Some(1), text), "{output:?}");
    assert!(output.stderr.contains("the job is running but does not respond"), "{}", output.stderr);
    // The supervisor may have taken it for hung.
    wait_until("it has gone back", || {
        let output = trial.run_command(&["rollback", "job.toml", "made"]);
        output.stdout.contains("stage `made` has old.wasm again, with the state after batch ")
    });
    stop_ok(job);
}

#[test]
fn a_job_that_does_not_run_is_told_how_to_start() {
    let feeder = Feeder::start(varied_line);
    let port = feeder.port();
    let trial = running(port, "varied-update");
    let mut job = start(&trial, &[]);
    trial.run_command_ok(&["upgrade", "job.toml", "made", "new.wasm", "--accept"]);
    more_rows(&trial, &mut job);
    stop_ok(job);
    let shown = trial.run_command_ok(&["rollback", "job.toml", "made"]);
    let batch = shown.rsplit_once("--replay-from ").expect("the command is shown").1.trim().to_owned();
    let mut job = start(&trial, &["--replay-from", &batch]);
    more_rows(&trial, &mut job);
    feeder.pause();
    wait_until("all is committed", || {
        let [came, went] = sums_in_and_out(&trial);
        came == went
    });
    in_order(&trial);
    stop_ok(job);
}

/// Command and job die when the job file has the previous plugin but the job has not gone back; or the job does not run, and is
/// started as usual. The state of the abandoned version is not used.
#[test]
fn a_start_after_a_rollback_goes_back_on_its_own() {
    for dies in [true, false] {
        let feeder = Feeder::start(varied_line);
        let trial = running(feeder.port(), "varied-update");
        let mut job = start(&trial, &[]);
        trial.run_command_ok(&["upgrade", "job.toml", "made", "new.wasm", "--accept"]);
        more_rows(&trial, &mut job);
        if dies {
            let mut rollback = trial.isolated_command(&["rollback", "job.toml", "made"]);
            let killed = Process::start(rollback.env("MILLSTREAM_TEST_FAULT", "kill@rollback.written:1")).wait();
            assert_eq!(killed.code, None, "{}", killed.stderr);
            job.kill();
        } else {
            stop_ok(job);
            trial.run_command_ok(&["rollback", "job.toml", "made"]);
        }
        assert!(trial.text("job.toml").contains("plugin = \"old.wasm\""));
        let mut job = start(&trial, &[]);
        more_rows(&trial, &mut job);
        feeder.pause();
        wait_until("all is committed", || {
            let [came, went] = sums_in_and_out(&trial);
            came == went
        });
        in_order(&trial);
        // Once.
        let ended = stop_ok(job);
        assert!(ended.stderr.contains("the job returns to the state after batch "), "{}", ended.stderr);
        let again = Process::start(&mut trial.isolated_command(&["run", "job.toml", "--until-idle"])).wait();
        assert!(again.code == Some(0) && !again.stderr.contains("the job returns"), "{}", again.stderr);
    }
}

/// Its checkpoints are not where the job file says, so it is unknown here whether there is a state to go back to.
#[test]
fn a_job_that_keeps_its_checkpoints_elsewhere_is_not_rolled_back_without_its_state() {
    let feeder = Feeder::start(varied_line);
    let trial = running(feeder.port(), "varied-update");
    let mut job = start(&trial, &["--set", "checkpoint.dir=\"elsewhere\""]);
    trial.run_command_ok(&["upgrade", "job.toml", "made", "new.wasm", "--accept"]);
    more_rows(&trial, &mut job);
    let output = trial.run_command(&["rollback", "job.toml", "made"]);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains("holds none of its checkpoints"), "{}", output.stderr);
    assert!(trial.text("job.toml").contains("plugin = \"new.wasm\""));
    stop_ok(job);
}

#[test]
fn without_state_only_the_plugin_is_rolled_back() {
    for (world, more) in [("varied", &[][..]), ("varied-update", &["--keep-state"])] {
        let feeder = Feeder::start(varied_line);
        let port = feeder.port();
        let trial = running(port, world);
        let mut job = start(&trial, &[]);
        let (since, old) = status(&trial);
        trial.run_command_ok(&["upgrade", "job.toml", "made", "new.wasm", "--accept"]);
        more_rows(&trial, &mut job);
        let shown = trial.run_command_ok(&[&["rollback", "job.toml", "made"], more].concat());
        assert!(shown.contains(" instead of "), "{shown}");
        assert_eq!(status(&trial), (since, old), "{world}: the same run, the previous plugin");
        assert!(trial.text("job.toml").contains("plugin = \"old.wasm\""));
        drop(feeder);
        stop_ok(job);
        in_order(&trial);
    }
}

#[test]
fn a_stage_that_was_never_upgraded_has_nothing_to_go_back_to() {
    let trial = running(free_port(), "varied-update");
    let output = trial.rejected_message(&["rollback", "job.toml", "made"]);
    assert!(output.contains("stage `made` has no previous version"), "{output}");
}

#[test]
fn without_the_previous_plugin_nothing_changes() {
    let feeder = Feeder::start(varied_line);
    let port = feeder.port();
    let trial = running(port, "varied-update");
    let mut job = start(&trial, &[]);
    trial.run_command_ok(&["upgrade", "job.toml", "made", "new.wasm", "--accept"]);
    more_rows(&trial, &mut job);
    let (since, new) = status(&trial);
    std::fs::remove_file(trial.path("old.wasm")).expect("it is there");
    let (text, lock) = (trial.text("job.toml"), trial.text("millstream.lock"));
    let refused = trial.run_command(&["rollback", "job.toml", "made"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("so nothing was changed") && refused.stderr.contains("old.wasm"), "{refused:?}");
    assert_eq!((trial.text("job.toml"), trial.text("millstream.lock")), (text, lock));
    assert_eq!(status(&trial), (since, new), "the job has not noticed");
    write_varied("varied-update", "same", &trial.path("old.wasm"));
    trial.run_command_ok(&["rollback", "job.toml", "made"]);
    stop_ok(job);
}

/// Others may have written the lock file; its previous version is compared with the checkpoint.
#[test]
fn a_lock_file_does_not_choose_what_runs() {
    let feeder = Feeder::start(varied_line);
    let port = feeder.port();
    let trial = running(port, "varied-update");
    let mut job = start(&trial, &[]);
    trial.run_command_ok(&["upgrade", "job.toml", "made", "new.wasm", "--accept"]);
    more_rows(&trial, &mut job);
    write_varied("varied-update", "plus", &trial.path("evil.wasm"));
    let (text, lock) = (trial.text("job.toml"), trial.text("millstream.lock"));
    assert!(lock.contains("plugin = \"old.wasm\""), "{lock}");
    trial.write("millstream.lock", lock.replace("\"old.wasm\"", "\"evil.wasm\""));
    let refused = trial.run_command(&["rollback", "job.toml", "made"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("says that it had evil.wasm before its last upgrade"), "{}", refused.stderr);
    // Another component under the old name.
    trial.write("millstream.lock", &lock);
    std::fs::rename(trial.path("old.wasm"), trial.path("aside.wasm")).expect("it is there");
    std::fs::rename(trial.path("evil.wasm"), trial.path("old.wasm")).expect("it is there");
    let refused = trial.run_command(&["rollback", "job.toml", "made"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("old.wasm is not the component that ran"), "{}", refused.stderr);
    assert_eq!((trial.text("job.toml"), trial.text("millstream.lock")), (text, lock));
    std::fs::rename(trial.path("aside.wasm"), trial.path("old.wasm")).expect("it is there");
    trial.run_command_ok(&["rollback", "job.toml", "made"]);
    stop_ok(job);
}

#[test]
fn a_state_that_was_migrated_goes_back_to_its_old_columns() {
    let feeder = Feeder::start(varied_line);
    let port = feeder.port();
    let trial = running(port, "varied-update");
    write_varied("varied-migrating", "same", &trial.path("new.wasm"));
    let mut job = start(&trial, &[]);
    // It keeps its sums under other names and has the same output.
    let shown = trial.run_command_ok(&["upgrade", "job.toml", "made", "new.wasm", "--accept", "--shadow", "10"]);
    assert!(shown.contains("both versions ran 10 batches") && shown.contains(" instead of "), "{shown}");
    more_rows(&trial, &mut job);
    trial.run_command_ok(&["rollback", "job.toml", "made"]);
    more_rows(&trial, &mut job);
    feeder.pause();
    wait_until("all is committed", || {
        let [came, went] = sums_in_and_out(&trial);
        came == went
    });
    in_order(&trial);
    stop_ok(job);
    let query = ["state", "job.toml", "--sql", "select word, sum from made", "--json"];
    assert!(trial.run_command_ok(&query).contains("\"sum\":"), "the old columns");
}
