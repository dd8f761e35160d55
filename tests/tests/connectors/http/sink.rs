//! The `http` sink: what it sends, that it retries transient errors, and how it reports permanent ones.

use super::listening;
use millstream_tests::{Certificates, Expected, HttpServer, Process, Trial, free_port, queue_source, wait_until};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// A job whose test batches go to a server on this port, at `path`.
fn job(head: &str, port: u16, path: &str, more: &str, batches: &[&str]) -> Trial {
    let source = queue_source("in", "a = \"int64\"");
    let sink =
        format!("[sinks.out]\nfrom = \"in\"\nkind = \"http\"\nurl = \"http://127.0.0.1:{port}{path}\"\n{more}\n");
    let trial = Trial::new(&format!("clock = \"manual\"\n{head}\n{source}{sink}"));
    trial.write("in.jsonl", batches.iter().map(|batch| format!("{batch}\n")).collect::<String>());
    trial
}

fn ok() -> Option<(u16, String, String)> {
    Some((200, String::new(), "{}".into()))
}

#[test]
fn batches_are_sent_as_lines_or_arrays_with_keys_headers_and_a_token() {
    let server = HttpServer::start(free_port(), |_, _| ok());
    let rows = ["[[1],[2],[3]]", "[]", "[[4]]"];
    let more = "token = \"tok-7\"\nrows_per_request_max = 2\nheaders = { X-Own = \"a {key} {sequence}\", Content-Type = \"text/x\" }";
    let trial = job("", server.port(), "/in?dedup={key}", more, &rows);
    trial.run_ok(&[]);
    let request = server.requests();
    assert_eq!(
        request.iter().map(|request| request.body.as_str()).collect::<Vec<_>>(),
        ["{\"a\":1}\n{\"a\":2}\n", "{\"a\":3}\n", "{\"a\":4}\n"]
    );
    for (request, (place, sequence)) in
        request.iter().zip([("1/0", (1 << 28) + 2), ("1/1", (1 << 28) + 3), ("3/0", (3 << 28) + 1)])
    {
        let key = request.header("idempotency-key").unwrap();
        assert!(key.len() > 48 && key.contains(&format!("/out/{place}-")), "{key}");
        assert_eq!(request.line, format!("POST /in?dedup={key} HTTP/1.1"));
        assert_eq!(request.header("authorization"), Some("Bearer tok-7"));
        assert_eq!(request.header("x-own"), Some(format!("a {key} {sequence}").as_str()));
        assert_eq!(request.header("content-type"), Some("text/x"));
    }
    let trial = job("", server.port(), "/", "body = \"array\"\nmethod = \"PUT\"", &rows[..1]);
    trial.run_ok(&[]);
    let last = server.requests().pop().unwrap();
    assert_eq!((last.line.as_str(), last.body.as_str()), ("PUT / HTTP/1.1", "[{\"a\":1},{\"a\":2},{\"a\":3}]"));
    assert_eq!(last.header("content-type"), Some("application/json"));
}

#[test]
fn an_unreachable_busy_or_disconnecting_server_is_waited_for() {
    let port = free_port();
    let trial = job("", port, "/", "timeout = \"200ms\"", &["[[1]]", "[[2]]"]);
    let mut waiting = trial.start(&[]);
    waiting.wait_for_stderr("connection refused; the job waits and retries until it works");
    let began = std::sync::Mutex::new(Vec::new());
    let server = HttpServer::start(port, move |_, before| {
        began.lock().unwrap().push(std::time::Instant::now());
        match before {
            0 => Some((503, "Retry-After: 1\r\n".into(), "later".into())),
            1 => {
                let times = began.lock().unwrap();
                assert!(times[1] - times[0] >= std::time::Duration::from_millis(990), "it was told when to come again");
                Some((429, String::new(), String::new()))
            }
            2 => None,
            // Longer than the job waits for a response.
            3 => {
                std::thread::sleep(std::time::Duration::from_millis(500));
                ok()
            }
            _ => ok(),
        }
    });
    let ended = waiting.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("the job waits").count(), 1, "told once: {}", ended.stderr);
    assert!(ended.stderr.contains("accepts rows again; the job continues"), "{}", ended.stderr);
    let request = server.requests();
    let keys: Vec<&str> = request.iter().map(|request| request.header("idempotency-key").unwrap()).collect();
    assert!(request.len() >= 6 && keys[..5].iter().all(|key| key == &keys[0]), "repeated under one key: {keys:?}");
    assert_eq!(request.last().unwrap().body, "{\"a\":2}\n");
}

