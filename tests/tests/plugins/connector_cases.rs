//! Cases of sources and sinks: what passes, which errors of a plugin are found, and the messages for an invalid case. The
//! templates pass in `authoring.rs`.

use millstream_tests::{Ended, Expected, Process, Trial};
use std::fs;
use std::time::Duration;

/// A toolchain may be slow next to other builds.
const BUILDS_WITHIN: Duration = Duration::from_secs(600);
const PASSES: &str = "ok    example\n1 case, 0 failed\n";

fn run(trial: &Trial, arguments: &[&str]) -> Ended {
    Process::start(&mut trial.command(arguments)).wait_within(BUILDS_WITHIN)
}

/// A new project in C, which is built soonest.
fn project(world: &str) -> Trial {
    let trial = Trial::new("");
    trial.run_command_ok(&["new", "a", "--lang", "c", "--world", world]);
    trial
}

fn build(trial: &Trial) {
    let ended = run(trial, &["build", "a"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[track_caller]
fn change(trial: &Trial, file: &str, from: &str, to: &str) {
    let path = trial.path("a").join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

fn case(trial: &Trial, file: &str) -> String {
    fs::read_to_string(trial.path("a/cases/example").join(file)).unwrap()
}

/// The case fails with this message.
#[track_caller]
fn fails(trial: &Trial, arguments: &[&str], message: &str) {
    let ended = run(trial, &[&["test"], arguments, &["a"]].concat());
    assert_eq!(ended.code, Some(1), "{}{}", ended.stdout, ended.stderr);
    assert!(
        ended.stdout.starts_with("FAIL  example\n") && ended.stdout.contains(message),
        "{message}\n{}",
        ended.stdout
    );
}

/// The output is accepted, and these files of the case are written.
#[track_caller]
fn accepts(trial: &Trial, files: &[&str]) {
    let wrote: String = files.iter().map(|file| format!("      wrote a/cases/example/{file}\n")).collect();
    assert_eq!(trial.run_command_ok(&["test", "--accept", "a"]), PASSES.replacen('\n', &format!("\n{wrote}"), 1));
    assert_eq!(trial.run_command_ok(&["test", "a"]), PASSES);
}

#[test]
fn errors_of_a_source_are_found() {
    let trial = project("source");
    build(&trial);
    assert_eq!(trial.run_command_ok(&["test", "a"]), PASSES);
    let server = case(&trial, "server.txt");

    change(&trial, "cases/example/server.txt", "< be", "< bee");
    fails(
        &trial,
        &[],
        "missing      {\"number\":1,\"text\":\"be\"}\n        unexpected   {\"number\":1,\"text\":\"bee\"}",
    );
    fs::write(trial.path("a/cases/example/server.txt"), &server).unwrap();
    change(&trial, "cases/example/server.txt", "FROM {n}", "ALL FROM {n}");
    fails(&trial, &[], "peer `server`: no rule of server.txt matches what the plugin sent: FROM 0");
    fs::write(trial.path("a/cases/example/server.txt"), &server).unwrap();
    change(&trial, "cases/example/case.toml", "rows = 4", "within = \"1s\"\nrows = 5");
    fails(
        &trial,
        &[],
        "after 1s (`within`) there are 3 rows and 1 rejected ones, and 5 are expected together (`rows`)",
    );
    change(&trial, "cases/example/case.toml", "rows = 5", "");
    fails(&trial, &[], "and the plugin has not reported its end; if it never does, write `rows = …`");
    change(&trial, "cases/example/case.toml", "within = \"1s\"", "rows = 3");
    fails(&trial, &[], "there are 3 rows and 1 rejected ones, and 3 are expected together (`rows`)");
    change(&trial, "cases/example/case.toml", "rows = 3", "rows = 4");
    assert_eq!(trial.run_command_ok(&["test", "a"]), PASSES);

    // Rows that never come again are waited for until the timeout.
    change(&trial, "cases/example/case.toml", "rows = 4", "within = \"3s\"\nrows = 4");
    // A position that is one too early, and one too late: only who opens the plugin there sees it.
    for (position, rows) in [
        ("next - 1", "unexpected   {\"number\":0,\"text\":\"to\"}"),
        ("next + 1", "missing      {\"number\":1,\"text\":\"be\"}"),
    ] {
        change(
            &trial,
            "a.c",
            "(long long)next);\n    return MS_OK;",
            &format!("(long long)({position}));\n    return MS_OK;"),
        );
        build(&trial);
        fails(&trial, &[], rows);
        let output = run(&trial, &["test", "a"]).stdout;
        assert!(output.contains("opened again at the position `") && output.contains("`, after 1 rows:"), "{output}");
        change(&trial, "cases/example/case.toml", "rows = 4", "reopen = false\nrows = 4");
        assert_eq!(trial.run_command_ok(&["test", "a"]), PASSES);
        change(&trial, "cases/example/case.toml", "reopen = false\n", "");
        change(&trial, "a.c", &format!("(long long)({position}));"), "(long long)next);");
    }
}

#[test]
fn output_of_a_source_is_accepted() {
    let trial = project("source");
    build(&trial);
    let right = case(&trial, "expected.jsonl");
    let expected = trial.path("a/cases/example/expected.jsonl");
    fs::remove_file(&expected).unwrap();
    fails(&trial, &[], "neither expected.jsonl nor expected-error.txt exists");
    accepts(&trial, &["expected.jsonl", "expected-rejected.jsonl"]);
    assert_eq!(case(&trial, "expected.jsonl"), right);
    // Positions are compared if the case has some.
    fs::write(&expected, right.replace("\"to\"}]", "\"to\"}],\"position\":\"7\"")).unwrap();
    fails(&trial, &[], "after 1 rows:\n        expected position 7\n        got               1");
    fs::write(&expected, right.replace("\"to\"}]", "\"too\"}],\"position\":\"7\"")).unwrap();
    accepts(&trial, &["expected.jsonl", "expected-rejected.jsonl"]);
    let places =
        right.replace("\"to\"}]", "\"to\"}],\"position\":\"1\"").replace("\"be\"}]", "\"be\"}],\"position\":\"2\"");
    assert_eq!(case(&trial, "expected.jsonl"), places.replace("\"or\"}]", "\"or\"}],\"position\":\"4\""));
    // Columns that the case does not list do not matter; what the peer receives matters if there is a file for it.
    fs::write(
        &expected,
        right.replace(",\"text\":\"to\"", "").replace(",\"text\":\"be\"", "").replace(",\"text\":\"or\"", ""),
    )
    .unwrap();
    assert_eq!(trial.run_command_ok(&["test", "a"]), PASSES);
    fs::write(trial.path("a/cases/example/expected-server.txt"), "FROM 1\n").unwrap();
    fails(
        &trial,
        &[],
        "peer `server` received something other than line 1 of expected-server.txt:\n        expected   FROM 1\n        got        FROM 0",
    );
    accepts(&trial, &["expected-server.txt", "expected.jsonl", "expected-rejected.jsonl"]);
    assert_eq!(case(&trial, "expected-server.txt"), "FROM 0\n");
    // An error is accepted if one is expected.
    fs::remove_file(&expected).unwrap();
    fs::write(trial.path("a/cases/example/expected-error.txt"), "no such thing\n").unwrap();
    fails(&trial, &[], "the job did not fail");
    change(
        &trial,
        "cases/example/case.toml",
        "config = { address = \"{server}\" }",
        "config = { adress = \"{server}\" }",
    );
    fails(&trial, &[], "the job failed with another error");
    accepts(&trial, &["expected-error.txt"]);
    assert!(
        case(&trial, "expected-error.txt").starts_with("rejects its config in `describe`: "),
        "{}",
        case(&trial, "expected-error.txt")
    );
}

#[test]
fn errors_of_a_sink_are_found() {
    let trial = project("sink");
    build(&trial);
    assert_eq!(trial.run_command_ok(&["test", "a"]), PASSES);
    let server = case(&trial, "server.txt");
    let again = |from: &str, to: &str| {
        fs::write(trial.path("a/cases/example/server.txt"), &server).unwrap();
        change(&trial, "cases/example/server.txt", from, to);
    };

    again("> BEGIN {_}\n", "");
    fails(&trial, &[], "peer `server`: no rule of server.txt matches what the plugin sent: BEGIN 1");
    again("> COMMIT {last}\n< LAST {last}", "> COMMIT {_}\n< WHAT");
    fails(&trial, &[], "the server replied `WHAT` (3 more times, without a batch in between)");
    // A sink that drops its data: only a plugin that is opened again notices it.
    again("> COMMIT {last}\n< LAST {last}", "> COMMIT {batch}\n< LAST {batch}");
    fails(
        &trial,
        &[],
        "it promises exactly once, but when batch 1 was committed, but the job did not learn of it, `committed` \
        says otherwise: it would be written again, and rows would be duplicated\n        expected   batch 1\n        got        none",
    );
    // A sink that has data that was never committed.
    again("> BEGIN {_}", "> BEGIN {last}");
    fails(
        &trial,
        &[],
        "when batch 1 was written and not committed, `committed` says otherwise: rows would be lost\n        expected   none\n        got        batch 1",
    );
    change(&trial, "cases/example/case.toml", "on_error", "reopen = false\non_error");
    assert_eq!(trial.run_command_ok(&["test", "a"]), PASSES);
    again("> ROW {_}", "> ROW {_}");
    change(&trial, "cases/example/case.toml", "reopen = false\n", "");
    change(&trial, "cases/example/case.toml", "on_error = \"reject\"\n", "");
    fails(&trial, &[], "batch 1: its plugin rejects 1 rows: ");
}

#[test]
fn output_of_a_sink_is_accepted() {
    let trial = project("sink");
    build(&trial);
    let right = case(&trial, "expected-server.txt");
    fs::remove_file(trial.path("a/cases/example/expected-server.txt")).unwrap();
    fails(&trial, &[], "no expected result: expected-server.txt does not exist. What peer `server` received");
    fs::write(trial.path("a/cases/example/expected-rejected.jsonl"), "{\"rows\":[{\"reason\":\"no\"}]}\n").unwrap();
    accepts(&trial, &["expected-server.txt", "expected-rejected.jsonl"]);
    assert_eq!(case(&trial, "expected-server.txt"), right);
    assert_eq!(
        case(&trial, "expected-rejected.jsonl"),
        "{\"batch\":1,\"rows\":[{\"reason\":\"a name is one word\"}]}\n"
    );
}

/// An invalid case is reported with its position before anything runs.
#[test]
fn mistakes_in_cases_are_told() {
    let trial = project("source");
    build(&trial);
    let mut expected = Expected::of(file!(), "mistakes_in_cases_are_told");
    for (file, text) in [
        ("case.toml", "schema = { value = \"text\" }\n"),
        ("server.txt", "> FROM {n}\n<< to\n"),
        ("expected.jsonl", "{\"row\":1}\n"),
    ] {
        let path = trial.path("a/cases/example").join(file);
        let right = fs::read_to_string(&path).unwrap();
        fs::write(&path, text).unwrap();
        expected.add(&format!("{file}\n{text}"), &trial.rejected_message(&["test", "a"]));
        fs::write(path, right).unwrap();
    }
    expected.check_parts();
    // A job's error about the plugin is reported with the line of the case.
    change(&trial, "cases/example/case.toml", "grant = { tcp", "grant = { tpc");
    fails(&trial, &[], "case.toml:5: source `case`: ");
    change(&trial, "cases/example/case.toml", "grant = { tpc = [\"{server}\"] }\n", "");
    fails(&trial, &[], "a connection to {server} is not granted");
}
