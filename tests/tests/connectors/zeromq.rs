//! The source `zeromq` with real sockets.

use millstream_tests::{Process, Random, Trial, Zeromq, free_port, is_alive, kill, wait_until};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// A job that reads, keeps checkpoints, and puts rows into a queue.
fn job(source: &str) -> Trial {
    Trial::new(&format!(
        r#"name = "reader"
batch = "20ms"
[checkpoint]
dir = "checkpoint"
every = 5
[sources.in]
kind = "zeromq"
{source}
[sinks.out]
from = "in"
kind = "queue"
path = "out.jsonl"
[sinks.bad]
from = "in.rejected"
kind = "queue"
path = "bad.jsonl"
"#
    ))
}

fn tcp(port: u16) -> String {
    format!("tcp://127.0.0.1:{port}")
}

fn lines(numbers: std::ops::Range<u64>) -> Vec<Value> {
    numbers.map(|number| json!([format!("line {number}")])).collect()
}

/// The numbers of the lines that came.
fn numbers(trial: &Trial) -> Vec<u64> {
    trial.values("out.jsonl").iter().map(|line| line.strip_prefix("line ").unwrap().parse().unwrap()).collect()
}

/// Runs a job that ends on its own with this exit code; returns its output.
#[track_caller]
fn fails(trial: &Trial, code: i32) -> String {
    let ended = Process::start(&mut trial.command(&["run", "job.toml", "--unsupervised"])).wait();
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    ended.stderr
}

/// Ends a job in order, which may be just starting.
#[track_caller]
fn stop(mut running: Process) {
    running.wait_until("it has begun", |running| running.stderr().contains(" batch "));
    running.stop();
}

const JSON: &str = "format = \"json\"\nschema = { n = \"int64\", topic = { type = \"text\", from = \"topic\" } }";

#[test]
fn the_last_frame_is_the_record_and_the_first_the_topic() {
    let port = free_port();
    let mut publisher = Zeromq::start("xpub", "bind", &tcp(port));
    let trial = job(&format!("url = \"{}\"\ntopic = [\"a\", \"b.ü\"]\n{JSON}", tcp(port)));
    assert!(trial.run_command_ok(&["validate", "job.toml"]).contains("exactly once after a batch is planned"));
    let running = trial.start(&[]);
    publisher.subscribed("a");
    publisher.subscribed("b.ü");
    publisher.send(&[
        json!(["a.x", "{\"n\":1}"]),
        json!(["c", "{\"n\":2}"]),
        json!(["b.ü.y", "between", "", "{\"n\":3}"]),
        json!(["a", "no JSON"]),
        json!(["a{\"n\":4}"]),
        json!([[97, 255], "{\"n\":5}"]),
        json!(["a", ""]),
        json!(["a", "{\"n\":6}"]),
    ]);
    wait_until("all came", || trial.rows("out.jsonl").len() == 3);
    wait_until("the others are refused", || trial.rows("bad.jsonl").len() == 4);
    stop(running);
    let rows = trial.rows("out.jsonl");
    assert_eq!(
        rows,
        [json!({ "n": 1, "topic": "a.x" }), json!({ "n": 3, "topic": "b.ü.y" }), json!({ "n": 6, "topic": "a" })]
    );
    let bad = trial.rows("bad.jsonl");
    let output = |text: &str| bad.iter().any(|row| row["reason"].as_str().unwrap().contains(text));
    assert!(output("its first frame, the topic, is not UTF-8"), "{bad:?}");
}

/// Sockets connect to the job, which reads from each of them.
#[test]
fn sockets_that_connect_are_read() {
    let port = free_port();
    let trial = job(&format!("listen = \"127.0.0.1:{port}\"\nsocket = \"pull\"\nrecord_bytes_max = \"3MiB\""));
    let mut running = trial.start(&[]);
    running.wait_for_stderr("listening on tcp://127.0.0.1:");
    // A client with another protocol does not affect the others.
    let mut stranger = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut silent = TcpStream::connect(("127.0.0.1", port)).unwrap();
    silent.write_all(&[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3]).unwrap();
    let mut pushers: Vec<Zeromq> = (0..3).map(|_| Zeromq::start("push", "connect", &tcp(port))).collect();
    for (at, pusher) in (0..).zip(&mut pushers) {
        pusher.send(&lines(at * 100..at * 100 + 100));
    }
    running.wait_until("all came", |_| trial.rows("out.jsonl").len() == 300);
    let mut found = numbers(&trial);
    found.sort_unstable();
    assert_eq!(found, (0..300).collect::<Vec<_>>());
    assert_eq!(stranger.read(&mut [0; 100]).map_or(0, |_| 0), 0);
    let large = "x".repeat(2 << 20);
    pushers[0].send(&[json!([large]), json!(["first", "y".repeat(4 << 20)]), json!([""]), json!(["last"])]);
    running.wait_until("the last came", |_| trial.values("out.jsonl").iter().any(|line| line == "last"));
    stop(running);
    let found: Vec<usize> = trial.values("out.jsonl")[300..].iter().map(String::len).collect();
    assert_eq!(found, [2 << 20, 0, 4]);
    let bad = trial.rows("bad.jsonl");
    assert_eq!(bad.len(), 1);
    assert!(
        bad[0]["reason"].as_str().unwrap().contains("4194309 bytes, record_bytes_max is 3145728"),
        "{}",
        bad[0]["reason"]
    );
}

