//! Starts of jobs whose state is larger than memory: rows stay in files of the checkpoint until they are needed.

use super::{BATCHES, KEEPS, SINKS, are_same, left, same, state, trial};
use millstream_tests::{Ended, FailingProxy, Process, S3Server};

const SPILLS: &str = "state = { memory = \"1MiB\", folder = \"cold\" }";

/// How many rows of the state a start left in files of the checkpoint.
fn stayed(ended: &Ended) -> u64 {
    let output = ended.stderr.split_once(" state rows (").map_or("0 of them stay in its files", |(_, output)| output);
    let (rows, rest) = output.split_once(' ').unwrap();
    assert!(rest.starts_with("of them stay in its files"), "{}", ended.stderr);
    rows.parse().unwrap()
}

#[test]
fn a_start_leaves_rows_in_files_of_the_checkpoint() {
    let golden = trial(KEEPS, 13);
    golden.run_ok(&["--workers", "2"]);
    let golden = left(&golden);
    let spilling = trial(&format!("{KEEPS}\n{SPILLS}"), 13);
    let complete = spilling.text("in.jsonl");
    let half = complete.lines().take(BATCHES / 2).map(|line| format!("{line}\n"));
    spilling.write("in.jsonl", half.collect::<String>());
    // One base, written at the end.
    spilling.run_ok(&["--workers", "2", "--set", "checkpoint.every=1000"]);
    let often = "checkpoint.every=2";
    spilling.write("in.jsonl", complete);
    // Rows are copied into other files while the job runs, which is a merge, and newer ones are evicted. Others own other key groups,
    // and take theirs out of the same files.
    for (step, workers) in [("merged:1", "2"), ("evicted:9", "3"), ("page:9", "1")] {
        spilling.killed(&format!("spill.{step}"), &["--workers", workers, "--set", often]);
        let started = spilling.killed("checkpoint.manifest:1", &["--workers", workers, "--set", often]);
        assert!(stayed(&started) > 1_000, "{}", started.stderr);
    }
    spilling.run_ok(&["--workers", "3"]);
    same(&spilling, &golden, "after all starts");
}

#[test]
fn a_damaged_file_with_rows_is_rejected() {
    let spilling = trial(SPILLS, 14);
    spilling.killed("checkpoint.manifest:5", &["--workers", "1"]);
    for file in std::fs::read_dir(spilling.path("checkpoint/state")).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        std::fs::write(&path, bytes).unwrap();
    }
    let output = spilling.rejected_message(&["run", "job.toml", "--workers", "1"]);
    assert!(output.contains("-alarms.arrow is damaged"), "{output}");
}

/// Objects of a bucket are downloaded into unnamed files, and looked up there, also if a third of the requests to the bucket
/// fail.
#[test]
fn a_start_leaves_rows_in_copies_of_bucket_objects() {
    let golden = trial(KEEPS, 15);
    golden.run_ok(&["--workers", "2"]);
    let golden: Vec<String> = SINKS.map(|name| golden.text(name)).into();
    let server = S3Server::start();
    let spilling = trial(&format!("{KEEPS}\n{SPILLS}"), 15);
    spilling.change("dir = \"checkpoint\"", "dir = \"s3://bucket/spills\"");
    let failing = FailingProxy::before(&server);
    let run = |settings: Vec<(String, String)>, every: &str| {
        let every = format!("checkpoint.every={every}");
        let mut command = spilling.command(&["run", "job.toml", "--workers", "2", "--set", &every]);
        let ended = Process::start(command.envs(settings)).wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended
    };
    let complete = spilling.text("in.jsonl");
    let half = complete.lines().take(BATCHES / 2).map(|line| format!("{line}\n"));
    spilling.write("in.jsonl", half.collect::<String>());
    // One base, written at the end: with several, how many of them have an index depends on the content of memory at each
    // checkpoint.
    run(server.settings(), "1000");
    spilling.write("in.jsonl", complete);
    let started = run(failing.settings(), "4");
    assert!(stayed(&started) > 40_000, "{}", started.stderr);
    let left: Vec<String> = SINKS.map(|name| spilling.text(name)).into();
    are_same(&left, &golden, "from a bucket");
    assert_eq!(std::fs::read_dir(spilling.path("cold")).unwrap().count(), 0);
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;
    use millstream_tests::Trial;
    use std::collections::BTreeMap;

    const KEYS: u64 = 1_000_000;
    const ROWS: u64 = 2_600_000;

    /// Each key in turn, repeatedly. Every third is deleted at its second occurrence, and restored at its third.
    fn job(rows: u64) -> String {
        format!(
            r#"name = "levels"
batch = "100ms"
state = {{ memory = "16MiB", folder = "cold" }}
checkpoint = {{ dir = "checkpoint", every = 2 }}
[sources.in]
kind = "rate"
rows_per_second = 1000000
rows_max = {rows}
rows_per_batch_max = 100000
[stages.keyed]
from = "in"
select = """(value * 982451653) % {KEYS} as k, (value * 982451653) % {KEYS} as n,
case when value % 3 = 0 and (value / {KEYS}) % 2 = 1 then 'delete' else 'insert' end as op"""
[stages.totals]
from = "keyed"
key = "k"
window = "all"
op = "op"
aggregate = {{ rows = "count(*)", sum = "sum(n)" }}
[sinks.out]
from = "totals"
kind = "nothing"
"#
        )
    }

    /// Files of changes stay where they are, too, and each key has the row that was written last.
    #[test]
    fn a_start_after_many_changes_leaves_these_in_their_files() {
        let trial = Trial::new(&job(KEYS));
        for rows in [KEYS, KEYS + KEYS / 2] {
            trial.write("job.toml", job(rows));
            trial.run_ok(&["--workers", "1"]);
        }
        trial.write("job.toml", job(ROWS));
        let started = trial.killed("checkpoint.manifest:2", &["--workers", "1"]);
        let rows = stayed(&started);
        assert!(rows > KEYS, "{rows} rows stay, of {KEYS} keys: {}", started.stderr);
        trial.run_ok(&["--workers", "2"]);
        let mut rows: BTreeMap<u64, i64> = BTreeMap::new();
        for value in 0..ROWS {
            let is_deleted = value % 3 == 0 && (value / KEYS) % 2 == 1;
            *rows.entry((value * 982_451_653) % KEYS).or_default() += if is_deleted { -1 } else { 1 };
        }
        rows.retain(|_, rows| *rows > 0);
        let sum: i64 = rows.iter().map(|(key, rows)| *key as i64 * rows).sum();
        let left = state(
            &trial,
            r##"select count(*) as keys, sum("rows#0") as rows, sum("sum#0_lower") as sum from totals where "rows#0" > 0"##,
        );
        let expected = format!("{{\"keys\":{},\"rows\":{},\"sum\":{sum}}}", rows.len(), rows.values().sum::<i64>());
        assert_eq!(left.trim(), expected);
    }
}
