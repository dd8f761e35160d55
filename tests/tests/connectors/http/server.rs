//! The `http` source that listens: what it accepts, its responses, and that no client holds up another.

use super::{client, listening};
use millstream_tests::{Certificates, DEADLINE, HttpClient, Process, Reply, Trial, free_port, passing, wait_until};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::mpsc;
use std::thread;

const JSON: &str = "format = \"json\"\nschema = { a = \"int64\" }";
const REJECTED: &str = "[sinks.bad]\nfrom = \"in.rejected\"\nkind = \"queue\"\npath = \"bad.jsonl\"\n";

fn numbers(trial: &Trial) -> Vec<Value> {
    trial.rows("out.jsonl").iter().map(|row| row["a"].clone()).collect()
}

/// The status and body that curl sees.
fn curl(arguments: &[&str]) -> (String, String) {
    let mut command = Command::new("curl");
    let ended = Process::start(command.args(["-sS", "-w", "\n%{http_code}"]).args(arguments)).wait();
    let (body, status) = ended.stdout.rsplit_once('\n').unwrap_or_else(|| panic!("{ended:?}"));
    (status.to_owned(), format!("{body}{}", ended.stderr))
}

#[track_caller]
fn check_reply(reply: &Reply, status: u16, message: &str) {
    assert!(reply.status == status && reply.body.contains(message), "{status} {message}: {reply:?}");
}

#[test]
fn a_sender_that_closes_its_side_gets_a_response() {
    let port = free_port();
    let (trial, _job) = listening(port, "batch = \"50ms\"\n[checkpoint]\ndir = \"kept\"\n", JSON, "");
    let mut sender = client(port);
    sender.send("POST", "/", &[], b"\xEF\xBB\xBF{\"a\":24}").unwrap();
    sender.close_own_side().unwrap();
    check_reply(&sender.reply().unwrap(), 200, "{\"rows\":1}");
    wait_until("the row is there", || numbers(&trial) == [json!(24)]);
}

