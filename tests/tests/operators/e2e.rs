//! Jobs with virtual time, in the program. `e2e/<case>/job.toml` reads its `input*.jsonl`, and the sinks `out` and `<name>` must
//! write exactly the bytes of `expected.jsonl` and `expected.<name>.jsonl`, whatever the number of workers, and however often a
//! job with checkpoints was killed or stopped meanwhile.

use millstream_tests::{Ended, Process, Trial, free_port, millstream, root};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Tests of each case: on one worker and on three (cases that are killed and resumed run completely on two before), with two
/// processes, and those that stop and resume. The list of cases has this name.
macro_rules! cases {
    ($list:ident: $($module:ident = $name:literal,)*) => {
        const $list: &[&str] = &[$($name),*];
        $(mod $module {
            #[test]
            fn one_worker() {
                super::run_with_workers($name, 1);
            }
            #[test]
            fn three_workers() {
                super::run_with_workers($name, 3);
            }
            #[test]
            fn two_processes() {
                super::run_with_processes($name);
            }
            #[test]
            fn killed_and_resumed() {
                super::kill_and_resume($name);
            }
            #[test]
            fn stopped_and_resumed() {
                super::stop_and_resume($name);
            }
        })*
    };
}

cases! { CASES:
    aggregates_by_key = "aggregates-by-key",
    aggregates_floats = "aggregates-floats",
    aggregates_whole = "aggregates-whole",
    chained = "chained",
    cogroup = "cogroup",
    cogroup_windows = "cogroup-windows",
    decimals = "decimals",
    decimals_and_floats = "decimals-and-floats",
    deduplicate = "deduplicate",
    deduplicate_time = "deduplicate-time",
    distinct = "distinct",
    enrich = "enrich",
    enrich_stream = "enrich-stream",
    filter_expr = "filter-expr",
    javascript = "javascript",
    join_all = "join-all",
    join_as_of = "join-as-of",
    join_batches = "join-batches",
    join_intervals = "join-intervals",
    join_ttl = "join-ttl",
    join_windows = "join-windows",
    join_windows_event_time = "join-windows-event-time",
    json = "json",
    key_types = "key-types",
    keyed_order = "keyed-order",
    nested = "nested",
    nested_keys = "nested-keys",
    pattern_countries = "pattern-countries",
    pattern_rising = "pattern-rising",
    pattern_withdrawals = "pattern-withdrawals",
    plugin_aggregate = "plugin-aggregate",
    plugin_config = "plugin-config",
    python = "python",
    reject_aggregate = "reject-aggregate",
    reject_cogroup = "reject-cogroup",
    reject_transform = "reject-transform",
    reject_update = "reject-update",
    reject_windows = "reject-windows",
    rejected = "rejected",
    running_count_all = "running-count-all",
    running_count_emit = "running-count-emit",
    running_count_initial = "running-count-initial",
    running_count_timeout = "running-count-timeout",
    running_total = "running-total",
    sessions = "sessions",
    sessions_alike = "sessions-alike",
    sessions_latest = "sessions-latest",
    sessions_order = "sessions-order",
    shape = "shape",
    spark_count_by_window = "spark-count-by-window",
    spark_joins = "spark-joins",
    spark_map_with_state = "spark-map-with-state",
    spark_reduce_by_key_and_window = "spark-reduce-by-key-and-window",
    spark_transform = "spark-transform",
    spark_update_state = "spark-update-state",
    spark_window = "spark-window",
    split = "split",
    spread = "spread",
    sql = "sql",
    sql_all = "sql-all",
    sql_function = "sql-function",
    sql_join = "sql-join",
    sql_null_keys = "sql-null-keys",
    sql_windows = "sql-windows",
    time_expressions = "time-expressions",
    timers = "timers",
    timers_event_time = "timers-event-time",
    timers_timeout = "timers-timeout",
    times = "times",
    top = "top",
    top_all = "top-all",
    top_windows = "top-windows",
    totals = "totals",
    union = "union",
    watermark_idle = "watermark-idle",
    watermark_silent = "watermark-silent",
    whole_numbers = "whole-numbers",
    window_aggregates = "window-aggregates",
    window_aggregates_event_time = "window-aggregates-event-time",
    window_rows = "window-rows",
    window_rows_event_time = "window-rows-event-time",
    windows_apart = "windows-apart",
    windows_zone = "windows-zone",
    word_count = "word-count",
}

cases! { EXAMPLES:
    example_clicks = "docs/examples/clicks",
    example_fraud = "docs/examples/fraud",
    example_hashtags = "docs/examples/hashtags",
    example_running_word_count = "docs/examples/running-word-count",
    example_sales = "docs/examples/sales",
    example_sql = "docs/examples/sql",
    example_stocks = "docs/examples/stocks",
    example_windowed_count = "docs/examples/windowed-count",
}

#[test]
fn every_case_is_run() {
    assert_eq!(dirs_in("tests/e2e"), CASES, "the list in this file, and the folders");
    let mut examples = dirs_in("docs/examples");
    // `examples.rs` runs those with sockets and directories.
    examples.retain(|name| root().join("docs/examples").join(name).join("input.jsonl").exists());
    let examples: Vec<_> = examples.into_iter().map(|name| format!("docs/examples/{name}")).collect();
    assert_eq!(examples, EXAMPLES, "the list in this file, and the examples");
}

