//! The sink `http` with `parts = "worker"`: each worker sends its share of a batch under keys of its own, and a server that goes by them
//! takes each row once, whatever dies and however many workers come next.

use millstream_tests::{HttpRequest, HttpServer, Trial, free_port, passing, two_hosts, until};
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

/// Kills it with several numbers of workers, and lets it come to its end in two processes.
fn with_other_workers(trial: &Trial) {
    trial.killed("commit.after:23", &["--workers", "3"]);
    trial.killed("commit.before:9", &["--workers", "1"]);
    trial.killed("commit.after:14", &["--workers", "4"]);
    trial.killed("plan.durable:4", &["--workers", "2"]);
    trial.run_well(&["--processes", "2", "--workers", "2", "--hosts", &two_hosts()]);
}

fn key(asked: &HttpRequest) -> &str {
    asked.header("idempotency-key").unwrap()
}

/// Requests of each key, in the order in which the first of each came.
fn taken(server: &HttpServer) -> Vec<HttpRequest> {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let mut taken = Vec::new();
    for asked in server.asked() {
        match seen.get(key(&asked)) {
            Some(before) => assert_eq!(*before, asked.body, "a key comes with the rows that it had"),
            None => {
                seen.insert(key(&asked).to_owned(), asked.body.clone());
                taken.push(asked);
            }
        }
    }
    taken
}

#[test]
fn a_server_that_goes_by_keys_takes_each_row_once_and_those_of_a_key_in_order() {
    let server = HttpServer::start(free_port(), |_, _| Some((200, String::new(), "{}".into())));
    let trial = counting(server.port(), "");
    with_other_workers(&trial);
    let taken = taken(&server);
    assert!(server.asked().len() > taken.len(), "some came again");
    // What is there of batches that run again with other rows of each worker, nobody can say.
    let shown = trial.well(&["inspect", "checkpoint"]);
    let before = shown.lines().filter_map(|line| line.split_once("batch ")?.1.split_once(" of ")).nth(1).unwrap().0;
    let refused = trial.refused(&["run", "job.toml", "--workers", "5", "--replay-from", before]);
    assert!(refused.contains("workers of the sink `out`") && refused.contains("workers in total"), "{refused}");
    let mut values = Vec::new();
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    for line in taken.iter().flat_map(|asked| asked.body.lines()) {
        let row: Value = serde_json::from_str(line).unwrap();
        let (value, k) = (row["value"].as_u64().unwrap(), row["k"].as_u64().unwrap());
        assert!(last.insert(k, value).is_none_or(|before| before < value), "{value} of {k}");
        values.push(value);
    }
    values.sort_unstable();
    assert_eq!(values, (0..ROWS).collect::<Vec<_>>());
    let workers: BTreeSet<&str> = taken.iter().map(|asked| key(asked).split('/').nth(2).unwrap()).collect();
    assert!(workers.is_superset(&["w0", "w1", "w2"].into()), "{workers:?}");
}

#[test]
fn another_job_takes_each_row_of_all_workers_once() {
    let port = free_port();
    let listener = passing(
        "batch = \"10ms\"\n[checkpoint]\ndir = \"kept\"\nevery = 5\n",
        &format!("kind = \"http\"\nlisten = \"127.0.0.1:{port}\"\nformat = \"json\"\nschema = {{ value = \"int64\" }}"),
        "",
    );
    let mut other = listener.start(&[]);
    other.until_stderr("listening on http");
    let headers = "headers = { Millstream-Producer = \"{sender}\", Millstream-Sequence = \"{sequence}\" }";
    let trial = counting(port, headers);
    with_other_workers(&trial);
    let numbers = || {
        let mut numbers: Vec<_> = listener.rows("out.jsonl").iter().map(|row| row["value"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    };
    until("all rows are there", || numbers().len() as u64 >= ROWS);
    other.stop();
    assert_eq!(numbers(), (0..ROWS).collect::<Vec<_>>());
}

#[test]
fn mistakes_are_told_and_what_is_promised() {
    let said = counting(9, "").well(&["validate", "job.toml"]);
    assert!(said.contains("exactly once if the server deduplicates by the header Idempotency-Key"), "{said}");
    assert!(said.contains("each worker sends its share of a batch, under keys of its own"), "{said}");
    let said = counting(9, "headers = { X-N = \"{sequence}\" }").refused(&["validate", "job.toml"]);
    assert!(
        said.contains("sink `out`: each worker counts `{sequence}` by itself (`parts = \"worker\"`); write `{sender}`"),
        "{said}"
    );
    let by_key = "body = \"bulk\"\nindex = \"i\"\nkey = \"value\"";
    let said = counting(9, by_key).refused(&["validate", "job.toml"]);
    assert!(
        said.contains(
            "sink `out`: `parts`: `spread` is not a stage that keeps all rows of a key of this sink on one worker"
        ),
        "{said}"
    );
    counting(9, &by_key.replace("value", "k")).well(&["validate", "job.toml"]);
}
