//! Changes of a PostgreSQL table. The only client for plain programs is `pg_recvlogical`, which does not decode the messages; so the one here uses
//! the job's own client.

use crate::comparison::{Comparison, rows_or, run_continued, run_own, run_plain};
use crate::measure::job;
use crate::rows::{JOB, Row, SCHEMA, introduce};
use millstream::internals::job::database;
use millstream::internals::postgres::Connection;
use millstream::internals::postgres::pgoutput::{self, Cell, ReplicationMessage};
use millstream::internals::postgres::replication::{Lsn, StreamEvent};
use millstream_tests::Postgres;
use std::path::Path;

/// Runs this part.
pub fn run(dir: &Path) {
    let rows = rows_or(300_000);
    let server = Postgres::start_with(&["wal_level=logical"]);
    server.sql("create table t (n bigint primary key, \"user\" text, page text, amount double precision)");
    let url = server.url().replace("${PW}", "${file:pw}");
    std::fs::write(dir.join("pw"), Postgres::PASSWORD).expect("a file");
    let schema = SCHEMA.replace("{ user", "{ op = { type = \"text\", from = \"op\" }, user");
    let text = format!(
        "{JOB}[sources.rows]\nkind = \"postgres-changes\"\nurl = \"{url}\"\n\
         table = \"t\"\n{schema}\n[sinks.none]\nfrom = \"rows\"\nkind = \"nothing\"\n"
    );
    let path = job(dir, &text);
    introduce(&path, "3s");
    let publication = server.sql("select pubname from pg_publication").trim().to_owned();
    run_plain(server.program("pg_recvlogical").args(["--slot", "plain", "--create-slot", "-P", "pgoutput"]), None);
    let insert = |round: usize| {
        let first = round * rows;
        let last = first + rows - 1;
        server.sql(&format!(
            "insert into t select n, 'user-' || n % 99991, '/a/page/' || n % 977, n % 89 + 0.25 from generate_series({first}, {last}) n"
        ));
    };
    let url = server.url().replace("${PW}", "p%40ss%2Fw%3Ard%25");
    let baseline = "a program with Millstream's client";
    Comparison { connector: ("`postgres-changes`", "source"), rows, baseline, job: &text }.run(
        |round| {
            insert(round);
            run_own("changes-read", &[&url, &rows.to_string(), &publication])
        },
        |_| run_continued(&path, rows),
    );
}

/// Reads this number of changes, each a new row.
pub fn read(url: &str, rows: usize, publication: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let database = database::config(url).expect("a database");
        let mut stream = Connection::new(database).replicate().await.expect("a connection");
        stream.stream("plain", Lsn(0), publication).await.expect("a stream");
        let (mut count, mut sum) = (0, 0.0);
        let mut end = None;
        // Only complete transactions are confirmed to the slot, or one would be sent again.
        while end.is_none() || count < rows {
            let StreamEvent::Message(message) = stream.next().await.expect("a message") else { continue };
            match pgoutput::read(message).expect("a change") {
                ReplicationMessage::Insert { new, .. } => {
                    let text = |index: usize| match &new[index] {
                        Cell::Text(text) => text.as_str(),
                        _ => "",
                    };
                    let n = text(0).parse().expect("a number");
                    let amount = text(3).parse().expect("a number");
                    sum += Row { user: text(1), page: text(2), n, amount }.sum();
                    count += 1;
                }
                ReplicationMessage::Commit { end: at } if count == rows => end = Some(at),
                _ => {}
            }
        }
        assert!(sum > 0.0);
        stream.confirm(end.expect("an end"));
        stream.report_now();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    });
}
