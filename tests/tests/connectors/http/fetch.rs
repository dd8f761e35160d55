//! The `http` source that polls a server or follows its stream: servers that are unreachable, lie, stall, disconnect and
//! redirect.

use flate2::Compression;
use flate2::write::GzEncoder;
use millstream_tests::{Certificates, Exchange, Expected, Process, StreamServer, Trial, free_port, passing};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// A job that writes what a server on this port sends to `out.jsonl`, and rejected rows to `rejected.jsonl`.
pub fn job(port: u16, how: &str, more: &str) -> Trial {
    let scheme = if how == "websocket" { "ws" } else { "http" };
    let shape = if how.contains('=') { how.to_owned() } else { format!("stream = \"{how}\"") };
    let source = format!("kind = \"http\"\nurl = \"{scheme}://127.0.0.1:{port}/feed?a=b\"\n{shape}\n{more}");
    let rejected = "[sinks.unusable]\nfrom = \"in.rejected\"\nkind = \"queue\"\npath = \"rejected.jsonl\"\n";
    passing("batch = \"0s\"", &source, rejected)
}

pub const JSON: &str = "format = \"json\"\nschema = { n = \"int64\" }";

pub fn numbers(trial: &Trial) -> Vec<i64> {
    trial.rows("out.jsonl").iter().map(|row| row["n"].as_i64().unwrap()).collect()
}

/// A line or event of a number.
pub fn row(number: usize) -> String {
    format!("{{\"n\":{number}}}")
}

#[test]
fn a_stream_of_lines_is_followed_through_all_failures() {
    let port = free_port();
    let more = format!(
        "{JSON}\ntoken = \"tok-77\"\nheaders = {{ X-Own = \"own-88\" }}\nstall = \"300ms\"\nrecord_bytes_max = 100"
    );
    let trial = job(port, "lines", &more);
    let mut running = trial.start(&[]);
    running.wait_for_stderr("connection refused; retrying until it works");
    let server = StreamServer::start(port, |exchange: &mut Exchange| match exchange.before {
        0 => exchange.say("what is this\r\n\r\n"),
        1 => exchange.reply(503, "Retry-After: 0\r\n", "not now"),
        2 => {
            exchange.begin_body("application/json")?;
            // Blank lines are signs of life.
            exchange.chunk("\r\n{\"n\":1}\r\n{\"n\"")?;
            exchange.chunk(":2}\n\n{\"n\":3")
        }
        3 => {
            exchange.begin_body("application/json")?;
            exchange.chunk(format!("{{\"n\":4}}\n{{\"n\":\"{}\"}}\nnone\n{{\"n\":5}}\n", "x".repeat(5000)))?;
            exchange.silence()
        }
        4 => exchange.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{\"n\":6}\n\r\nzz\r\n"),
        5 => exchange.reply(200, "", "{\"n\":7}\n{\"n\":8}"),
        _ => {
            exchange.begin_body("application/json")?;
            exchange.chunk("{\"n\":9}\n")?;
            exchange.silence()
        }
    });
    running.wait_until("all rows are there", |_| numbers(&trial).last() == Some(&9));
    assert_eq!(numbers(&trial), [1, 2, 4, 5, 6, 7, 8, 9]);
    let rejected: Vec<String> = trial.rows("rejected.jsonl").iter().map(|row| row["reason"].to_string()).collect();
    assert_eq!(rejected.len(), 3, "{rejected:?}");
    assert!(rejected[0].contains("broke") && rejected[1].contains("record_bytes_max is 100"), "{rejected:?}");
    for requested in server.requests() {
        assert_eq!(requested.line, "GET /feed?a=b HTTP/1.1");
        assert_eq!(
            (requested.header("authorization"), requested.header("x-own")),
            (Some("Bearer tok-77"), Some("own-88"))
        );
    }
    let output = running.stop();
    for message in [
        "does not speak HTTP/1.1",
        "503 Service Unavailable: not now; retrying",
        "the connection broke",
        "nothing came for 300ms (`stall`)",
        &format!("connected to http://127.0.0.1:{port}/feed"),
        "the stream ended; reconnecting",
    ] {
        assert!(output.contains(message), "{message}: {output}");
    }
    assert!(!output.contains("tok-77") && !output.contains("own-88") && !output.contains("a=b"), "{output}");
}

