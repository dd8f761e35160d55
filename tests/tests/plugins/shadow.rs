//! A new version of a plugin in the shadow of the old one: both get the same rows, their results are compared, only those of the
//! old one are output, and a rule promotes or drops the new one.

use millstream_tests::{Ended, Feeder, Process, Trial, free_port, wait_until, write_varied};
use serde_json::Value;

/// `<word>,<n>`, with `n` from 0 to 49, repeatedly.
fn line(number: u64) -> String {
    format!("w{},{}", number % 7, number % 50)
}

/// A job whose stage `made` runs the `same` variant of a component of `world`, fed by a feeder.
fn job(world: &str, port: u16, more: &str) -> Trial {
    let stage = match world {
        "transform" => "",
        "cogroup" => "key = \"word\"\ncogroup = [\"others\"]",
        _ => "key = \"word\"",
    };
    let others = match world {
        "cogroup" => "[stages.others]\nfrom = \"lines\"\nfilter = \"n > 10\"",
        _ => "",
    };
    let trial = Trial::new(&format!(
        r#"
        name = "shadowed"
        batch = "20ms"
        workers = 2
        {more}
        [sources.lines]
        kind = "socket"
        address = "127.0.0.1:{port}"
        format = "csv"
        schema = {{ word = "text", n = "int64" }}
        {others}
        [stages.made]
        from = "lines"
        plugin = "old.wasm"
        {stage}
        [sinks.out]
        from = "made"
        kind = "queue"
        path = "out.jsonl"
        [sinks.refused]
        from = "made.rejected"
        kind = "queue"
        path = "refused.jsonl"
        "#
    ));
    write_varied(&plugin(world), "same", &trial.path("old.wasm"));
    trial
}

/// The test plugin of a world.
fn plugin(world: &str) -> String {
    if world == "transform" { "varied".into() } else { format!("varied-{world}") }
}

fn start(trial: &Trial, arguments: &[&str]) -> Process {
    let mut job = Process::start(&mut trial.isolated_command(&[&["run", "job.toml"], arguments].concat()));
    let out = trial.path("out.jsonl");
    job.wait_until("rows come out", |_| std::fs::read_to_string(&out).is_ok_and(|text| text.contains("\"rows\":[{")));
    job
}

fn stop_ok(job: Process) -> Ended {
    job.signal("TERM");
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended
}

/// Runs another variant of the stage's component in a shadow of this many batches; returns how the command ended, and its JSON.
fn shadow(trial: &Trial, world: &str, way: &str, batches: u64, rule: &str) -> (Ended, Value) {
    write_varied(&plugin(world), way, &trial.path("new.wasm"));
    let batches = batches.to_string();
    let arguments =
        ["upgrade", "job.toml", "made", "new.wasm", "--accept", "--shadow", &batches, "--promote", rule, "--json"];
    let ended = trial.run_command(&arguments);
    let json = serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{e}: {ended:?}"));
    (ended, json)
}

