//! A server of Arrow Flight that gives rows that it has in memory, and forgets those that it takes (`flight.py`).

use super::python;
use crate::beside::{Comparison, rows_or, run_job, run_plain};
use crate::measure::job;
use crate::rows::{self, SCHEMA};
use millstream_tests::{Process, free_port};
use std::path::Path;

/// Runs this part.
pub fn run(folder: &Path) {
    // So many that what counts is the rows, and not the start of a job.
    let rows = rows_or(30_000_000);
    let file = rows::file(folder, rows / 30);
    let (port, count, file) = (free_port().to_string(), rows.to_string(), file.to_string_lossy());
    let mut server = Process::start(python("flight.py").args(["serve", &port, &count]));
    server.until("it listens", |server| server.stdout().contains("ready"));
    let url = format!("url = \"grpc://127.0.0.1:{port}\"\npath = [\"rows\"]");
    // Rows that are columns have no format.
    let text = rows::reading("flight", &url).replacen("\nformat = \"json\"", "", 1);
    // A batch takes a million rows at most, and this is to be no bound here.
    let text = text.replacen("100ms", "20ms", 1);
    assert!(text.contains(SCHEMA));
    let path = job(folder, &text);
    // What it costs that rows are on the disk before the job goes on.
    let beside = "a program over pyarrow, whose inside is C++";
    let compared = Comparison { connector: ("`flight`", "source"), rows, beside, job: &text };
    let read = |_| run_plain(python("flight.py").args(["read", &port, &count]), None);
    let Some((_, ratio)) = compared.measure(read, |_| run_job(&path, rows)) else { return };
    let beside =
        format!("{beside}, and that writes the rows to the disk as the job does; {ratio:.2} of one that keeps nothing");
    let kept = folder.join("rows");
    let kept = kept.to_string_lossy();
    let keep = |_| run_plain(python("flight.py").args(["keep", &port, &count, &kept]), None);
    Comparison { beside: &beside, ..compared }.run(keep, |_| run_job(&path, rows));
    let rows = rows / 30;
    let text = rows::writing("flight", &url);
    let path = job(folder, &text);
    let beside = "a program over pyarrow, whose inside is C++, with a stream for every 50,000 rows";
    Comparison { connector: ("`flight`", "sink"), rows, beside, job: &text }
        .run(|_| run_plain(python("flight.py").args(["write", &port, &file]), None), |_| run_job(&path, rows));
}
