//! Batches of the `http` sink in ClickHouse: in a real one, though an old one (Debian's, of 2018), and in a fake that follows
//! ClickHouse's documentation for the one parameter that the old one does not support.

use millstream_tests::{HttpServer, Process, Trial, free_port, holds_within, root, shown_block, wait_until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Includes the time to download it, if needed.
const FETCHED_WITHIN: Duration = Duration::from_secs(900);

/// The sink of the page, at this port.
fn sink(port: u16, name: &str) -> String {
    let text = shown_block("toml", &format!("[sinks.{name}]")).text;
    assert_eq!(text.matches("http://ch:8123/").count(), 1, "{text}");
    text.replace("http://ch:8123/", &format!("http://127.0.0.1:{port}/"))
}

fn job(sink: &str) -> Trial {
    let trial = Trial::new(&format!(
        "batch = \"10ms\"\n[checkpoint]\ndir = \"kept\"\nevery = 20\n[sources.orders]\nkind = \"directory\"\npath = \"in\"\n\
         settle = \"0s\"\npoll = \"20ms\"\nformat = \"json\"\nschema = {{ n = \"int64\", word = \"text\" }}\nrows_per_batch_max = 50\n{sink}"
    ));
    trial.write("in/a.jsonl", lines(0..1500));
    trial
}

fn lines(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("{{\"n\":{n},\"word\":\"w{}\"}}\n", n % 7)).collect()
}

/// Starts a real server and waits until it responds.
fn server(port: u16, trial: &Trial) -> Process {
    let mut command = Command::new(root().join("scripts/clickhouse.sh"));
    let server = Process::start(command.args([port, free_port()].map(|port| port.to_string())).arg(trial.path("data")));
    let answers = || query(port, "select 1").is_some();
    assert!(holds_within(Duration::from_secs(60), answers), "{}{}", server.stdout(), server.stderr());
    server
}

/// Returns the result of a query, or `None` if there is no response or an error.
fn query(port: u16, text: &str) -> Option<String> {
    let url = format!("http://127.0.0.1:{port}/");
    let message =
        Command::new("curl").args(["-sSf", "-m", "20", &url, "--data-binary", text]).output().expect("a curl");
    message.status.success().then(|| String::from_utf8_lossy(&message.stdout).trim().to_owned())
}

#[test]
fn a_replacing_table_has_each_row_once_though_job_and_server_are_killed() {
    let fetched = Process::start(&mut Command::new(root().join("scripts/clickhouse.sh"))).wait_within(FETCHED_WITHIN);
    assert_eq!(fetched.code, Some(0), "{}", fetched.stderr);
    let port = free_port();
    let trial = job(&sink(port, "clicks"));
    let running = server(port, &trial);
    let table = shown_block("sql", "ReplacingMergeTree").text;
    query(port, &table).expect("the table of the page is made");
    let count = || query(port, "select count() from events final").and_then(|count| count.parse::<u32>().ok());
    let count = || count().unwrap_or(0);
    for more in [200, 700] {
        let mut job = trial.start(&["--unsupervised"]);
        job.wait_until("some rows are there", |_| count() > more);
        job.kill();
    }
    // The server dies as well, and comes back with the data it has confirmed.
    let mut job = trial.start(&["--unsupervised"]);
    job.wait_until("some rows are there", |_| count() > 1000);
    running.kill();
    trial.move_in("in/b.jsonl", lines(1500..2000));
    job.wait_for_stderr("the job waits and retries until it works");
    let running = server(port, &trial);
    wait_until("all rows are there", || count() >= 2000);
    job.stop();
    let message = query(port, "select count(), sum(n), uniq(word) from events final").expect("it answers");
    assert_eq!(message, "2000\t1999000\t7");

    // An error has the server's own message.
    trial.move_in("in/c.jsonl", "{\"n\":1,\"word\":\"w\"}\n");
    query(port, "drop table events").expect("it is dropped");
    let ended = trial.start(&["--unsupervised", "--until-idle"]).wait();
    assert!(!matches!(ended.code, None | Some(0)), "{}", ended.stderr);
    assert!(ended.stderr.contains("Table default.events doesn't exist"), "{}", ended.stderr);
    running.kill();
}

/// A fake server. It takes an INSERT of JSON lines, and skips one whose token it has seen, as ClickHouse does since version 22.2
/// for tables that deduplicate.
#[test]
fn a_token_makes_each_request_count_once() {
    let taken: Arc<Mutex<BTreeMap<String, Vec<u64>>>> = Arc::default();
    let table = taken.clone();
    let server = HttpServer::start(free_port(), move |requested, _| {
        let target = requested.line.strip_prefix("POST /?").and_then(|rest| rest.strip_suffix(" HTTP/1.1"));
        let Some(target) = target else { return Some((400, String::new(), "no POST".into())) };
        let parameters: BTreeMap<&str, &str> = target.split('&').filter_map(|pair| pair.split_once('=')).collect();
        assert_eq!(parameters["query"], "INSERT%20INTO%20events%20FORMAT%20JSONEachRow");
        let rows = requested.body.lines().map(|line| serde_json::from_str::<Value>(line).expect("an object a line"));
        let rows = rows.map(|row| row["n"].as_u64().expect("a number")).collect();
        let token = parameters["insert_deduplication_token"].to_owned();
        assert!(token.contains("/recent/"), "{token}");
        let mut table = table.lock().expect("nobody panics");
        let before = table.entry(token).or_insert_with(|| Vec::clone(&rows));
        assert_eq!(*before, rows, "a token stands for the same rows");
        Some((200, String::new(), String::new()))
    });
    let trial = job(&sink(server.port(), "recent"));
    let numbers = || {
        let mut numbers: Vec<u64> = taken.lock().expect("nobody panics").values().flatten().copied().collect();
        numbers.sort_unstable();
        numbers
    };
    for step in ["commit.after:3", "commit.after:5", "commit.before:4", "commit.after:2"] {
        let mut command = trial.command(&["run", "job.toml", "--unsupervised", "--until-idle"]);
        let ended = Process::start(command.env("MILLSTREAM_TEST_FAULT", format!("kill@{step}"))).wait();
        assert_eq!(ended.code, None, "it does not come to {step}: {}", ended.stderr);
    }
    trial.run_ok(&["--until-idle"]);
    assert_eq!(numbers(), (0..1500).collect::<Vec<_>>());
    assert!(server.requests().len() > taken.lock().expect("nobody panics").len(), "some requests came twice");
}
