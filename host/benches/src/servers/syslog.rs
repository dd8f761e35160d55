//! A connection with syslog messages (RFC 5424), one per line.

use super::{ready, while_sending};
use crate::comparison::{Comparison, rows_or, run_job, run_own};
use crate::measure::job;
use crate::rows::JOB;
use millstream_tests::free_port;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

/// Number of different messages.
const MESSAGES: usize = 100_000;

/// Runs this part.
pub fn run(dir: &Path) {
    // Enough that the messages dominate, and not the start of a job.
    let rows = rows_or(6_000_000);
    let port = free_port();
    let source = format!("[sources.rows]\nkind = \"syslog\"\nlisten = \"127.0.0.1:{port}\"\n");
    let text = format!("{JOB}{source}[sinks.none]\nfrom = \"rows\"\nkind = \"nothing\"\n");
    let path = job(dir, &text);
    let (port, count) = (port.to_string(), rows.to_string());
    let baseline = "a program that reads and parses lines";
    Comparison { connector: ("`syslog`", "source"), rows, baseline, job: &text }.run(
        |_| while_sending("syslog-send", &[&port, &count], || run_own("syslog-read", &[&port, &count])),
        |_| while_sending("syslog-send", &[&port, &count], || run_job(&path, rows)),
    );
}

/// Sends all messages.
pub fn send(port: &str, rows: usize) {
    let mut all = String::new();
    for n in 0..MESSAGES {
        let (second, pid) = (n % 60, n % 977);
        all += &format!(
            "<165>1 2026-10-11T22:14:{second:02}.003Z host app {pid} ID{n} - user {n} was here, and went on\n"
        );
    }
    ready();
    let mut stream = loop {
        match TcpStream::connect(format!("127.0.0.1:{port}")) {
            Ok(stream) => break stream,
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    for _ in 0..rows.div_ceil(MESSAGES) {
        // The reader may have exited.
        let _ = stream.write_all(all.as_bytes());
    }
    // Until all were read.
    let _ = stream.read(&mut [0]);
}

/// Receives all messages.
pub fn read(port: &str, rows: usize) {
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).expect("the port is free");
    let (stream, _) = listener.accept().expect("a connection");
    let (mut stream, mut line, mut sum) = (BufReader::with_capacity(64 << 10, stream), String::new(), 0);
    for _ in 0..rows {
        line.clear();
        stream.read_line(&mut line).expect("a line");
        sum = i64::wrapping_add(sum, checksum(&line).expect("a message"));
    }
    assert_ne!(sum, 0);
}

/// Returns a number that depends on every part of a message.
fn checksum(line: &str) -> Option<i64> {
    let (priority, rest) = line.trim_end().strip_prefix('<')?.split_once('>')?;
    let mut fields = rest.strip_prefix("1 ")?.splitn(7, ' ');
    let time = fields.next()?;
    let number = |from: usize, to: usize| time.get(from..to)?.parse::<i64>().ok();
    let days = (number(0, 4)? * 12 + number(5, 7)?) * 31 + number(8, 10)?;
    let seconds = ((days * 24 + number(11, 13)?) * 60 + number(14, 16)?) * 60 + number(17, 19)?;
    let strings: Vec<String> = fields.map(str::to_owned).collect();
    let bytes = strings.iter().map(String::len).sum::<usize>() as i64;
    (strings.len() == 6).then_some(priority.parse::<i64>().ok()? + seconds * 1_000 + number(20, 23)? + bytes)
}