fn dirs_in(dir: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(dir)).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

/// A case, with a directory for the output of its sinks.
struct Case {
    dir: PathBuf,
    output: TempDir,
    /// Sink and file of what it must write.
    expected: Vec<(String, PathBuf)>,
}

impl Case {
    fn new(name: &str) -> Case {
        let dir = if name.contains('/') { root().join(name) } else { root().join("tests/e2e").join(name) };
        let files = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
        let expected: Vec<_> = files.filter_map(|path| Some((sink_of(&path)?, path))).collect();
        assert!(!expected.is_empty(), "{name} expects nothing");
        Case { dir, output: TempDir::new().unwrap(), expected }
    }

    fn written(&self, sink: &str) -> PathBuf {
        self.output.path().join(format!("{sink}.jsonl"))
    }

    fn command(&self) -> Command {
        self.command_of(&self.dir.join("job.toml"))
    }

    fn command_of(&self, job: &Path) -> Command {
        let mut command = Command::new(millstream());
        command.arg("run").arg(job);
        for (sink, _) in &self.expected {
            command.arg("--set").arg(format!("sinks.{sink}.path={}", self.written(sink).display()));
        }
        command
    }

    /// The same with a checkpoint every `every` batches.
    fn keeping(&self, job: &Path, every: usize, workers: usize) -> Command {
        let mut command = self.command_of(job);
        let dir = self.output.path().join("checkpoint");
        command.arg("--set").arg(format!("checkpoint.dir={}", dir.display()));
        command.args(["--set", &format!("checkpoint.every={every}"), "--workers", &workers.to_string()]);
        command
    }

    /// The number of commits of the sinks: one line per batch.
    fn commits(&self) -> usize {
        self.expected.iter().map(|(_, path)| fs::read_to_string(path).unwrap().lines().count()).sum()
    }

