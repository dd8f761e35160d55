//! Streams of Redis, beside a program over the same client.

use super::{SCHEMA, compare, file_of, from_file, job, rows_of, run_job, run_own};
use millstream_tests::Redis;
use redis::streams::{StreamReadOptions, StreamReadReply};
use redis::{Commands, Connection};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Entries that are asked for, or written, at a time.
const ENTRIES: usize = 2_000;

#[derive(Deserialize, Serialize)]
struct Row<'a> {
    user: &'a str,
    page: &'a str,
    n: i64,
    amount: f64,
}

/// Runs this part.
pub fn run(folder: &Path, rows: usize) {
    let server = Redis::start();
    let url = server.url();
    let mut connection = connect(&url);
    let all: Vec<String> = rows_of(rows).collect();
    for some in all.chunks(ENTRIES) {
        add(&mut connection, "rows", some.iter().map(String::as_str));
    }
    let text = format!(
        "batch = \"100ms\"\n[sources.rows]\nkind = \"redis\"\nurl = \"{url}\"\nstream = \"rows\"\nfield = \"data\"\nformat = \"json\"\n\
         {SCHEMA}\n[sinks.none]\nfrom = \"rows\"\nkind = \"nothing\"\n"
    );
    let path = job(folder, &text);
    compare(
        "read from Redis",
        rows,
        ("millstream run job.toml --workers 1 --limit N", &text),
        |_| run_own("redis-read", &[&url, &rows.to_string()]),
        |_| run_job(&path, rows),
    );
    let file = file_of(folder, rows);
    let text = from_file(&format!("kind = \"redis\"\nurl = \"{url}\"\nstream = \"job\"\nfield = \"data\"\n"));
    let path = job(folder, &text);
    compare(
        "write to Redis",
        rows,
        ("millstream run job.toml --workers 1 --limit N", &text),
        |_| run_own("redis-write", &[&url, &file.to_string_lossy()]),
        |_| run_job(&path, rows),
    );
}

fn connect(url: &str) -> Connection {
    redis::Client::open(url).and_then(|client| client.get_connection()).expect("the server answers")
}

fn add<'a>(connection: &mut Connection, stream: &str, rows: impl Iterator<Item = &'a str>) {
    let mut pipe = redis::pipe();
    rows.for_each(|row| {
        pipe.cmd("XADD").arg(stream).arg("*").arg("data").arg(row).ignore();
    });
    pipe.query::<()>(connection).expect("the server takes the entries");
}

/// What a program does that is written for one stream.
pub fn own_part(arguments: &[String]) -> bool {
    match arguments {
        [part, url, rows] if part == "--redis-read" => read(&mut connect(url), rows.parse().expect("a number")),
        [part, url, file] if part == "--redis-write" => write(&mut connect(url), Path::new(file)),
        _ => return false,
    }
    true
}

fn read(connection: &mut Connection, rows: usize) {
    let options = StreamReadOptions::default().count(ENTRIES);
    let (mut last, mut count, mut sum) = ("0".to_owned(), 0, 0.0);
    while count < rows {
        let reply: StreamReadReply = connection.xread_options(&["rows"], &[&last], &options).expect("entries");
        for entry in reply.keys.into_iter().flat_map(|stream| stream.ids) {
            let data: String = entry.get("data").expect("a field");
            let row: Row<'_> = sonic_rs::from_str(&data).expect("a row");
            sum += row.amount + (row.n + row.user.len() as i64 + row.page.len() as i64) as f64;
            count += 1;
            last = entry.id;
        }
    }
    assert!(sum > 0.0);
}

fn write(connection: &mut Connection, file: &Path) {
    let lines: Vec<String> = BufReader::new(File::open(file).expect("a file")).lines().map_while(Result::ok).collect();
    for some in lines.chunks(ENTRIES) {
        let rows: Vec<String> = some
            .iter()
            .map(|line| {
                let row: Row<'_> = sonic_rs::from_str(line).expect("a row");
                sonic_rs::to_string(&row).expect("JSON")
            })
            .collect();
        add(connection, "plain", rows.iter().map(String::as_str));
    }
}
