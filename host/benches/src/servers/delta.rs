//! A Delta Lake table in a directory: a job compared with a program that uses deltalake, the Python library written in Rust.

use super::{output_of, python};
use crate::comparison::{Comparison, rows_or, run_job, run_plain};
use crate::measure::job;
use crate::rows;
use std::path::Path;

/// Runs this part.
pub fn run(dir: &Path) {
    let rows = rows_or(2_000_000);
    let file = rows::file(dir, rows);
    let text = rows::writing("delta", "path = \"table\"");
    let path = job(dir, &text);
    let packages = output_of("pypi.sh", &["deltalake"]);
    let tables = ["plain", "table"].map(|name| dir.join(name));
    let [plain, table] = &tables;
    let delete_state = |table: &Path| {
        // It does not exist before the first round.
        let _ = std::fs::remove_dir_all(table);
    };
    let baseline = "a program that uses deltalake, with one commit per 50,000 rows";
    Comparison { connector: ("`delta`", "sink"), rows, baseline, job: &text }.run(
        |_| {
            delete_state(plain);
            run_plain(python("delta.py").arg(&file).arg(plain).env("PYTHONPATH", &packages), None)
        },
        |_| {
            delete_state(table);
            run_job(&path, rows)
        },
    );
}
