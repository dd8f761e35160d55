//! A ClickHouse table: the engine of a new server behind a small HTTP server, as in the tests.

use crate::comparison::{Comparison, rows_or, run_job, run_own};
use crate::measure::{job, root};
use crate::rows::{self, Row};
use millstream_tests::{HttpClient, Process, free_port, holds_within};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Rows of an insert, as in the job.
const REQUEST_ROWS: usize = 10_000;
/// It may have to be downloaded first.
const FETCHED_WITHIN: Duration = Duration::from_secs(900);
const STARTED_WITHIN: Duration = Duration::from_secs(60);

/// Runs this part.
pub fn run(dir: &Path) {
    let rows = rows_or(300_000);
    let (port, script) = (free_port(), root().join("scripts/chdb.sh"));
    let fetched = Process::start(&mut Command::new(&script)).wait_within(FETCHED_WITHIN);
    assert_eq!(fetched.code, Some(0), "{}", fetched.stderr);
    let _server = Process::start(Command::new(&script).arg(port.to_string()).arg(dir.join("data")));
    let query_once = |text: &str| HttpClient::connect(port).is_ok_and(|mut client| query(&mut client, text));
    assert!(holds_within(STARTED_WITHIN, || query_once("select 1")), "the server does not start");
    for table in ["plain", "job"] {
        let table = format!(
            "create table shop.{table} (user String, page String, n Int64, amount Float64) engine = MergeTree order by n \
             settings non_replicated_deduplication_window = 1000"
        );
        assert!(query_once(&table), "the table is not made");
    }
    let file = rows::file(dir, rows);
    let text = rows::writing("clickhouse", &format!("url = \"http://127.0.0.1:{port}\"\ntable = \"shop.job\""));
    let path = job(dir, &text);
    let baseline = "a program that inserts 10,000 rows at a time over HTTP";
    Comparison { connector: ("`clickhouse`", "sink"), rows, baseline, job: &text }
        .run(|_| run_own("clickhouse-write", &[&port.to_string(), &file.to_string_lossy()]), |_| run_job(&path, rows));
}

/// Sends a query; inserted rows are also in the body.
fn query(client: &mut HttpClient, text: &str) -> bool {
    client.post(&[], text).is_ok_and(|reply| reply.status == 200)
}

/// Writes the rows of a file.
pub fn write(port: &str, file: &str) {
    let mut client = HttpClient::connect(port.parse().expect("a port")).expect("the server listens");
    let lines: Vec<String> = rows::lines(file).collect();
    for some in lines.chunks(REQUEST_ROWS) {
        let mut text = "insert into shop.plain format JSONEachRow\n".to_owned();
        for line in some {
            text += &sonic_rs::to_string(&Row::parse(line.as_bytes())).expect("JSON");
            text.push('\n');
        }
        assert!(query(&mut client, &text), "the server does not take the rows");
    }
}