#[test]
fn a_request_is_a_row_an_array_or_lines_and_is_confirmed_once_the_plan_is_durable() {
    let port = free_port();
    let checkpoint = "batch = \"0s\"\n[checkpoint]\ndir = \"kept\"\n";
    let (trial, job) = listening(port, checkpoint, JSON, REJECTED);
    let url = format!("http://127.0.0.1:{port}/any/path?x=1");
    trial.write("lines.jsonl", "{\"a\":2}\n\nno json\n{\"a\":3}\n");
    for (arguments, rows) in [
        (vec!["-d", "{\"a\":1}", &url], 1),
        // A blank line is not a row.
        (vec!["--data-binary", "@lines.jsonl", &url], 3),
        (vec!["-H", "Content-Type: application/json", "-d", "[{\"a\":4},{\"a\":\n5},7]", &url], 3),
        (vec!["-H", "Transfer-Encoding: chunked", "-d", "{\n\"a\":\n6}", &url], 1),
        (vec!["-d", "", &url], 0),
        (vec!["-d", "[]", &url], 0),
    ] {
        let arguments: Vec<String> =
            arguments.iter().map(|text| text.replace("@", &format!("@{}/", trial.dir().display()))).collect();
        let (status, body) = curl(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(
            (status.as_str(), body.trim()),
            ("200", json!({ "rows": rows }).to_string().as_str()),
            "{arguments:?}"
        );
    }
    let (status, body) = curl(&["-d", "[{\"a\":9},", &url]);
    assert!(status == "400" && body.contains("the body is not a complete JSON array"), "{status} {body}");
    let (status, body) = curl(&["-i", &url]);
    assert!(status == "405" && body.to_lowercase().contains("allow: post"), "{status} {body}");
    let (status, body) = curl(&[&format!("http://127.0.0.1:{port}/health")]);
    assert!(status == "200" && body.contains("\"source\":\"in\""), "{status} {body}");
    job.stop();
    assert_eq!(numbers(&trial), [1, 2, 3, 4, 5, 6]);
    let bad: Vec<String> = trial.values("bad.jsonl");
    assert_eq!(bad, ["no json", "7"]);
}

#[test]
fn rows_confirmed_with_200_are_in_the_plan() {
    let port = free_port();
    let source = format!("kind = \"http\"\nlisten = \"127.0.0.1:{port}\"\n{JSON}");
    let trial = passing("batch = \"0s\"\n[checkpoint]\ndir = \"kept\"\n", &source, "");
    let mut command = trial.command(&["run", "job.toml", "--unsupervised"]);
    let mut job = Process::start(command.env("MILLSTREAM_TEST_FAULT", "kill@commit.before:1"));
    job.wait_for_stderr("listening on http");
    // The sink never commits it. If it died before the response was sent, there is none.
    if let Ok(reply) = client(port).post(&[], "{\"a\":1}") {
        check_reply(&reply, 200, "{\"rows\":1}");
    }
    assert_eq!(job.wait().code, None);
    assert_eq!(numbers(&trial), [0; 0]);
    let mut job = trial.start(&[]);
    job.wait_for_stderr("listening on http");
    wait_until("what was planned is there", || numbers(&trial) == [1]);
    job.stop();
}

#[test]
fn wrong_tokens_browsers_and_compressed_bodies_are_rejected() {
    let port = free_port();
    let trial = passing(
        "batch = \"0s\"",
        &format!("kind = \"http\"\nlisten = \"127.0.0.1:{port}\"\ntoken = \"${{TOKEN}}\""),
        "",
    );
    let mut job = Process::start(trial.command(&["run", "job.toml"]).env("TOKEN", "secret-7"));
    job.wait_for_stderr("listening on http");
    let mut client = client(port);
    for wrong in [
        &[][..],
        &["Authorization: Bearer secret-8"],
        &["Authorization: Bearer secret-77"],
        &["Authorization: Bearer secret-"],
        &["Authorization: Bearer "],
        &["Authorization: Bearer\u{1f}secret-7"],
        &["Authorization: Basic secret-7"],
        &["Authorization: secret-7"],
    ] {
        match client.post(wrong, "a") {
            Ok(reply) if reply.status == 400 => client = HttpClient::connect(port).unwrap(),
            Ok(reply) => {
                check_reply(&reply, 401, "the token is wrong or missing");
                assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
            }
            Err(error) => panic!("{wrong:?}: {error}"),
        }
    }
    let token = "authorization: bearer secret-7";
    check_reply(&client.post(&[token], "a\nb").unwrap(), 200, "{\"rows\":2}");
    check_reply(&client.post(&[token, "Origin: http://evil.example"], "c").unwrap(), 200, "{\"rows\":1}");
    check_reply(&client.post(&[token, "Content-Encoding: gzip"], "x").unwrap(), 415, "without Content-Encoding");
    check_reply(&client.post(&[token, "Millstream-Producer: p"], "x").unwrap(), 400, "Millstream-Sequence");
    let output = job.stop();
    assert_eq!(trial.values("out.jsonl"), ["a", "b", "c"]);
    assert!(output.contains("rejected data from 127.0.0.1:") && !output.contains("secret-7"), "{output}");
    let (trial, job) = listening(port, "batch = \"0s\"", "", "");
    let mut client = self::client(port);
    check_reply(&client.post(&["Origin: http://evil.example"], "x").unwrap(), 403, "a browser page");
    check_reply(&client.post(&[], "y").unwrap(), 200, "1");
    job.stop();
    assert_eq!(trial.values("out.jsonl"), ["y"]);
}

#[test]
fn too_large_or_too_slow_requests_are_rejected() {
    let port = free_port();
    let bounds = "request_bytes_max = \"64KiB\"\nrows_per_batch_max = 100\nrequest_time_max = \"300ms\"";
    let (trial, mut job) = listening(port, "batch = \"0s\"", bounds, "");
    // From now on the code pages for responses are in memory: they count as memory, but are not used by senders.
    check_reply(&client(port).post(&[], "z\n".repeat(101)).unwrap(), 413, "101 rows, but a batch holds at most 100");
    let (_, before) = job.memory_bytes();
    // Its sender gets a response, although it writes much more than is accepted.
    let huge = vec![b'x'; 20 << 20];
    check_reply(&client(port).post(&[], &huge).unwrap(), 413, "more than 64KiB (`request_bytes_max`)");
    let mut chunked = client(port);
    chunked.say(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    for _ in 0..100 {
        chunked.say(&[b"1000\r\n", &[b'y'; 4096][..], b"\r\n"].concat()).unwrap();
    }
    chunked.say(b"0\r\n\r\n").unwrap();
    check_reply(&chunked.reply().unwrap(), 413, "request_bytes_max");
    check_reply(&client(port).post(&[], "z\n".repeat(101)).unwrap(), 413, "101 rows, but a batch holds at most 100");
    check_reply(&client(port).post(&[], "z\n".repeat(100)).unwrap(), 200, "100");
    let mut slow = client(port);
    slow.say(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc").unwrap();
    check_reply(&slow.reply().unwrap(), 408, "within 300ms (`request_time_max`)");
    let mut heads = client(port);
    heads.say(format!("POST / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(100_000)).as_bytes()).unwrap();
    check_reply(&heads.reply().unwrap(), 431, "");
    let mut many = client(port);
    many.say(format!("POST / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(200)).as_bytes()).unwrap();
    check_reply(&many.reply().unwrap(), 431, "");
    client(port).say(b"\x16\x03\x01 no HTTP at all\r\n\r\n").unwrap();
    let (_, max) = job.memory_bytes();
    assert!(max < before + (10 << 20), "it held {before} bytes before, and then {max}");
    job.wait_until("it goes on", |_| trial.rows("out.jsonl").len() == 100);
    job.stop();
}

#[test]
fn a_full_inbox_gives_429_and_a_stop_confirms_accepted_rows() {
    let port = free_port();
    // With so few rows per batch the next one waits for its time, however many rows there are.
    let few = "bytes_per_batch_max = \"1KiB\"\nrows_per_batch_max = 1";
    let (trial, job) = listening(port, "batch = \"1h\"", few, "");
    let (tell, output) = mpsc::channel();
    for letter in ["a", "b", "c", "d", "e"] {
        let tell = tell.clone();
        thread::spawn(move || tell.send((letter, client(port).post(&[], letter.repeat(900)))).unwrap());
    }
    let next = || {
        let (letter, reply) = output.recv_timeout(DEADLINE).expect("each client is answered");
        (letter, reply.unwrap_or_else(|error| panic!("{letter}: {error}: {}", job.stderr())))
    };
    // The inbox takes two; they wait for their batch.
    for (_, reply) in (0..3).map(|_| next()) {
        check_reply(&reply, 429, "send it again later");
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
    job.signal("TERM");
    let mut taken: Vec<&str> = Vec::new();
    for (letter, reply) in (0..2).map(|_| next()) {
        check_reply(&reply, 200, "{\"rows\":1}");
        taken.push(letter);
    }
    assert_eq!(job.wait().code, Some(0));
    taken.sort_unstable();
    let mut values = trial.values("out.jsonl");
    values.sort();
    assert_eq!(values, taken.iter().map(|letter| letter.repeat(900)).collect::<Vec<_>>());
}

#[test]
fn slow_or_disconnected_clients_delay_no_others() {
    let port = free_port();
    let (trial, job) = listening(port, "batch = \"0s\"", "connections_max = 100", "");
    let slow: Vec<HttpClient> = (0..90)
        .map(|number| {
            let mut slow = client(port);
            let begin: &[u8] = match number % 3 {
                0 => b"",
                1 => b"POST / HTT",
                _ => b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc",
            };
            slow.say(begin).unwrap();
            slow
        })
        .collect();
    let clients = (0..5).map(|number| {
        thread::spawn(move || {
            let mut client = client(port);
            (0..20).for_each(|row| check_reply(&client.post(&[], format!("{number} {row}")).unwrap(), 200, "1"));
        })
    });
    clients.collect::<Vec<_>>().into_iter().for_each(|client| client.join().unwrap());
    wait_until("all rows are there", || trial.values("out.jsonl").len() == 100);
    drop(slow);
    check_reply(&client(port).post(&[], "last").unwrap(), 200, "1");
    job.stop();
    assert_eq!(trial.values("out.jsonl").len(), 101, "nothing of a request that broke off");
}

#[test]
fn senders_may_use_tls_and_a_certificate_may_be_renewed() {
    let (made, port) = (Certificates::make(), free_port());
    let (cert, key) = made.of("first", "DNS:localhost", 2);
    let source =
        format!("kind = \"http\"\nlisten = \"127.0.0.1:{port}\"\ntls = {{ cert = \"own.pem\", key = \"own.key\" }}");
    let trial = passing("batch = \"0s\"", &source, "");
    let output = trial.rejected_message(&["validate", "job.toml"]);
    assert!(output.contains("source `in`: tls cannot be used: `./own.pem` cannot be read"), "{output}");
    let put = |cert: &std::path::Path, key: &std::path::Path| {
        std::fs::copy(cert, trial.path("own.pem")).unwrap();
        std::fs::copy(key, trial.path("own.key")).unwrap();
    };
    put(&cert, &key);
    let mut job = trial.start(&[]);
    job.wait_for_stderr("listening on https://127.0.0.1");
    let ca = made.ca().display().to_string();
    let url = format!("https://localhost:{port}");
    let resolve = format!("localhost:{port}:127.0.0.1");
    let post = |body: &str| curl(&["--cacert", &ca, "--resolve", &resolve, "-d", body, &url]);
    let (status, body) = post("one");
    assert_eq!((status.as_str(), body.trim()), ("200", "{\"rows\":1}"));
    // Plain HTTP gets no response, and is logged.
    assert!(client(port).post(&[], "plain").is_err());
    job.wait_for_stderr("it does not use TLS; configure it for https://");
    let (cert, key) = made.of("second", "DNS:localhost", 2);
    put(&cert, &key);
    let (status, body) = post("two");
    assert_eq!((status.as_str(), body.trim()), ("200", "{\"rows\":1}"));
    trial.write("own.pem", "no certificate");
    assert_eq!(post("three").0, "200");
    job.wait_for_stderr("the new certificate cannot be used, and the previous one stays");
    job.stop();
    assert_eq!(trial.values("out.jsonl"), ["one", "two", "three"]);
}

#[test]
fn a_port_in_use_fails_the_start_with_a_fix() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let checkpoint = "batch = \"0s\"\n[checkpoint]\ndir = \"kept\"\n";
    let trial = passing(checkpoint, &format!("kind = \"http\"\nlisten = \"{address}\""), "");
    let ended = trial.run(&[]);
    let message =
        format!("source `in`: cannot listen on {address}: another program listens there; stop that program, or choose");
    assert!(ended.code != Some(0) && ended.stderr.contains(&message), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("cannot listen").count(), 1, "it is not tried again: {}", ended.stderr);
    assert_eq!(trial.text("out.jsonl"), "", "no batch is committed before the source listens");
    assert!(!ended.stderr.contains("page: "), "the job does not run: {}", ended.stderr);
}

#[test]
fn a_job_with_until_idle_ends() {
    let port = free_port();
    let source = format!("kind = \"http\"\nlisten = \"127.0.0.1:{port}\"");
    let trial = passing("batch = \"100ms\"", &source, "");
    let mut job = trial.start(&["--until-idle"]);
    job.wait_for_stderr("listening on http");
    check_reply(&client(port).post(&[], "a").unwrap(), 200, "1");
    assert_eq!(job.wait().code, Some(0));
    assert_eq!(trial.values("out.jsonl"), ["a"]);
}