#[test]
fn rejected_credentials_stop_the_job_with_the_reason() {
    for (status, how, token, message) in [
        (401, "lines", "token = \"tok-77\"", "401 Unauthorized: bad token; check `token` or `headers`"),
        (403, "sse", "token = \"tok-77\"", "403 Forbidden: bad token; check `token` or `headers`"),
        (401, "every = \"1s\"", "", "401 Unauthorized: bad token; the server requires credentials; set `token`"),
        (401, "websocket", "token = \"tok-77\"", "401 Unauthorized: bad token; check `token`"),
        (404, "lines", "", "404 Not Found: bad token; the address does not exist; check `url`"),
        (200, "sse", "", "the response is `nothing`, not an event stream (text/event-stream)"),
    ] {
        let server =
            StreamServer::start(free_port(), move |exchange: &mut Exchange| exchange.reply(status, "", "bad token"));
        let trial = job(server.port(), how, token);
        let ended = trial.run(&[]);
        assert!(
            ended.code.is_some_and(|code| code != 0) && ended.stderr.contains(message),
            "{message}: {}",
            ended.stderr
        );
        assert!(!ended.stderr.contains("tok-77"), "{}", ended.stderr);
        assert_eq!(server.requests().len(), 1, "nobody knocks again who was refused: {how}");
    }
}

#[test]
fn redirects_are_followed_a_few_times_without_leaking_the_token() {
    let other = StreamServer::start(free_port(), |exchange: &mut Exchange| {
        exchange.begin_body("text/plain")?;
        exchange.chunk("there\n")?;
        exchange.silence()
    });
    let to = other.port();
    let home = StreamServer::start(free_port(), move |exchange: &mut Exchange| {
        let led = |to: &str| format!("Location: {to}\r\n");
        match exchange.request.line.split(' ').nth(1).unwrap_or_default() {
            "/feed?a=b" => exchange.reply(302, &led("step"), ""),
            "/step" => exchange.reply(307, &led(&format!("http://127.0.0.1:{to}/away?x")), ""),
            _ => exchange.reply(302, &led("/round"), ""),
        }
    });
    let trial = job(home.port(), "lines", "token = \"tok-77\"\nheaders = { X-Own = \"own-88\" }");
    let mut running = trial.start(&[]);
    running.wait_until("the row is there", |_| trial.values("out.jsonl") == ["there"]);
    running.stop();
    assert!(home.requests().iter().all(|requested| requested.header("authorization") == Some("Bearer tok-77")));
    assert_eq!(home.requests().len(), 2);
    let requested = &other.requests()[0];
    assert_eq!(requested.line, "GET /away?x HTTP/1.1");
    assert!(requested.header("authorization").is_none() && requested.header("x-own").is_none(), "{requested:?}");

    let trial = job(home.port(), "lines", "");
    trial.change("/feed?a=b", "/round");
    let mut running = trial.start(&[]);
    running.wait_for_stderr("more than 5 redirects");
    running.stop();
}