    /// Checks that the sinks have written only expected rows so far.
    fn check_so_far(&self) {
        for (sink, expected) in &self.expected {
            let written = fs::read_to_string(self.written(sink)).unwrap_or_default();
            let whole = written.rfind('\n').map_or(0, |end| end + 1);
            let expected = fs::read_to_string(expected).unwrap();
            assert!(
                expected.starts_with(&written[..whole]),
                "sink `{sink}`\n--- expected\n{expected}--- written\n{written}"
            );
        }
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

fn run_command_ok(command: &mut Command) -> Ended {
    let ended = Process::start(command).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended
}

/// Runs until the process has killed itself after its commit with this number; `false`: it ended before.
fn killed(command: &mut Command, commits: usize) -> bool {
    command.arg("--unsupervised").env("MILLSTREAM_TEST_FAULT", format!("kill@commit.after:{commits}"));
    let ended = Process::start(command).wait();
    assert!(matches!(ended.code, None | Some(0)), "{}", ended.stderr);
    ended.code.is_none()
}

/// Completely, with checkpoints; then killed in the middle with two workers, resumed with three, killed again, and resumed with
/// one.
fn kill_and_resume(name: &str) {
    let whole = Case::new(name);
    let job = whole.dir.join("job.toml");
    run_command_ok(&mut whole.keeping(&job, 1, 2));
    whole.check();
    let commits = whole.commits();
    for (every, first, second) in [(1, commits.div_ceil(2), 1), (2, 1, commits / 2), (1000, commits - 1, 1)] {
        let case = Case::new(name);
        let first = first.max(1);
        assert!(killed(&mut case.keeping(&job, every, 2), first), "{commits} commits are more than {first}");
        case.check_so_far();
        if killed(&mut case.keeping(&job, every, 3), second.max(1)) {
            case.check_so_far();
            run_command_ok(&mut case.keeping(&job, every, 1));
        }
        case.check();
    }
}

/// Nothing that a runtime randomizes reaches a plugin: a batch that is replayed on any number of workers gives what was
/// committed.
#[test]
fn batches_of_other_languages_replay_identically() {
    for name in ["javascript", "python"] {
        let case = Case::new(name);
        let job = case.dir.join("job.toml");
        run_command_ok(&mut case.keeping(&job, 1000, 2));
        case.check();
        for workers in [1, 3] {
            let mut command = case.keeping(&job, 1000, workers);
            let arguments: Vec<_> = command.get_args().skip(1).map(OsStr::to_owned).collect();
            command = Command::new(millstream());
            let replayed = run_command_ok(command.arg("replay").args(arguments).args(["--batch", "4"]));
            assert_eq!(replayed.stdout.matches("the same as was committed").count(), 3, "{}", replayed.stdout);
        }
    }
}

/// Ends successfully after the first batches, like a stopped job, and resumes with other numbers of workers.
fn stop_and_resume(name: &str) {
    let case = Case::new(name);
    let trial = Trial::new(&with_plugins_of_the_project(&case.dir.join("job.toml")));
    let mut inputs = Vec::new();
    for entry in fs::read_dir(&case.dir).unwrap() {
        let (path, name) = (entry.as_ref().unwrap().path(), entry.unwrap().file_name().into_string().unwrap());
        if name.starts_with("input") {
            inputs.push((name, fs::read_to_string(path).unwrap()));
        } else if name != "job.toml" && !name.starts_with("expected") {
            // The job's other inputs: initial states, tables.
            trial.write(&name, fs::read(path).unwrap());
        }
    }
    let longest = inputs.iter().map(|(_, text)| text.lines().count()).max().unwrap();
    for (lines, workers) in [(longest / 3, 2), (longest / 2, 3), (longest - 1, 8), (longest, 1)] {
        for (name, text) in &inputs {
            trial.write(name, text.split_inclusive('\n').take(lines).collect::<String>());
        }
        let mut command = case.keeping(&trial.path("job.toml"), 2, workers);
        if lines < longest {
            // These are not the ends of its sources.
            command.args(["--set", "at_end=keep"]);
        }
        run_command_ok(&mut command);
        case.check_so_far();
    }
    case.check();
    // There is nothing left to do.
    let ended = run_command_ok(&mut case.keeping(&trial.path("job.toml"), 2, 2));
    assert!(ended.stderr.contains(" 0 batches to replay"), "{}", ended.stderr);
    case.check();
}

/// The job file of a case, adapted to another directory.
fn with_plugins_of_the_project(job: &Path) -> String {
    let root = root().display().to_string();
    let job = fs::read_to_string(job).unwrap().replace("\"../../../plugins/", &format!("\"{root}/plugins/"));
    job.replace("\"../../plugins/", &format!("\"{root}/tests/plugins/"))
}

/// More rows than one part holds, so that all workers have some of every batch.
#[test]
fn large_batches_give_the_same_on_any_number_of_workers() {
    let rows = 50_000_i64;
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
    trial.write("input.jsonl", batch(0, rows) + &batch(rows, rows));
    let mut outputs = Vec::new();
    for workers in ["1", "2", "3"] {
        trial.run_ok(&["--workers", workers]);
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

/// A line of a queue with rows of 1,000 keys, with a key and a number each.
fn batch(from: i64, rows: i64) -> String {
    let row = |i: i64| format!("[\"k{}\",{i}]", i * 7919 % 1000);
    format!("[{}]\n", (from..from + rows).map(row).collect::<Vec<_>>().join(","))
}

/// All workers have keys, and all of them move when the number of workers changes.
#[test]
fn state_follows_its_keys_when_a_job_is_rescaled() {
    let trial = Trial::new(&format!(
        r#"
        clock = "manual"
        [checkpoint]
        dir = "checkpoint"
        every = 1
        [sources.numbers]
        kind = "queue"
        path = "input.jsonl"
        schema = {{ k = "text", v = "int64" }}
        [stages.totals]
        from = "numbers"
        key = "k"
        plugin = "{0}/plugins/running-count"
        timeout = "3s"
        [stages.by-key]
        from = "numbers"
        key = "k"
        aggregate = {{ n = "count(*)", first = "first(v)", sum = "sum(v)" }}
        [sinks.totals-out]
        from = "totals"
        kind = "queue"
        path = "totals.jsonl"
        [sinks.by-key-out]
        from = "by-key"
        kind = "queue"
        path = "by-key.jsonl"
        "#,
        root().display()
    ));
    let rows = 20_000;
    // In the third and fourth batch most keys are unchanged.
    let lines = [rows, rows, 300, 300, rows, 10, rows];
    let lines: Vec<String> = (0..).zip(lines).map(|(number, rows)| batch(number * 1_000_003, rows)).collect();
    let outputs = |trial: &Trial| [trial.text("totals.jsonl"), trial.text("by-key.jsonl")];
    trial.write("input.jsonl", lines.concat());
    trial.run_ok(&["--workers", "2"]);
    let whole = outputs(&trial);
    let totals = trial.rows("totals.jsonl");
    assert_eq!(totals[1000]["count"], 40, "keys of the second batch go on");
    fs::remove_dir_all(trial.path("checkpoint")).unwrap();
    trial.remove_queue("totals.jsonl");
    trial.remove_queue("by-key.jsonl");
    // Three clean stops, after the second, the fourth and the fifth batch.
    for (lines_there, workers) in [(2, "3"), (4, "1"), (5, "8"), (7, "2")] {
        trial.write("input.jsonl", lines[..lines_there].concat());
        trial.run_ok(&["--workers", workers]);
    }
    assert!(outputs(&trial) == whole, "stopped and resumed");

    fs::remove_dir_all(trial.path("checkpoint")).unwrap();
    trial.remove_queue("totals.jsonl");
    trial.remove_queue("by-key.jsonl");
    // As many kills, within batches.
    for (workers, commits) in [("3", 5), ("1", 4), ("8", 3)] {
        let mut command = trial.command(&["run", "job.toml", "--workers", workers]);
        assert!(killed(&mut command, commits), "with {workers} workers");
    }
    trial.run_ok(&["--workers", "2"]);
    assert!(outputs(&trial) == whole, "killed and resumed");
}
