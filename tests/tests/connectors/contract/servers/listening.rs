//! `http` that listens, `lumberjack`, `otlp` and `syslog`: the job is the server. A sender of each case repeats rows where its protocol has replies.

use crate::connectors::contract::connector::*;
use crate::connectors::contract::link::Link;
use crate::connectors::contract::per_case::PerCase;
use millstream_tests::{DEADLINE, HttpClient, free_port, holds_within};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;

/// A protocol of senders.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Requests with the number of their sender.
    Http,
    /// Beats; each window is acknowledged.
    Lumberjack,
    /// Exporters of logs; each request gets a response.
    Otlp,
    /// Messages over TCP, without a reply.
    Syslog,
}

type Records = Vec<String>;

/// A port and a sender for each case.
pub struct Listening {
    kind: Kind,
    senders: PerCase<(u16, mpsc::Sender<Records>)>,
}

impl Listening {
    /// Creates one without senders.
    pub fn new(kind: Kind) -> Listening {
        Listening { kind, senders: PerCase::default() }
    }

    fn port_of(&self, location: &str) -> (u16, mpsc::Sender<Records>) {
        let start = || {
            let (kind, port, (sender, receiver)) = (self.kind, free_port(), mpsc::channel());
            thread::spawn(move || send_all(kind, port, &receiver));
            (port, sender)
        };
        self.senders.of(location, start)
    }
}

/// Sends each group of records. Where there are replies, it repeats the group until the job has accepted it; the job may restart meanwhile.
fn send_all(kind: Kind, port: u16, groups: &mpsc::Receiver<Records>) {
    let mut connection = None;
    for (sequence, records) in (1..).zip(groups) {
        let mut send = || {
            let sent = match kind {
                Kind::Http => numbered(port, sequence, &records),
                Kind::Lumberjack => window(&mut connection, port, &records),
                Kind::Otlp => export(port, &records),
                Kind::Syslog => messages(&mut connection, port, &records),
            };
            if sent.is_none() {
                connection = None;
            }
            sent.is_some()
        };
        if kind == Kind::Syslog {
            // No reply says what the job received.
            send();
        } else if !holds_within(DEADLINE, send) {
            return;
        }
    }
}

fn connected(connection: &mut Option<TcpStream>, port: u16) -> Option<&mut TcpStream> {
    if connection.is_none() {
        let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        *connection = Some(stream);
    }
    connection.as_mut()
}

fn token() -> String {
    format!("Authorization: Bearer {SECRET}")
}

/// A request with the rows as lines. The job ignores one whose number it has already seen.
fn numbered(port: u16, sequence: u64, records: &[String]) -> Option<()> {
    let number = format!("Millstream-Sequence: {sequence}");
    let mut client = HttpClient::connect(port).ok()?;
    let body: String = records.iter().map(|record| format!("{record}\n")).collect();
    let reply = client.post(&["Millstream-Producer: test", &number, &token()], body).ok()?;
    (reply.status == 200).then_some(())
}

/// A window of version 2 of Lumberjack, and its acknowledgement.
fn window(connection: &mut Option<TcpStream>, port: u16, records: &[String]) -> Option<()> {
    let mut bytes = [b"2W", &(records.len() as u32).to_be_bytes()[..]].concat();
    for (number, record) in (1_u32..).zip(records) {
        let length = record.len() as u32;
        bytes.extend([b"2J", &number.to_be_bytes()[..], &length.to_be_bytes(), record.as_bytes()].concat());
    }
    let stream = connected(connection, port)?;
    stream.write_all(&bytes).ok()?;
    loop {
        let mut reply = [0; 6];
        stream.read_exact(&mut reply).ok()?;
        assert_eq!(&reply[..2], b"2A");
        // Others say only that the job is alive.
        if u32::from_be_bytes([reply[2], reply[3], reply[4], reply[5]]) as usize == records.len() {
            return Some(());
        }
    }
}

/// A request with a log record for each row.
fn export(port: u16, records: &[String]) -> Option<()> {
    let log = |record: &String| {
        let (n, k) = columns(record);
        let attributes = json!([
            { "key": "n", "value": { "intValue": n.to_string() } },
            { "key": "k", "value": { "stringValue": k } }
        ]);
        json!({ "timeUnixNano": "1700000000000000000", "attributes": attributes })
    };
    let logs: Vec<Value> = records.iter().map(log).collect();
    let body = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": logs }] }] }).to_string();
    let mut client = HttpClient::connect(port).ok()?;
    client.send("POST", "/v1/logs", &["Content-Type: application/json", &token()], body.as_bytes()).ok()?;
    client.reply().ok().filter(|reply| reply.status == 200).map(drop)
}

/// Messages of RFC 5424, each with its row as structured data.
fn messages(connection: &mut Option<TcpStream>, port: u16, records: &[String]) -> Option<()> {
    let message = |record: &String| {
        let (n, k) = columns(record);
        format!("<13>1 - - - - - [row@32473 n=\"{n}\" k=\"{k}\"] a row\n")
    };
    let bytes: String = records.iter().map(message).collect();
    connected(connection, port)?.write_all(bytes.as_bytes()).ok()
}

fn columns(record: &str) -> (u64, String) {
    let row: Value = serde_json::from_str(record).expect("JSON");
    (row["n"].as_u64().expect("a number"), row["k"].as_str().expect("a key").to_owned())
}

impl Connector for Listening {
    fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Http => "http",
            Kind::Lumberjack => "lumberjack",
            Kind::Otlp => "otlp",
            Kind::Syslog => "syslog",
        }
    }

    fn promise(&self) -> Promise {
        match self.kind {
            Kind::Http => Promise::ExactlyOnce,
            Kind::Lumberjack | Kind::Otlp => Promise::AtLeastOnce,
            Kind::Syslog => Promise::AtMostOnce,
        }
    }

    fn skips(&self) -> Vec<(Case, &'static str)> {
        super::of_listeners()
    }

    fn link(&self, _: &str) -> Link {
        panic!("the job is the server")
    }

    fn port(&self) -> u16 {
        OWN_PORT
    }

    fn lines(&self, target: &Target) -> String {
        let (port, _) = self.port_of(&target.location);
        let listen = format!("listen = \"127.0.0.1:{port}\"\n");
        let (more, dir) = match self.kind {
            Kind::Http => return format!("{listen}token = \"${{PW}}\"\n{SCHEMA}"),
            Kind::Lumberjack => ("", ""),
            Kind::Otlp => ("signals = \"logs\"\ntoken = \"${PW}\"\n", "\"attributes\", "),
            Kind::Syslog => ("protocol = \"tcp\"\n", "\"data\", \"row@32473\", "),
        };
        let column = |name: &str, of: &str| format!("{name} = {{ type = \"{of}\", path = [{dir}\"{name}\"] }}");
        let schema = [column("n", "int64"), column("k", "text")].join(", ");
        format!("{listen}{more}schema = {{ {schema} }}\n")
    }

    fn create(&self, _: &str) {}
}

impl Source for Listening {
    fn send_records(&self, location: &str, records: Vec<(u64, String)>) {
        let (_, sender) = self.port_of(location);
        sender
            .send(records.into_iter().map(|(_, record)| record).collect())
            .expect("the sender lives: it gives up after a group that the job does not accept in time");
    }

    fn subscribes(&self) -> bool {
        self.kind == Kind::Syslog
    }
}
