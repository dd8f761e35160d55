//! Senders that number their requests and repeat those without a response: no row is lost or duplicated, whenever the job dies.

use super::client;
use millstream_tests::{HttpClient, Process, Random, Trial, free_port, kill, passing, wait_until};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

fn job(port: u16, more: &str) -> Trial {
    let source = format!("kind = \"http\"\nlisten = \"127.0.0.1:{port}\"\n{more}");
    passing("batch = \"10ms\"\n[checkpoint]\ndir = \"kept\"\nevery = 5\n", &source, "")
}

fn start(trial: &Trial, fault: &str) -> Process {
    let mut command = trial.command(&["run", "job.toml", "--unsupervised"]);
    Process::start(command.env("MILLSTREAM_TEST_FAULT", fault))
}

fn numbered(producer: &str, sequence: u64) -> [String; 2] {
    [format!("Millstream-Producer: {producer}"), format!("Millstream-Sequence: {sequence}")]
}

fn post(
    client: &mut HttpClient,
    producer: &str,
    sequence: u64,
    body: &str,
) -> std::io::Result<millstream_tests::Reply> {
    let headers = numbered(producer, sequence);
    client.post(&[&headers[0], &headers[1]], body)
}

#[test]
fn a_repeated_request_adds_no_row_even_after_a_restart() {
    let port = free_port();
    let trial = job(port, "");
    for round in 0..2 {
        let mut job = start(&trial, "");
        job.wait_for_stderr("listening on http");
        let mut client = client(port);
        let mut output = |producer: &str, sequence: u64, body: &str| {
            let reply = post(&mut client, producer, sequence, body).unwrap();
            (reply.status, reply.json())
        };
        let repeated = json!({ "rows": 0, "repeated": true });
        let first = if round == 0 { json!({ "rows": 2 }) } else { repeated.clone() };
        assert_eq!(output("p", 7, "a\nb"), (200, first), "{round}");
        assert_eq!(output("p", 7, "a\nb"), (200, repeated.clone()));
        assert_eq!(output("p", 3, "old"), (200, repeated.clone()), "it came before");
        assert_eq!(output("q", 7 + round, "c"), (200, json!({ "rows": 1 })), "another producer, or a later one");
        // A start that knows the batches only from their plans, and one that has a checkpoint.
        job.kill();
    }
    let ended = trial.run_ok(&["--until-idle"]);
    assert_eq!(trial.values("out.jsonl"), ["a", "b", "c", "c"], "{}", ended.stderr);
    let inspected = trial.run_command_ok(&["inspect", "kept"]);
    assert!(inspected.contains("producer:p sent request 7"), "{inspected}");
}

#[test]
fn the_longest_idle_sender_is_dropped_with_a_warning() {
    let port = free_port();
    let trial = job(port, "producers_max = 2");
    let mut job = start(&trial, "");
    job.wait_for_stderr("listening on http");
    let mut client = client(port);
    for (producer, sequence) in [("a", 1), ("b", 1), ("a", 2), ("c", 1)] {
        assert_eq!(post(&mut client, producer, sequence, producer).unwrap().json(), json!({ "rows": 1 }));
    }
    job.wait_for_stderr(
        "more than 2 producers (`producers_max`): `b`, which was idle longest among producers from 127.0.0.1, \
                     was dropped",
    );
    assert_eq!(post(&mut client, "a", 2, "a").unwrap().json()["repeated"], json!(true));
    for sequence in 1..=2 {
        assert_eq!(
            post(&mut client, "b", sequence, "b").unwrap().json(),
            json!({ "rows": 1 }),
            "nobody knows it any more"
        );
    }
    job.stop();
    let inspected = trial.run_command_ok(&["inspect", "kept"]);
    assert!(inspected.contains("producer:b") && !inspected.contains("producer:c"), "{inspected}");
}

