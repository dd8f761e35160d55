//! Redis streams.

use crate::comparison::{Comparison, rows_or, run_job, run_own};
use crate::measure::job;
use crate::rows::{self, Row};
use millstream_tests::Redis;
use redis::streams::{StreamReadOptions, StreamReadReply};
use redis::{Commands, Connection};
use std::path::Path;

/// Entries that are requested, or written, at a time.
const ENTRIES: usize = 2_000;

/// Runs this part.
pub fn run(dir: &Path) {
    let rows = rows_or(300_000);
    let server = Redis::start();
    let url = server.url();
    let mut connection = connect(&url);
    let all: Vec<String> = rows::rows(rows).collect();
    all.chunks(ENTRIES).for_each(|some| add(&mut connection, "rows", some));
    let text = rows::reading("redis", &format!("url = \"{url}\"\nstream = \"rows\"\nfield = \"data\""));
    let path = job(dir, &text);
    let baseline = "a program with the same client, redis-rs";
    Comparison { connector: ("`redis`", "source"), rows, baseline, job: &text }
        .run(|_| run_own("redis-read", &[&url, &rows.to_string()]), |_| run_job(&path, rows));
    let file = rows::file(dir, rows);
    let text = rows::writing("redis", &format!("url = \"{url}\"\nstream = \"job\"\nfield = \"data\""));
    let path = job(dir, &text);
    Comparison { connector: ("`redis`", "sink"), rows, baseline, job: &text }
        .run(|_| run_own("redis-write", &[&url, &file.to_string_lossy()]), |_| run_job(&path, rows));
}

fn connect(url: &str) -> Connection {
    redis::Client::open(url).and_then(|client| client.get_connection()).expect("the server answers")
}

fn add(connection: &mut Connection, stream: &str, rows: &[String]) {
    let mut pipe = redis::pipe();
    rows.iter().for_each(|row| {
        pipe.cmd("XADD").arg(stream).arg("*").arg("data").arg(row).ignore();
    });
    pipe.query::<()>(connection).expect("the server takes the entries");
}

/// Reads all rows.
pub fn read(url: &str, rows: usize) {
    let mut connection = connect(url);
    let options = StreamReadOptions::default().count(ENTRIES);
    let (mut last, mut count, mut sum) = ("0".to_owned(), 0, 0.0);
    while count < rows {
        let reply: StreamReadReply = connection.xread_options(&["rows"], &[&last], &options).expect("entries");
        for entry in reply.keys.into_iter().flat_map(|stream| stream.ids) {
            let data: String = entry.get("data").expect("a field");
            sum += Row::parse(data.as_bytes()).sum();
            count += 1;
            last = entry.id;
        }
    }
    assert!(sum > 0.0);
}

/// Writes the rows of a file.
pub fn write(url: &str, file: &str) {
    let mut connection = connect(url);
    let lines: Vec<String> = rows::lines(file).collect();
    for some in lines.chunks(ENTRIES) {
        let written = |line: &String| sonic_rs::to_string(&Row::parse(line.as_bytes())).expect("JSON");
        add(&mut connection, "plain", &some.iter().map(written).collect::<Vec<_>>());
    }
}
