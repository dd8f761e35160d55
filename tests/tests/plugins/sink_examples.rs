//! The sinks in `plugins/`, as examples of what a sink may be: messages to the webhook of a chat.

use millstream_tests::{HttpRequest, HttpServer, Trial, free_port, holds_within, is_alive, kill, plugin, wait_until};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A job that posts this many payments to the webhook at this port; `config` and `more` are added to the required lines.
fn posting(port: u16, payments: usize, config: &str, more: &str) -> Trial {
    let plugin = plugin("webhook").display().to_string();
    let trial = Trial::new(&format!(
        r#"
        name = "chat"
        batch = "30ms"
        [checkpoint]
        dir = "checkpoint"
        every = "300ms"
        [sources.payments]
        kind = "file"
        path = "payments.jsonl"
        format = "json"
        schema = {{ user = "text", amount = "int64" }}
        rows_per_batch_max = 10
        [sinks.chat]
        from = "payments"
        kind = "plugin"
        plugin = "{plugin}"
        config = {{ url = "http://127.0.0.1:{port}/services/T0", template = "{{user}} paid {{amount}}"{config} }}
        grant = {{ http = {{ hosts = ["127.0.0.1:{port}"], methods = ["POST"] }} }}
        {more}
        "#
    ));
    let rows = (0..payments).fold(String::new(), |mut rows, n| {
        let _ = writeln!(rows, "{{\"user\":\"<!channel> {n}\",\"amount\":{n}}}");
        rows
    });
    trial.write("payments.jsonl", rows);
    trial
}

fn text(request: &HttpRequest) -> String {
    let body: Value = serde_json::from_str(&request.body).unwrap();
    body["text"].as_str().unwrap().to_owned()
}

fn line(n: usize) -> String {
    format!("&lt;!channel&gt; {n} paid {n}")
}

/// A chat server that sometimes asks to wait, and a job that is killed: each row is there, and a repeated message is the same.
#[test]
fn each_row_is_posted_after_any_kill() {
    const PAYMENTS: usize = 300;
    let server = HttpServer::start(free_port(), |_, before| {
        let busy = before % 7 == 2;
        Some((if busy { 429 } else { 200 }, "Retry-After: 1\r\n".into(), "ok".into()))
    });
    let trial = posting(server.port(), PAYMENTS, ", rows_per_message = 4", "");
    let output = trial.run_command_ok(&["validate", "job.toml"]);
    assert!(output.contains("at least once"), "{output}");
    let job = trial.start(&[]);
    for messages in [20, 60] {
        wait_until("some is posted", || server.requests().len() > messages);
        for child in job.children() {
            kill(child);
        }
    }
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("the webhook replied with 429 (Retry-After: 1); the job waits"), "{}", ended.stderr);
    let requested = server.requests();
    let (mut messages, mut lines) = (BTreeMap::new(), BTreeSet::new());
    for request in &requested {
        assert_eq!(request.line, "POST /services/T0 HTTP/1.1");
        assert_eq!(request.header("content-type"), Some("application/json"));
        let (key, text) = (request.header("idempotency-key").unwrap().to_owned(), text(request));
        assert!(text.lines().count() <= 4, "{text}");
        lines.extend(text.lines().map(str::to_owned));
        assert_eq!(*messages.entry(key).or_insert_with(|| text.clone()), text, "the same message by the same key");
    }
    assert_eq!(lines, (0..PAYMENTS).map(line).collect());
    // Four, four and two rows of each batch.
    assert_eq!(messages.len(), PAYMENTS / 10 * 3, "{:?}", messages.keys());
    assert!(requested.len() > messages.len(), "what was not heard of comes again");
}