/// Planned messages arrive once, whatever is killed; messages that were only received may be lost, and none is duplicated.
#[test]
fn no_message_is_duplicated_after_any_kill() {
    let (mut random, port) = (Random::new(7), free_port());
    let mut pusher = Zeromq::start("push", "bind", &tcp(port));
    let trial = job(&format!("url = \"{}\"\nsocket = \"pull\"", tcp(port)));
    let mut running = trial.start_processes(2, 2);
    for round in 0..8 {
        pusher.hand_over(&lines(round * 100..round * 100 + 100));
        thread::sleep(Duration::from_millis(random.from(50, 500)));
        match random.from(0, 2) {
            0 => {
                let children = running.children();
                running.kill();
                wait_until("its workers are gone", || children.iter().all(|child| !is_alive(*child)));
                running = trial.start_processes(2, 2);
            }
            _ => running.children().iter().filter(|child| is_alive(**child)).for_each(|child| kill(*child)),
        }
    }
    // No more kills from here on.
    let before = trial.rows("out.jsonl").len();
    running.wait_until("it reads again", |_| {
        pusher.send(&[json!(["line 999999"])]);
        trial.rows("out.jsonl").len() > before && numbers(&trial).contains(&999_999)
    });
    running.stop();
    let found: Vec<u64> = numbers(&trial).into_iter().filter(|number| *number < 999_999).collect();
    let mut once = found.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once, found, "in order, and none twice");
    assert!(!found.is_empty());
}

#[test]
fn planned_messages_arrive_once() {
    for step in ["commit.before:1", "commit.after:1"] {
        let port = free_port();
        let mut pusher = Zeromq::start("push", "bind", &tcp(port));
        let trial = job(&format!("url = \"{}\"\nsocket = \"pull\"", tcp(port)));
        // No batch begins before there is something for it: the first has rows.
        trial.change("batch = \"20ms\"", "batch = \"0s\"");
        pusher.hand_over(&lines(0..50));
        let mut command = trial.command(&["run", "job.toml", "--unsupervised"]);
        let ended = Process::start(command.env("MILLSTREAM_TEST_FAULT", format!("kill@{step}"))).wait();
        assert_eq!(ended.code, None, "it does not come to {step}: {}", ended.stderr);
        let mut running = trial.start(&[]);
        running.wait_until("it reads again", |_| {
            pusher.send(&[json!(["line 1000"])]);
            numbers(&trial).contains(&1000)
        });
        running.stop();
        let found: Vec<u64> = numbers(&trial).into_iter().filter(|number| *number < 1000).collect();
        // Messages that were not planned are lost, as no one keeps them.
        assert!(!found.is_empty() && found == (0..found.len() as u64).collect::<Vec<_>>(), "{step}: {found:?}");
    }
}

#[test]
fn an_unreachable_socket_is_waited_for() {
    let port = free_port();
    let trial = job(&format!("url = \"{}\"", tcp(port)));
    let mut running = trial.start(&[]);
    running.wait_for_stderr("retrying until it works");
    for round in 1..3 {
        let mut publisher = Zeromq::start("xpub", "bind", &tcp(port));
        publisher.subscribed("");
        publisher.send(&[json!([format!("line {round}")])]);
        running.wait_until("it came", |_| trial.rows("out.jsonl").len() == round);
        drop(publisher);
        running
            .wait_until("it is missed", |running| running.stderr().matches("retrying until it works").count() > round);
    }
    stop(running);
}

#[test]
fn a_password_is_sent_if_required() {
    let port = free_port();
    let _publisher = Zeromq::with("push", "bind", &tcp(port), &["me", "p@ss/w%rd"]);
    let of = |login: &str| job(&format!("url = \"tcp://{login}127.0.0.1:{port}\"\nsocket = \"pull\""));
    let output = fails(&of(""), 2);
    assert!(
        output.contains("source `in`: ZeroMQ at 127.0.0.1:") && output.contains("authentication required (PLAIN)"),
        "{output}"
    );
    let output = fails(&of("me:guessed-password@"), 2);
    assert!(output.contains("authentication failed (400); check user and password in `url`"), "{output}");
    assert!(!output.contains("guessed-password"), "{output}");
    let trial = of("me:${ZEROMQ_PW}@");
    let mut command = trial.command(&["run", "job.toml", "--until-idle"]);
    let ended = Process::start(command.env("ZEROMQ_PW", "p@ss/w%rd")).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for (url, why) in [
        ("tcp://me:top-secret@:1/", "`url` cannot be read"),
        ("tcp://me:top-secret@h", "`url` names no port"),
        ("tcp://me:top-secret@h:1/x", "has extra text after host and port"),
    ] {
        let output = fails(&job(&format!("url = \"{url}\"")), 2);
        assert!(output.contains(why) && !output.contains("top-secret"), "{url}: {output}");
    }
}

#[test]
fn a_socket_of_another_kind_is_reported() {
    let port = free_port();
    let _rep = Zeromq::start("rep", "bind", &tcp(port));
    let output = fails(&job(&format!("url = \"{}\"", tcp(port))), 2);
    assert!(
        output.contains(
            "it is a REP socket, but a SUB socket receives from PUB or XPUB sockets; check `socket` or the address"
        ),
        "{output}"
    );
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut client in other.incoming().flatten() {
            let _ = client.write_all(b"220 mail.example.org\r\n");
            let _ = client.read(&mut [0; 100]);
        }
    });
    let trial = job(&format!("url = \"{}\"", tcp(port)));
    let mut running = trial.start(&[]);
    running.wait_for_stderr("its first bytes are not ZeroMQ; retrying until it works");
    running.kill();
}
