//! The sink `nats` with a real server.

use millstream_tests::nats::StoredMessage;
use millstream_tests::{Nats, Process, Random, Trial, is_alive, kill, wait_until};
use serde_json::{Value, json};
use std::thread;
use std::time::Duration;

/// A job that counts, and publishes each row.
fn counting(url: &str, rows: u64, more: &str) -> Trial {
    Trial::new(&format!(
        r#"name = "writer"
batch = "20ms"
[checkpoint]
dir = "checkpoint"
every = 5
[sources.numbers]
kind = "rate"
rows_per_second = 1000
rows_max = {rows}
[stages.named]
from = "numbers"
select = "value as n, concat('t.', value % 2) as place"
[sinks.out]
from = "named"
kind = "nats"
url = "{url}"
stream = "T"
{more}
"#
    ))
}

const SUBJECT: &str = "subject = \"t\"";

/// A job that publishes the lines of a file, all of them in one batch.
fn one_batch(url: &str, lines: u64, more: &str) -> Trial {
    let trial = Trial::new(&format!(
        r#"name = "writer"
batch = "20ms"
[checkpoint]
dir = "checkpoint"
[sources.lines]
kind = "file"
path = "in.txt"
[sinks.out]
from = "lines"
kind = "nats"
url = "{url}"
stream = "T"
subject = "t"
format = "text"
{more}
"#
    ));
    trial.write("in.txt", (0..lines).map(|n| format!("{n}\n")).collect::<String>());
    trial
}

/// The rows of the stream, and the markers.
fn split(nats: &Nats) -> (Vec<StoredMessage>, Vec<StoredMessage>) {
    nats.messages("T").into_iter().partition(|message| !message.subject.starts_with("millstream.T."))
}

/// The numbers of the rows.
fn numbers(nats: &Nats) -> Vec<u64> {
    let number = |message: StoredMessage| match serde_json::from_slice::<Value>(&message.data).unwrap() {
        Value::Number(n) => n.as_u64().unwrap(),
        row => row["n"].as_u64().unwrap(),
    };
    split(nats).0.into_iter().map(number).collect()
}

/// Whether the stream has rows.
fn has_rows(nats: &Nats) -> bool {
    let output = nats.send_request("STREAM.NAMES", &json!({}));
    let is_there = output["streams"].as_array().is_some_and(|streams| streams.contains(&json!("T")));
    is_there
        && nats.send_request("STREAM.INFO.T", &json!({ "subjects_filter": "t" }))["state"]["subjects"]["t"].as_u64()
            > Some(0)
}

/// Whatever dies, each row is there once, in order.
#[test]
fn rows_are_stored_once_after_any_kill() {
    thread::scope(|scope| {
        for (seed, processes) in [(1, 1), (2, 2)] {
            scope.spawn(move || disturbed(seed, processes));
        }
    });
}

fn disturbed(seed: u64, processes: usize) {
    const ROWS: u64 = 6000;
    let (mut random, mut nats) = (Random::new(seed), Nats::start());
    let trial = counting(&nats.url(), ROWS, SUBJECT);
    let mut running = trial.start_processes(processes, 2);
    for _ in 0..12 {
        thread::sleep(Duration::from_millis(random.from(100, 700)));
        if running.has_ended() {
            break;
        }
        match random.from(0, 3) {
            0 => {
                nats.kill();
                thread::sleep(Duration::from_millis(random.from(0, 300)));
                nats.start_again();
            }
            1 => {
                let children = running.children();
                running.kill();
                wait_until("its workers are gone", || children.iter().all(|child| !is_alive(*child)));
                running = trial.start_processes(processes, 2);
            }
            _ => running.children().iter().filter(|child| is_alive(**child)).for_each(|child| kill(*child)),
        }
    }
    let ended = running.wait();
    assert_eq!(ended.code, Some(0), "seed {seed}: {}", ended.stderr);
    assert_eq!(numbers(&nats), (0..ROWS).collect::<Vec<_>>(), "seed {seed}");
    assert_eq!(split(&nats).1.len(), 1, "older markers are gone");
}

