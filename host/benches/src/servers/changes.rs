//! Changes of a table of PostgreSQL, beside `pg_recvlogical`, which reads the same stream and writes it down as it came.

use super::{compare, job, run_job, run_plain};
use crate::measure::millstream;
use millstream_tests::Postgres;
use std::path::Path;

/// Runs this part.
pub fn run(folder: &Path, rows: usize) {
    let server = Postgres::start_with(&["wal_level=logical"]);
    server.sql("create table t (n bigint primary key, \"user\" text, page text, amount double precision)");
    let url = server.url().replace("${PW}", "${file:pw}");
    std::fs::write(folder.join("pw"), Postgres::PASSWORD).expect("a file");
    let text = format!(
        "batch = \"100ms\"\n[checkpoint]\ndir = \"kept\"\nevery = \"1s\"\n[sources.rows]\nkind = \"postgres-changes\"\nurl = \"{url}\"\n\
         table = \"t\"\nschema = {{ op = {{ type = \"text\", from = \"op\" }}, user = \"text\", page = \"text\", n = \"int64\", \
         amount = \"float64\" }}\n[sinks.none]\nfrom = \"rows\"\nkind = \"nothing\"\n"
    );
    let path = job(folder, &text);
    let run = millstream(&["run", &path.to_string_lossy(), "--timeout", "3s"]).status();
    assert!(run.is_ok_and(|ran| ran.success()), "the job failed");
    let publication = server.sql("select pubname from pg_publication").trim().to_owned();
    let receive = |arguments: &[&str]| {
        let mut command = server.program("pg_recvlogical");
        command.args(["-d", "postgres", "--slot", "plain"]).args(arguments);
        command
    };
    run_plain(&mut receive(&["--create-slot", "-P", "pgoutput"]), None);
    let insert = |round: usize| {
        let first = round * rows;
        let last = first + rows - 1;
        server.sql(&format!(
            "insert into t select n, 'user-' || n % 99991, '/a/page/' || n % 977, n % 89 + 0.25 from generate_series({first}, {last}) n"
        ));
        server.sql("select pg_current_wal_lsn()").trim().to_owned()
    };
    let names = format!("publication_names={publication}");
    compare(
        "changes of PostgreSQL",
        rows,
        ("millstream run job.toml --workers 1 --limit N", &text),
        |round| {
            let end = insert(round);
            let to_end =
                ["--start", "-f", "/dev/null", "-o", "proto_version=1", "-o", &names, "--no-loop", "--endpos", &end];
            run_plain(&mut receive(&to_end), None)
        },
        |_| run_job(&path, rows),
    );
}