#[test]
fn made_up_sender_names_evict_no_others() {
    let port = free_port();
    let trial = job(port, "producers_max = 5");
    let mut job = start(&trial, "");
    job.wait_for_stderr("listening on http");
    let (mut honest, mut other) = (client(port), HttpClient::connect_from("127.0.0.2", port).unwrap());
    for producer in ["a", "b"] {
        assert_eq!(post(&mut honest, producer, 1, producer).unwrap().json(), json!({ "rows": 1 }));
    }
    for number in 0..20 {
        assert_eq!(post(&mut other, &format!("flood-{number}"), 1, "x").unwrap().json(), json!({ "rows": 1 }));
    }
    for producer in ["a", "b"] {
        assert_eq!(post(&mut honest, producer, 1, producer).unwrap().json()["repeated"], json!(true), "{producer}");
    }
    job.wait_for_stderr("idle longest among producers from 127.0.0.2, was dropped");
    job.stop();
}

/// Sends requests of one to three rows, one after the other, each until its response is 200.
fn sender(
    port: u16,
    producer: &'static str,
    until: Arc<AtomicBool>,
    repeated: Arc<AtomicU64>,
) -> thread::JoinHandle<Vec<String>> {
    thread::spawn(move || {
        let (mut sent, mut connection) = (Vec::new(), None);
        for sequence in 1.. {
            if until.load(Ordering::Acquire) {
                break;
            }
            let rows: Vec<String> = (0..=sequence % 3).map(|row| format!("{producer} {sequence} {row}")).collect();
            loop {
                if connection.is_none() {
                    connection = HttpClient::connect(port).ok();
                }
                let reply = connection.as_mut().map(|client| post(client, producer, sequence, &rows.join("\n")));
                match reply {
                    Some(Ok(reply)) if reply.status == 200 => {
                        repeated.fetch_add(u64::from(reply.body.contains("repeated")), Ordering::AcqRel);
                        break;
                    }
                    // Another process knows the sender's position.
                    Some(Ok(reply)) if reply.status == 421 => connection = None,
                    Some(Ok(reply)) => assert!([429, 503].contains(&reply.status), "{reply:?}"),
                    _ => {
                        connection = None;
                        // The job is down.
                        thread::sleep(Duration::from_millis(2));
                    }
                }
            }
            sent.extend(rows);
        }
        sent
    })
}

#[test]
fn no_kill_loses_or_duplicates_a_row_of_senders_that_repeat() {
    let port = free_port();
    let trial = job(port, "");
    let (done, repeated) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let senders = ["p", "q", "r"].map(|producer| sender(port, producer, done.clone(), repeated.clone()));
    let mut random = Random::new(7);
    let steps = ["plan.before", "plan.durable", "commit.before", "commit.written", "commit.after", "start.claim"];
    for kill in 0..24_usize {
        let before = trial.rows("out.jsonl").len();
        if kill % 4 == 3 {
            // At any moment.
            let mut job = start(&trial, "");
            let more = random.from(0, 199) as usize;
            job.wait_until("some rows are there", |_| trial.rows("out.jsonl").len() > before + more);
            job.kill();
        } else {
            let at = random.from(1, 10);
            let step = steps[kill % steps.len()];
            let at = if step.starts_with("start") { 1 } else { at };
            let ended = start(&trial, &format!("kill@{step}:{at}")).wait();
            assert_eq!(ended.code, None, "{step}: {}", ended.stderr);
        }
    }
    let mut job = start(&trial, "");
    job.wait_for_stderr("listening on http");
    wait_until("requests were repeated whose rows were there", || repeated.load(Ordering::Acquire) > 0);
    done.store(true, Ordering::Release);
    let sent = senders.map(|sender| sender.join().unwrap());
    job.stop();
    let values = trial.values("out.jsonl");
    for (producer, sent) in ["p ", "q ", "r "].iter().zip(&sent) {
        let came: Vec<&String> = values.iter().filter(|value| value.starts_with(producer)).collect();
        assert_eq!(came, sent.iter().collect::<Vec<_>>());
    }
    assert_eq!(values.len(), sent.iter().map(Vec::len).sum::<usize>());
}

