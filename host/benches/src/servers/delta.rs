//! A table of Delta Lake in a folder: a job beside a program over deltalake, the library for Python whose inside is Rust.

use super::{python, told_by};
use crate::beside::{Comparison, rows_or, run_job, run_plain};
use crate::measure::job;
use crate::rows;
use std::path::Path;

/// Runs this part.
pub fn run(folder: &Path) {
    let rows = rows_or(2_000_000);
    let file = rows::file(folder, rows);
    let text = rows::writing("delta", "path = \"table\"");
    let path = job(folder, &text);
    let packages = told_by("pypi.sh", &["deltalake"]);
    let tables = ["plain", "table"].map(|name| folder.join(name));
    let [plain, table] = &tables;
    let forget = |table: &Path| {
        // There is nothing before the first round.
        let _ = std::fs::remove_dir_all(table);
    };
    let beside = "a program over deltalake, with a commit for every 50,000 rows";
    Comparison { connector: ("`delta`", "sink"), rows, beside, job: &text }.run(
        |_| {
            forget(plain);
            run_plain(python("delta.py").arg(&file).arg(plain).env("PYTHONPATH", &packages), None)
        },
        |_| {
            forget(table);
            run_job(&path, rows)
        },
    );
}
