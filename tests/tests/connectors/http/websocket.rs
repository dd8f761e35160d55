//! The `websocket` sink: which clients may listen, what they receive, and that no client holds up the job.

use millstream_tests::{Certificates, HttpClient, Process, Trial, free_port, wait_until};
use serde_json::{Value, json};
use std::io;

/// A job whose rows come from `in.txt`, which is followed, and go to all listeners.
fn job(port: u16, more: &str) -> (Trial, Process) {
    let trial = Trial::new(&format!(
        "batch = \"0s\"\n[sources.in]\nkind = \"file\"\npath = \"in.txt\"\nfollow = true\npoll = \"5ms\"\n[sinks.live]\nfrom = \"in\"\n\
         kind = \"websocket\"\nlisten = \"127.0.0.1:{port}\"\n{more}\n"
    ));
    trial.write("in.txt", "");
    let mut job = trial.start(&[]);
    job.wait_for_stderr("listening on ws");
    (trial, job)
}

fn add(trial: &Trial, text: &str) {
    let before = trial.text("in.txt");
    trial.write("in.txt", before + text);
}

/// Performs the handshake; returns the connection if it was accepted, otherwise the status.
fn greet(port: u16, target: &str, headers: &[&str]) -> Result<HttpClient, (u16, String)> {
    try_greet(port, target, headers).unwrap()
}

/// The same; an error if there is no response.
pub(in crate::connectors) fn try_greet(
    port: u16,
    target: &str,
    headers: &[&str],
) -> io::Result<Result<HttpClient, (u16, String)>> {
    let mut client = HttpClient::connect(port)?;
    let mut head =
        format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
    head.push_str("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
    headers.iter().for_each(|line| head.extend([line, "\r\n"]));
    client.say(format!("{head}\r\n").as_bytes())?;
    let reply = client.reply()?;
    if reply.status != 101 {
        return Ok(Err((reply.status, reply.body)));
    }
    assert_eq!(reply.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    Ok(Ok(client))
}

fn message(client: &mut HttpClient) -> Value {
    try_message(client).unwrap()
}

/// The next message, without pings.
pub(in crate::connectors) fn try_message(client: &mut HttpClient) -> io::Result<Value> {
    loop {
        let head = client.bytes(2)?;
        let length = match head[1] {
            126 => client.bytes(2)?.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)),
            127 => client.bytes(8)?.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)),
            short => usize::from(short),
        };
        let body = client.bytes(length)?;
        match head[0] {
            0x81 => return Ok(serde_json::from_slice(&body)?),
            0x89 => {}
            other => return Err(io::Error::other(format!("{other:x} {body:?}"))),
        }
    }
}

/// The values received so far, up to this one.
fn values(client: &mut HttpClient, last: &str) -> Vec<String> {
    let mut values: Vec<String> = Vec::new();
    while values.last().map(String::as_str) != Some(last) {
        let message = message(client);
        let rows = message["rows"].as_array().unwrap_or_else(|| panic!("{message}"));
        assert!(message["batch"].is_u64() && message["time"].is_string(), "{message}");
        values.extend(rows.iter().map(|row| row["value"].as_str().unwrap().to_owned()));
    }
    values
}

#[test]
fn listeners_receive_each_batch() {
    let port = free_port();
    let (trial, job) = job(port, "rows_per_message_max = 2");
    let mut clients =
        [greet(port, "/", &[]).unwrap(), greet(port, "/any", &["Origin: http://localhost:3000"]).unwrap()];
    add(&trial, "a\nb\nc\nd\ne\n");
    for client in &mut clients {
        assert_eq!(values(client, "e"), ["a", "b", "c", "d", "e"]);
    }
    let mut later = greet(port, "/", &[]).unwrap();
    add(&trial, "f\n");
    assert_eq!(values(&mut later, "f"), ["f"], "from then on");
    drop(clients);
    add(&trial, "g\n");
    assert_eq!(values(&mut later, "g"), ["g"]);
    job.stop();
}