/// A process that dies at each step of a commit.
#[test]
fn a_commit_with_a_lost_response_is_not_repeated() {
    for step in ["commit.before:3", "commit.written:3", "commit.after:3", "start.sink:1"] {
        let nats = Nats::start();
        let trial = counting(&nats.url(), 300, SUBJECT);
        let mut command = trial.command(&["run", "job.toml", "--unsupervised"]);
        let ended = Process::start(command.env("MILLSTREAM_TEST_FAULT", format!("kill@{step}"))).wait();
        assert_eq!(ended.code, None, "it does not come to {step}: {}", ended.stderr);
        trial.run_ok(&[]);
        assert_eq!(numbers(&nats), (0..300).collect::<Vec<_>>(), "{step}");
    }
}

/// A JetStream batch holds 1,000 messages: a larger one of ours takes several, and resumes where it was.
#[test]
fn a_large_batch_is_stored_once_wherever_it_was_interrupted() {
    const ROWS: u64 = 3500;
    for step in ["commit.written:1", "commit.written:2", "commit.written:3", "commit.written:4"] {
        let nats = Nats::start();
        let trial = one_batch(&nats.url(), ROWS, "");
        let mut command = trial.command(&["run", "job.toml", "--unsupervised"]);
        let ended = Process::start(command.env("MILLSTREAM_TEST_FAULT", format!("kill@{step}"))).wait();
        assert_eq!(ended.code, None, "it does not come to {step}: {}", ended.stderr);
        let there = numbers(&nats).len();
        assert!(there > 0 && (there.is_multiple_of(999) || there == ROWS as usize), "{step}: {there}");
        trial.run_ok(&[]);
        assert_eq!(numbers(&nats), (0..ROWS).collect::<Vec<_>>(), "{step}");
    }
}

