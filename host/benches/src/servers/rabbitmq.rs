//! RabbitMQ queues. The plain programs use the job's own client.

use crate::comparison::{Comparison, rows_or, run_job, run_own};
use crate::measure::job;
use crate::rows::{self, Row};
use millstream::internals::rabbitmq::{CHANNEL, Connection, Event, Outgoing, Server, publish};
use millstream_tests::Rabbitmq;
use std::path::Path;
use std::time::Duration;

/// Maximum messages that are not acknowledged or not confirmed.
const MESSAGES: u16 = 1_000;
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs this part.
pub fn run(dir: &Path) {
    let rows = rows_or(40_000);
    let server = Rabbitmq::start();
    let url = server.url();
    ["plain", "job", "to-plain", "to-job"].iter().for_each(|queue| server.queue(queue));
    let text = rows::reading("rabbitmq", &format!("url = \"{url}\"\nqueue = \"job\""));
    let path = job(dir, &text);
    let baseline = "a program with Millstream's client and one acknowledgment per 500 messages";
    Comparison { connector: ("`rabbitmq`", "source"), rows, baseline, job: &text }.run(
        |_| {
            send(&url, "plain", rows::rows(rows));
            run_own("rabbitmq-read", &[&url, &rows.to_string()])
        },
        |_| {
            send(&url, "job", rows::rows(rows));
            run_job(&path, rows)
        },
    );
    let file = rows::file(dir, rows);
    let text = rows::writing("rabbitmq", &format!("url = \"{url}\"\nrouting_key = \"to-job\""));
    let path = job(dir, &text);
    let baseline = "a program with Millstream's client and up to 1,000 unconfirmed messages";
    Comparison { connector: ("`rabbitmq`", "sink"), rows, baseline, job: &text }
        .run(|_| run_own("rabbitmq-write", &[&url, &file.to_string_lossy()]), |_| run_job(&path, rows));
}

fn connect(url: &str) -> Connection {
    let server = Server::new(url, None, Path::new(".")).expect("a URL");
    Connection::open(&server, 0).unwrap_or_else(|closed| panic!("{:?}", closed.fault))
}

fn next(connection: &mut Connection) -> Event {
    let event = connection.next_event(RESPONSE_TIMEOUT).unwrap_or_else(|closed| panic!("{:?}", closed.fault));
    event.expect("the server goes on")
}

/// Reads all rows.
pub fn read(url: &str, rows: usize) {
    let mut connection = connect(url);
    connection.consume("plain", MESSAGES, None).unwrap_or_else(|closed| panic!("{:?}", closed.fault));
    let (mut count, mut sum) = (0, 0.0);
    while count < rows {
        let Event::Delivery(delivery) = next(&mut connection) else { continue };
        sum += Row::parse(&delivery.body).sum();
        count += 1;
        if count % (usize::from(MESSAGES) / 2) == 0 || count == rows {
            connection.acknowledge(delivery.number).expect("the server listens");
        }
    }
    assert!(sum > 0.0);
}

/// Writes the rows of a file.
pub fn write(url: &str, file: &str) {
    let written = |line: String| sonic_rs::to_string(&Row::parse(line.as_bytes())).expect("JSON");
    send(url, "to-plain", rows::lines(file).map(written));
}

fn send(url: &str, queue: &str, rows: impl Iterator<Item = String>) {
    let mut connection = connect(url);
    connection.confirm().unwrap_or_else(|closed| panic!("{:?}", closed.fault));
    let (mut out, mut sent, mut taken) = (Vec::new(), 0, 0);
    for row in rows {
        sent += 1;
        let id = sent.to_string();
        let message = Outgoing {
            exchange: "",
            routing_key: queue,
            content_type: "application/json",
            id: &id,
            body: row.as_bytes(),
        };
        publish(&mut out, CHANNEL, connection.frame_max, &message);
        if out.len() >= 64 << 10 {
            connection.send(&out).expect("the server listens");
            out.clear();
        }
        while out.is_empty() && sent - taken >= u64::from(MESSAGES) {
            taken = confirmed(&mut connection, taken);
        }
    }
    connection.send(&out).expect("the server listens");
    while taken < sent {
        taken = confirmed(&mut connection, taken);
    }
}

/// Returns how many are confirmed.
fn confirmed(connection: &mut Connection, known: u64) -> u64 {
    match next(connection) {
        Event::Confirmed { accepted: true, several: true, number } => number.max(known),
        Event::Confirmed { accepted: true, .. } => known + 1,
        _ => known,
    }
}
