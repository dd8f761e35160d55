//! Random queries over extreme values, computed by the program and by Python, which shares no code with it.
//! `python3 tests/tests/sql/oracle.py target/release/millstream FOLDER SEED QUERIES` tries others.

use millstream_tests::{Trial, millstream, root};
use std::process::Command;

#[test]
fn random_queries_are_computed_as_python_computes_them() {
    let script = root().join("tests/tests/sql/oracle.py");
    for seed in ["1", "2", "3"] {
        let trial = Trial::new("");
        let mut command = Command::new("python3");
        command.arg(&script).arg(millstream()).arg(trial.folder()).args([seed, "80"]);
        let ended = command.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success(), "{said}\n{}", String::from_utf8_lossy(&ended.stderr));
    }
}
