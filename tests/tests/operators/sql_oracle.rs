//! Random queries, computed by the program and by independent code: expressions over extreme values by Python, queries of all
//! shapes by DuckDB. `python3 tests/tests/operators/sql/oracle.py target/release/millstream FOLDER SEED QUERIES` tries others,
//! and so does `duckdb_oracle.py` next to it, with `scripts/pypi.sh duckdb` in `PYTHONPATH`.

use millstream_tests::{Trial, millstream, python_with, root};
use std::process::Command;

#[test]
fn random_queries_are_computed_as_python_computes_them() {
    for seed in 1..=3 {
        agrees(Command::new("python3"), "oracle.py", seed, 80);
    }
}

#[test]
fn queries_of_all_shapes_give_the_rows_of_duckdb() {
    agrees(python_with("duckdb"), "duckdb_oracle.py", 1, 60);
}

#[track_caller]
fn agrees(mut python: Command, script: &str, seed: u64, queries: u32) {
    let trial = Trial::new("");
    let script = root().join("tests/tests/operators/sql").join(script);
    python.arg(script).arg(millstream()).arg(trial.dir()).args([seed.to_string(), queries.to_string()]);
    let ended = python.output().unwrap();
    let printed = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{printed}\n{}", String::from_utf8_lossy(&ended.stderr));
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn many_queries_of_all_shapes_give_the_rows_of_duckdb() {
        for seed in 100..110 {
            agrees(python_with("duckdb"), "duckdb_oracle.py", seed, 1000);
        }
    }
}