#[test]
fn tokens_and_origins_are_checked() {
    let port = free_port();
    let (trial, mut job) = job(port, "token = \"tok-7\"\norigins = [\"https://dash.example\"]");
    for (target, header, status) in [
        ("/", "X: y", 401),
        ("/?token=tok-8", "X: y", 401),
        ("/", "Authorization: Bearer tok-77", 401),
        ("/?token=tok-7", "Origin: https://evil.example", 403),
        ("/?token=tok-7", "Origin: null", 403),
        ("/?token=tok-7", "Origin: http://localhost.evil.example", 403),
    ] {
        let refused = greet(port, target, &[header]).map(drop).unwrap_err();
        assert_eq!(refused.0, status, "{target} {header}: {}", refused.1);
    }
    job.wait_for_stderr("sink `live`: rejected data from 127.0.0.1:");
    let mut good = [
        greet(port, "/?token=tok%2D7", &["Origin: https://dash.example"]).unwrap(),
        greet(port, "/", &["Authorization: Bearer tok-7"]).unwrap(),
    ];
    add(&trial, "a\n");
    good.iter_mut().for_each(|client| assert_eq!(values(client, "a"), ["a"]));
    assert!(!job.stop().contains("tok-7"));
}

#[test]
fn a_client_that_reads_nothing_is_disconnected_with_a_reason() {
    let port = free_port();
    let (trial, job) = job(port, "");
    let mut slow = greet(port, "/", &[]).unwrap();
    let mut quick = greet(port, "/", &[]).unwrap();
    let wide = "x".repeat(500_000);
    for number in 0..200 {
        add_line(&trial, &format!("{number} {wide}\n"));
        assert!(message(&mut quick)["rows"][0]["value"].as_str().unwrap().starts_with(&format!("{number} ")));
    }
    let mut skipped = 0;
    let mut received = 0;
    while skipped + received < 200 {
        let message = message(&mut slow);
        skipped += message["skipped"].as_u64().unwrap_or(0);
        received += u64::from(message["rows"].is_array());
    }
    assert!(skipped > 50 && skipped + received == 200, "{skipped} skipped, {received} heard");
    assert_eq!(json!(skipped).as_u64(), Some(skipped));
    job.stop();
}

/// Appends to the file that is followed.
fn add_line(trial: &Trial, line: &str) {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().append(true).open(trial.path("in.txt")).unwrap();
    file.write_all(line.as_bytes()).unwrap();
}

#[test]
fn clients_may_use_tls_and_a_port_in_use_is_reported() {
    let (made, port) = (Certificates::make(), free_port());
    let (cert, key) = made.of("own", "DNS:localhost", 2);
    let tls = format!("tls = {{ cert = \"{}\", key = \"{}\" }}", cert.display(), key.display());
    let (trial, mut job) = job(port, &tls);
    let url = format!("https://localhost:{port}/");
    let mut curl = std::process::Command::new("curl");
    curl.args(["-sS", "-N", "--http1.1", "--max-time", "20", "--cacert"]).arg(made.ca()).arg(url);
    curl.args([
        "--resolve",
        &format!("localhost:{port}:127.0.0.1"),
        "-H",
        "Upgrade: websocket",
        "-H",
        "Connection: Upgrade",
    ]);
    curl.args(["-H", "Sec-WebSocket-Version: 13", "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]);
    let client = Process::start(&mut curl);
    let mut number = 0;
    wait_until("a message comes through TLS", || {
        number += 1;
        add_line(&trial, &format!("line {number}\n"));
        client.stdout().contains("\"rows\":[{\"value\":\"line ")
    });
    let second = Trial::new(&trial.text("job.toml"));
    second.write("in.txt", "");
    let ended = second.run(&[]);
    let strings = format!("sink `live`: cannot listen on 127.0.0.1:{port}: another program listens there");
    assert!(ended.code != Some(0) && ended.stderr.contains(&strings), "{}", ended.stderr);
    // A client that does not speak WebSocket gets no rows, but an error.
    assert!(HttpClient::connect(port).unwrap().post(&[], "x").is_err());
    job.wait_for_stderr("rejected data from 127.0.0.1:");
    job.stop();
}