#[test]
fn events_are_followed_with_their_ids_and_types() {
    let more = "format = \"json\"\nstall = \"5s\"\nanswer_bytes_max = 200\nschema = { n = \"int64\", kind = { type = \"text\", from = \
                \"event\" }, id = { type = \"text\", from = \"id\" } }";
    let times = Arc::new(Mutex::new(Vec::new()));
    let noted = times.clone();
    let server = StreamServer::start(free_port(), move |exchange: &mut Exchange| {
        noted.lock().unwrap().push(Instant::now());
        let events = |exchange: &mut Exchange| exchange.begin_body("Text/Event-Stream; charset=utf-8");
        match exchange.before {
            0 => {
                events(exchange)?;
                exchange.chunk(": hello\n\nretry: 700\n\ndata: {\"n\":1}\nid: a\n\nevent: up\ndata: [{\"n\":2},\r\ndata: {\"n\":3}]\r\n\r\n")?;
                exchange.chunk("data: {\"n\":4}\nid: b c\n\ndata: {\"n\":5}\nid: never")
            }
            1 => {
                events(exchange)?;
                exchange
                    .chunk(format!("id: d\ndata: {}\n\ndata: [1\n\ndata: {{\"n\":6}}\nid: e\n\n", "y".repeat(1000)))?;
                exchange.silence()
            }
            _ => Ok(()),
        }
    });
    let trial = job(server.port(), "sse", more);
    let mut running = trial.start(&[]);
    running.wait_until("all rows are there", |_| numbers(&trial).last() == Some(&6));
    let row = |n: i64, kind: &str, id: &str| json!({ "n": n, "kind": kind, "id": id });
    let expected = [
        row(1, "message", "a"),
        row(2, "up", "a"),
        row(3, "up", "a"),
        row(4, "message", "b c"),
        row(6, "message", "e"),
    ];
    assert_eq!(trial.rows("out.jsonl"), expected);
    // Another sink writes these.
    running.wait_until("what is no row is rejected", |_| trial.rows("rejected.jsonl").len() >= 2);
    let rejected: Vec<Value> = trial.rows("rejected.jsonl");
    assert_eq!(rejected.len(), 2, "{rejected:?}");
    assert!(rejected[0]["reason"].as_str().unwrap().contains("1000 bytes, answer_bytes_max is 200"), "{rejected:?}");
    let requested = server.requests();
    assert_eq!(requested[0].header("last-event-id"), None);
    assert_eq!(requested[0].header("accept"), Some("text/event-stream"));
    assert_eq!(requested[1].header("last-event-id"), Some("b c"));
    let times = times.lock().unwrap();
    assert!((times[1] - times[0]).as_millis() >= 700, "what `retry` says at least");
    running.stop();
}

#[test]
fn a_server_without_more_events_ends_the_source() {
    let server = StreamServer::start(free_port(), |exchange: &mut Exchange| match exchange.before {
        0 => exchange.reply(200, "Content-Type: text/event-stream\r\n", "data: a\n\n"),
        _ => exchange.say("HTTP/1.1 204 No Content\r\n\r\n"),
    });
    let trial = job(server.port(), "sse", "");
    let ended = trial.run_ok(&[]);
    assert_eq!(trial.values("out.jsonl"), ["a"]);
    assert!(ended.stderr.contains("204: the server has ended the stream"), "{}", ended.stderr);
}

