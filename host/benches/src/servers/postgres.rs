//! Rows into a table of PostgreSQL, beside `psql` and its `\copy`.

use super::{compare, job, run_job, run_plain};
use millstream_tests::Postgres;
use std::fmt::Write as _;
use std::path::Path;

/// Runs this part.
pub fn run(folder: &Path, rows: usize) {
    let server = Postgres::start();
    for table in ["plain", "job"] {
        server.sql(&format!("create table {table} (\"user\" text, page text, n bigint, amount double precision)"));
    }
    let mut text = String::from("user,page,n,amount\n");
    for n in 0..rows {
        let _ = writeln!(text, "user-{:06},/a/page/{:08},{},{}.25", n % 99_991, n % 977, n + 1_000_000, n % 89 + 10);
    }
    std::fs::write(folder.join("in.csv"), text).expect("a file");
    let url = server.url().replace("${PW}", "${file:pw}");
    std::fs::write(folder.join("pw"), Postgres::PASSWORD).expect("a file");
    let text = format!(
        "batch = \"100ms\"\n[sources.rows]\nkind = \"file\"\npath = \"in.csv\"\nformat = \"csv\"\n{}\n[sinks.out]\nfrom = \"rows\"\n\
         kind = \"postgres\"\nurl = \"{url}\"\ntable = \"job\"\n",
        super::SCHEMA
    );
    let path = job(folder, &text);
    let copy = "\\copy plain from 'in.csv' with (format csv, header)";
    compare(
        "write to PostgreSQL",
        rows,
        ("millstream run job.toml --workers 1 --limit N", &text),
        |_| run_plain(server.program("psql").current_dir(folder).args(["-q", "-c", copy]), None),
        |_| run_job(&path, rows),
    );
}
