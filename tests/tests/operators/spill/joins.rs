//! Joins whose rows may lie in files.

use super::{KEEPS, check_spilling, check_spills, golden, into_queues, state};
use millstream_tests::{Trial, queue_sink, queue_source};
use std::fs;
use std::ops::Range;

/// Joins by time, of rows in any order, followed by other stages.
const INTERVALS: &str = r#"
[stages.timed]
from = "orders"
select = "k, todo, second, to_timestamp_seconds(second) as at"
filter = "todo <> 'cancel' or second % 4 = 0"
[stages.ends]
from = "timed"
select = "k as rk, second as ended, at as rat"
filter = "todo = 'end'"
[stages.near]
from = "timed"
join = { with = "ends", on = { k = "rk" }, within = ["-6s", "9s"] }
time = ["at", "rat"]
lateness = "20s"
[stages.lonely]
from = "timed"
join = { with = "ends", on = { k = "rk" }, within = ["0s", "12s"], type = "full" }
time = ["at", "rat"]
lateness = "14s"
[stages.counts]
from = "lonely"
key = "todo"
time = "coalesce(at, rat)"
window = { size = "10s" }
aggregate = { n = "count(*)", ended = "count(ended)" }
[sinks.behind]
from = "lonely.late"
kind = "queue"
path = "late.jsonl"
"#;

/// The result of such a job.
fn near(trial: &Trial) -> Vec<String> {
    let mut all: Vec<String> =
        ["near", "lonely", "late", "counts"].map(|name| trial.text(&format!("{name}.jsonl"))).into();
    // The numbers of rows are those of the worker that has them.
    for table in ["near", "lonely"] {
        all.push(state(trial, &format!("select k, todo, second, millstream_matched from {table} order by 1, 2, 3, 4")));
        all.push(state(
            trial,
            &format!("select rk, ended, millstream_matched from \"{table}.right\" order by 1, 2, 3"),
        ));
    }
    all
}

#[test]
fn joins_by_time_may_spill() {
    let stages = into_queues(INTERVALS, &["near", "lonely", "counts"]);
    check_spills(14, (KEEPS, &stages), 300, near);
}

/// Joins of all rows so far, on either side, some of which are deleted: of few keys with many rows, and of many keys.
const JOINS: &str = r#"
[stages.opened]
from = "orders"
select = "k, second, case when todo = 'end' then 'delete' else 'insert' end as op"
[stages.set]
from = "orders"
select = "k, todo, second % 3 as third, case when second % 7 = 0 then 'delete' else 'insert' end as op"
filter = "todo <> 'cancel' or k like 'key 1%'"
[stages.both]
from = "opened"
join = { with = "set", on = "k" }
op = "op"
window = "all"
[stages.each]
from = "opened"
join = { with = "set", on = "k", type = "full" }
op = "op"
window = "all"
[stages.counted]
from = "each"
key = "third"
op = "op"
window = "all"
aggregate = { n = "count(*)", s = "sum(second)" }
"#;

/// The result of such a job.
fn joined(trial: &Trial) -> Vec<String> {
    let mut all: Vec<String> = ["both", "each", "counted"].map(|name| trial.text(&format!("{name}.jsonl"))).into();
    for table in ["both", "each"] {
        all.push(state(trial, &format!("select * from {table} order by k, second")));
        all.push(state(trial, &format!("select * from \"{table}.right\" order by k, todo, third")));
    }
    all
}

/// Rows of another stream as of the time of each row, with and without an age limit; some get late rows.
const AS_OF: &str = r#"
[stages.timed]
from = "orders"
select = "k, todo, second, to_timestamp_seconds(second) as at"
[stages.ends]
from = "timed"
select = "k as rk, second as ended, length(k) + second as score, at as rat"
filter = "todo <> 'cancel' or second % 5 = 0"
[stages.before]
from = "timed"
join = { with = "ends", on = { k = "rk" }, as_of = true, type = "left" }
time = ["at", "rat"]
lateness = "20s"
[stages.near]
from = "timed"
join = { with = "ends", on = { k = "rk" }, as_of = true, within = "5s" }
time = ["at", "rat"]
lateness = "14s"
[stages.counts]
from = "near"
key = "todo"
time = "at"
window = { size = "10s" }
aggregate = { n = "count(*)", scores = "sum(score)" }
[sinks.behind]
from = "near.late"
kind = "queue"
path = "late.jsonl"
"#;

