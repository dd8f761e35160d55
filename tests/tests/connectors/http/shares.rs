//! The sink `http` with `parts = "worker"`: each worker sends its share of a batch with its own keys. A server that honors them
//! takes each row once, whatever dies and however many workers come next.

use millstream_tests::{HttpRequest, HttpServer, Trial, free_port, passing, two_hosts, wait_until};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const ROWS: u64 = 600;

/// A job that counts up and sends to this port; each worker has rows of each batch, and all rows of its keys.
fn counting(port: u16, more: &str) -> Trial {
    Trial::new(&format!(
        r#"batch = "20ms"
[checkpoint]
dir = "checkpoint"
every = 7
[sources.in]
kind = "rate"
rows_per_second = 2000
rows_max = {ROWS}
rows_per_batch_max = 20
[stages.named]
from = "in"
select = "value, value % 7 as k"
[stages.spread]
from = "named"
key = "k"
repartition = {{ }}
[sinks.out]
from = "spread"
kind = "http"
url = "http://127.0.0.1:{port}/"
rows_per_request_max = 3
parts = "worker"
{more}
"#
    ))
}

/// Kills it with several numbers of workers, and lets it complete in two processes.
fn with_other_workers(trial: &Trial) {
    trial.killed("commit.after:23", &["--workers", "3"]);
    trial.killed("commit.before:9", &["--workers", "1"]);
    trial.killed("commit.after:14", &["--workers", "4"]);
    trial.killed("plan.durable:4", &["--workers", "2"]);
    trial.run_ok(&["--processes", "2", "--workers", "2", "--hosts", &two_hosts()]);
}

fn key(request: &HttpRequest) -> &str {
    request.header("idempotency-key").unwrap()
}

/// Requests of each key, in the order in which the first of each came.
fn accepted_requests(server: &HttpServer) -> Vec<HttpRequest> {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let mut taken = Vec::new();
    for request in server.requests() {
        match seen.get(key(&request)) {
            Some(before) => assert_eq!(*before, request.body, "a key comes with the rows that it had"),
            None => {
                seen.insert(key(&request).to_owned(), request.body.clone());
                taken.push(request);
            }
        }
    }
    taken
}

#[test]
fn a_server_that_uses_keys_accepts_each_row_once_and_those_of_a_key_in_order() {
    let server = HttpServer::start(free_port(), |_, _| Some((200, String::new(), "{}".into())));
    let trial = counting(server.port(), "");
    with_other_workers(&trial);
    let taken = accepted_requests(&server);
    assert!(server.requests().len() > taken.len(), "some came again");
    // For batches that are replayed with other rows per worker, it is unknown what the server has.
    let shown = trial.run_command_ok(&["inspect", "checkpoint"]);
    let before = shown.lines().filter_map(|line| line.split_once("batch ")?.1.split_once(" of ")).nth(1).unwrap().0;
    let refused = trial.rejected_message(&["run", "job.toml", "--workers", "5", "--replay-from", before]);
    assert!(refused.contains("workers of the sink `out`") && refused.contains("workers in total"), "{refused}");
    let mut values = Vec::new();
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    for line in taken.iter().flat_map(|request| request.body.lines()) {
        let row: Value = serde_json::from_str(line).unwrap();
        let (value, k) = (row["value"].as_u64().unwrap(), row["k"].as_u64().unwrap());
        assert!(last.insert(k, value).is_none_or(|before| before < value), "{value} of {k}");
        values.push(value);
    }
    values.sort_unstable();
    assert_eq!(values, (0..ROWS).collect::<Vec<_>>());
    let workers: BTreeSet<&str> = taken.iter().map(|request| key(request).split('/').nth(2).unwrap()).collect();
    assert!(workers.is_superset(&["w0", "w1", "w2"].into()), "{workers:?}");
}

#[test]
fn another_job_accepts_each_row_of_all_workers_once() {
    let port = free_port();
    let listener = passing(
        "batch = \"10ms\"\n[checkpoint]\ndir = \"kept\"\nevery = 5\n",
        &format!("kind = \"http\"\nlisten = \"127.0.0.1:{port}\"\nformat = \"json\"\nschema = {{ value = \"int64\" }}"),
        "",
    );
    let mut other = listener.start(&[]);
    other.wait_for_stderr("listening on http");
    let headers = "headers = { Millstream-Producer = \"{sender}\", Millstream-Sequence = \"{sequence}\" }";
    let trial = counting(port, headers);
    with_other_workers(&trial);
    let numbers = || {
        let mut numbers: Vec<_> = listener.rows("out.jsonl").iter().map(|row| row["value"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    };
    wait_until("all rows are there", || numbers().len() as u64 >= ROWS);
    other.stop();
    assert_eq!(numbers(), (0..ROWS).collect::<Vec<_>>());
}

#[test]
fn errors_and_guarantees_are_reported() {
    let output = counting(9, "").run_command_ok(&["validate", "job.toml"]);
    assert!(output.contains("exactly once if the server deduplicates by the header Idempotency-Key"), "{output}");
    assert!(output.contains("each worker sends its share of a batch, with its own keys"), "{output}");
    let output = counting(9, "headers = { X-N = \"{sequence}\" }").rejected_message(&["validate", "job.toml"]);
    assert!(
        output.contains(
            "sink `out`: each worker has its own `{sequence}` counter (`parts = \"worker\"`); write \
                      `{sender}`"
        ),
        "{output}"
    );
    let by_key = "body = \"bulk\"\nindex = \"i\"\nkey = \"value\"";
    let output = counting(9, by_key).rejected_message(&["validate", "job.toml"]);
    assert!(
        output.contains("sink `out`: `parts`: `spread` does not keep all rows of a key of this sink on one worker"),
        "{output}"
    );
    counting(9, &by_key.replace("value", "k")).run_command_ok(&["validate", "job.toml"]);
}
