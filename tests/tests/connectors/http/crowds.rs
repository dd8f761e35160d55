//! Listeners with a limit on connections: clients that take all slots, and what a request must not contain twice.

use super::{client, listening};
use millstream_tests::page::PageAddress;
use millstream_tests::{free_port, passing, wait_until};
use socket2::{Domain, Socket, Type};
use std::io::{BufRead, ErrorKind, Write};
use std::net::SocketAddr;
use std::net::TcpStream;
use std::thread;

const TOKEN: &str = "Authorization: Bearer 0123456789abcdefg";
/// How many groups of clients connect in a test.
const CROWDS: usize = 6;

/// Requests a path repeatedly without reading a response, until nothing more can be sent.
fn non_reading_client(port: u16, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nonblocking(true).unwrap();
    let requests = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").repeat(2000);
    let mut full = 0;
    while full < 100 {
        match stream.write(requests.as_bytes()) {
            Ok(_) => full = 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                full += 1;
                thread::yield_now();
            }
            // It was disconnected to make room.
            Err(_) => break,
        }
    }
    stream
}

fn crowd(port: u16, path: &str, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| non_reading_client(port, path)).collect()
}

/// Posts a row that gets a response.
fn posts(port: u16, headers: &[&str], body: &str) {
    let reply = client(port).post(headers, body).unwrap();
    assert_eq!((reply.status, reply.body.trim()), (200, "{\"rows\":1}"));
}

#[test]
fn clients_that_never_read_do_not_block_a_source() {
    for token in ["", "token = \"0123456789abcdefg\"\n"] {
        let port = free_port();
        let (trial, job) = listening(port, "batch = \"0s\"", &format!("{token}connections_max = 20"), "");
        let headers: &[&str] = if token.is_empty() { &[] } else { &[TOKEN] };
        let mut known = client(port);
        assert_eq!(known.post(headers, "before").unwrap().status, 200);
        let mut all = Vec::new();
        for _ in 0..CROWDS {
            all.extend(crowd(port, "/health", 5));
            // A client that has sent the token keeps its slot. Without a request for 15 seconds it would be closed.
            if !token.is_empty() {
                assert_eq!(known.post(headers, "after").unwrap().status, 200);
            }
        }
        posts(port, headers, "meanwhile");
        drop(all);
        posts(port, headers, "then");
        job.stop();
        assert_eq!(trial.values("out.jsonl").len(), if token.is_empty() { 3 } else { 3 + CROWDS });
    }
}

#[test]
fn clients_that_never_read_do_not_block_the_page() {
    let trial = passing("", "kind = \"rate\"\nrows_per_second = 10", "");
    let (job, page) = PageAddress::start(&trial, &[]);
    let crowd = crowd(page.port, "/healthz", 140);
    assert_eq!(page.send_request("GET", "/healthz", &page.host(), &[]).status, 200);
    assert_eq!(page.get("/api/v1/jobs").status, 200);
    // Clients of the page with the token are not disconnected to make room.
    let mut looks = page.send("GET", &format!("/api/v1/jobs/{}/events", page.id()), &page.host(), &[&page.bearer()]);
    let more = self::crowd(page.port, "/readyz", 140);
    let mut line = String::new();
    while !line.starts_with("data:") {
        line.clear();
        assert!(looks.read_line(&mut line).unwrap() > 0, "it goes on");
    }
    drop((crowd, more));
    job.stop();
}

/// Requests that have begun are not waited for if others want to send.
#[test]
fn idle_connections_make_room() {
    for (kind, begin, complete) in [
        ("syslog", "", "<13>Oct 11 22:14:15 host app: one\n"),
        ("http", "POST / HT", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\none"),
    ] {
        let port = free_port();
        let source = format!("kind = \"{kind}\"\nlisten = \"127.0.0.1:{port}\"\nconnections_max = 10");
        let trial = passing("batch = \"0s\"", &source, "");
        let job = trial.start(&[]);
        let connect = || TcpStream::connect(("127.0.0.1", port));
        wait_until("it listens", || connect().is_ok());
        let silent: Vec<TcpStream> = (0..20)
            .map(|_| {
                let mut stream = connect().unwrap();
                // It may be closed again by now.
                let _ = stream.write_all(begin.as_bytes());
                stream
            })
            .collect();
        let mut sender = connect().unwrap();
        sender.write_all(complete.as_bytes()).unwrap();
        wait_until("the row is there", || trial.rows("out.jsonl").len() == 1);
        drop((silent, sender));
        job.stop();
    }
}

/// A connection from another address of this machine.
fn connection_from(address: [u8; 4], port: u16) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
    socket.into()
}