pub fn compressed(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_poll_reads_new_rows() {
    let server = StreamServer::start(free_port(), |exchange: &mut Exchange| match exchange.before {
        0 => exchange.reply(200, "ETag: \"v1\"\r\nContent-Encoding: gzip\r\n", compressed(b"[{\"n\":1},{\"n\":2}]")),
        1..=3 => match exchange.request.header("if-none-match") {
            Some("\"v1\"") => exchange.say("HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\n\r\n"),
            _ => exchange.reply(200, "", "{\"n\":99}"),
        },
        4 => exchange.reply(500, "", "oops"),
        5 => exchange.reply(200, "Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n", "{\n\"n\": 3\n}\n"),
        6 => exchange.reply(200, "", "[{\"n\":4},"),
        7 => match exchange.request.header("if-modified-since") {
            Some("Wed, 21 Oct 2015 07:28:00 GMT") => exchange.reply(200, "", "{\"n\":5}\n{\"n\":6}\n"),
            _ => exchange.reply(200, "", "{\"n\":98}"),
        },
        _ => exchange.reply(200, "", ""),
    });
    let trial = job(server.port(), "every = \"20ms\"", JSON);
    let mut running = trial.start(&[]);
    running.wait_until("all rows are there", |_| numbers(&trial).last() == Some(&6) && server.requests().len() > 10);
    assert_eq!(numbers(&trial), [1, 2, 3, 5, 6]);
    assert_eq!(server.requests()[1].header("accept-encoding"), Some("gzip"));
    let output = running.stop();
    assert!(
        output.contains("500 Internal Server Error: oops") && output.contains("not a complete JSON array"),
        "{output}"
    );
}

#[test]
fn responses_are_limited() {
    for (response, message) in [
        (("", vec![b' '; 2000]), "the response has more than 1000 bytes (`answer_bytes_max`)"),
        (("Content-Encoding: gzip\r\n", compressed(&vec![b' '; 50 << 20])[..900].to_vec()), "(`answer_bytes_max`)"),
        (("Content-Encoding: br\r\n", b"x".to_vec()), "compressed with `br`, but only gzip was requested"),
    ] {
        let (head, body) = response;
        let server = StreamServer::start(free_port(), move |exchange: &mut Exchange| exchange.reply(200, head, &body));
        let ended =
            job(server.port(), "every = \"1s\"", &format!("{JSON}\nanswer_bytes_max = 1000")).run(&["--unsupervised"]);
        assert!(ended.code == Some(1) && ended.stderr.contains(message), "{message}: {}", ended.stderr);
    }
    // A server that sends slowly, byte by byte.
    let server = StreamServer::start(free_port(), |exchange: &mut Exchange| {
        exchange.begin_body("application/json")?;
        while !exchange.is_over() {
            exchange.chunk(" ")?;
            std::thread::yield_now();
        }
        Ok(())
    });
    let trial =
        job(server.port(), "every = \"1s\"", &format!("{JSON}\ntimeout = \"200ms\"\nanswer_bytes_max = \"32MiB\""));
    let mut running = trial.start(&[]);
    running.wait_for_stderr("no complete response within 200ms (`timeout`)");
    running.stop();
}

#[test]
fn a_cursor_reads_all_pages() {
    let server = StreamServer::start(free_port(), |exchange: &mut Exchange| {
        let path = exchange.request.line.split(' ').nth(1).unwrap_or_default().to_owned();
        let since = path.split("since=").nth(1).and_then(|since| since.parse::<usize>().ok());
        assert!(path.starts_with("/feed?a=b&since="), "{path}");
        let first = since.unwrap_or(0);
        let rows: Vec<String> = (first + 1..=(first + 3).min(10)).map(row).collect();
        exchange.reply(200, "", format!("[{}]", rows.join(",")))
    });
    let more = format!("{JSON}\ncursor = {{ parameter = \"since\", field = \"n\" }}");
    let trial = job(server.port(), "every = \"1h\"", &more);
    trial.change("/feed?a=b", "/feed?since=0&a=b");
    trial.change("cursor =", "stall = \"1s\"\ncursor =");
    assert!(trial.rejected_message(&["validate", "job.toml"]).contains("`stall` is for streams"));
    trial.change("stall = \"1s\"\n", "");
    trial.change("/feed?since=0&a=b", "/feed?a=b&since=0");
    let mut running = trial.start(&[]);
    // Pages are requested immediately one after the other.
    running.wait_until("all rows are there", |_| numbers(&trial).last() == Some(&10));
    assert_eq!(numbers(&trial), (1..=10).collect::<Vec<_>>());
    running.stop();
}

#[test]
fn pages_are_followed_and_rows_are_found_within_responses() {
    // A snapshot of three pages, of which one is empty; the last one is deleted once it was read.
    let server = StreamServer::start(free_port(), |exchange: &mut Exchange| {
        let path = exchange.request.line.split(' ').nth(1).unwrap_or_default().to_owned();
        let (rows, next) = match path.as_str() {
            "/feed?a=b" => (vec![row(1), row(2)], "</feed?page=2>; rel=\"next\", </feed?page=4>; rel=\"last\""),
            "/feed?page=2" => (vec![], "<?page=3>; rel=next"),
            "/feed?page=3" if exchange.before > 5 => return exchange.reply(410, "", "no more"),
            "/feed?page=3" => (vec![row(3)], "<?page=4>; rel=next"),
            "/feed?page=4" => (vec![row(4)], "<?page=4>; rel=next"),
            other => panic!("{other}"),
        };
        exchange.reply(200, &format!("Link: {next}\r\n"), format!("{{\"total\":4,\"rows\":[{}]}}", rows.join(",")))
    });
    let trial = job(server.port(), "every = \"50ms\"", &format!("{JSON}\nrows = \"rows\"\npages = \"link\""));
    let mut running = trial.start(&[]);
    running.wait_until("all pages are there", |_| numbers(&trial).len() >= 4);
    assert_eq!(numbers(&trial)[..4], [1, 2, 3, 4]);
    running.wait_for_stderr("the next page is missing");
    running.wait_for_stderr("restarting at the first one");
    running.wait_until("it begins again", |_| numbers(&trial).iter().filter(|n| **n == 1).count() >= 3);
    running.stop();
}

#[test]
fn invalid_pages_are_reported() {
    let output = |link: &'static str, body: &'static str, message: &str| {
        let server = StreamServer::start(free_port(), move |exchange: &mut Exchange| {
            exchange.reply(200, &format!("Link: <{link}>; rel=\"next\"\r\n"), body)
        });
        let trial = job(server.port(), "every = \"50ms\"", &format!("{JSON}\nrows = \"data.items\"\npages = \"link\""));
        let mut running = trial.start(&["--unsupervised"]);
        running.wait_for_stderr(message);
        running.kill();
        assert!(server.requests().iter().all(|requested| requested.line.starts_with("GET /feed?a=b ")));
    };
    output(
        "http://localhost:1/x",
        "{\"data\":{\"items\":[]}}",
        "its next page is http://localhost:1/x, which is another server",
    );
    output("/x", "{\"error\":\"none\"}", "the response has nothing at `data.items` (`rows`); retrying");
    output("/x", "{\"data\":{\"items\":7}}", "the response's value at `data.items` (`rows`) is not an array");
    output("/x", "{\"data\"", "the response is not JSON: ");
    let trial = job(1, "every = \"50ms\"", &format!("{JSON}\nrows = \"a..b\""));
    assert!(trial.rejected_message(&["validate", "job.toml"]).contains("`rows` has an empty name"));
    let trial = job(1, "stream = \"lines\"", &format!("{JSON}\npages = \"link\""));
    assert!(trial.rejected_message(&["validate", "job.toml"]).contains("`pages` is for sources that poll"));
}

/// Greets a client of a WebSocket.
pub fn greet(exchange: &mut Exchange) -> io::Result<()> {
    let key = exchange.request.header("sec-websocket-key").unwrap_or_default().to_owned();
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    let accept = base64(digest.as_ref());
    exchange.say(format!(
        "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    ))
}

fn base64(bytes: &[u8]) -> String {
    const CHARS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let bits = three.iter().chain([0, 0].iter()).take(3).fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte));
        let letter = |place: usize| match place <= three.len() {
            true => char::from(CHARS[(bits >> (18 - 6 * place)) as usize & 63]),
            false => '=',
        };
        (0..4).map(letter).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

#[test]
fn messages_of_a_websocket_are_rows() {
    let received = Arc::new(Mutex::new(Vec::new()));
    let pings = Arc::new(AtomicUsize::new(0));
    let (output, counted) = (received.clone(), pings.clone());
    let server = StreamServer::start(free_port(), move |exchange: &mut Exchange| match exchange.before {
        0 => exchange.reply(503, "", ""),
        1 => {
            greet(exchange)?;
            for _ in 0..2 {
                let frame = exchange.read_frame()?;
                output.lock().unwrap().extend(frame);
            }
            exchange.frame(1, b"{\"n\":1}")?;
            exchange.frame(9, b"ping")?;
            exchange.frame(1, b"[{\"n\":2},{\"n\":3}]")?;
            // A message in two frames, with a ping between.
            exchange.say([&[0x01, 4][..], b"{\"n\""].concat())?;
            exchange.frame(9, b"")?;
            exchange.frame(0, b":4}")?;
            exchange.frame(2, b"{\"n\":5}\n{\"n\":6}")?;
            let frame = exchange.read_frame()?;
            output.lock().unwrap().extend(frame);
            exchange.frame(8, &[&1001_u16.to_be_bytes()[..], b"moving"].concat())?;
            exchange.silence()
        }
        2 => {
            greet(exchange)?;
            exchange.frame(1, b"{\"n\":7}")?;
            exchange.frame(1, &[b'x'; 5000])?;
            exchange.silence()
        }
        3 => {
            // Idle but alive: no reason to disconnect. Then it no longer responds.
            greet(exchange)?;
            while counted.load(Ordering::Acquire) < 5 {
                match exchange.read_frame()? {
                    Some((9, body)) => exchange.frame(10, &body)?,
                    Some(_) => {}
                    None => return Ok(()),
                }
                counted.fetch_add(1, Ordering::AcqRel);
            }
            exchange.frame(1, b"{\"n\":8}")?;
            exchange.silence()
        }
        _ => {
            greet(exchange)?;
            exchange.frame(1, b"{\"n\":9}")?;
            exchange.silence()
        }
    });
    let more =
        format!("{JSON}\ntoken = \"tok-77\"\nsend = [\"one\", \"two\"]\nstall = \"200ms\"\nanswer_bytes_max = 1000");
    let trial = job(server.port(), "websocket", &more);
    let mut running = trial.start(&[]);
    running.wait_until("all rows are there", |_| numbers(&trial).last() == Some(&9));
    assert_eq!(numbers(&trial), (1..=9).collect::<Vec<_>>());
    let received = received.lock().unwrap().clone();
    assert_eq!(received[..2], [(1, b"one".to_vec()), (1, b"two".to_vec())]);
    assert_eq!(received[2], (10, b"ping".to_vec()), "a ping is answered");
    assert!(server.requests().iter().all(|requested| requested.header("authorization") == Some("Bearer tok-77")));
    let output = running.stop();
    for message in [
        "503 Service Unavailable",
        "the server closed the connection with code 1001: moving; reconnecting",
        "a message has more than 1000 bytes (`answer_bytes_max`)",
        "nothing came for 200ms (`stall`)",
    ] {
        assert!(output.contains(message), "{message}: {output}");
    }
    assert!(!output.contains("tok-77"), "{output}");
}

#[test]
fn tls_is_verified_with_the_configured_ca() {
    let (made, port) = (Certificates::make(), free_port());
    let own = made.of("own", "DNS:localhost", 2);
    let mut server = Process::start(&mut Certificates::server(port, &own, &[]));
    let trial = job(port, "lines", &format!("tls = {{ ca = \"{}\" }}", made.ca().display()));
    trial.change("http://127.0.0.1", "https://127.0.0.1");
    let mut running = trial.start(&[]);
    running.wait_for_stderr("the server's certificate is not for the name `127.0.0.1` but for");
    running.stop();
    trial.change("https://127.0.0.1", "https://localhost");
    let mut running = trial.start(&[]);
    server.wait_until("it is asked", |server| server.stdout().contains("GET /feed"));
    server.say("HTTP/1.1 200 OK\r\n\r\nover TLS\n");
    running.wait_until("the row is there", |_| trial.values("out.jsonl") == ["over TLS"]);
    running.stop();
}

#[test]
fn job_files_that_cannot_be_are_refused_in_words() {
    let output = |source: &str| {
        let trial = passing("", &format!("kind = \"http\"\n{source}"), "");
        trial.rejected_message(&["validate", "job.toml"])
    };
    let mut expected = Expected::of(file!(), "job_files_that_cannot_be_are_refused_in_words");
    for source in [
        "",
        "listen = \"127.0.0.1:80\"\nurl = \"http://h/\"\nevery = \"1s\"",
        "listen = \"127.0.0.1:80\"\nevery = \"1s\"",
        "url = \"http://h/\"",
        "url = \"http://h/\"\nevery = \"1s\"\nstream = \"sse\"",
        "url = \"ftp://h/\"\nevery = \"1s\"",
        "url = \"ws://h/\"\nstream = \"sse\"",
        "url = \"http://h/\"\nstream = \"websocket\"",
        "url = \"http://me:pw@h/\"\nevery = \"1s\"",
        "url = \"http://h/\"\nevery = \"1s\"\ncursor = { parameter = \"a\", field = \"b\" }",
        "url = \"http://h/\"\nevery = \"1s\"\ncursor = { parameter = \"a\" }",
        "url = \"http://h/\"\nstream = \"lines\"\nsend = \"x\"",
        "url = \"http://h/\"\nstream = \"lines\"\nheaders = { Host = \"x\" }",
        "url = \"http://h/\"\nstream = \"lines\"\nformat = \"json\"\nschema = { a = { type = \"text\", from = \"event\" } }",
    ] {
        expected.add(if source.is_empty() { "nothing but the kind" } else { source }, &output(source));
    }
    for source in [
        "url = \"http://h/\"\nstream = \"lines\"",
        "url = \"wss://h/\"",
        "url = \"https://h/\"\nstream = \"sse\"",
        "url = \"${NOT_SET:-ws://h/}\"\nsend = \"x\"",
        "url = \"https://${NOT_SET:-h}/\"\nevery = \"1s\"",
        "listen = \"127.0.0.1:80\"",
    ] {
        let trial = passing("", &format!("kind = \"http\"\n{source}"), "");
        expected.add(source, &trial.run_command_ok(&["validate", "job.toml"]));
    }
    expected.check_parts();
}

/// There is no position to resume from within an event.
#[test]
fn an_event_with_an_id_and_more_rows_than_a_batch_is_rejected() {
    let server = StreamServer::start(free_port(), |exchange: &mut Exchange| {
        exchange.begin_body("text/event-stream")?;
        let rows: Vec<String> = (0..30).map(|n| format!("{{\"n\":{n}}}")).collect();
        exchange.chunk(format!("id: 7\ndata: [{}]\n\n", rows.join(",")))?;
        exchange.silence()
    });
    let source = format!(
        "kind = \"http\"\nurl = \"http://127.0.0.1:{}/\"\nstream = \"sse\"\nformat = \"json\"\nrows_per_batch_max = 20\n\
         schema = {{ n = \"int64\" }}",
        server.port()
    );
    let ended = passing("batch = \"0s\"", &source, "").run(&["--unsupervised"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("an event has 30 rows, and a batch holds at most 20 of this source"),
        "{}",
        ended.stderr
    );
}

/// The rows of an event without an ID need not stay together.
#[test]
fn an_event_without_an_id_goes_to_as_many_batches_as_it_needs() {
    let server = StreamServer::start(free_port(), |exchange: &mut Exchange| {
        exchange.begin_body("text/event-stream")?;
        let rows: Vec<String> = (0..1000).map(row).collect();
        exchange.chunk(format!("data: [{}]\n\n", rows.join(",")))?;
        exchange.silence()
    });
    let trial = job(server.port(), "sse", &format!("{JSON}\nrows_per_batch_max = 30"));
    let mut running = trial.start(&[]);
    running.wait_until("all rows", |_| numbers(&trial).len() == 1000);
    running.stop();
    assert_eq!(numbers(&trial), (0..1000).collect::<Vec<_>>());
    let largest = trial.batches("out.jsonl").iter().map(|batch| batch["rows"].as_array().unwrap().len()).max();
    assert_eq!(largest, Some(30));
}

/// A double would make another number of it, for which the server has other rows.
#[test]
fn a_numeric_cursor_keeps_every_digit() {
    let server = StreamServer::start(free_port(), |exchange: &mut Exchange| match exchange.before {
        0 => exchange.reply(200, "", "[{\"n\":1795318072.323456789}]"),
        1 => exchange.reply(200, "", "[{\"n\":100000000000000000003}]"),
        _ => exchange.reply(200, "", "[]"),
    });
    let source = format!(
        "kind = \"http\"\nurl = \"http://127.0.0.1:{}/\"\nevery = \"100ms\"\ncursor = {{ parameter = \"since\", field = \"n\" }}\n\
         format = \"json\"\nschema = {{ n = \"text\" }}",
        server.port()
    );
    // A periodic empty response means that there is nothing to read.
    passing("batch = \"0s\"", &source, "").run_ok(&["--until-idle"]);
    let requested: Vec<String> = server.requests().into_iter().map(|requested| requested.line).collect();
    assert!(requested[1].contains("since=1795318072.323456789 "), "{requested:?}");
    assert!(requested[2].contains("since=100000000000000000003 "), "{requested:?}");
}
