//! OpenTelemetry requests with log records, as Protobuf, from 48 connections. A response is sent when the rows are durable on disk, by the plain
//! program as well.

use super::http::{post_all, read_all};
use super::while_sending;
use crate::comparison::{Comparison, rows_or, run_job, run_own};
use crate::measure::job;
use crate::rows::JOB;
use millstream_tests::free_port;
use std::path::Path;

/// Records of a request, as in OpenTelemetry's exporters.
const REQUEST_ROWS: usize = 512;
/// Number of different requests.
const REQUESTS: usize = 200;

/// Runs this part.
pub fn run(dir: &Path) {
    let rows = rows_or(REQUEST_ROWS * 1_000);
    let port = free_port();
    let source = format!("[sources.rows]\nkind = \"otlp\"\nlisten = \"127.0.0.1:{port}\"\nsignals = \"logs\"\n");
    let text = format!("{JOB}{source}[sinks.none]\nfrom = \"rows\"\nkind = \"nothing\"\n");
    // Senders wait for responses.
    let text = text.replacen("100ms", "10ms", 1);
    let path = job(dir, &text);
    let (port, count) = (port.to_string(), rows.to_string());
    let kept = dir.join("plain").to_string_lossy().into_owned();
    let baseline = "a program with one thread per connection that parses records and writes each request to disk";
    Comparison { connector: ("`otlp`", "source"), rows, baseline, job: &text }.run(
        |_| while_sending("otlp-send", &[&port, &count], || run_own("otlp-read", &[&port, &count, &kept])),
        |_| while_sending("otlp-send", &[&port, &count], || run_job(&path, rows)),
    );
}

/// Sends all records.
pub fn send(port: &str, rows: usize) {
    let request = |request: usize| {
        let records = (0..REQUEST_ROWS).flat_map(|n| field(2, &record(request * REQUEST_ROWS + n)));
        let scope = [field(1, &field(1, b"bench")), records.collect()].concat();
        let resource = field(1, &attribute("service.name", &field(1, b"shop")));
        field(1, &[field(1, &resource), field(2, &scope)].concat())
    };
    let bodies: Vec<Vec<u8>> = (0..REQUESTS).map(request).collect();
    let header = "Host: h\r\nContent-Type: application/x-protobuf";
    post_all(port, header, "/v1/logs", &bodies, rows.div_ceil(REQUEST_ROWS));
}

/// Encodes a log record: time, severity, body and two attributes.
fn record(n: usize) -> Vec<u8> {
    let time = 1_700_000_000_000_000_000 + n as u64 * 1_000;
    let body = field(1, format!("/a/page/{:08}", n % 977).as_bytes());
    let user = field(1, format!("user-{:06}", n % 99_991).as_bytes());
    let amount = [&[3 << 3][..], &number(n as u64)].concat();
    [
        [&[1 << 3 | 1][..], &time.to_le_bytes()].concat(),
        vec![2 << 3, 9],
        field(3, b"INFO"),
        field(5, &body),
        field(6, &attribute("user", &user)),
        field(6, &attribute("amount", &amount)),
    ]
    .concat()
}

fn attribute(key: &str, value: &[u8]) -> Vec<u8> {
    [field(1, key.as_bytes()), field(2, value)].concat()
}

/// Encodes a field of bytes, in Protobuf.
fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag << 3 | 2][..], &number(content.len() as u64), content].concat()
}

fn number(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// Receives all records, and stores them.
pub fn read(port: &str, rows: usize, kept: &str) {
    read_all(port, rows, kept, |body| {
        let mut found = RequestContent::default();
        found.message(body, &[]);
        assert!(found.sum > 0);
        found.records
    });
}

/// The contents of a request.
#[derive(Default)]
struct RequestContent {
    records: usize,
    /// A number that depends on every part of a record.
    sum: u64,
}

impl RequestContent {
    /// Reads a message at this path of tags.
    fn message(&mut self, mut bytes: &[u8], path: &[u64]) {
        self.records += usize::from(path == [1, 2, 2]);
        while !bytes.is_empty() {
            let key = take_number(&mut bytes);
            let path = [path, &[key >> 3]].concat();
            match key & 7 {
                0 => self.sum += take_number(&mut bytes),
                1 => {
                    let (value, rest) = bytes.split_first_chunk::<8>().expect("a number");
                    (self.sum, bytes) = (self.sum + u64::from_le_bytes(*value) % 1_000, rest);
                }
                _ => {
                    let length = take_number(&mut bytes) as usize;
                    let (content, rest) = bytes.split_at(length);
                    bytes = rest;
                    // Descend into messages that contain others: down to records, their bodies, and attributes with their values.
                    match &path[..] {
                        [1]
                        | [1, 1 | 2]
                        | [1, 1, 1]
                        | [1, 1, 1, 2]
                        | [1, 2, 1 | 2]
                        | [1, 2, 2, 5 | 6]
                        | [1, 2, 2, 6, 2] => self.message(content, &path),
                        _ => self.sum += std::str::from_utf8(content).expect("a text").to_owned().len() as u64,
                    }
                }
            }
        }
    }
}

fn take_number(from: &mut &[u8]) -> u64 {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (byte, rest) = from.split_first().expect("a number");
        *from = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return number;
        }
        shift += 7;
    }
}
