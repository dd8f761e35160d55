//! Queries, expressions and functions in them, in the program: the messages of rejected ones, the errors while the job runs, and
//! that rows are the same on any number of workers.

use millstream_tests::{Expected, Process, Trial, one_stage, plugin};
use std::fmt::Write as _;

/// A job with one stage `made` over words.
fn job(stage: &str) -> Trial {
    let trial = one_stage("words", r#"word = "text", n = "int64", "order-id" = "int64""#, stage);
    trial.write("input.jsonl", "[[\"a\",1,5]]\n[[\"b\",0,6],[null,2,7]]\n");
    trial
}

/// Jobs with these stages are rejected with the messages of the test's file.
#[track_caller]
fn check_rejected(test: &str, stages: &[&str]) {
    let mut expected = Expected::of(file!(), test);
    for stage in stages {
        expected.error(stage, &job(stage).rejected_message(&["run", "job.toml"]));
    }
    expected.check();
}

/// The job stops in its second batch, which writes nothing.
#[track_caller]
fn fails(stage: &str, words: &str) {
    let trial = job(stage);
    let ended = trial.run(&["--workers", "2"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
    assert!(trial.batches("out.jsonl").len() < 2);
}

#[test]
fn expressions_are_checked_when_the_job_is_loaded() {
    check_rejected(
        "expressions_are_checked_when_the_job_is_loaded",
        &[
            "filter = \"wrod = 'a'\"",
            "select = \"word, uper(word) as big\"",
            "filter = \"n + 1\"",
            "filter = \"word + n > 3\"",
            "filter = \"max(n) > 3\"",
            "select = \"word, n as word\"",
            "select = \"order-id as id\"",
        ],
    );
}

#[test]
fn queries_are_checked_when_the_job_is_loaded() {
    check_rejected(
        "queries_are_checked_when_the_job_is_loaded",
        &[
            "sql = \"\"\"\nselect word,\n  cuont(*) as n\nfrom words group by word\"\"\"",
            "sql = \"select word from wrods\"",
            "sql = \"select max(wrod) as m from words\"",
            "sql = \"select sum(word) as s from words\"",
            "sql = \"select word from words where random() < 0.5\"",
        ],
    );
}

#[test]
fn queries_only_read() {
    let statements = [
        "insert into words values ('a', 1, 2)",
        "update words set n = 3",
        "delete from words",
        "drop table words",
        "create table more as select * from words",
        "copy words to 'words.csv'",
        "set time_zone = 'UTC'",
        "explain select * from words",
        "select 1 as a; select 2 as a",
    ];
    let stages = statements.map(|statement| format!("sql = \"{statement}\""));
    check_rejected("queries_only_read", &stages.each_ref().map(String::as_str));
}

#[test]
fn failed_computations_stop_the_job() {
    fails("filter = \"6 / n > 3\"", "stage `made`: batch 2: `6 / n > 3` cannot be computed: division by zero");
    fails("select = \"word, 6 / n as x\"", "stage `made`: batch 2: `6 / n` cannot be computed: division by zero");
    fails(
        "select = \"n * 9223372036854775807 as x\"",
        "stage `made`: batch 2: `n * 9223372036854775807` cannot be computed: Overflow happened",
    );
    fails(
        "sql = \"select 6 / n as x from words\"",
        "stage `made`: batch 2: the query cannot be computed: division by zero",
    );
    fails(
        "sql = \"select max(cast(word as bigint) + n) as x from words where n <> 1\"",
        "stage `made`: batch 2: the query cannot be computed: Cannot cast string 'b' to value of int64 type",
    );
    // A retry would not help: with checkpoints the job ends immediately, too.
    let trial = job("sql = \"select 6 / n as x from words\"");
    trial.write("job.toml", trial.text("job.toml") + "\n[checkpoint]\ndir = \"kept\"\n");
    let ended = trial.run(&[]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("division by zero").count(), 1, "{}", ended.stderr);
}

/// Also if there are fewer columns after `select` than before it.
#[test]
fn rows_dropped_by_where_are_not_computed() {
    let trial = job("sql = 'select n, (length(word) + \"order-id\") / n as x from words where n <> 0'");
    trial.run_ok(&[]);
}

fn with_function(sql: &str, plugin_name: &str, config: &str) -> String {
    let path = plugin(plugin_name);
    format!("sql = \"{sql}\"\n[stages.made.functions.f]\nplugin = \"{}\"\n{config}", path.display())
}

#[test]
fn functions_are_checked_when_the_job_is_loaded() {
    let mut expected = Expected::of(file!(), "functions_are_checked_when_the_job_is_loaded");
    let mut check_rejected = |case: &str, stage: &str| {
        expected.add(case, &job(stage).rejected_message(&["run", "job.toml"]));
    };
    check_rejected("two values for one", &with_function("select f(word, n) as x from words", "sentiment", ""));
    check_rejected("a function that is not called", &with_function("select word from words", "sentiment", ""));
    check_rejected("a plugin of world update", &with_function("select f(word) as x from words", "running-count", ""));
    // Values that could be converted to another type are not, without an explicit cast.
    check_rejected("a number for a text", &with_function("select f(n) as x from words", "sentiment", ""));
    check_rejected(
        "a limit that functions do not have",
        &format!(
            "limits = {{ stack = \"1MiB\" }}\n{}",
            with_function("select f(word) as x from words", "sentiment", "")
        ),
    );
    expected.check_parts();
}

#[test]
fn functions_that_break_the_rules_stop_the_job() {
    let sql = "select f(word || ' x y') as x from words";
    fails(
        &with_function(sql, "split-words", ""),
        "stage `made`: function `f` (plugin split-words 0.1.0) returned 3 rows for 1; a function must return one per row, in batch 1",
    );
    fails(
        &with_function(sql, "misbehave", "config = { how = \"reject\" }"),
        "rejected row 0 of 1: row 0 is bad; functions cannot reject rows, in batch 1",
    );
    fails(&with_function(sql, "misbehave", "config = { how = \"panic\" }"), "stage `made`");
}

/// A value that a plugin needs is null: so is what the function gives.
#[test]
fn a_function_of_null_is_null() {
    let trial = job(&with_function("select f(word) as x from words", "misbehave", ""));
    trial.run_ok(&[]);
    let rows: Vec<String> = trial.rows("out.jsonl").iter().map(|row| row["x"].to_string()).collect();
    assert_eq!(rows, ["\"a\"", "\"b\"", "null"]);
}

#[test]
fn validate_shows_where_a_query_runs() {
    let runs = |stage: &str| {
        let ended = Process::start(&mut job(stage).command(&["validate", "job.toml"])).wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let line = ended.stdout.lines().find_map(|line| line.trim().strip_prefix("runs ").map(str::to_owned));
        line.unwrap_or_else(|| panic!("{}", ended.stdout))
    };
    let grouped = "sql = \"select word, count(*) as n from words group by word\"";
    assert_eq!(runs("sql = \"select word from words where n > 1\""), "on every worker, part by part");
    assert_eq!(runs(grouped), "on one worker: it groups rows; with key = \"word\" it would run on every worker");
    assert_eq!(runs(&format!("key = \"word\"\n{grouped}")), "on every worker, by key `word`");
    assert_eq!(
        runs("key = \"word\"\nsql = \"select word from words order by n limit 3\""),
        "on one worker: it orders all rows"
    );
}

/// Rows of a batch in many parts, keys that meet in joins, ties in every order: not to the worker's number.
#[test]
fn rows_are_the_same_on_any_number_of_workers() {
    let trial = Trial::new(
        r#"clock = "manual"

[sources.words]
kind = "queue"
path = "input.jsonl"
schema = { word = "text", n = "int64", x = "float64" }

[stages.even]
from = "words"
sql = "select word, n, x from words where n % 2 = 0 union all select upper(word), n, x from words where n % 3 = 0"

[stages.sums]
from = "words"
key = "word"
sql = "select word, sum(x) as x, count(distinct n) as kinds from words group by word"

[stages.ranks]
from = ["words", "sums"]
key = "word"
sql = """
select w.word, n, w.x / s.x as share, row_number() over (partition by w.word order by n % 5 desc) as place,
  sum(w.x) over (partition by w.word order by n) as running, sum(w.x) over (partition by w.word) as whole
from words w left join sums s on w.word = s.word"""

[stages.first]
from = "ranks"
sql = "select place, word, n, sum(share) over (order by n % 3) as share from ranks order by place % 10 limit 900"

[sinks.a]
from = "even"
kind = "queue"
path = "even.jsonl"

[sinks.b]
from = "ranks"
kind = "queue"
path = "ranks.jsonl"

[sinks.c]
from = "first"
kind = "queue"
path = "first.jsonl"
"#,
    );
    let mut input = String::new();
    for batch in 0..3_u64 {
        let row = |row: u64| {
            let mixed = (row + batch).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
            format!("[\"w{}\",{},{}.{}]", mixed % 97, mixed % 1_000, mixed % 13, mixed % 7)
        };
        let rows: Vec<String> = (0..40_000).map(row).collect();
        let _ = writeln!(input, "[{}]", rows.join(","));
    }
    trial.write("input.jsonl", input);
    let made = |workers: &str| {
        trial.run_ok(&["--workers", workers]);
        ["even.jsonl", "ranks.jsonl", "first.jsonl"].map(|name| trial.text(name))
    };
    let one = made("1");
    assert_eq!(trial.batches("ranks.jsonl").len(), 3);
    assert_eq!(trial.rows("first.jsonl").len(), 2_700);
    for workers in ["2", "3"] {
        let more = made(workers);
        for (one, more) in one.iter().zip(&more) {
            assert!(one == more, "other rows with {workers} workers");
        }
    }
}

#[test]
fn constants_that_cannot_be_cast_are_told_when_the_job_is_loaded() {
    let mut expected = Expected::of(file!(), "constants_that_cannot_be_cast_are_told_when_the_job_is_loaded");
    for stage in [
        "filter = \"n > cast('abc' as bigint)\"",
        "select = \"cast('x' as int) as n\"",
        "sql = \"select n from words where n > 'abc'\"",
    ] {
        expected.add(stage, &job(stage).rejected_message(&["validate", "job.toml"]));
    }
    expected.check_parts();
}

/// A comparison sees what a cast gives, and not the value before it.
#[test]
fn values_are_cast_before_they_are_compared() {
    for (condition, words) in [
        ("try_cast(big as int) > 3", "b"),
        ("try_cast(big as int) in (5, 6)", "b"),
        ("try_cast(big as int) is distinct from 5", "a"),
        ("cast(cast(price as decimal(10,1)) as int) = 1", "a"),
        ("cast(cast(price as decimal(10,1)) as bigint) between 1 and 1", "a"),
        ("cast(code as bigint) = 12", "ab"),
        ("cast(code as int) in (12, 13)", "ab"),
    ] {
        for stage in [format!("filter = \"{condition}\""), format!("sql = \"select * from rows where {condition}\"")] {
            let columns = r#"word = "text", big = "int64", price = "float64", code = "text""#;
            let trial = one_stage("rows", columns, &stage);
            trial.write("input.jsonl", "[[\"a\",4294967301,1.5,\"012\"],[\"b\",5,2.0,\"12\"]]\n");
            trial.run_ok(&[]);
            let found: String = trial.rows("out.jsonl").iter().filter_map(|row| row["word"].as_str()).collect();
            assert_eq!(found, words, "{stage}");
        }
    }
}
