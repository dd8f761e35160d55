//! Senders that number their requests, and repeat what was not answered: no row is lost, and none is there twice, whenever the
//! job dies.

use super::client;
use millstream_tests::{HttpClient, Process, Random, Trial, free_port, kill, passing, until};
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
fn a_repeated_request_brings_no_row_and_a_start_remembers_it() {
    let port = free_port();
    let trial = job(port, "");
    for round in 0..2 {
        let mut job = start(&trial, "");
        job.until_stderr("listening on http");
        let mut client = client(port);
        let mut told = |producer: &str, sequence: u64, body: &str| {
            let reply = post(&mut client, producer, sequence, body).unwrap();
            (reply.status, reply.json())
        };
        let repeated = json!({ "rows": 0, "repeated": true });
        let first = if round == 0 { json!({ "rows": 2 }) } else { repeated.clone() };
        assert_eq!(told("p", 7, "a\nb"), (200, first), "{round}");
        assert_eq!(told("p", 7, "a\nb"), (200, repeated.clone()));
        assert_eq!(told("p", 3, "old"), (200, repeated.clone()), "it came before");
        assert_eq!(told("q", 7 + round, "c"), (200, json!({ "rows": 1 })), "another producer, or a later one");
        // A start that knows the batches by their plans only, and one that has a checkpoint.
        job.kill();
    }
    let ended = trial.run_well(&["--until-idle"]);
    assert_eq!(trial.values("out.jsonl"), ["a", "b", "c", "c"], "{}", ended.stderr);
    let inspected = trial.well(&["inspect", "kept"]);
    assert!(inspected.contains("producer:p sent request 7"), "{inspected}");
}

#[test]
fn who_was_silent_for_longest_is_forgotten_with_a_warning() {
    let port = free_port();
    let trial = job(port, "producers_max = 2");
    let mut job = start(&trial, "");
    job.until_stderr("listening on http");
    let mut client = client(port);
    for (producer, sequence) in [("a", 1), ("b", 1), ("a", 2), ("c", 1)] {
        assert_eq!(post(&mut client, producer, sequence, producer).unwrap().json(), json!({ "rows": 1 }));
    }
    job.until_stderr("more than 2 producers (`producers_max`): `b`, which was silent for longest of those from 127.0.0.1, was dropped");
    assert_eq!(post(&mut client, "a", 2, "a").unwrap().json()["repeated"], json!(true));
    for sequence in 1..=2 {
        assert_eq!(
            post(&mut client, "b", sequence, "b").unwrap().json(),
            json!({ "rows": 1 }),
            "nobody knows it any more"
        );
    }
    job.stop();
    let inspected = trial.well(&["inspect", "kept"]);
    assert!(inspected.contains("producer:b") && !inspected.contains("producer:c"), "{inspected}");
}

#[test]
fn names_that_somebody_makes_up_push_out_none_of_others() {
    let port = free_port();
    let trial = job(port, "producers_max = 5");
    let mut job = start(&trial, "");
    job.until_stderr("listening on http");
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
    job.until_stderr("silent for longest of those from 127.0.0.2, was dropped");
    job.stop();
}

/// Sends requests of one to three rows, one after the other, each until it is answered with 200.
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
                    // Another process knows how far it has come.
                    Some(Ok(reply)) if reply.status == 421 => connection = None,
                    Some(Ok(reply)) => assert!([429, 503].contains(&reply.status), "{reply:?}"),
                    _ => {
                        connection = None;
                        // The job is away.
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
fn no_kill_loses_or_doubles_a_row_of_senders_that_repeat() {
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
            job.until("some rows are there", |_| trial.rows("out.jsonl").len() > before + more);
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
    job.until_stderr("listening on http");
    until("requests were repeated whose rows were there", || repeated.load(Ordering::Acquire) > 0);
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

/// All processes listen at the same address. Which of a producer's requests came is known to one of them, also after a start with more
/// or fewer.
#[test]
fn no_kill_loses_or_doubles_a_row_where_all_processes_listen() {
    let port = free_port();
    let trial = job(port, "spread = true");
    let (done, repeated) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let senders = ["p", "q", "r", "s"].map(|producer| sender(port, producer, done.clone(), repeated.clone()));
    let mut random = Random::new(11);
    for round in 0..8 {
        let before = trial.rows("out.jsonl").len();
        let mut job = trial.start_processes([2, 3, 1][round % 3], 1);
        job.until("some rows are there", |_| trial.rows("out.jsonl").len() > before + 30);
        let listening = listening_at(port);
        assert_eq!(listening, [2, 3, 1][round % 3], "{}", job.stderr());
        if round % 2 == 0 {
            // One process of the job; the supervisor starts all of them again.
            let children = job.children();
            let chosen = random.from(0, children.len() as u64 - 1) as usize;
            kill(children[chosen]);
            let before = trial.rows("out.jsonl").len();
            job.until("more rows are there", |_| trial.rows("out.jsonl").len() > before + 100);
        }
        job.kill_all();
    }
    let mut job = trial.start_processes(2, 2);
    let before = trial.rows("out.jsonl").len();
    job.until("more rows are there", |_| trial.rows("out.jsonl").len() > before + 30);
    done.store(true, Ordering::Release);
    let sent = senders.map(|sender| sender.join().unwrap());
    job.stop();
    let mut values: Vec<String> = trial.values("out.jsonl");
    values.sort();
    let mut sent = sent.concat();
    sent.sort();
    assert!(values == sent, "{} rows were sent, and {} came", sent.len(), values.len());
}

/// How many sockets listen at a port of this machine.
fn listening_at(port: u16) -> usize {
    const LISTENS: &str = "0A";
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let place = format!(":{port:04X}");
    let mut lines = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.by_ref().filter(|words| words[1].ends_with(&place) && words[3] == LISTENS).count()
}

/// The port is closed by the old process and opened by the new one; whoever was answered has its rows in the job, once.
#[test]
fn a_job_that_gets_other_workers_loses_and_doubles_no_row() {
    let port = free_port();
    let trial = job(port, "");
    let mut job = Process::start(&mut trial.command_apart(&["run", "job.toml", "--workers", "1"]));
    job.until_stderr("listening on http");
    let (done, repeated) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let senders = ["p", "q", "r"].map(|producer| sender(port, producer, done.clone(), repeated.clone()));
    for workers in ["2", "1", "3"] {
        let before = trial.rows("out.jsonl").len();
        job.until("rows come", |_| trial.rows("out.jsonl").len() > before + 50);
        trial.well(&["scale", "job.toml", "--workers", workers]);
    }
    let before = trial.rows("out.jsonl").len();
    job.until("rows come again", |_| trial.rows("out.jsonl").len() > before + 50);
    done.store(true, Ordering::Release);
    let sent = senders.map(|sender| sender.join().unwrap());
    let told = job.stop();
    assert_eq!(told.matches("the job has new workers").count(), 3, "{told}");
    let values = trial.values("out.jsonl");
    for (producer, sent) in ["p ", "q ", "r "].iter().zip(&sent) {
        let came: Vec<&String> = values.iter().filter(|value| value.starts_with(producer)).collect();
        assert_eq!(came, sent.iter().collect::<Vec<_>>());
    }
    assert_eq!(repeated.load(Ordering::Acquire), 0, "whoever had rows in the job was told so");
}
