//! Requests to a job that listens, from 48 connections. Each is answered when its rows are safe on the disk, by the plain program as well.

use crate::beside::{Compared, Cost, rows_or, run_job, run_own};
use crate::measure::job;
use crate::rows::{self, Row};
use millstream_tests::{HttpClient, free_port};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

const CONNECTIONS: usize = 48;
/// Rows of a request.
const REQUEST_ROWS: usize = 2_000;

/// Runs this part.
pub fn run(folder: &Path) {
    let rows = rows_or(960_000);
    let port = free_port();
    let text = rows::reading("http", &format!("listen = \"127.0.0.1:{port}\""));
    let path = job(folder, &text);
    let sent_to = |run: &dyn Fn() -> Option<Cost>| {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        let command = command.args(["--http-send", &port.to_string(), &rows.to_string()]);
        let mut sender: Child = command.stdin(Stdio::null()).spawn().expect("it starts");
        let cost = run();
        // Whoever reads may have gone before the last answer.
        let _ = sender.kill();
        sender.wait().expect("it ends");
        cost
    };
    let kept = folder.join("plain");
    let arguments = [port.to_string(), rows.to_string(), kept.to_string_lossy().into_owned()];
    let arguments = arguments.each_ref().map(String::as_str);
    let beside = "a program that listens on a thread for each connection, and writes each request to the disk";
    Compared { connector: ("`http`", "source"), rows, beside, job: &text }
        .run(|_| sent_to(&|| run_own("http-read", &arguments)), |_| sent_to(&|| run_job(&path, rows)));
}

/// Sends all rows.
pub fn send(port: &str, rows: usize) {
    let port = port.parse().expect("a port");
    let all: Vec<String> = rows::rows(rows).collect();
    let requests = Mutex::new(all.chunks(REQUEST_ROWS));
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                // Whoever reads may just be starting.
                let mut client = loop {
                    match HttpClient::connect(port) {
                        Ok(client) => break client,
                        Err(_) => std::thread::sleep(Duration::from_millis(2)),
                    }
                };
                loop {
                    let Some(some) = requests.lock().expect("no panic").next() else { return };
                    let Ok(reply) = client.post(&[], some.join("\n") + "\n") else { return };
                    assert_eq!(reply.status, 200, "{}", reply.body);
                }
            });
        }
    });
}

/// Takes all rows, and keeps them.
pub fn read(port: &str, rows: usize, kept: &str) {
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).expect("the port is free");
    let kept = Mutex::new((File::create(kept).expect("a file"), 0));
    std::thread::scope(|scope| {
        for stream in listener.incoming() {
            let kept = &kept;
            scope.spawn(move || requests(&mut BufReader::new(stream.expect("a connection")), kept, rows));
        }
    });
}

fn requests(stream: &mut BufReader<TcpStream>, kept: &Mutex<(File, usize)>, rows: usize) {
    loop {
        let (mut length, mut line) = (0, String::new());
        while stream.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
            if let Some(told) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = told.trim().parse().expect("a length");
            }
            line.clear();
        }
        let mut body = vec![0; length];
        if length == 0 || stream.read_exact(&mut body).is_err() {
            return;
        }
        let (mut count, mut sum) = (0, 0.0);
        for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            sum += Row::of(line).sum();
            count += 1;
        }
        assert!(sum > 0.0);
        let mut kept = kept.lock().expect("no panic");
        kept.0.write_all(&body).and_then(|()| kept.0.sync_data()).expect("it is kept");
        kept.1 += count;
        let _ = stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        if kept.1 >= rows {
            std::process::exit(0);
        }
    }
}