/// With lines without end, with complete ones, or with requests that arrive slowly.
#[test]
fn two_addresses_do_not_block_a_third_one() {
    let line = "<13>Oct 11 22:14:15 host app: one\n";
    let request = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n";
    for (kind, begin, complete, theirs) in
        [("syslog", "<13>x", line, 0), ("syslog", "<13>x\n", line, 10), ("http", request, &format!("{request}one"), 0)]
    {
        let port = free_port();
        let source = format!("kind = \"{kind}\"\nlisten = \"127.0.0.1:{port}\"\nconnections_max = 10");
        let trial = passing("batch = \"0s\"", &source, "");
        let mut job = trial.start(&[]);
        wait_until("it listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        let crowd: Vec<TcpStream> = (0..10)
            .map(|n| {
                let mut stream = connection_from([127, 0, 0, 2 + n % 2], port);
                stream.write_all(begin.as_bytes()).unwrap();
                stream
            })
            .collect();
        if theirs > 0 {
            wait_until("their rows are there", || trial.rows("out.jsonl").len() == theirs);
        }
        let mut sender = TcpStream::connect(("127.0.0.1", port)).unwrap();
        sender.write_all(complete.as_bytes()).unwrap();
        wait_until("the row is there", || trial.rows("out.jsonl").len() == theirs + 1);
        job.wait_for_stderr("all 10 allowed connections are open; closed ");
        drop((crowd, sender));
        job.stop();
    }
}

/// A proxy in front may have parsed such a request differently.
#[test]
fn duplicate_headers_are_rejected() {
    let port = free_port();
    let source = format!("kind = \"http\"\nlisten = \"127.0.0.1:{port}\"\ntoken = \"0123456789abcdefg\"");
    let trial = passing("batch = \"0s\"", &source, "");
    let mut job = trial.start(&[]);
    job.wait_for_stderr("listening on http");
    let producer = ["Millstream-Producer: a", "Millstream-Sequence: 1"];
    for twice in [
        vec![TOKEN, TOKEN],
        vec![TOKEN, "Authorization: Bearer other"],
        vec!["authorization: Bearer other", TOKEN],
        vec![TOKEN, producer[0], producer[1], "Millstream-Producer: b"],
        vec![TOKEN, producer[0], producer[1], "millstream-sequence: 2"],
        vec![TOKEN, "Host: other"],
        vec![TOKEN, "Content-Type: text/plain", "Content-Type: application/json"],
        vec![TOKEN, "Idempotency-Key: 1", "Idempotency-Key: 2"],
        vec![TOKEN, "Content-Length: 3"],
        vec![TOKEN, "Transfer-Encoding: chunked"],
    ] {
        let mut sender = client(port);
        let reply = sender.post(&twice, "one").unwrap();
        assert_eq!(reply.status, 400, "{twice:?}: {reply:?}");
    }
    // In the other order, and after a valid request.
    let mut sender = client(port);
    assert_eq!(sender.post(&[TOKEN], "first").unwrap().status, 200);
    let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{TOKEN}\r\nTransfer-Encoding: chunked\r\n");
    sender.say(format!("{head}Content-Length: 5\r\n\r\n3\r\none\r\n0\r\n\r\n").as_bytes()).unwrap();
    assert_eq!(sender.reply().unwrap().status, 400);
    // Unsupported codings.
    for codings in ["gzip, chunked", "chunked, chunked", "gzip"] {
        let mut sender = client(port);
        let head = head.replace("chunked", codings);
        sender.say(format!("{head}\r\n3\r\none\r\n0\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(sender.reply().unwrap().status, 400, "{codings}");
    }
    let mut sender = client(port);
    for body in ["second", "third"] {
        sender.say(format!("{head}\r\n6;x=1\r\n{body:6}\r\n0\r\nT: x\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(sender.reply().unwrap().status, 200);
    }
    job.stop();
    assert_eq!(trial.values("out.jsonl"), ["first", "second", "third "]);
}

#[test]
fn the_page_rejects_duplicate_headers() {
    let trial = passing("", "kind = \"rate\"\nrows_per_second = 10", "");
    let (job, page) = PageAddress::start(&trial, &[]);
    let bearer = page.bearer();
    let bearer = bearer.as_str();
    for twice in [[bearer, bearer], [bearer, "Host: other"]] {
        assert_eq!(page.send_request("GET", "/api/v1/jobs", &page.host(), &twice).status, 400, "{twice:?}");
    }
    let both = [bearer, "Content-Length: 0", "Transfer-Encoding: chunked"];
    assert_eq!(page.send_request("GET", "/api/v1/jobs", &page.host(), &both).status, 400);
    job.stop();
}