/// All processes listen at the same address. One of them knows which of a producer's requests arrived, also after a start with
/// more or fewer processes.
#[test]
fn no_kill_loses_or_duplicates_a_row_if_all_processes_listen() {
    let port = free_port();
    let trial = job(port, "spread = true");
    let (done, repeated) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let senders = ["p", "q", "r", "s"].map(|producer| sender(port, producer, done.clone(), repeated.clone()));
    let mut random = Random::new(11);
    for round in 0..8 {
        let before = trial.rows("out.jsonl").len();
        let mut job = trial.start_processes([2, 3, 1][round % 3], 1);
        job.wait_until("some rows are there", |_| trial.rows("out.jsonl").len() > before + 30);
        let listening = listening_at(port);
        assert_eq!(listening, [2, 3, 1][round % 3], "{}", job.stderr());
        if round % 2 == 0 {
            // One process of the job; the supervisor restarts all of them.
            let children = job.children();
            let chosen = random.from(0, children.len() as u64 - 1) as usize;
            kill(children[chosen]);
            let before = trial.rows("out.jsonl").len();
            job.wait_until("more rows are there", |_| trial.rows("out.jsonl").len() > before + 100);
        }
        job.kill_all();
    }
    let mut job = trial.start_processes(2, 2);
    let before = trial.rows("out.jsonl").len();
    job.wait_until("more rows are there", |_| trial.rows("out.jsonl").len() > before + 30);
    done.store(true, Ordering::Release);
    let sent = senders.map(|sender| sender.join().unwrap());
    job.stop();
    let mut values: Vec<String> = trial.values("out.jsonl");
    values.sort();
    let mut sent = sent.concat();
    sent.sort();
    assert!(values == sent, "{} rows were sent, and {} came", sent.len(), values.len());
}

/// The number of sockets that listen at a port of this machine.
fn listening_at(port: u16) -> usize {
    const LISTENS: &str = "0A";
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let place = format!(":{port:04X}");
    let mut lines = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.by_ref().filter(|text| text[1].ends_with(&place) && text[3] == LISTENS).count()
}

/// The port is closed by the old process and opened by the new one; rows of a request with a response are in the job once.
#[test]
fn rescaling_loses_and_duplicates_no_row() {
    let port = free_port();
    let trial = job(port, "");
    let mut job = Process::start(&mut trial.isolated_command(&["run", "job.toml", "--workers", "1"]));
    job.wait_for_stderr("listening on http");
    let (done, repeated) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let senders = ["p", "q", "r"].map(|producer| sender(port, producer, done.clone(), repeated.clone()));
    for workers in ["2", "1", "3"] {
        let before = trial.rows("out.jsonl").len();
        job.wait_until("rows come", |_| trial.rows("out.jsonl").len() > before + 50);
        trial.run_command_ok(&["scale", "job.toml", "--workers", workers]);
    }
    let before = trial.rows("out.jsonl").len();
    job.wait_until("rows are written again", |_| trial.rows("out.jsonl").len() > before + 50);
    done.store(true, Ordering::Release);
    let sent = senders.map(|sender| sender.join().unwrap());
    let output = job.stop();
    assert_eq!(output.matches("the job has new workers").count(), 3, "{output}");
    let values = trial.values("out.jsonl");
    for (producer, sent) in ["p ", "q ", "r "].iter().zip(&sent) {
        let came: Vec<&String> = values.iter().filter(|value| value.starts_with(producer)).collect();
        assert_eq!(came, sent.iter().collect::<Vec<_>>());
    }
    assert_eq!(repeated.load(Ordering::Acquire), 0, "whoever had rows in the job was told so");
}
