//! A table with so many rows that checkpoints store all of it in parts, which are written while the job continues.

use millstream_tests::Trial;
use serde_json::{Value, json};

const KEYS: u64 = 1_100_000;
const ROWS: u64 = 2_750_000;
const ROWS_OF_BATCH: u64 = 250_000;

/// Each key comes first once, and then all of them repeatedly.
fn job() -> Trial {
    Trial::new(&format!(
        r#"name = "large"
clock = "manual"
checkpoint = {{ dir = "kept", every = 1000 }}
[sources.in]
kind = "queue"
path = "in.jsonl"
schema = {{ first = "int64" }}
[stages.rows]
from = "in"
sql = "select unnest(generate_series(first, first + {ROWS_OF_BATCH} - 1)) as n from in"
[stages.keyed]
from = "rows"
select = "(n * 982451653) % {KEYS} as k, n"
[stages.totals]
from = "keyed"
key = "k"
window = "all"
aggregate = {{ rows = "count(*)", most = "max(n)" }}
[sinks.out]
from = "totals"
kind = "nothing"
"#
    ))
}

/// The input of this many batches.
fn lines(batches: u64) -> String {
    (0..batches).map(|batch| format!("{}\n", json!([[batch * ROWS_OF_BATCH]]))).collect()
}

/// The key groups of the files that hold all rows of theirs.
fn bases(trial: &Trial) -> Vec<(u64, u64)> {
    let manifest = trial.text("kept/manifest.json");
    let manifest: Value = serde_json::from_str(&manifest[manifest.find('{').unwrap()..]).unwrap();
    let newest = manifest["checkpoints"].as_array().unwrap().last().unwrap();
    let tables = newest["tables"].as_array().unwrap();
    let totals = tables.iter().find(|table| table["name"] == "totals").unwrap();
    let bases = totals["files"].as_array().unwrap().iter().filter(|file| file["base"] == true);
    bases.map(|file| (file["group_first"].as_u64().unwrap(), file["group_end"].as_u64().unwrap())).collect()
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn a_large_table_is_written_in_parts_and_read_again() {
        let trial = job();
        let (mut some_in_parts, batches) = (false, ROWS / ROWS_OF_BATCH);
        let first = KEYS / ROWS_OF_BATCH + 1;
        trial.write("in.jsonl", lines(first));
        // What is too large to be copied in memory goes through files, as in jobs that limit the memory of state.
        trial.killed("spill.frozen:2", &["--workers", "1"]);
        // Each start has one checkpoint, at its end.
        for batch in first..=batches {
            trial.write("in.jsonl", lines(batch));
            if batch % 4 == 0 {
                trial.killed("checkpoint.state-written:2", &["--workers", "1"]);
            }
            trial.run_ok(&["--workers", "1"]);
            some_in_parts |= bases(&trial).iter().any(|(first, end)| end - first < 4096);
        }
        assert!(some_in_parts, "all were written at once");
        let query = r#"select count(*) as keys, sum("rows#0") as rows, sum("most#0") as most from totals"#;
        let output = trial.run_command_ok(&["state", "job.toml", "--json", "--sql", query]);
        let max: u64 = (ROWS - KEYS..ROWS).sum();
        let output: Value = serde_json::from_str(&output).unwrap();
        assert_eq!(output, json!({ "keys": KEYS, "rows": ROWS, "most": max }));
    }
}
