//! Queries, expressions and functions in them, through the program: what is refused, in which words; what fails while the
//! job runs; and that rows are the same on any number of workers.

use millstream_tests::{Process, Trial, one_stage, plugin};
use std::fmt::Write as _;

/// A job with one stage `made` over words.
fn job(stage: &str) -> Trial {
    let trial = one_stage("words", r#"word = "text", n = "int64", "order-id" = "int64""#, stage);
    trial.write("input.jsonl", "[[\"a\",1,5]]\n[[\"b\",0,6],[null,2,7]]\n");
    trial
}

/// The job is refused in these words, behind the place and name of the stage.
#[track_caller]
fn refused(stage: &str, words: &str) {
    let told = job(stage).refused(&["run", "job.toml"]);
    assert_eq!(told, format!("error: job.toml:8: stage `made`: {words}\n"));
}

/// The job stops in its second batch, which leaves nothing.
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
    refused(
        "filter = \"wrod = 'a'\"",
        "`filter`: there is no column `wrod`; there are: word, n, order-id; did you mean `word`?\n  \
         SQL | wrod = 'a'\n      | ^^^^",
    );
    refused(
        "select = \"word, uper(word) as big\"",
        "`select`: there is no function `uper`; did you mean `upper`?\n  \
         SQL | word, uper(word) as big\n      |       ^^^^",
    );
    refused(
        "filter = \"n + 1\"",
        "`filter`: `n + 1` is int64, and a condition is true or false; compare it, as `n + 1 = …`",
    );
    refused(
        "filter = \"word + n > 3\"",
        "`filter`: text + int64 cannot be computed; make one type of both, as `cast(… as bigint)`\n  \
         SQL | word + n > 3\n      | ^^^^^^^^^^^^",
    );
    refused(
        "filter = \"max(n) > 3\"",
        "`filter`: an aggregate cannot stand here, as it needs more than one row\n  SQL | max(n) > 3\n      | ^^^^^^^^^^",
    );
    refused(
        "select = \"word, n as word\"",
        "its rows would have two columns `word` (word text, word int64); name one of them otherwise",
    );
    refused(
        "select = \"order-id as id\"",
        "`select`: there is no column `order`; there are: word, n, order-id; write \"order-id\" in double quotes\n  \
         SQL | order-id as id\n      | ^^^^^",
    );
}

#[test]
fn queries_are_checked_when_the_job_is_loaded() {
    refused(
        "sql = \"\"\"\nselect word,\n  cuont(*) as n\nfrom words group by word\"\"\"",
        "`sql`: there is no function `cuont`; did you mean `count`?\n  line 2 |   cuont(*) as n\n         |   ^^^^^",
    );
    refused(
        "sql = \"select word from wrods\"",
        "`sql`: there is no table `wrods`; the stage's inputs are: words; did you mean `words`?\n  \
         SQL | select word from wrods\n      |                  ^^^^^",
    );
    refused(
        "sql = \"select max(wrod) as m from words\"",
        "`sql`: there is no column `wrod`; there are: word, n, order-id; did you mean `word`?\n  \
         SQL | select max(wrod) as m from words\n      |            ^^^^",
    );
    refused(
        "sql = \"select sum(word) as s from words\"",
        "`sql`: `sum(…)` does not take a value of type text\n  \
         SQL | select sum(word) as s from words\n      |        ^^^",
    );
    refused(
        "sql = \"select word from words where random() < 0.5\"",
        "`sql`: `random()` would give something else in a replay of the batch; make such values before the job\n  \
         SQL | select word from words where random() < 0.5\n      |                              ^^^^^^",
    );
}

#[test]
fn queries_only_read() {
    for (statement, verb) in [
        ("insert into words values ('a', 1, 2)", "insert"),
        ("update words set n = 3", "update"),
        ("delete from words", "delete"),
        ("drop table words", "drop"),
        ("create table more as select * from words", "create"),
        ("copy words to 'words.csv'", "copy"),
        ("set time_zone = 'UTC'", "set"),
        ("explain select * from words", "explain"),
    ] {
        let marked = format!("{statement}\n      | {}", "^".repeat(verb.len()));
        let words = format!("`sql`: `sql` only reads: write one `select`, not `{verb}`\n  SQL | {marked}");
        refused(&format!("sql = \"{statement}\""), &words);
    }
    refused(
        "sql = \"select 1 as a; select 2 as a\"",
        "`sql`: `sql` is one query; write one `select`\n  SQL | select 1 as a; select 2 as a",
    );
}

