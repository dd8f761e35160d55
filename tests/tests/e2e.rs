//! Jobs with virtual time, through the program: `e2e/<case>/job.toml` reads its `input*.jsonl`, and the sinks `out` and
//! `<name>` must have written `expected.jsonl` and `expected.<name>.jsonl` to the byte, whatever the number of workers.

use millstream_tests::{Process, Trial, free_port, millstream, root};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A test for each number of workers, and one with two processes, of each case.
macro_rules! cases {
    ($($module:ident = $name:literal,)*) => {
        const CASES: &[&str] = &[$($name),*];
        $(mod $module {
            #[test]
            fn one_worker() {
                super::run_with_workers($name, 1);
            }
            #[test]
            fn two_workers() {
                super::run_with_workers($name, 2);
            }
            #[test]
            fn three_workers() {
                super::run_with_workers($name, 3);
            }
            #[test]
            fn two_processes() {
                super::run_with_processes($name);
            }
        })*
    };
}

cases! {
    aggregates_by_key = "aggregates-by-key",
    aggregates_floats = "aggregates-floats",
    aggregates_whole = "aggregates-whole",
    chained = "chained",
    filter_expr = "filter-expr",
    json = "json",
    key_types = "key-types",
    keyed_order = "keyed-order",
    plugin_aggregate = "plugin-aggregate",
    plugin_config = "plugin-config",
    rejected = "rejected",
    running_count_all = "running-count-all",
    running_count_emit = "running-count-emit",
    running_count_initial = "running-count-initial",
    running_count_timeout = "running-count-timeout",
    running_total = "running-total",
    union = "union",
    word_count = "word-count",
}

#[test]
fn every_case_is_run() {
    let mut folders: Vec<String> = fs::read_dir(root().join("tests/e2e"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();
    assert_eq!(folders, CASES, "the list in this file, and the folders");
}

/// A case, with a place for what its sinks write.
struct Case {
    folder: PathBuf,
    output: TempDir,
    /// Sink and file of what it must write.
    expected: Vec<(String, PathBuf)>,
}

impl Case {
    fn new(name: &str) -> Case {
        let folder = root().join("tests/e2e").join(name);
        let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let expected: Vec<_> = files.filter_map(|path| Some((sink_of(&path)?, path))).collect();
        assert!(!expected.is_empty(), "{name} expects nothing");
        Case { folder, output: TempDir::new().unwrap(), expected }
    }

    fn written(&self, sink: &str) -> PathBuf {
        self.output.path().join(format!("{sink}.jsonl"))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(millstream());
        command.arg("run").arg(self.folder.join("job.toml"));
        for (sink, _) in &self.expected {
            command.arg("--set").arg(format!("sinks.{sink}.path={}", self.written(sink).display()));
        }
        command
    }

    fn check(&self) {
        for (sink, expected) in &self.expected {
            let written = fs::read_to_string(self.written(sink)).unwrap();
            let expected_text = fs::read_to_string(expected).unwrap();
            assert!(
                written == expected_text,
                "sink `{sink}` is not as {}\n--- expected\n{expected_text}--- written\n{written}",
                expected.display()
            );
        }
    }
}

/// `expected.jsonl` is of sink `out`, `expected.<name>.jsonl` of sink `<name>`.
fn sink_of(path: &Path) -> Option<String> {
    let rest = path.file_name()?.to_str()?.strip_prefix("expected")?.strip_suffix(".jsonl")?;
    Some(if rest.is_empty() { "out".into() } else { rest.strip_prefix('.')?.into() })
}

fn run_with_workers(name: &str, workers: usize) {
    let case = Case::new(name);
    let ended = Process::start(case.command().args(["--workers", &workers.to_string()])).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    case.check();
}

fn run_with_processes(name: &str) {
    let case = Case::new(name);
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", free_port(), free_port());
    let process = |number: &str| {
        let arguments = ["--workers", "1", "--processes", "2", "--process", number, "--hosts", &hosts];
        Process::start(case.command().args(arguments))
    };
    let (first, second) = (process("0"), process("1"));
    let (first, second) = (first.wait(), second.wait());
    assert_eq!((first.code, second.code), (Some(0), Some(0)), "{}\n--- other\n{}", first.stderr, second.stderr);
    case.check();
}

/// More rows than one part holds, so that all workers have some of every batch.
#[test]
fn large_batches_give_the_same_on_any_number_of_workers() {
    let rows = 50_000_i64;
    let row = |i: i64| format!("[\"k{}\",{i}]", i * 7919 % 1000);
    let batch = |from: i64| format!("[{}]\n", (from..from + rows).map(row).collect::<Vec<_>>().join(","));
    let trial = Trial::new(
        r#"
        clock = "manual"
        [sources.numbers]
        kind = "queue"
        path = "input.jsonl"
        schema = { k = "text", v = "int64" }
        [stages.whole]
        from = "numbers"
        aggregate = { n = "count(*)", keys = "count(distinct k)", first = "first(v)", last = "last(v)", sum = "sum(v)" }
        [stages.by-key]
        from = "numbers"
        key = "k"
        aggregate = { n = "count(*)", first = "first(v)", last = "last(v)", sum = "sum(v)", avg = "avg(v)" }
        [sinks.whole-out]
        from = "whole"
        kind = "queue"
        path = "whole.jsonl"
        [sinks.by-key-out]
        from = "by-key"
        kind = "queue"
        path = "by-key.jsonl"
        [sinks.all]
        from = "numbers"
        kind = "queue"
        path = "all.jsonl"
        "#,
    );
    trial.write("input.jsonl", batch(0) + &batch(rows));
    let mut outputs = Vec::new();
    for workers in ["1", "2", "3"] {
        trial.run_well(&["--workers", workers]);
        let whole = trial.rows("whole.jsonl");
        let sum = |from: i64| (from..from + rows).sum::<i64>();
        for (row, from) in whole.iter().zip([0, rows]) {
            let expected =
                [("n", rows), ("keys", 1000), ("first", from), ("last", from + rows - 1), ("sum", sum(from))];
            expected.iter().for_each(|(name, value)| assert_eq!(row[name], *value, "{name} with {workers} workers"));
        }
        assert_eq!(whole.len(), 2);
        let by_key = trial.rows("by-key.jsonl");
        assert_eq!(by_key.len(), 2000);
        for row in &by_key[..1000] {
            let key: i64 = row["k"].as_str().unwrap()[1..].parse().unwrap();
            let values: Vec<i64> = (0..rows).filter(|i| i * 7919 % 1000 == key).collect();
            assert_eq!(row["n"], 50);
            assert_eq!((&row["first"], &row["last"]), (&values[0].into(), &values[49].into()));
            assert_eq!(row["sum"], values.iter().sum::<i64>());
            assert_eq!(row["avg"], values.iter().sum::<i64>() as f64 / 50.0);
        }
        let all = trial.rows("all.jsonl");
        assert!(all.iter().map(|row| row["v"].as_i64().unwrap()).eq(0..2 * rows), "rows keep their order of arrival");
        outputs.push(trial.text("by-key.jsonl"));
    }
    assert!(outputs.iter().all(|output| *output == outputs[0]), "keyed rows come in the same order");
}