#[test]
fn permanent_errors_end_the_job_with_a_fix() {
    for (status, head, more, message) in [
        (401, "", "", "401 Unauthorized: no way; check `token` or `headers`"),
        (404, "", "", "the address does not exist; check `url`"),
        (413, "", "", "lower `request_bytes_max`"),
        (302, "Location: http://elsewhere/\r\n", "", "it redirects to http://elsewhere/, which is not followed"),
        (422, "", "", "check `url`, `body` or the columns"),
        (200, "", "body = \"bulk\"", "it does not respond as _bulk does"),
        (503, "", "wait = \"100ms\"", "the job has waited for 100ms (`wait`)"),
    ] {
        let server = HttpServer::start(free_port(), move |_, _| Some((status, head.into(), "no way".into())));
        let trial = job("", server.port(), "/p?secret=7", more, &["[[1]]"]);
        let ended = trial.run(&[]);
        let place = format!("sink `out`: batch 1: http://127.0.0.1:{}/p: ", server.port());
        assert!(
            ended.code == Some(1) && ended.stderr.contains(&place) && ended.stderr.contains(message),
            "{message}: {}",
            ended.stderr
        );
    }
}

/// The response to a `_bulk` request: a status for each of these values, 201 for others.
fn bulk(body: &str, status_of: impl Fn(i64) -> u16) -> String {
    let values =
        body.lines().skip(1).step_by(2).map(|line| serde_json::from_str::<Value>(line).unwrap()["a"].as_i64().unwrap());
    let items: Vec<Value> = values
        .map(|value| match status_of(value) {
            201 => json!({ "index": { "status": 201 } }),
            status => json!({ "index": { "status": status, "error": { "type": "t", "reason": format!("no {value}\u{1b}") } } }),
        })
        .collect();
    json!({ "took": 1, "errors": items.iter().any(|item| item["index"]["status"] != json!(201)), "items": items })
        .to_string()
}

