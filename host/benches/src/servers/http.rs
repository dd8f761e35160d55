//! Requests to a listening job, from 48 connections. A response is sent when the rows are durable on disk, by the plain program as well. A connection
//! sends no more before that, so the job's batches begin often: with an interval of 100 ms the maximum would be 960,000 rows/s.

use super::{ready, while_sending};
use crate::comparison::{Comparison, rows_or, run_job, run_own};
use crate::measure::job;
use crate::rows::{self, Row};
use millstream_tests::{HttpClient, free_port};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

const CONNECTIONS: usize = 48;
/// Rows of a request.
pub const REQUEST_ROWS: usize = 2_000;
/// Number of different requests.
pub const REQUESTS: usize = 480;

/// Runs this part.
pub fn run(dir: &Path) {
    let rows = rows_or(4_800_000);
    let port = free_port();
    let text = rows::text_of("http", &format!("listen = \"127.0.0.1:{port}\""));
    let path = job(dir, &text);
    let (port, count) = (port.to_string(), rows.to_string());
    let kept = dir.join("plain").to_string_lossy().into_owned();
    let baseline = "a program with one thread per connection that writes each request to disk";
    Comparison { connector: ("`http`", "source"), rows, baseline, job: &text }.run(
        |_| while_sending("http-send", &[&port, &count], || run_own("http-read", &[&port, &count, &kept])),
        |_| while_sending("http-send", &[&port, &count], || run_job(&path, rows)),
    );
}

/// Sends all rows.
pub fn send(port: &str, rows: usize) {
    let all: Vec<String> = rows::rows(REQUESTS * REQUEST_ROWS).collect();
    let bodies: Vec<Vec<u8>> = all.chunks(REQUEST_ROWS).map(|some| (some.join("\n") + "\n").into_bytes()).collect();
    post_all(port, "Host: h", "/", &bodies, rows.div_ceil(REQUEST_ROWS));
}

/// Sends `count` requests with these bodies in turn.
pub fn post_all(port: &str, header: &str, path: &str, bodies: &[Vec<u8>], count: usize) {
    let port = port.parse().expect("a port");
    let requests = Mutex::new(bodies.iter().cycle().take(count));
    ready();
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                // The reader may still be starting.
                let mut client = loop {
                    match HttpClient::connect(port) {
                        Ok(client) => break client,
                        Err(_) => std::thread::sleep(Duration::from_millis(2)),
                    }
                };
                while let Some(body) = { requests.lock().expect("no panic").next() } {
                    if !post(&mut client, header, path, body) {
                        return;
                    }
                }
            });
        }
    });
}

/// Sends a request until it is accepted; `false`: the server has exited.
fn post(client: &mut HttpClient, header: &str, path: &str, body: &[u8]) -> bool {
    let head = format!("POST {path} HTTP/1.1\r\n{header}\r\nContent-Length: {}\r\n\r\n", body.len());
    loop {
        let result = client.say(head.as_bytes()).and_then(|()| client.say(body));
        match result.and_then(|()| client.reply()) {
            Err(_) => return false,
            Ok(reply) if reply.status == 200 => return true,
            Ok(reply) if reply.status == 429 => std::thread::sleep(Duration::from_millis(10)),
            Ok(reply) => panic!("{}", reply.body),
        }
    }
}

/// Receives all rows, and stores them.
pub fn read(port: &str, rows: usize, kept: &str) {
    read_all(port, rows, kept, |body| {
        let (mut count, mut sum) = (0, 0.0);
        for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            sum += Row::parse(line).sum();
            count += 1;
        }
        assert!(sum > 0.0);
        count
    });
}

/// Receives requests until they had this number of rows, and stores their bodies; `read` returns how many rows one has.
pub fn read_all(port: &str, rows: usize, kept: &str, read: fn(&[u8]) -> usize) {
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).expect("the port is free");
    let kept = Mutex::new((File::create(kept).expect("a file"), 0));
    std::thread::scope(|scope| {
        for stream in listener.incoming() {
            let kept = &kept;
            scope.spawn(move || requests(&mut BufReader::new(stream.expect("a connection")), kept, rows, read));
        }
    });
}

fn requests(stream: &mut BufReader<TcpStream>, kept: &Mutex<(File, usize)>, rows: usize, read: fn(&[u8]) -> usize) {
    loop {
        let (mut length, mut line) = (0, String::new());
        while stream.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
            if let Some(length_text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = length_text.trim().parse().expect("a length");
            }
            line.clear();
        }
        let mut body = vec![0; length];
        if length == 0 || stream.read_exact(&mut body).is_err() {
            return;
        }
        let count = read(&body);
        let mut kept = kept.lock().expect("no panic");
        kept.0.write_all(&body).and_then(|()| kept.0.sync_data()).expect("it is kept");
        kept.1 += count;
        let _ = stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        if kept.1 >= rows {
            std::process::exit(0);
        }
    }
}