/// A job that generates other rows now cannot complete the batch that it began.
#[test]
fn a_large_batch_that_was_begun_with_other_rows_ends_the_job() {
    let nats = Nats::start();
    let trial = one_batch(&nats.url(), 3500, "");
    let mut command = trial.command(&["run", "job.toml", "--unsupervised"]);
    let ended = Process::start(command.env("MILLSTREAM_TEST_FAULT", "kill@commit.written:2")).wait();
    assert_eq!(ended.code, None, "{}", ended.stderr);
    trial.change(
        "[sinks.out]\nfrom = \"lines\"",
        "[stages.other]\nfrom = \"lines\"\nselect = \"concat(value, '0') as value\"\n[sinks.out]\nfrom = \"other\"",
    );
    let ended = trial.run(&["--unsupervised"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("stream `T` has the first 1998 rows of batch 1, but the job now produces other rows"),
        "{}",
        ended.stderr
    );
    trial.change("from = \"other\"", "from = \"lines\"");
    trial.run_ok(&[]);
    assert_eq!(numbers(&nats), (0..3500).collect::<Vec<_>>());
}

/// A server that allows fewer messages in a batch.
#[test]
fn a_server_with_small_batches_gets_small_ones() {
    let nats = Nats::configured("jetstream { limits { batch { max_msgs: 10 } } }\n", &json!({}));
    one_batch(&nats.url(), 100, "").run_ok(&[]);
    assert_eq!(numbers(&nats), (0..100).collect::<Vec<_>>());
}

/// A start does not know the server's limit yet when it resumes a batch that was begun.
#[test]
fn a_batch_split_for_a_server_is_stored_once_wherever_it_was_interrupted() {
    for step in [17, 18, 19, 20] {
        let nats = Nats::configured("jetstream { limits { batch { max_msgs: 10 } } }\n", &json!({}));
        let trial = counting(&nats.url(), 300, SUBJECT);
        let mut command = trial.command(&["run", "job.toml", "--unsupervised"]);
        let ended = Process::start(command.env("MILLSTREAM_TEST_FAULT", format!("kill@commit.written:{step}"))).wait();
        assert_eq!(ended.code, None, "it does not come to {step}: {}", ended.stderr);
        trial.run_ok(&[]);
        assert_eq!(numbers(&nats), (0..300).collect::<Vec<_>>(), "{step}");
    }
}

#[test]
fn rows_are_messages_of_subjects() {
    let nats = Nats::start();
    let markers = ["t.*", "millstream.T.>"];
    nats.stream("T", &markers, &json!({ "allow_atomic": true }));
    let trial = counting(&nats.url(), 4, "subject_from = \"place\"");
    trial.run_ok(&[]);
    let (rows, _) = split(&nats);
    let output: Vec<(&str, &str)> =
        rows.iter().map(|row| (row.subject.as_str(), std::str::from_utf8(&row.data).unwrap())).collect();
    assert_eq!(output, [("t.0", "{\"n\":0}"), ("t.1", "{\"n\":1}"), ("t.0", "{\"n\":2}"), ("t.1", "{\"n\":3}")]);
    // A reader of the stream sees no markers.
    let reader = Trial::new(&format!(
        "name = \"r\"\nbatch = \"20ms\"\n[sources.in]\nkind = \"nats\"\nurl = \"{}\"\nstream = \"T\"\n[sinks.out]\nfrom = \"in\"\nkind = \"queue\"\npath = \"out.jsonl\"\n",
        nats.url()
    ));
    reader.run_ok(&["--until-idle"]);
    assert_eq!(reader.values("out.jsonl"), ["{\"n\":0}", "{\"n\":1}", "{\"n\":2}", "{\"n\":3}"]);
    let output = counting(&nats.url(), 5, "subject_from = \"n\"").rejected_message(&["validate", "job.toml"]);
    assert!(
        output.contains("`subject_from` names `n`, and the rows have") && output.contains("write one of type text"),
        "{output}"
    );
    let output = counting(&nats.url(), 5, "subject_from = \"place\"\nformat = \"text\"")
        .rejected_message(&["validate", "job.toml"]);
    assert!(output.contains("format `text` writes a single text column next to the subject"), "{output}");
    for (subject, why) in [
        ("t.>", "contains a wildcard"),
        ("t 1", "contains a blank"),
        ("other", "which stream `T` does not have"),
        ("", "is empty, or null"),
    ] {
        let trial = counting(&nats.url(), 5, "subject_from = \"place\"");
        trial.change("concat('t.', value % 2)", &format!("'{subject}'"));
        let ended = trial.run(&["--unsupervised"]);
        assert_ne!(ended.code, Some(0));
        assert!(
            ended.stderr.contains(&format!("row 0 has the subject `{subject}`")) && ended.stderr.contains(why),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn a_stream_without_exactly_once_support_is_rejected() {
    let nats = Nats::start();
    let refused = |more: &str| counting(&nats.url(), 5, more).rejected_message(&["validate", "job.toml"]);
    let both = ["t", "millstream.T.>"];
    let remake = |subjects: &[&str], more: Value| {
        nats.stream("T", subjects, &more);
    };
    let output = refused("subject_from = \"place\"");
    assert!(output.contains("stream `T` does not exist, and its subjects are unknown"), "{output}");
    // It would be created.
    assert!(
        counting(&nats.url(), 5, SUBJECT)
            .run_command_ok(&["validate", "job.toml"])
            .contains("exactly once, with [checkpoint], if the stream keeps the job's marker")
    );
    for (subjects, more, why) in [
        (&both[..], json!({}), "nats stream edit T --allow-batch"),
        (&both[..1], json!({ "allow_atomic": true }), "add `millstream.T.>` to the subjects of the stream"),
        (&both[1..], json!({ "allow_atomic": true }), "stream `T` does not have the subject `t`"),
        (
            &both[..],
            json!({ "allow_atomic": true, "retention": "workqueue" }),
            "(retention `workqueue`), and so the job's marker",
        ),
    ] {
        remake(subjects, more);
        let output = refused(SUBJECT);
        assert!(output.contains(why), "{output}");
        nats.send_request("STREAM.DELETE.T", &json!({}));
    }
}

/// Without atomic batches, the server uses IDs to skip duplicates.
#[test]
fn rows_are_stored_at_least_once_without_atomic_batches() {
    let nats = Nats::start();
    nats.stream("T", &["t"], &json!({}));
    let trial = counting(&nats.url(), 3000, "subject = \"t\"\nexactly_once = false");
    assert!(
        trial
            .run_command_ok(&["validate", "job.toml"])
            .contains("at least once; the stream removes duplicates within its deduplication window")
    );
    for _ in 0..2 {
        let mut command = trial.command(&["run", "job.toml", "--unsupervised"]);
        let ended = Process::start(command.env("MILLSTREAM_TEST_FAULT", "kill@commit.written:5")).wait();
        assert_eq!(ended.code, None, "{}", ended.stderr);
    }
    trial.run_ok(&[]);
    // All of it took less than the two minutes of the window, otherwise some are duplicated.
    let mut found = numbers(&nats);
    found.sort_unstable();
    found.dedup();
    assert_eq!(found, (0..3000).collect::<Vec<_>>());
}

/// Another start of the job owns the sink; the previous one adds nothing more.
#[test]
fn a_replaced_start_adds_nothing() {
    let nats = Nats::start();
    let trial = counting(&nats.url(), 1_000_000, SUBJECT);
    let mut running = trial.start(&["--unsupervised"]);
    running.wait_until("rows are there", |_| has_rows(&nats));
    let marker = nats.send_request("STREAM.MSG.GET.T", &json!({ "last_by_subj": "millstream.T.>" }))["message"].clone();
    nats.publish(marker["subject"].as_str().unwrap(), "{\"generation\":99,\"batch\":1}");
    let ended = running.wait();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("restarted elsewhere (generation 99)"), "{}", ended.stderr);
}

/// A server that loses confirmed data is detected, and the job is not restarted as if nothing had happened.
#[test]
fn a_server_that_lost_what_it_had_confirmed_ends_the_job() {
    let nats = Nats::start();
    let trial = counting(&nats.url(), 1_000_000, SUBJECT);
    let mut running = trial.start(&[]);
    running.wait_until("rows are there", |_| has_rows(&nats));
    nats.send_request("STREAM.PURGE.T", &json!({}));
    let ended = running.wait();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    for text in ["it has lost confirmed messages, or its limits have deleted the marker", "--fresh"] {
        assert!(ended.stderr.contains(text), "{text}: {}", ended.stderr);
    }
}

#[test]
fn an_unreachable_or_full_server_is_waited_for() {
    let mut nats = Nats::not_started(&[], &json!({}));
    let trial = counting(&nats.url(), 2000, SUBJECT);
    let mut running = trial.start(&[]);
    running.wait_for_stderr("the job waits for up to 1h (`wait`)");
    nats.start_again();
    running.wait_until("rows are there", |_| has_rows(&nats));
    nats.kill();
    running.wait_for_stderr("the job waits and retries until it works");
    nats.start_again();
    let ended = running.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(numbers(&nats), (0..2000).collect::<Vec<_>>());
    drop(nats);
    let ended = counting("nats://127.0.0.1:1", 10, "subject = \"t\"\nwait = \"100ms\"").run(&["--unsupervised"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("start the server, or check `url`, or raise `wait`"), "{}", ended.stderr);
}

#[test]
fn errors_of_a_server_are_reported() {
    let nats = Nats::with(&["--user", "me", "--pass", "secret"], &json!({ "user": "me", "pass": "secret" }));
    let url = nats.url().replace("nats://", "nats://me:guessed-password@");
    let ended = counting(&url, 10, SUBJECT).run(&["--unsupervised"]);
    assert_ne!(ended.code, Some(0));
    assert!(ended.stderr.contains("authentication failed; check user, password or token in `url`"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("guessed-password"), "{}", ended.stderr);
    let small = Nats::configured("max_payload: 2000\n", &json!({}));
    let trial = counting(&small.url(), 5, SUBJECT);
    trial.change("value as n", "value as n, repeat('x', 3000) as long");
    let ended = trial.run(&[]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(!ended.stderr.contains("restarting it"), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("row 0 has 30") && ended.stderr.contains("(max_payload); allow larger ones"),
        "{}",
        ended.stderr
    );
}

/// Two jobs, or two sinks of one, publish to one stream: each has a marker of its own.
#[test]
fn several_sinks_share_a_stream() {
    let nats = Nats::start();
    let first = counting(&nats.url(), 200, SUBJECT);
    let more = format!(
        "{SUBJECT}\n[sinks.more-of_it]\nfrom = \"named\"\nkind = \"nats\"\nurl = \"{}\"\nstream = \"T\"\nsubject = \"t\"",
        nats.url()
    );
    let second = counting(&nats.url(), 200, &more);
    first.run_ok(&[]);
    second.run_ok(&[]);
    let mut found = numbers(&nats);
    found.sort_unstable();
    assert_eq!(found, (0..200).flat_map(|n| [n; 3]).collect::<Vec<_>>());
    assert_eq!(split(&nats).1.len(), 3);
}
