//! MQTT messages with QoS 1. The plain programs use the job's own client: `mosquitto_pub` scans all its unsent messages for each line, so a hundred
//! thousand take it minutes.

use crate::comparison::{Comparison, rows_or, run_job, run_own};
use crate::measure::job;
use crate::rows::{self, Row, introduce};
use millstream::internals::mqtt::packet::{self, Packet};
use millstream::internals::mqtt::{Connection, FORM, RESPONSE_TIMEOUT, Server, Session};
use millstream_tests::Mosquitto;
use std::path::Path;

/// Maximum messages that are not acknowledged.
const MESSAGES: usize = 1_000;

/// Runs this part.
pub fn run(dir: &Path) {
    let rows = rows_or(300_000);
    // The server keeps everything for a disconnected client. It has many messages in flight, but fewer than there are message numbers (65,535). Its
    // acknowledgments do not wait for those of TCP, which come 40 ms later.
    let settings = "allow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 20000\nset_tcp_nodelay true\n";
    let server = Mosquitto::with(settings);
    let url = server.url();
    let text = rows::text_of("mqtt", &format!("url = \"{url}\"\ntopic = \"job\"\nclient_id = \"job\""));
    let path = job(dir, &text);
    // Both are known to the server before there is anything to read.
    drop(subscribe(&url));
    introduce(&path, "2s");
    let baseline = "a program with Millstream's client and one acknowledgment per 500 messages";
    Comparison { connector: ("`mqtt`", "source"), rows, baseline, job: &text }.run(
        |_| {
            send(&url, "plain", rows::rows(rows));
            run_own("mqtt-read", &[&url, &rows.to_string()])
        },
        |_| {
            send(&url, "job", rows::rows(rows));
            run_job(&path, rows)
        },
    );
    let rows = rows / 3;
    let file = rows::file(dir, rows);
    let text = rows::writing("mqtt", &format!("url = \"{url}\"\ntopic = \"out\""));
    let path = job(dir, &text);
    let baseline = "a program with Millstream's client and up to 1,000 unacknowledged messages";
    Comparison { connector: ("`mqtt`", "sink"), rows, baseline, job: &text }
        .run(|_| run_own("mqtt-write", &[&url, &file.to_string_lossy()]), |_| run_job(&path, rows));
}

fn connect(url: &str, client_id: &str, kept_s: Option<u32>) -> Connection {
    let server = Server::parse(url, &FORM, None, Path::new(".")).expect("a URL");
    Connection::open(&server, &Session { client_id: client_id.to_owned(), kept_s }, 16 << 20)
        .expect("the server answers")
}

fn next(connection: &mut Connection) -> Packet {
    connection.next(RESPONSE_TIMEOUT).expect("no error").expect("the server goes on")
}

fn subscribe(url: &str) -> Connection {
    let mut connection = connect(url, "plain", Some(3_600));
    let mut subscribe = Vec::new();
    packet::subscribe(&mut subscribe, 1, &["plain".to_owned()], true);
    connection.send(&subscribe).expect("the server listens");
    connection
}

/// Reads all rows.
pub fn read(url: &str, rows: usize) {
    let mut connection = subscribe(url);
    let (mut out, mut count, mut sum) = (Vec::new(), 0, 0.0);
    while count < rows {
        let Packet::Publish(publish) = next(&mut connection) else { continue };
        sum += Row::parse(&publish.payload).sum();
        count += 1;
        packet::acknowledge(&mut out, publish.id.expect("QoS 1"));
        if count % (MESSAGES / 2) == 0 || count == rows {
            connection.send(&out).expect("the server listens");
            out.clear();
        }
    }
    assert!(sum > 0.0);
}

/// Writes the rows of a file.
pub fn write(url: &str, file: &str) {
    let written = |line: String| sonic_rs::to_string(&Row::parse(line.as_bytes())).expect("JSON");
    send(url, "out", rows::lines(file).map(written));
}

fn send(url: &str, topic: &str, rows: impl Iterator<Item = String>) {
    let mut connection = connect(url, "writer", None);
    let (mut out, mut id, mut waiting) = (Vec::new(), 0_u16, 0);
    for row in rows {
        id = id.checked_add(1).unwrap_or(1);
        packet::publish(&mut out, id, topic, row.as_bytes(), false, false).expect("it is short");
        waiting += 1;
        if waiting == MESSAGES {
            connection.send(&out).expect("the server listens");
            out.clear();
            // The others are in flight meanwhile.
            while waiting > MESSAGES / 2 {
                waiting -= usize::from(matches!(next(&mut connection), Packet::PubAck { .. }));
            }
        }
    }
    connection.send(&out).expect("the server listens");
    while waiting > 0 {
        waiting -= usize::from(matches!(next(&mut connection), Packet::PubAck { .. }));
    }
}