/// The result of such a job.
fn as_of(trial: &Trial) -> Vec<String> {
    let mut all: Vec<String> =
        ["before", "near", "late", "counts"].map(|name| trial.text(&format!("{name}.jsonl"))).into();
    // The numbers of rows are those of the worker that has them.
    for table in ["before", "near"] {
        all.push(state(trial, &format!("select k, todo, second from {table} order by 1, 2, 3")));
        all.push(state(trial, &format!("select rk, ended, score from \"{table}.right\" order by 1, 2, 3")));
    }
    all
}

/// A join after one whose rows leave memory in the very batch that brings the newest of its results.
#[test]
fn nothing_is_late_after_a_join_whose_rows_leave_memory() {
    let source = |name: &str| queue_source(name, r#"k = "text", at = "timestamp(s)""#);
    let trial = Trial::new(&format!(
        r#"
        clock = "manual"
        {}
        {}
        [stages.near]
        from = "ahead"
        join = {{ with = "behind", on = "k", within = "1s", type = "left" }}
        time = "at"
        lateness = "10s"
        select = "k, at"
        [stages.again]
        from = "near"
        join = {{ with = "ahead", on = "k", within = "1s" }}
        time = "at"
        {}
        {}
        "#,
        source("ahead"),
        source("behind"),
        queue_sink("out", "again", "out"),
        queue_sink("missed", "again.late", "missed")
    ));
    // Rows in the order of their times, one per second. One is emitted with a partner, immediately; the others 10 s later.
    let rows = |seconds: Range<u64>, key: &dyn Fn(u64) -> String| {
        let row = |second| format!("[\"{}\",{second}]", key(second));
        format!("[{}]\n", seconds.map(row).collect::<Vec<_>>().join(","))
    };
    let ahead = |second: u64| format!("{second} {}", "x".repeat(100));
    let partner = |second: u64| if second == 399 { ahead(second) } else { "none".to_owned() };
    trial.write("ahead.jsonl", rows(0..500, &ahead) + &rows(500..20_500, &ahead) + &"[]\n".repeat(20));
    let slow = (1..20).map(|step| rows(390 + step * 10..400 + step * 10, &|_| "none".to_owned()));
    trial.write("behind.jsonl", "[]\n".to_owned() + &rows(0..400, &partner) + &slow.collect::<String>() + "[]\n");
    for workers in ["1", "2"] {
        for memory in ["1GiB", "1MiB"] {
            trial.run_ok(&["--workers", workers, "--set", &format!("state.memory={memory}")]);
            assert_eq!(trial.rows("missed.jsonl").len(), 0, "{workers} workers, {memory}");
            assert_eq!(trial.rows("out.jsonl").len(), 20_500, "{workers} workers, {memory}");
            fs::remove_file(trial.path("out.jsonl")).unwrap();
        }
    }
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn as_of_joins_may_spill() {
        let stages = into_queues(AS_OF, &["before", "near", "counts"]);
        check_spills(16, (KEEPS, &stages), 200, as_of);
    }

    /// Joins of all rows that drop keys without new rows for a while, on either side.
    #[test]
    fn joins_with_a_time_to_live_may_spill() {
        let stages = JOINS.replace("on = \"k\"", "on = \"k\", ttl = \"4s\"");
        let stages = into_queues(&stages, &["both", "each", "counted"]);
        let forgetting = golden(15, ("", &stages), joined);
        assert!(forgetting.iter().all(|left| left.len() > 1_000));
        let keeping = golden(15, ("", &into_queues(JOINS, &["both", "each", "counted"])), joined);
        let rows = |left: &[String]| left[3..].iter().map(|rows| rows.lines().count()).collect::<Vec<_>>();
        let both = rows(&forgetting).into_iter().zip(rows(&keeping));
        assert!(both.clone().all(|(left, all)| left < all / 2), "{:?}", both.collect::<Vec<_>>());
        check_spilling(15, ("", &stages), &forgetting, joined);
    }

    #[test]
    fn joins_of_all_rows_may_spill() {
        let stages = into_queues(JOINS, &["both", "each", "counted"]);
        check_spills(12, ("", &stages), 1_000, joined);
    }
}
