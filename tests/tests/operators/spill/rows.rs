//! Windows and sessions of rows, which operators work on when they are complete, and which may lie in files.

use super::{KEEPS, are_same, check_ends, check_spills, golden, into_queues, job, state};
use millstream_tests::{Trial, plugin};

/// Windows of event time: in sequence, with shared rows, of two inputs; and windows of batches. Some are open at the end.
const WINDOWS: &str = r#"
[stages.timed]
from = "orders"
select = "k, todo, second, to_timestamp_seconds(second) as at, sin(second * length(k)) as wave"
[stages.ends]
from = "timed"
select = "k as rk, second as ended, at as rat"
filter = "todo = 'end' or todo = 'nothing'"
[stages.asked]
from = "timed"
time = "at"
lateness = "12s"
window = { size = "10s" }
sql = "select todo, count(*) as n, sum(wave) as wave, count(distinct k) as keys, min(window_start) as start from timed group by todo order by todo"
[stages.each]
from = "timed"
time = "at"
lateness = "14s"
window = { size = "12s", slide = "4s" }
sql = "select k, count(*) as n, max(second) as last, first_value(todo order by second, todo) as todo, min(window_end) as until from timed group by k order by k"
[stages.met]
from = ["timed", "ends"]
time = ["at", "rat"]
lateness = "16s"
window = { size = "9s", slide = "6s" }
sql = "select k, second, ended from timed join ends on k = rk and second <= ended where length(k) % 3 = 0 order by k, second, ended"
[stages.seen]
from = "timed"
time = "at"
lateness = "13s"
window = { size = "8s" }
distinct = ["k", "todo"]
[stages.best]
from = "timed"
key = "todo"
time = "at"
lateness = "13s"
window = { size = "15s", slide = "5s" }
top = { n = 20, by = "wave" }
[stages.batches]
from = "timed"
window = { size = "7s", slide = "3s" }
sql = "select todo, count(*) as n, sum(wave) as wave from timed group by todo order by todo"
[stages.kept]
from = "timed"
window = { size = "4s" }
plugin = "FILTER"
config = { where = "todo != 'cancel'" }
[stages.hours]
from = "asked"
key = "todo"
time = "start"
window = { size = "20s" }
aggregate = { keys = "sum(keys)", n = "sum(n)" }
[sinks.behind]
from = "asked.late"
kind = "queue"
path = "late.jsonl"
"#;

/// The result of such a job.
fn windowed(trial: &Trial) -> Vec<String> {
    let sinks = ["asked", "late", "each", "met", "seen", "best", "batches", "kept", "hours"];
    let mut all: Vec<String> = sinks.map(|name| trial.text(&format!("{name}.jsonl"))).into();
    // Which part a row arrived in depends on the earlier workers.
    for table in ["asked", "each", "met", "seen", "best", "batches", "kept"] {
        let query = format!("select distinct batch, input, time from \"{table}.rows\" order by 1, 2, 3");
        all.push(state(trial, &query));
    }
    all
}

fn windows() -> String {
    let stages = WINDOWS.replace("FILTER", &plugin("filter-expr").display().to_string());
    into_queues(&stages, &["asked", "each", "met", "seen", "best", "batches", "kept", "hours"])
}

#[test]
fn windows_of_rows_may_spill() {
    check_spills(21, (KEEPS, &windows()), 100, windowed);
}

/// The job is stopped, killed and restarted with more and less memory, and with other numbers of workers.
#[test]
fn windows_of_rows_resume_with_other_limits_of_memory() {
    let golden = golden(23, (KEEPS, &windows()), windowed);
    let trial = job(KEEPS, 23, &windows());
    let whole = trial.text("in.jsonl");
    let limits = |memory: &str| [format!("state.memory={memory}"), "state.folder=cold".to_owned()];
    for (batches, workers, memory) in
        [(10, "1", None), (18, "2", Some("1MiB")), (22, "1", Some("1GiB")), (26, "2", None)]
    {
        trial.write("in.jsonl", whole.lines().take(batches).map(|line| format!("{line}\n")).collect::<String>());
        let limits = memory.map(limits);
        let limits = limits.iter().flatten().flat_map(|limit| ["--set", limit.as_str()]);
        trial.run_ok(&["--workers", workers].into_iter().chain(limits).collect::<Vec<_>>());
    }
    trial.write("in.jsonl", whole);
    let [memory, folder] = limits("1MiB");
    for (step, workers) in [("evicted:3", "1"), ("page:9", "2")] {
        trial.killed(&format!("spill.{step}"), &["--workers", workers, "--set", &memory, "--set", &folder]);
    }
    trial.run_ok(&["--workers", "1"]);
    are_same(&windowed(&trial), &golden, "after all starts");
}

/// Sessions of rows by key and of all rows, some of which are late, followed by other stages.
const SESSIONS: &str = r#"
[stages.timed]
from = "orders"
select = "k, todo, second, to_timestamp_seconds(second) as at, sin(second * length(k)) as wave"
filter = "length(k) % 3 = 0"
[stages.asked]
from = "timed"
key = "k"
time = "at"
lateness = "20s"
window = { gap = "5s" }
sql = "select k, count(*) as n, sum(wave) as wave, first_value(todo order by second, todo) as todo, min(window_start) as start from timed group by k order by k"
[stages.seen]
from = "timed"
key = ["k", "todo"]
time = "at"
lateness = "12s"
window = { gap = "9s", length_max = "30s" }
distinct = "second"
[stages.first]
from = "timed"
key = "k"
time = "at"
lateness = "13s"
window = { gap = "4s" }
top = { n = 2, by = "wave" }
[stages.hours]
from = "asked"
key = "todo"
time = "start"
window = { size = "20s" }
aggregate = { visits = "count(*)", n = "sum(n)" }
[sinks.behind]
from = "seen.late"
kind = "queue"
path = "late.jsonl"
"#;

/// The result of such a job.
fn visited(trial: &Trial) -> Vec<String> {
    let sinks = ["asked", "late", "seen", "first", "hours"];
    let mut all: Vec<String> = sinks.map(|name| trial.text(&format!("{name}.jsonl"))).into();
    for (table, key) in [("asked", "k"), ("seen", "k, todo"), ("first", "k")] {
        let columns = format!("{key}, millstream_start, millstream_last");
        all.push(state(trial, &format!("select {columns} from \"{table}.rows\" order by {columns}")));
        let columns = format!("{key}, millstream_batch, millstream_at");
        all.push(state(trial, &format!("select {columns} from \"{table}.pieces\" order by {columns}")));
    }
    all
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn sessions_of_rows_may_spill() {
        let stages = into_queues(SESSIONS, &["asked", "seen", "first", "hours"]);
        check_spills(22, (KEEPS, &stages), 300, visited);
        check_ends(22, &stages, &golden(22, ("", &stages), visited), visited);
    }
}