#[test]
fn what_cannot_be_computed_stops_the_job() {
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
    // Another try would not help: with checkpoints the job ends at once, too.
    let trial = job("sql = \"select 6 / n as x from words\"");
    trial.write("job.toml", trial.text("job.toml") + "\n[checkpoint]\ndir = \"kept\"\n");
    let ended = trial.run(&[]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("division by zero").count(), 1, "{}", ended.stderr);
}

/// Also where there are fewer columns behind `select` than before it.
#[test]
fn what_where_leaves_out_is_not_computed() {
    let trial = job("sql = 'select n, (length(word) + \"order-id\") / n as x from words where n <> 0'");
    trial.run_well(&[]);
}

fn with_function(sql: &str, plugin_name: &str, config: &str) -> String {
    let path = plugin(plugin_name);
    format!("sql = \"{sql}\"\n[stages.made.functions.f]\nplugin = \"{}\"\n{config}", path.display())
}

#[test]
fn functions_are_checked_when_the_job_is_loaded() {
    let refused = |stage: &str, words: &str| {
        let told = job(stage).refused(&["run", "job.toml"]);
        assert!(told.contains(words), "{told}");
    };
    refused(
        &with_function("select f(word, n) as x from words", "sentiment", ""),
        "function `f` (plugin sentiment 0.1.0) takes value text, and is given 2 values",
    );
    refused(
        &with_function("select word from words", "sentiment", ""),
        "the query does not call the function `f`; remove `functions.f`",
    );
    refused(
        &with_function("select f(word) as x from words", "running-count", ""),
        "stage `made`: function `f`: a function is a plugin of world transform, and PROJECT/plugins/running-count/running-count.wasm",
    );
    // What could be taken as another type is not, without a cast that says so.
    refused(
        &with_function("select f(n) as x from words", "sentiment", ""),
        "takes `value` as text, and is given int64; cast it, as `cast(… as double)`\n  SQL | select f(n) as x from words\n      |        ^",
    );
    refused(
        &format!(
            "limits = {{ stack = \"1MiB\" }}\n{}",
            with_function("select f(word) as x from words", "sentiment", "")
        ),
        "stage `made`: unknown key `limits.stack`; these keys fit: `memory`, `time`",
    );
}

#[test]
fn functions_that_break_the_rules_stop_the_job() {
    let sql = "select f(word || ' x y') as x from words";
    fails(
        &with_function(sql, "split-words", ""),
        "stage `made`: function `f` (plugin split-words 0.1.0) gave 3 rows for 1; a function gives one a row, in batch 1",
    );
    fails(
        &with_function(sql, "misbehave", "config = { how = \"reject\" }"),
        "refused row 0 of 1: row 0 is bad; functions cannot refuse rows, in batch 1",
    );
    fails(&with_function(sql, "misbehave", "config = { how = \"panic\" }"), "stage `made`");
}

/// A value that a plugin needs is null: so is what the function gives.
#[test]
fn a_function_of_null_is_null() {
    let trial = job(&with_function("select f(word) as x from words", "misbehave", ""));
    trial.run_well(&[]);
    let rows: Vec<String> = trial.rows("out.jsonl").iter().map(|row| row["x"].to_string()).collect();
    assert_eq!(rows, ["\"a\"", "\"b\"", "null"]);
}

#[test]
fn validate_tells_where_a_query_runs() {
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
        trial.run_well(&["--workers", workers]);
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
    for (stage, words) in [
        ("filter = \"n > cast('abc' as bigint)\"", "Cannot cast string 'abc' to value of int64 type"),
        ("select = \"cast('x' as int) as n\"", "Cannot cast string 'x' to value of Int32 type"),
        ("sql = \"select n from words where n > 'abc'\"", "Cannot cast string 'abc' to value of int64 type"),
    ] {
        let told = job(stage).refused(&["validate", "job.toml"]);
        assert!(told.contains("job.toml:8: stage `made`") && told.contains(words), "{told}");
    }
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
            trial.run_well(&[]);
            let found: String = trial.rows("out.jsonl").iter().filter_map(|row| row["word"].as_str()).collect();
            assert_eq!(found, words, "{stage}");
        }
    }
}