/// The lines that a relay forwards which identifies messages by their keys. The job, which has a stage with a key, is killed in
/// the middle of a batch, changed by `change`, and restarted with other workers.
fn forwarded_lines(payments: usize, [before, after]: [&str; 2], change: impl Fn(&Trial)) -> Vec<String> {
    let (taken, killed) = (Arc::new(Mutex::new(BTreeMap::new())), Arc::new(AtomicBool::new(false)));
    let (relay, over) = (taken.clone(), killed.clone());
    let server = HttpServer::start(free_port(), move |request, before| {
        let key = request.header("idempotency-key").unwrap().to_owned();
        relay.lock().unwrap().entry(key).or_insert_with(|| text(request));
        // The messages after the first ones arrive only after the job is dead.
        let hears = before < 100 || holds_within(Duration::from_secs(120), || over.load(Ordering::Acquire));
        hears.then(|| (200, String::new(), String::new()))
    });
    let stage = "[stages.each]\nfrom = [\"payments\"]\nkey = \"amount\"\nrepartition = {}\n";
    let trial = posting(server.port(), payments, ", rows_per_message = 7, timeout_seconds = 100", stage);
    trial.change("rows_per_batch_max = 10", "rows_per_batch_max = 100000");
    trial.change("from = \"payments\"", "from = \"each\"");
    let job = trial.start(&["--workers", before]);
    wait_until("some is posted", || server.requests().len() > 100);
    let children = job.children();
    job.kill();
    wait_until("it is gone", || children.iter().all(|child| !is_alive(*child)));
    killed.store(true, Ordering::Release);
    change(&trial);
    trial.run_ok(&["--workers", after]);
    taken.lock().unwrap().values().flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn messages_are_the_same_with_other_workers() {
    const PAYMENTS: usize = 3000;
    let all: Vec<String> = (0..PAYMENTS).map(line).collect();
    for workers in [["4", "1"], ["1", "3"]] {
        let lines = forwarded_lines(PAYMENTS, workers, |_| ());
        let missing: Vec<_> = all.iter().filter(|line| !lines.contains(line)).collect();
        assert!(missing.is_empty(), "{workers:?}: {missing:?}");
        assert_eq!(lines.len(), PAYMENTS, "{workers:?}: a message that came again had another key");
    }
}

#[test]
fn messages_of_a_changed_job_are_not_mixed_up() {
    const PAYMENTS: usize = 2000;
    let lines =
        forwarded_lines(PAYMENTS, ["2", "2"], |trial| trial.change("rows_per_message = 7", "rows_per_message = 9"));
    let missing: Vec<_> = (0..PAYMENTS).map(line).filter(|line| !lines.contains(line)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// A message that the chat server rejects is reported with its rows; an address without a listener ends the job.
#[test]
fn errors_of_the_chat_are_reported() {
    let server = HttpServer::start(free_port(), |request, _| match request {
        request if request.line.contains("/gone") => Some((404, String::new(), "no_service".into())),
        request if text(request).contains(" 3 paid") => Some((400, String::new(), "invalid\u{1b}[31m_payload".into())),
        _ => Some((200, String::new(), "ok".into())),
    });
    let rejecting = posting(server.port(), 10, "", "on_error = \"reject\"");
    let ended = rejecting.run_ok(&[]);
    let message = "its plugin rejected 1 of 10 rows: row 3 of the batch: the webhook replied with 400: invalid";
    assert!(ended.stderr.contains(message) && !ended.stderr.contains('\u{1b}'), "{}", ended.stderr);
    let taken: BTreeSet<String> = server.requests().iter().map(text).filter(|text| text.lines().count() == 1).collect();
    assert_eq!(taken, (0..10).map(line).collect(), "each row of the message comes by itself");

    let ended = posting(server.port(), 10, "", "").run(&[]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("row 3 of the batch"), "{}", ended.stderr);

    let gone = posting(server.port(), 10, "", "");
    gone.change("/services/T0", "/gone/secret");
    let ended = gone.run(&[]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("the webhook replied with 404; check `url`"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
}

/// An error of the job is reported before it starts, and a server that is not granted gets no request.
#[test]
fn errors_of_the_job_are_reported() {
    for (from, to, message) in [
        ("{user}", "{name}", "the input has no column `name`; it has: user, amount"),
        ("{user}", "{user", "`template`: a single `{`"),
        ("url = \"http://", "url = \"ftp://", "`url` is not an HTTP or HTTPS URL"),
        ("template", "tempalte", "unknown field `tempalte`"),
    ] {
        let trial = posting(1, 1, "", "");
        trial.change(from, to);
        let output = trial.rejected_message(&["validate", "job.toml"]);
        assert!(output.contains("sink `chat`") && output.contains(message), "{message}: {output}");
    }
    let server = HttpServer::start(free_port(), |_, _| Some((200, String::new(), "ok".into())));
    let trial = posting(server.port(), 1, "", "");
    trial.change(&format!("hosts = [\"127.0.0.1:{}\"]", server.port()), "hosts = [\"hooks.example.com\"]");
    let mut running = trial.start(&[]);
    running.wait_for_stderr("http request denied");
    // It would wait until the batch is accepted.
    running.kill();
    assert!(server.requests().is_empty());
}
