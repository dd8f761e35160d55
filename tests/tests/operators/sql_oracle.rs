//! Random queries, computed by the program and by something that shares no code with it: expressions over extreme values by Python,
//! queries of all shapes by DuckDB. `python3 tests/tests/operators/sql/oracle.py target/release/millstream FOLDER SEED QUERIES` tries others, and so
//! does `duckdb_oracle.py` beside it, where `scripts/pypi.sh duckdb` is in `PYTHONPATH`.

use millstream_tests::{Trial, millstream, python_with, root};
use std::process::Command;

#[test]
fn random_queries_are_computed_as_python_computes_them() {
    for seed in 1..=3 {
        agrees(Command::new("python3"), "oracle.py", seed, 80);
    }
}

#[test]
fn queries_of_all_shapes_give_the_rows_that_duckdb_gives() {
    agrees(python_with("duckdb"), "duckdb_oracle.py", 1, 60);
}

#[track_caller]
fn agrees(mut python: Command, script: &str, seed: u64, queries: u32) {
    let trial = Trial::new("");
    let script = root().join("tests/tests/operators/sql").join(script);
    python.arg(script).arg(millstream()).arg(trial.dir()).args([seed.to_string(), queries.to_string()]);
    let ended = python.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{said}\n{}", String::from_utf8_lossy(&ended.stderr));
}

/// What takes long: `make torture` runs it, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn many_queries_of_all_shapes_give_the_rows_that_duckdb_gives() {
        for seed in 100..110 {
            agrees(python_with("duckdb"), "duckdb_oracle.py", seed, 1000);
        }
    }
}