fn number(report: &Value, name: &str) -> u64 {
    report["shadow"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {report}"))
}

/// A shadow of another component that does the same in all, and is promoted.
fn is_promoted(trial: &Trial, world: &str) {
    let (ended, report) = shadow(trial, world, "alike", 10, "same");
    assert_eq!((ended.code, &report["promoted"]), (Some(0), &true.into()), "{ended:?}");
    assert_eq!(number(&report, "batches"), 10, "{report}");
    assert!(number(&report, "rows") > 0, "{report}");
    for none in ["rows_differing", "states_differing", "rejected_differing"] {
        assert_eq!(number(&report, none), 0, "{report}");
    }
    assert!(number(&report, "cost_ns") > 0 && number(&report, "cost_new_ns") > 0, "{report}");
}

/// A shadow that is dropped: its report.
fn is_dropped(trial: &Trial, world: &str, way: &str, rule: &str, message: &str) -> Value {
    let (ended, report) = shadow(trial, world, way, 60, rule);
    assert_eq!((ended.code, &report["promoted"]), (Some(1), &false.into()), "{ended:?}");
    assert!(ended.stderr.contains(message), "no {message:?}: {ended:?}");
    report
}

/// The numbers of the transform's rows, in order.
fn numbers(trial: &Trial, file: &str) -> Vec<i64> {
    trial.rows(file).iter().map(|row| row["n"].as_i64().expect("a number")).collect()
}

#[test]
fn a_transform_in_a_shadow_is_compared_row_by_row_and_has_no_output() {
    let feeder = Feeder::start(line);
    let port = feeder.port();
    let trial = job("transform", port, "");
    let job = start(&trial, &[]);
    let plus = is_dropped(&trial, "transform", "plus", "same", "rows differ");
    assert!(number(&plus, "rows_differing") > 0 && number(&plus, "rejected_differing") == 0, "{plus}");
    let example = plus["shadow"]["examples"][0].as_str().expect("an example");
    assert!(example.starts_with("batch ") && example.contains("the old version emitted {word: w"), "{example}");
    let strict = is_dropped(&trial, "transform", "strict", "no-more-rejected", "it rejected ");
    assert!(number(&strict, "rejected_new") > number(&strict, "rejected"), "{strict}");
    is_dropped(&trial, "transform", "alike", "never", "the report only");
    is_promoted(&trial, "transform");
    let sent = feeder.pause();
    wait_until("all rows came out", || numbers(&trial, "out.jsonl").len() as u64 >= sent);
    stop_ok(job);
    let came = numbers(&trial, "out.jsonl");
    // The feeder continues to count while nothing is connected.
    let expected: Vec<i64> = (0..50).cycle().skip(came[0] as usize).take(came.len()).collect();
    assert_eq!(came, expected, "what comes out is the old version's, each row once");
    assert_eq!(numbers(&trial, "refused.jsonl"), [0; 0]);
}

#[test]
fn a_shadow_that_fails_or_never_ends_is_dropped_and_the_job_continues() {
    let feeder = Feeder::start(line);
    let port = feeder.port();
    let trial = job("transform", port, "");
    trial.write(
        "job.toml",
        trial.text("job.toml").replace("\"old.wasm\"", "\"old.wasm\"\nlimits = { time = \"200ms\" }"),
    );
    let mut job = start(&trial, &[]);
    let failed = is_dropped(&trial, "transform", "fail", "always", "a call of it failed");
    assert!(failed["shadow"]["failed"].as_str().expect("why").contains("not the number 13"), "{failed}");
    let endless = is_dropped(&trial, "transform", "loop", "always", "a call of it failed");
    assert!(endless["shadow"]["failed"].is_string(), "{endless}");
    let sent = feeder.pause();
    wait_until("all rows came out", || numbers(&trial, "out.jsonl").len() as u64 >= sent);
    assert!(!job.has_ended());
    stop_ok(job);
}

#[test]
fn logs_and_counters_of_a_shadow_are_separate() {
    let feeder = Feeder::start(line);
    let port = feeder.port();
    let trial = job("transform", port, "");
    let job = start(&trial, &[]);
    is_dropped(&trial, "transform", "said", "never", "the report only");
    let output = trial.run_command(&["status", "job.toml", "--json"]);
    assert!(output.stdout.contains("\"counters\":{}") && !output.stdout.contains("said"), "{}", output.stdout);
    assert!(!job.stderr().contains("it says something"), "{}", job.stderr());
    let (ended, _) = shadow(&trial, "transform", "said", 3, "always");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let mut job = job;
    job.wait_for_stderr("it says something");
    stop_ok(job);
}

#[test]
fn states_in_a_shadow_are_copies_that_are_compared_key_by_key() {
    let more = "[checkpoint]\ndir = \"checkpoint\"\nevery = \"100ms\"";
    let feeder = Feeder::start(line);
    let port = feeder.port();
    let trial = job("update", port, more);
    let job = start(&trial, &[]);
    // The first difference is one of states alone: rows show it in the next batch of the key.
    let hidden = is_dropped(&trial, "update", "hidden", "same", "states differ");
    assert!(number(&hidden, "states_differing") > 0, "{hidden}");
    let examples = hidden["shadow"]["examples"].to_string();
    assert!(examples.contains("state of {word: w") && examples.contains("{sum: "), "{examples}");
    let forget = is_dropped(&trial, "update", "forget", "same", "states differ");
    assert!(forget["shadow"]["examples"].to_string().contains("none in the new one"), "{forget}");
    let strict = is_dropped(&trial, "update", "strict", "same", "not the same");
    assert!(number(&strict, "rejected_new") > number(&strict, "rejected"), "{strict}");
    let failed = is_dropped(&trial, "update", "fail", "always", "a call of it failed");
    assert!(failed["shadow"]["failed"].is_string(), "{failed}");
    is_promoted(&trial, "update");
    stop_ok(job);
    // Each key's sums grow without a gap: no shadow has touched them.
    let mut sums = std::collections::BTreeMap::new();
    for row in trial.rows("out.jsonl") {
        let (word, sum) = (row["word"].to_string(), row["sum"].as_i64().expect("a sum"));
        assert!(sums.insert(word, sum).is_none_or(|before| before <= sum), "{row}");
    }
}

#[test]
fn aggregates_and_cogroups_run_in_shadows_on_all_workers() {
    for world in ["aggregate", "cogroup"] {
        let feeder = Feeder::start(line);
        let port = feeder.port();
        let trial = job(world, port, "");
        let job = start(&trial, &[]);
        let plus = is_dropped(&trial, world, "plus", "same", "rows differ");
        assert!(
            number(&plus, "rows_differing") > 0 && number(&plus, "rows") > number(&plus, "rows_differing"),
            "{plus}"
        );
        let failed = is_dropped(&trial, world, "fail", "always", "a call of it failed");
        assert!(failed["shadow"]["failed"].is_string(), "{world}: {failed}");
        is_promoted(&trial, world);
        stop_ok(job);
    }
}

#[test]
fn a_shadow_runs_in_all_processes_of_a_job() {
    for world in ["aggregate", "update"] {
        let more = "[checkpoint]\ndir = \"checkpoint\"\nevery = \"200ms\"";
        let feeder = Feeder::start(line);
        let port = feeder.port();
        let trial = job(world, port, more);
        let hosts = format!("127.0.0.1:{},127.0.0.1:{}", free_port(), free_port());
        let job = start(&trial, &["--processes", "2", "--hosts", &hosts]);
        let plus = is_dropped(&trial, world, "plus", "same", "not the same");
        assert!(number(&plus, "rows_differing") > 0, "{world}: {plus}");
        is_promoted(&trial, world);
        // It is over in all processes, so another one may begin.
        is_dropped(&trial, world, "plus", "same", "not the same");
        stop_ok(job);
    }
}

#[test]
fn an_incomparable_version_is_rejected_and_the_job_continues() {
    let feeder = Feeder::start(line);
    let port = feeder.port();
    let trial = job("aggregate", port, "");
    let text = trial.text("job.toml");
    trial.write("job.toml", text.replace("key = \"word\"", "key = \"word\"\nwindow = { size = \"100ms\" }"));
    let mut job = start(&trial, &[]);
    write_varied("varied-aggregate", "plus", &trial.path("new.wasm"));
    for (batches, message) in [("5", "aggregates over windows"), ("0", "a shadow runs for 1 to ")] {
        let arguments = ["upgrade", "job.toml", "made", "new.wasm", "--accept", "--shadow", batches];
        let ended = trial.run_command(&arguments);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains(message), "{ended:?}");
    }
    let alone = ["upgrade", "job.toml", "made", "new.wasm", "--promote", "always"];
    let ended = trial.run_command(&alone);
    assert!(ended.code == Some(2) && ended.stderr.contains("--shadow"), "{ended:?}");
    assert!(!job.has_ended());
    stop_ok(job);
}
