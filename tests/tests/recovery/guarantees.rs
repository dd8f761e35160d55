//! The lines of `host/connectors/notes/guarantees.md` that the kill loop (`kill.rs`) does not hold: sources `directory`, `rate` and
//! `raw-socket`, what `print` shows, and that no environment can weaken them.

use millstream_tests::Trial;
#[cfg(not(feature = "planted-bugs"))]
use millstream_tests::{millstream, root};
use serde_json::{Value, json};
use std::io::Write;
use std::net::{TcpListener, TcpStream};

/// A job with checkpoints that copies a source to `out.jsonl`, or to another sink.
fn job(batch: &str, source: &str, sink: &str) -> Trial {
    Trial::new(&format!(
        "batch = \"{batch}\"\n[checkpoint]\ndir = \"kept\"\nevery = 3\n[sources.in]\n{source}\n[sinks.out]\n\
         from = \"in\"\n{sink}\n"
    ))
}

const QUEUE: &str = "kind = \"queue\"\npath = \"out.jsonl\"";

/// Runs the job until it kills itself at a step. What it printed.
#[track_caller]
fn killed(trial: &Trial, arguments: &[&str], step: &str) -> String {
    trial.killed(step, arguments).stdout
}

/// A column of the rows of `out.jsonl`.
fn column(trial: &Trial, name: &str) -> Vec<Value> {
    trial.rows("out.jsonl").iter().map(|row| row[name].clone()).collect()
}

/// The steps at which a job dies: a batch is planned and not committed, it is committed in part, it is committed.
const STEPS: [&str; 3] = ["plan.durable:5", "commit.written:5", "commit.after:7"];

#[test]
fn rows_of_a_rate_arrive_exactly_once() {
    for step in STEPS {
        let trial = job("20ms", "kind = \"rate\"\nrows_per_second = 1000\nrows_max = 300", QUEUE);
        killed(&trial, &[], step);
        trial.run_ok(&[]);
        assert_eq!(column(&trial, "value"), (0..300).map(Value::from).collect::<Vec<_>>(), "{step}");
    }
}

#[test]
fn a_directory_is_read_exactly_once() {
    for step in STEPS {
        let trial = job("20ms", "kind = \"directory\"\npath = \"in\"\npoll = \"20ms\"\nrows_per_batch_max = 7", QUEUE);
        let lines = |numbers: std::ops::Range<u64>| numbers.map(|n| format!("line {n}\n")).collect::<String>();
        trial.write("in/1.txt", lines(0..30));
        trial.write("in/2.txt", lines(30..60));
        killed(&trial, &["--until-idle"], step);
        trial.write("in/3.txt", lines(60..70));
        trial.run_ok(&["--until-idle"]);
        let expected: Vec<_> = (0..70).map(|n| json!(format!("line {n}"))).collect();
        assert_eq!(column(&trial, "value"), expected, "{step}");
    }
}

/// Planned rows that are not committed exist only in the plan: the sender does not send them again.
#[test]
fn planned_rows_of_a_raw_socket_are_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let sender = std::thread::spawn(move || {
        let send = |frames: std::ops::Range<u8>| {
            let (mut peer, _) = listener.accept().unwrap();
            for number in frames {
                peer.write_all(&[0, 0, 0, 1, number]).unwrap();
            }
            peer
        };
        let kept: [TcpStream; 2] = [send(0..50), send(200..210)];
        kept
    });
    let trial = job("0s", &format!("kind = \"raw-socket\"\naddress = \"{address}\""), QUEUE);
    killed(&trial, &[], "commit.before:1");
    assert!(trial.rows("out.jsonl").is_empty(), "it died before it committed anything");
    let hex = |number: usize| json!(format!("{number:02x}"));
    let mut job = trial.start(&[]);
    job.wait_until("the last frame is there", |_| column(&trial, "value").last() == Some(&hex(209)));
    job.signal("TERM");
    assert_eq!(job.wait().code, Some(0));
    let values = column(&trial, "value");
    let first = values.len() - 10;
    assert!(first > 0, "what was planned is lost");
    assert_eq!(values, (0..first).chain(200..210).map(hex).collect::<Vec<_>>());
    drop(sender.join().unwrap());
}

#[test]
fn print_shows_every_batch_at_least_once_and_says_so() {
    let trial = job("20ms", "kind = \"rate\"\nrows_per_second = 1000\nrows_max = 100", "kind = \"print\"\nrows = 100");
    let mut shown = killed(&trial, &[], "plan.durable:3");
    let ended = trial.run_ok(&[]);
    assert!(ended.stderr.contains("sink `out` prints at least once"), "{}", ended.stderr);
    shown += &ended.stdout;
    let cells: Vec<&str> = shown.split('|').map(str::trim).collect();
    let missing: Vec<u32> = (0..100).filter(|value| !cells.contains(&value.to_string().as_str())).collect();
    assert!(missing.is_empty(), "never shown: {missing:?}");
}

/// All bugs that tests can plant, as the host's sources name them.
#[cfg(not(feature = "planted-bugs"))]
fn planted(dir: &std::path::Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            planted(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let names = text.split("fault::bug!(\"").skip(1).filter_map(|rest| rest.split('"').next());
            found.extend(names.map(|name| format!("bug@{name}")));
        }
    }
}

/// Bugs that a test can plant are not compiled into the program that users get, so no environment variable can enable them.
#[cfg(not(feature = "planted-bugs"))]
#[test]
fn the_program_contains_no_planted_bugs() {
    let mut names = vec!["lose-unsynced".to_owned(), "bug@".to_owned()];
    planted(&root().join("host"), &mut names);
    assert!(names.iter().any(|name| name == "bug@skip-fsync") && names.len() > 12, "{names:?}");
    // The points at which a process may die are there, so this would find names.
    names.push("commit\\.before".to_owned());
    let program = std::fs::read(millstream()).unwrap();
    let named = regex::bytes::Regex::new(&names.join("|")).unwrap();
    let there: std::collections::BTreeSet<_> = named.find_iter(&program).map(|found| found.as_bytes()).collect();
    assert_eq!(there.into_iter().collect::<Vec<_>>(), [b"commit.before"]);
}
