//! NATS JetStream streams. The plain programs use the job's own client.

use crate::comparison::{Comparison, rows_or, run_job, run_own};
use crate::measure::job;
use crate::rows::{self, Row};
use millstream::internals::nats::{Connection, Server, publish};
use millstream_tests::Nats;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// Messages that are requested at a time, or sent and not confirmed.
const MESSAGES: usize = 1_000;
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs this part.
pub fn run(dir: &Path) {
    let rows = rows_or(1_000_000);
    let nats = Nats::start();
    let url = nats.url();
    ["rows", "plain"].iter().for_each(|name| nats.stream(name, &[name], &json!({})));
    // The marker of the job is written with the rows, in one batch.
    nats.stream("job", &["job", "millstream.job.>"], &json!({ "allow_atomic": true }));
    nats.stream("whole", &["whole", "so-far"], &json!({ "allow_atomic": true, "allow_rollup_hdrs": true }));
    send(&url, "rows", rows::rows(rows));
    let text = rows::reading("nats", &format!("url = \"{url}\"\nstream = \"rows\""));
    let path = job(dir, &text);
    let baseline = "a program with Millstream's client";
    Comparison { connector: ("`nats`", "source"), rows, baseline, job: &text }
        .run(|_| run_own("nats-read", &[&url, &rows.to_string()]), |_| run_job(&path, rows));
    let rows = rows * 3 / 10;
    let file = rows::file(dir, rows);
    let text = rows::writing("nats", &format!("url = \"{url}\"\nstream = \"job\"\nsubject = \"job\""));
    let path = job(dir, &text);
    // The cost of exactly-once delivery.
    let baseline =
        "a program that writes at least once with Millstream's client, with up to 1,000 unconfirmed messages";
    let file = file.to_string_lossy();
    let compared = Comparison { connector: ("`nats`", "sink"), rows, baseline, job: &text };
    let Some((_, ratio)) = compared.measure(|_| run_own("nats-write", &[&url, &file]), |_| run_job(&path, rows)) else {
        return;
    };
    let baseline = format!(
        "a program that writes the same JetStream batches with Millstream's client; {ratio:.2} times that of one that writes at least once, \
         with up to 1,000 unconfirmed messages"
    );
    Comparison { baseline: &baseline, ..compared }
        .run(|_| run_own("nats-write-whole", &[&url, &file]), |_| run_job(&path, rows));
}

fn connect(url: &str) -> Connection {
    let server = Server::new(url, None, None, Path::new(".")).expect("a URL");
    Connection::open(&server).expect("the server answers")
}

/// Reads all rows.
pub fn read(url: &str, rows: usize) {
    let mut connection = connect(url);
    let config =
        json!({ "deliver_policy": "all", "ack_policy": "none", "replay_policy": "instant", "mem_storage": true });
    let created =
        connection.request("$JS.API.CONSUMER.CREATE.rows", &json!({ "stream_name": "rows", "config": config }));
    let created = created.expect("an answer").unwrap_or_else(|error| panic!("{error:?}"));
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.rows.{}", created["name"].as_str().expect("a name"));
    let (mut count, mut sum) = (0, 0.0);
    while count < rows {
        let (inbox, max) = (connection.new_inbox(), MESSAGES.min(rows - count));
        let what = json!({ "batch": max, "expires": 5_000_000_000_u64 }).to_string();
        let mut request = Vec::new();
        publish(&mut request, &subject, Some(&inbox), &[], what.as_bytes());
        connection.send(&request).expect("the server listens");
        for _ in 0..max {
            let message = connection.next_message(RESPONSE_TIMEOUT).expect("no error").expect("a message");
            sum += Row::parse(&message.payload).sum();
        }
        count += max;
    }
    assert!(sum > 0.0);
}

/// Writes the rows of a file.
pub fn write(url: &str, file: &str) {
    let written = |line: String| sonic_rs::to_string(&Row::parse(line.as_bytes())).expect("JSON");
    send(url, "plain", rows::lines(file).map(written));
}

/// Writes the rows of a file in atomic batches, one after the other, each with a message about its progress.
pub fn write_atomic(url: &str, file: &str) {
    let mut connection = connect(url);
    let mut rows = rows::lines(file).map(|line| sonic_rs::to_string(&Row::parse(line.as_bytes())).expect("JSON"));
    let (mut out, mut total) = (Vec::new(), 0);
    loop {
        let inbox = connection.new_inbox();
        let mut count = 0;
        for row in rows.by_ref().take(MESSAGES - 1) {
            count += 1;
            let headers = [("Nats-Batch-Id", &inbox[7..]), ("Nats-Batch-Sequence", &count.to_string())];
            publish(&mut out, "whole", None, &headers, row.as_bytes());
            if out.len() >= 64 << 10 {
                connection.send(&out).expect("the server listens");
                out.clear();
            }
        }
        if count == 0 {
            return;
        }
        total += count;
        let number = (count + 1).to_string();
        let headers = [
            ("Nats-Batch-Id", &inbox[7..]),
            ("Nats-Batch-Sequence", &number),
            ("Nats-Batch-Commit", "1"),
            ("Nats-Rollup", "sub"),
        ];
        publish(&mut out, "so-far", Some(&inbox), &headers, total.to_string().as_bytes());
        connection.send(&out).expect("the server listens");
        out.clear();
        let reply = connection.next_message(RESPONSE_TIMEOUT).expect("no error").expect("an answer");
        assert!(reply.payload.starts_with(b"{\"stream\""), "{:?}", reply.payload);
    }
}

fn send(url: &str, subject: &str, rows: impl Iterator<Item = String>) {
    let mut connection = connect(url);
    let inbox = connection.new_inbox();
    let (mut out, mut waiting) = (Vec::new(), 0);
    let confirmed = |connection: &mut Connection| {
        let reply = connection.next_message(RESPONSE_TIMEOUT).expect("no error").expect("an answer");
        assert!(reply.payload.starts_with(b"{\"stream\""), "{:?}", reply.payload);
    };
    for row in rows {
        publish(&mut out, subject, Some(&inbox), &[], row.as_bytes());
        waiting += 1;
        if out.len() >= 64 << 10 {
            connection.send(&out).expect("the server listens");
            out.clear();
        }
        while waiting >= MESSAGES && out.is_empty() {
            confirmed(&mut connection);
            waiting -= 1;
        }
    }
    connection.send(&out).expect("the server listens");
    (0..waiting).for_each(|_| confirmed(&mut connection));
}