#[test]
fn failed_rows_of_a_bulk_are_treated_one_by_one() {
    let busy = Arc::new(AtomicBool::new(true));
    let flag = busy.clone();
    let server = HttpServer::start(free_port(), move |request, before| {
        let status = |value| match value {
            2 if before == 0 && flag.load(Ordering::Acquire) => 429,
            3 => 400,
            _ => 201,
        };
        Some((200, String::new(), bulk(&request.body, status)))
    });
    let more = "body = \"bulk\"\nindex = \"events\"\non_error = \"reject\"";
    let trial = job("", server.port(), "/_bulk", more, &["[[1],[2],[3]]", "[[4]]"]);
    let ended = trial.run_ok(&[]);
    assert!(
        ended.stderr.contains("rejected 1 of 3 rows: row 2 of the batch, {\"a\":3}: status 400: t: no 3"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains('\u{1b}'), "{}", ended.stderr);
    let request = server.requests();
    let ids = |request: &millstream_tests::HttpRequest| -> BTreeMap<String, Value> {
        let lines: Vec<Value> = request.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines
            .chunks(2)
            .map(|pair| (pair[0]["index"]["_id"].as_str().unwrap().to_owned(), pair[1]["a"].clone()))
            .collect()
    };
    assert_eq!(request.len(), 3);
    assert_eq!(ids(&request[0]).len(), 3);
    let keys: Vec<_> = request.iter().map(|request| request.header("idempotency-key").unwrap()).collect();
    assert!(keys[0] != keys[1] && keys[1] != keys[2], "the smaller request has a key of its own: {keys:?}");
    let again = ids(&request[1]);
    assert_eq!(again.len(), 1, "only the row that may be taken later");
    let (id, value) = again.first_key_value().unwrap();
    assert!(value == &json!(2) && ids(&request[0])[id] == json!(2) && id.ends_with("/out/1/1"), "{id}");
    assert!(request[0].body.contains("\"_index\":\"events\""));
    // By default nothing is omitted.
    busy.store(false, Ordering::Release);
    let trial = job("", server.port(), "/_bulk", "body = \"bulk\"", &["[[1],[3]]"]);
    let ended = trial.run(&[]);
    let message = "rejected 1 of 2 rows: row 1 of the batch, {\"a\":3}: status 400: t: no 3";
    assert!(ended.code == Some(1) && ended.stderr.contains(message), "{}", ended.stderr);
}

#[test]
fn after_a_crash_requests_are_sent_again_with_their_keys() {
    let server = HttpServer::start(free_port(), |_, _| ok());
    let head = "[checkpoint]\ndir = \"kept\"\nevery = 100";
    let trial = job(head, server.port(), "/", "", &["[[1]]", "[[2],[3]]", "[[4]]"]);
    let mut command = trial.command(&["run", "job.toml", "--unsupervised"]);
    let ended = Process::start(command.env("MILLSTREAM_TEST_FAULT", "kill@commit.after:2")).wait();
    assert_eq!(ended.code, None, "{}", ended.stderr);
    let ended = trial.run_ok(&[]);
    assert!(ended.stderr.contains("sink `out` sends at least once"), "{}", ended.stderr);
    let request = server.requests();
    assert!(request.len() > 3, "what was sent before the crash was sent again");
    let mut by_key: BTreeMap<String, String> = BTreeMap::new();
    for request in &request {
        let key = request.header("idempotency-key").unwrap().to_owned();
        assert_eq!(*by_key.entry(key).or_insert(request.body.clone()), request.body, "one key, one body");
    }
    assert_eq!(by_key.values().flat_map(|body| body.lines()).count(), 4, "by key, each row is there once");
}

/// What a server accepted, and how it identifies that.
#[derive(Default)]
struct Taken {
    keys: BTreeSet<String>,
    sequence: u64,
    rows: Vec<String>,
}

/// The job dies when the server has accepted the first request of a batch, and splits batches differently when it resends it.
/// Requests that the server skips, by key or by number, contain no row that it lacks.
#[test]
fn a_job_that_was_changed_in_the_middle_of_a_batch_loses_nothing() {
    for (before, after) in [(10, 1_000), (10, 7), (40, 10)] {
        for by_key in [true, false] {
            let taken: Arc<Mutex<Taken>> = Arc::default();
            let refuses = Arc::new(AtomicBool::new(false));
            let (held, refusing) = (taken.clone(), refuses.clone());
            let server = HttpServer::start(free_port(), move |request, _| {
                if refusing.load(Ordering::SeqCst) {
                    return Some((503, String::new(), String::new()));
                }
                let (key, sequence) =
                    (request.header("idempotency-key")?.to_owned(), request.header("x-sequence")?.parse().ok()?);
                let mut held = held.lock().unwrap();
                let known = if by_key { held.keys.contains(&key) } else { sequence <= held.sequence };
                if !known {
                    held.keys.insert(key);
                    held.sequence = sequence;
                    held.rows.extend(request.body.lines().map(str::to_owned));
                    refusing.store(held.keys.len() == 1, Ordering::SeqCst);
                }
                ok()
            });
            let head = "[checkpoint]\ndir = \"checkpoint\"";
            let more = format!(
                "rows_per_request_max = {before}\nheaders = {{ X-Sequence = \"{{sequence}}\", X-Of = \"{{sender}}\" }}"
            );
            let rows: Vec<String> = (0..100).map(|row| format!("[{row}]")).collect();
            let trial = job(head, server.port(), "/", &more, &[&format!("[{}]", rows.join(","))]);
            let mut killed = trial.start(&[]);
            killed.wait_for_stderr("the job waits and retries until it works");
            killed.kill();
            trial.change(&format!("_max = {before}"), &format!("_max = {after}"));
            // A server that has not restarted knows what it accepted.
            taken.lock().unwrap().keys.insert("another".into());
            refuses.store(false, Ordering::SeqCst);
            trial.run_ok(&[]);
            let held = &taken.lock().unwrap().rows;
            let distinct: BTreeSet<&String> = held.iter().collect();
            assert_eq!(distinct.len(), 100, "{before} {after} {by_key}");
            // A duplicate was in the request that was accepted before.
            assert!(held.len() <= 100 + before, "{before} {after} {by_key}: {}", held.len());
        }
    }
}

/// The same with other rows for the sink after the change. A server that uses the number would skip new rows with the numbers of
/// earlier ones, so planned rows are sent unchanged.
#[test]
fn planned_rows_are_sent_unchanged_if_a_server_uses_the_number() {
    for cut in [10, 1_000] {
        let taken: Arc<Mutex<Taken>> = Arc::default();
        let refuses = Arc::new(AtomicBool::new(false));
        let (held, refusing) = (taken.clone(), refuses.clone());
        let server = HttpServer::start(free_port(), move |request, _| {
            if refusing.load(Ordering::SeqCst) {
                return Some((503, String::new(), String::new()));
            }
            let sequence = request.header("x-sequence")?.parse().ok()?;
            let mut held = held.lock().unwrap();
            if sequence > held.sequence {
                held.sequence = sequence;
                held.rows.extend(request.body.lines().map(str::to_owned));
                refusing.store(held.rows.len() == 10, Ordering::SeqCst);
            }
            ok()
        });
        let rows = |first: usize| {
            let rows: Vec<String> = (first..first + 100).map(|row| format!("[{row}]")).collect();
            format!("[{}]", rows.join(","))
        };
        let more = "rows_per_request_max = 10\nheaders = { X-Sequence = \"{sequence}\", X-Of = \"{sender}\" }";
        let head = "[checkpoint]\ndir = \"checkpoint\"";
        let trial = job(head, server.port(), "/", more, &[&rows(0)]);
        trial.change(
            "[sinks.out]\nfrom = \"in\"",
            "[stages.few]\nfrom = \"in\"\nfilter = \"a >= 50\"\n[sinks.out]\nfrom = \"few\"",
        );
        let mut killed = trial.start(&[]);
        killed.wait_for_stderr("the job waits and retries until it works");
        killed.kill();
        trial.change("a >= 50", "a >= 0");
        trial.change("_max = 10\n", &format!("_max = {cut}\n"));
        // Later rows are as the job has them now.
        trial.write("in.jsonl", format!("{}\n{}\n", rows(0), rows(100)));
        taken.lock().unwrap().rows.push(String::new());
        refuses.store(false, Ordering::SeqCst);
        trial.run_ok(&[]);
        let mut held = taken.lock().unwrap().rows.clone();
        held.retain(|row| !row.is_empty());
        let expected: Vec<String> = (50..200).map(|row| format!("{{\"a\":{row}}}")).collect();
        // Rows of the request that was split differently may be duplicated.
        assert_eq!(held.iter().collect::<BTreeSet<_>>(), expected.iter().collect(), "{cut}");
        assert!(
            held.len() == expected.len() || cut != 10 && held.len() <= expected.len() + 10,
            "{cut}: {}",
            held.len()
        );
    }
}

/// A batch that fails is never sent, so the current job may fix it: those before it are sent unchanged.
#[test]
fn a_failed_batch_may_be_fixed_if_a_server_uses_the_number() {
    let mut mended = 0;
    // If the job ends before the plan of the batch is durable, there is nothing to replay unchanged.
    for attempt in 0..40 {
        let failing = 1 + attempt % 5;
        let taken: Arc<Mutex<Vec<String>>> = Arc::default();
        let held = taken.clone();
        let last = Mutex::new(0_u64);
        let server = HttpServer::start(free_port(), move |request, _| {
            let sequence: u64 = request.header("x-sequence")?.parse().ok()?;
            let mut last = last.lock().unwrap();
            if sequence > *last {
                *last = sequence;
                held.lock().unwrap().extend(request.body.lines().map(str::to_owned));
            }
            ok()
        });
        let more = "headers = { X-Sequence = \"{sequence}\", X-Of = \"{sender}\" }";
        let rows: Vec<String> = (1..=6).map(|row| format!("[[{}]]", if row == failing { 0 } else { row })).collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        let trial = job("[checkpoint]\ndir = \"checkpoint\"", server.port(), "/", more, &rows);
        trial.change(
            "[sinks.out]\nfrom = \"in\"",
            "[stages.shares]\nfrom = \"in\"\nselect = \"60 / a as a\"\n[sinks.out]\nfrom = \"shares\"",
        );
        let ended = trial.start(&[]).wait();
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        trial.change("60 / a", "60 / nullif(a, 0)");
        let message = trial.run_ok(&[]).stderr;
        let share =
            |row: i64| if row == failing { "{\"a\":null}".to_owned() } else { format!("{{\"a\":{}}}", 60 / row) };
        assert_eq!(*taken.lock().unwrap(), (1..=6).map(share).collect::<Vec<_>>(), "{failing}: {message}");
        mended += usize::from(message.contains(&format!("nothing of batch {failing} was sent")));
        if mended >= 3 {
            return;
        }
    }
    panic!("the plan of the batch that fails is durable only {mended} times");
}

/// Its server may no longer exist.
#[test]
fn a_removed_sink_is_not_waited_for() {
    let server = HttpServer::start(free_port(), |_, _| Some((503, String::new(), String::new())));
    let more = "headers = { X-Sequence = \"{sequence}\", X-Of = \"{sender}\" }";
    let trial = job("[checkpoint]\ndir = \"checkpoint\"", server.port(), "/", more, &["[[1],[2]]"]);
    let mut killed = trial.start(&[]);
    killed.wait_for_stderr("the job waits and retries until it works");
    killed.kill();
    let text = trial.text("job.toml");
    let (head, _) = text.split_once("[sinks.out]").unwrap();
    trial.write("job.toml", format!("{head}[sinks.other]\nfrom = \"in\"\nkind = \"queue\"\npath = \"out.jsonl\"\n"));
    trial.run_ok(&[]);
    assert_eq!(trial.rows("out.jsonl").len(), 2);
}

#[test]
fn one_job_sends_to_another_over_tls_exactly_once() {
    let (made, port) = (Certificates::make(), free_port());
    let (cert, key) = made.of("own", "DNS:localhost", 2);
    let tls = format!("tls = {{ cert = \"{}\", key = \"{}\" }}", cert.display(), key.display());
    let source = format!("{tls}\ntoken = \"tok-7\"\nformat = \"json\"\nschema = {{ value = \"int64\" }}");
    let (to, receiving) = listening(port, "batch = \"10ms\"\n[checkpoint]\ndir = \"kept\"", &source, "");
    let from = Trial::new(&format!(
        "batch = \"10ms\"\n[checkpoint]\ndir = \"kept\"\nevery = 3\n[sources.in]\nkind = \"rate\"\nrows_per_second = 1000\n\
         rows_max = 500\nrows_per_batch_max = 20\n[sinks.out]\nfrom = \"in\"\nkind = \"http\"\nurl = \"https://localhost:{port}/\"\ntoken = \"tok-7\"\n\
         tls = {{ ca = \"{}\" }}\nheaders = {{ Millstream-Producer = \"{{sender}}\", Millstream-Sequence = \"{{sequence}}\" }}\n",
        made.ca().display()
    ));
    for step in ["commit.after:4", "commit.before:3", "commit.after:9"] {
        let mut command = from.command(&["run", "job.toml", "--unsupervised"]);
        let ended = Process::start(command.env("MILLSTREAM_TEST_FAULT", format!("kill@{step}"))).wait();
        assert_eq!(ended.code, None, "{step}: {}", ended.stderr);
    }
    from.run_ok(&[]);
    wait_until("all is there", || to.rows("out.jsonl").len() >= 500);
    receiving.stop();
    let values: Vec<i64> = to.rows("out.jsonl").iter().map(|row| row["value"].as_i64().unwrap()).collect();
    assert_eq!(values, (0..500).collect::<Vec<_>>());
}

#[test]
fn validate_shows_the_guarantee() {
    for (more, message) in [("", "the header Idempotency-Key"), ("body = \"bulk\"", "the _id of each row")] {
        let output = job("", 9, "/", more, &["[[1]]"]).run_command_ok(&["validate", "job.toml"]);
        assert!(
            output.contains(&format!("at least once; exactly once if the server deduplicates by {message}\n")),
            "{output}"
        );
    }
}

#[test]
fn mistakes_of_the_job_file_are_told_with_their_lines() {
    let mut expected = Expected::of(file!(), "mistakes_of_the_job_file_are_told_with_their_lines");
    for more in
        ["index = \"i\"", "token = \"a b\"", "headers = { a = 5 }", "headers = { \"a b\" = \"c\" }", "timeout = \"0s\""]
    {
        let trial = job("", 9, "/", more, &["[[1]]"]);
        expected.add(more, &trial.rejected_message(&["validate", "job.toml"]));
    }
    for url in ["ftp://h", "http://a:b@h/"] {
        let trial = job("", 9, "/", "", &["[[1]]"]);
        trial.change("http://127.0.0.1:9/", url);
        expected.add(url, &trial.rejected_message(&["validate", "job.toml"]));
    }
    expected.check_parts();
}
