//! An Arrow Flight server that serves rows from memory, and discards those that it receives (`flight.py`).

use super::python;
use crate::comparison::{Comparison, rows_or, run_job, run_plain};
use crate::measure::job;
use crate::rows::{self, SCHEMA};
use millstream_tests::{Process, free_port};
use std::path::Path;

/// Runs this part.
pub fn run(dir: &Path) {
    // Enough that the rows dominate, and not the start of a job.
    let rows = rows_or(30_000_000);
    let file = rows::file(dir, rows / 30);
    let (port, count, file) = (free_port().to_string(), rows.to_string(), file.to_string_lossy());
    let mut server = Process::start(python("flight.py").args(["serve", &port, &count]));
    server.wait_until("it listens", |server| server.stdout().contains("ready"));
    let url = format!("url = \"grpc://127.0.0.1:{port}\"\npath = [\"rows\"]");
    // Rows in columns have no format.
    let text = rows::reading("flight", &url).replacen("\nformat = \"json\"", "", 1);
    // A batch has a million rows at most, which must not be the limit here.
    let text = text.replacen("100ms", "20ms", 1);
    assert!(text.contains(SCHEMA));
    let path = job(dir, &text);
    // The cost of making rows durable on disk before the job continues.
    let baseline = "a program that uses pyarrow (C++)";
    let compared = Comparison { connector: ("`flight`", "source"), rows, baseline, job: &text };
    let read = |_| run_plain(python("flight.py").args(["read", &port, &count]), None);
    let Some((_, ratio)) = compared.measure(read, |_| run_job(&path, rows)) else { return };
    let baseline =
        format!("{baseline} and writes the rows to disk like the job; {ratio:.2} times that of one that keeps nothing");
    let kept = dir.join("rows");
    let kept = kept.to_string_lossy();
    let keep = |_| run_plain(python("flight.py").args(["keep", &port, &count, &kept]), None);
    Comparison { baseline: &baseline, ..compared }.run(keep, |_| run_job(&path, rows));
    let rows = rows / 30;
    let text = rows::writing("flight", &url);
    let path = job(dir, &text);
    let baseline = "a program that uses pyarrow (C++), with one stream per 50,000 rows";
    Comparison { connector: ("`flight`", "sink"), rows, baseline, job: &text }
        .run(|_| run_plain(python("flight.py").args(["write", &port, &file]), None), |_| run_job(&path, rows));
}
