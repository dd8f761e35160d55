//! State larger than memory: whatever the budget and the number of workers, a job writes the same bytes and keeps the same state
//! as one with all state in memory; kills, damaged files and full disks do not change that.

mod joins;
mod rows;
mod start;
mod totals;

use millstream::internals::random::Random;
use millstream_tests::{Process, Trial, plugin, queue_sink};
use serde_json::json;

/// Keys that are many more than fit into the least budget.
const KEYS: u64 = 25_000;
const BATCHES: usize = 40;
const ROWS: u64 = 2_000;

/// Orders for keys, some of which are frequent. Timers fire, states end, and idle keys time out.
fn orders(seed: u64) -> String {
    let mut random = Random(seed);
    let mut lines = String::new();
    for batch in 0..BATCHES {
        let rows: Vec<_> = (0..ROWS)
            .map(|_| {
                let key = if random.below(3) == 0 { random.below(KEYS / 50) } else { random.below(KEYS) };
                let key = format!("key {key} {}", "x".repeat((key % 30) as usize));
                // An invalid order is rejected.
                let todo = match random.below(20) {
                    0..6 => "set",
                    6 => "nothing",
                    7 | 8 => "end",
                    _ => "cancel",
                };
                json!([key, todo, batch as u64 + random.below(20)])
            })
            .collect();
        lines.push_str(&format!("{}\n", json!(rows)));
    }
    lines
}

/// The job with this line of its head.
fn trial(state: &str, seed: u64) -> Trial {
    let stages = format!(
        r#"
[stages.alarms]
from = "orders"
key = "k"
plugin = "{}"
on_error = "reject"
timeout = "18s"
[stages.watched]
from = "orders"
key = ["k", "todo"]
time = "to_timestamp_seconds(second)"
lateness = "9s"
plugin = "{}"
on_error = "reject"
[stages.counts]
from = "orders"
key = "k"
plugin = "{}"
emit = "changes"
[sinks.seen]
from = "watched"
kind = "queue"
path = "seen.jsonl"
[sinks.rung]
from = "alarms"
kind = "queue"
path = "rung.jsonl"
[sinks.refused]
from = "alarms.rejected"
kind = "queue"
path = "refused.jsonl"
[sinks.counts]
from = "counts"
kind = "queue"
path = "counts.jsonl"
"#,
        plugin("alarm").display(),
        plugin("alarm").display(),
        plugin("running-count").display(),
    );
    job(state, seed, &stages)
}

/// A job with this line of its head, and these stages.
fn job(state: &str, seed: u64, stages: &str) -> Trial {
    let trial = Trial::new(&format!(
        r#"name = "spills"
batch = "1s"
clock = "manual"
{state}
[checkpoint]
dir = "checkpoint"
every = 4
[sources.orders]
kind = "queue"
path = "in.jsonl"
schema = {{ k = "text", todo = "text", second = "int64" }}
{stages}"#
    ));
    trial.write("in.jsonl", orders(seed));
    trial
}

fn state(trial: &Trial, query: &str) -> String {
    trial.run_command_ok(&["state", "job.toml", "--json", "--sql", query])
}

/// The files that sinks of such a job write.
const SINKS: [&str; 4] = ["rung.jsonl", "seen.jsonl", "refused.jsonl", "counts.jsonl"];

/// The complete result of a job: the output of its sinks, and the content of its checkpoint.
fn left(trial: &Trial) -> Vec<String> {
    let state = |query: &str| state(trial, query);
    let mut all: Vec<String> = SINKS.map(|name| trial.text(name)).into();
    all.push(state("select k, calls from alarms order by k"));
    all.push(state("select k, at from \"alarms.timers\" order by k, at"));
    all.push(state("select k, todo, calls from watched order by k, todo"));
    all.push(state("select k, count from counts order by k"));
    all
}

#[track_caller]
fn same(trial: &Trial, golden: &[String], about: &str) {
    are_same(&left(trial), golden, about);
}

#[track_caller]
fn are_same(left: &[String], golden: &[String], about: &str) {
    for (number, (found, expected)) in left.iter().zip(golden).enumerate() {
        assert!(found == expected, "{about}: result {number} is another one");
    }
}

#[test]
fn a_job_that_spills_writes_the_same_bytes() {
    let golden = trial("", 1);
    golden.run_ok(&["--workers", "2"]);
    let golden = left(&golden);
    assert!(golden.iter().all(|left| left.len() > 1_000));
    for (budget, workers) in [("1MiB", "1"), ("2MiB", "3"), ("1GiB", "1")] {
        let spilling = trial(&format!("state = {{ memory = \"{budget}\", folder = \"cold\" }}"), 1);
        spilling.run_ok(&["--workers", workers]);
        same(&spilling, &golden, &format!("{budget} with {workers} workers"));
        let names = std::fs::read_dir(spilling.path("cold")).unwrap().count();
        assert_eq!(names, 0, "nothing is left in the folder");
    }
}

#[test]
fn state_that_cannot_spill_must_fit_into_memory() {
    for (what, spilling) in [("on = \"all\"", false), ("emit = \"state\"", false), ("", true)] {
        let trial = trial("state = { memory = \"1MiB\", folder = \"cold\" }", 4);
        trial.change("emit = \"changes\"", what);
        let ended = trial.run(&["--workers", "1"]);
        if spilling {
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        } else {
            assert_eq!(ended.code, Some(3), "{what}: {}", ended.stderr);
            let output = "which is more than `state.memory`: 1 MiB";
            assert!(
                ended.stderr.contains("state that stays in memory takes ") && ended.stderr.contains(output),
                "{}",
                ended.stderr
            );
        }
    }
}

#[test]
fn a_panic_in_a_thread_that_merges_or_writes_files_ends_the_job_with_its_name() {
    for (thread, output) in [("merge", "that merges cold rows"), ("copies", "that creates checkpoint files")] {
        let trial = trial("state = { memory = \"1MiB\", folder = \"cold\" }", 6);
        let ended = trial.start_with_faults(&format!("panic@millstream-{thread}:1"), &["--workers", "1"]).wait();
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        let output = format!("error: the thread {output} panicked: a test wants");
        assert!(ended.stderr.contains(&output), "{}", ended.stderr);
    }
}

#[test]
fn an_unwritable_directory_is_reported() {
    let trial = trial("state = { memory = \"1MiB\", folder = \"in.jsonl/cold\" }", 5);
    let ended = trial.run(&["--workers", "1", "--unsupervised"]);
    let output = "stage `alarms`: `state.folder`: cannot create a file for cold rows of state in ";
    assert!(ended.code != Some(0) && ended.stderr.contains(output), "{}", ended.stderr);
}

#[test]
fn kills_at_every_step_of_eviction_and_merge_change_nothing() {
    let golden = trial("", 3);
    golden.run_ok(&["--workers", "1"]);
    let golden = left(&golden);
    let spilling = trial("state = { memory = \"1MiB\", folder = \"cold\" }", 3);
    // Each start resumes from a checkpoint, so that what was evicted before the kill is evicted again.
    let steps =
        ["frozen:2", "merged:1", "made:3", "frozen:1", "page:9", "written:14", "evicted:11", "page:5", "made:20"];
    for (number, step) in steps.iter().enumerate() {
        // Rows have to be in memory at a barrier.
        let budget = if step.starts_with("frozen") { "state.memory=4MiB" } else { "state.memory=1MiB" };
        let workers = ["1", "2", "3"][number % 3];
        spilling.killed(&format!("spill.{step}"), &["--workers", workers, "--set", budget]);
    }
    spilling.run_ok(&["--workers", "2"]);
    same(&spilling, &golden, "after kills");
    assert_eq!(std::fs::read_dir(spilling.path("cold")).unwrap().count(), 0);
}

/// Stages that keep tables of their own: rows that came before, by the time of batches and by their own, and the newest row of each
/// key, which other rows meet. Rows of the table end, and once all of them do.
const CHOOSING: &str = r#"
[stages.once]
from = "orders"
key = "k"
deduplicate = { within = "9s" }
[stages.timed]
from = "orders"
key = ["k", "todo"]
time = "to_timestamp_seconds(second)"
lateness = "10s"
deduplicate = { within = "3s" }
[stages.changes]
from = "orders"
select = "k, second, case when todo = 'end' then 'delete' when second = 22 and k like 'key 7_ %' then 'truncate' else 'insert' end as op"
[stages.newest]
from = "orders"
enrich = { stream = "changes", on = "k", op = "op" }
[sinks.behind]
from = "timed.late"
kind = "queue"
path = "late.jsonl"
"#;

/// Stages, and a file for the output of each of these.
fn into_queues(stages: &str, names: &[&str]) -> String {
    names.iter().fold(stages.to_owned(), |all, name| all + &queue_sink(name, name, name))
}

/// The result of a job with all of its state in memory.
fn golden(seed: u64, (head, stages): (&str, &str), left: fn(&Trial) -> Vec<String>) -> Vec<String> {
    let golden = job(head, seed, stages);
    golden.run_ok(&["--workers", "2"]);
    left(&golden)
}

/// The result of such a job.
fn chosen(trial: &Trial) -> Vec<String> {
    let mut all: Vec<String> =
        ["once.jsonl", "timed.jsonl", "late.jsonl", "newest.jsonl"].map(|name| trial.text(name)).into();
    all.push(state(trial, "select * from once order by k"));
    all.push(state(trial, "select * from timed order by k, todo"));
    all.push(state(trial, "select * from newest order by k"));
    all
}

#[test]
fn earlier_and_newest_rows_of_keys_may_spill() {
    let stages = into_queues(CHOOSING, &["once", "timed", "newest"]);
    let golden = golden(7, ("", &stages), chosen);
    let lengths: Vec<usize> = golden.iter().map(String::len).collect();
    // When event time ends, nothing of it is kept.
    assert!(lengths.iter().enumerate().all(|(number, length)| (*length > 1_000) == (number != 5)), "{lengths:?}");
    check_spilling(7, ("", &stages), &golden, chosen);
}

/// Compares jobs of these stages with one that has all of its state in memory: with little memory for it, with other workers, and
/// killed meanwhile.
#[track_caller]
fn check_spilling(seed: u64, (head, stages): (&str, &str), golden: &[String], left: fn(&Trial) -> Vec<String>) {
    let head = |budget: &str| format!("state = {{ memory = \"{budget}\", folder = \"cold\" }}\n{head}");
    let spilling = |budget: &str| job(&head(budget), seed, stages);
    for (budget, workers) in [("1MiB", "1"), ("2MiB", "3")] {
        let spilling = spilling(budget);
        spilling.run_ok(&["--workers", workers]);
        are_same(&left(&spilling), golden, &format!("{budget} with {workers} workers"));
    }
    // Killed, and restarted with other workers.
    let spilling = spilling("1MiB");
    for (step, workers) in [("page:9", "1"), ("merged:1", "3"), ("evicted:11", "2")] {
        spilling.killed(&format!("spill.{step}"), &["--workers", workers]);
    }
    spilling.run_ok(&["--workers", "1"]);
    are_same(&left(&spilling), golden, "after kills");
}

/// The same for a job that runs to its end, with little memory: everything open is emitted then.
#[track_caller]
fn check_ends(seed: u64, stages: &str, golden: &[String], left: fn(&Trial) -> Vec<String>) {
    let ending = job("state = { memory = \"1MiB\", folder = \"cold\" }", seed, stages);
    ending.run_ok(&["--workers", "2"]);
    are_same(&left(&ending), golden, "to the end");
}

/// The same for stages whose results all have more than this many bytes.
#[track_caller]
fn check_spills(seed: u64, job: (&str, &str), bytes_min: usize, left: fn(&Trial) -> Vec<String>) {
    let golden = golden(seed, job, left);
    let lengths: Vec<usize> = golden.iter().map(String::len).collect();
    assert!(lengths.iter().all(|length| *length > bytes_min), "{lengths:?}");
    check_spilling(seed, job, &golden, left);
}

const TOTALS: &str = r#"
[stages.counts]
from = "orders"
key = "k"
aggregate = { n = "count(*)", last = "max(second)", mean = "avg(second)" }
window = "all"
[stages.by]
from = "orders"
key = ["k", "todo"]
plugin = "SUM"
config = { column = "second" }
window = "all"
[stages.query]
from = "orders"
window = "all"
sql = "select k, sum(second) as s, count(*) filter (where todo = 'end') as ends from orders group by k having count(*) > 2"
[stages.changes]
from = "orders"
select = "k, second, todo, case when todo = 'end' then 'delete' when second = 22 and k like 'key 7_ %' then 'truncate' else 'insert' end as op"
[stages.newest]
from = "changes"
key = "k"
op = "op"
latest = "second"
"#;

/// The result of such a job.
fn totalled(trial: &Trial) -> Vec<String> {
    let mut all: Vec<String> =
        ["counts.jsonl", "by.jsonl", "query.jsonl", "newest.jsonl"].map(|name| trial.text(name)).into();
    all.push(state(trial, "select * from counts order by k"));
    all.push(state(trial, "select * from by order by k, todo"));
    all.push(state(trial, "select * from newest order by k"));
    all
}

#[test]
fn totals_of_all_rows_and_the_latest_rows_may_spill() {
    let stages = TOTALS.replace("SUM", &plugin("sum").display().to_string());
    let stages = into_queues(&stages, &["counts", "by", "query", "newest"]);
    check_spills(9, ("", &stages), 1_000, totalled);
}

/// Windows of event time, in sequence and with shared content; sums of floats depend on the order of addition. Some are open at
/// the end.
const WINDOWS: &str = r#"
[stages.timed]
from = "orders"
select = "k, todo, second, to_timestamp_seconds(second) as at, sin(second * length(k)) as wave"
[stages.tumbling]
from = "timed"
key = "k"
time = "at"
lateness = "12s"
window = { size = "10s", slide = "10s" }
aggregate = { n = "count(*)", wave = "sum(wave)", last = "last(todo)" }
[stages.sliding]
from = "timed"
key = ["k", "todo"]
time = "at"
lateness = "14s"
window = { size = "12s", slide = "4s" }
aggregate = { n = "count(*)", wave = "sum(wave)", mean = "avg(wave)", most = "max(second)" }
[stages.reduced]
from = "timed"
key = "k"
time = "at"
lateness = "16s"
window = { size = "9s", slide = "6s" }
plugin = "SUM"
config = { column = "second" }
[stages.refined]
from = "timed"
key = "k"
time = "at"
lateness = "13s"
window = { size = "8s", slide = "4s", emit = "update" }
aggregate = { n = "count(*)", wave = "sum(wave)", last = "last(todo)" }
[stages.batches]
from = "timed"
key = "k"
window = { size = "7s", slide = "3s" }
aggregate = { n = "count(*)", wave = "sum(wave)", last = "last(todo)" }
[stages.all-batches]
from = "timed"
key = "todo"
window = { size = "12s", slide = "4s" }
plugin = "SUM"
config = { column = "second" }
[stages.hours]
from = "tumbling"
key = "last"
time = "window_start"
window = { size = "20s", slide = "20s" }
aggregate = { keys = "count(*)", n = "sum(n)" }
[sinks.behind]
from = "tumbling.late"
kind = "queue"
path = "late.jsonl"
"#;

/// Windows that are open when the input ends stay open.
const KEEPS: &str = "at_end = \"keep\"";

fn windows() -> String {
    let stages = WINDOWS.replace("SUM", &plugin("sum").display().to_string());
    into_queues(&stages, &["tumbling", "sliding", "reduced", "refined", "batches", "all-batches", "hours"])
}

/// The result of such a job.
fn windowed(trial: &Trial) -> Vec<String> {
    let sinks = ["tumbling", "late", "sliding", "reduced", "refined", "batches", "all-batches", "hours"];
    let mut all: Vec<String> = sinks.map(|name| trial.text(&format!("{name}.jsonl"))).into();
    all.push(state(trial, "select * from batches order by k, millstream_pane"));
    all.push(state(trial, "select * from tumbling order by k, millstream_pane"));
    all.push(state(trial, "select * from sliding order by k, todo, millstream_pane"));
    all.push(state(trial, "select * from reduced order by k, millstream_pane"));
    all.push(state(trial, "select * from refined order by k, millstream_pane"));
    all
}

#[test]
fn windows_of_event_time_may_spill() {
    let stages = windows();
    check_spills(10, (KEEPS, &stages), 100, windowed);
}

/// Sessions of built-in functions and of a plugin, with early results, and sessions and windows over sessions. Some get late
/// rows.
const SESSIONS: &str = r#"
[stages.timed]
from = "orders"
select = "k, todo, second, to_timestamp_seconds(second) as at, sin(second * length(k)) as wave"
[stages.visits]
from = "timed"
key = "k"
time = "at"
lateness = "20s"
window = { gap = "5s" }
aggregate = { n = "count(*)", wave = "sum(wave)", last = "last(todo)" }
[stages.reduced]
from = "timed"
key = ["k", "todo"]
time = "at"
lateness = "12s"
window = { gap = "9s", length_max = "30s" }
plugin = "SUM"
config = { column = "second" }
[stages.refined]
from = "timed"
key = "k"
time = "at"
lateness = "13s"
window = { gap = "4s", emit = "update" }
aggregate = { n = "count(*)", mean = "avg(wave)", last = "last(todo)" }
[stages.again]
from = "visits"
key = ["last", "n"]
time = "window_start"
window = { gap = "2s" }
aggregate = { visits = "count(*)", first = "min(window_start)" }
[stages.hours]
from = "visits"
key = "last"
time = "window_end"
window = { size = "20s" }
aggregate = { visits = "count(*)", n = "sum(n)" }
[sinks.behind]
from = "reduced.late"
kind = "queue"
path = "late.jsonl"
"#;

/// The result of such a job.
fn visited(trial: &Trial) -> Vec<String> {
    let sinks = ["visits", "late", "reduced", "refined", "again", "hours"];
    let mut all: Vec<String> = sinks.map(|name| trial.text(&format!("{name}.jsonl"))).into();
    all.push(state(trial, "select * from visits order by k, millstream_start"));
    all.push(state(trial, "select * from reduced order by k, todo, millstream_start"));
    all.push(state(trial, "select * from refined order by k, millstream_start"));
    all
}

/// Patterns with and without an end, of keys with few rows and with many, and a window after one.
const PATTERNS: &str = r#"
[stages.timed]
from = "orders"
select = "k, substr(k, 1, 7) as short, todo, second, to_timestamp_seconds(second) as at"
[stages.ended]
from = "timed"
key = "k"
time = "at"
lateness = "12s"
pattern = { steps = "began followed by done", within = "15s", define = { began = "todo = 'set'", done = "todo = 'end' and second > began.second" }, measures = { began = "began.second", ended = "done.second" } }
[stages.rising]
from = "timed"
key = "short"
time = "at"
lateness = "16s"
pattern = { steps = "base rise{2,} next fall", skip = "to next row", within = "9s", define = { rise = "second > prev.second or todo = 'set'", fall = "todo = 'end'" }, measures = { low = "base.second", rises = "count(rise)", high = "max(rise.second)" } }
[stages.few]
from = "timed"
filter = "length(k) % 3 = 0"
[stages.open]
from = "few"
key = "k"
time = "at"
lateness = "20s"
pattern = { steps = "a followed by b followed by c", define = { a = "todo = 'nothing'", b = "todo = 'end'", c = "todo = 'nothing'" }, measures = { first = "a.second", second = "b.second" } }
[stages.counts]
from = "ended"
key = "began"
time = "match_end"
window = { size = "10s" }
aggregate = { n = "count(*)" }
[sinks.behind]
from = "ended.late"
kind = "queue"
path = "late.jsonl"
"#;

/// The result of such a job.
fn matched(trial: &Trial) -> Vec<String> {
    let mut all: Vec<String> =
        ["ended", "rising", "open", "late", "counts"].map(|name| trial.text(&format!("{name}.jsonl"))).into();
    for (table, key) in [("ended", "k"), ("rising", "short"), ("open", "k")] {
        all.push(state(
            trial,
            &format!(
                "select {key}, todo, second, millstream_time, millstream_open from {table} order by 1, 2, 3, 4, 5"
            ),
        ));
    }
    all
}

/// The first rows of keys, over all rows and over a changing table.
const FIRST: &str = r#"
[stages.few]
from = "orders"
filter = "length(k) % 3 = 0"
[stages.best]
from = "few"
key = "k"
top = { n = 2, by = "second", rank = "place" }
window = "all"
[stages.opened]
from = "few"
select = "k, second, case when todo = 'end' then 'delete' else 'insert' end as op"
[stages.left]
from = "opened"
key = "k"
op = "op"
top = { n = 1, by = "second", order = "asc" }
window = "all"
[stages.counted]
from = "left"
key = "second"
op = "op"
window = "all"
aggregate = { n = "count(*)" }
"#;

/// The result of such a job.
fn first(trial: &Trial) -> Vec<String> {
    let mut all: Vec<String> = ["best", "left", "counted"].map(|name| trial.text(&format!("{name}.jsonl"))).into();
    for table in ["best", "left"] {
        all.push(state(trial, &format!("select * from {table} order by 1, 2, 3")));
    }
    all
}

#[test]
fn the_first_rows_of_keys_may_spill() {
    let stages = into_queues(FIRST, &["best", "left", "counted"]);
    check_spills(18, ("", &stages), 1_000, first);
}

/// Batches after a checkpoint are replayed: sinks keep their output, and the state becomes the same.
#[test]
fn a_job_that_spills_goes_back_to_a_checkpoint() {
    // The end of a part of the input is not the end of event time.
    let golden = trial(KEEPS, 8);
    golden.run_ok(&["--workers", "2"]);
    let golden = left(&golden);
    let spilling = trial(&format!("{KEEPS}\nstate = {{ memory = \"1MiB\", folder = \"cold\" }}"), 8);
    let half: String = spilling.text("in.jsonl").lines().take(BATCHES / 2).map(|line| format!("{line}\n")).collect();
    let complete = spilling.text("in.jsonl");
    spilling.write("in.jsonl", half);
    spilling.run_ok(&["--workers", "2", "--set", "checkpoint.every=1000"]);
    spilling.write("in.jsonl", complete);
    spilling.run_ok(&["--workers", "1", "--set", "checkpoint.every=1000"]);
    same(&spilling, &golden, "before it goes back");
    let went = spilling.run_ok(&["--workers", "3", "--replay-from", &(BATCHES / 2).to_string()]);
    assert!(went.stderr.contains("batches to replay"), "{}", went.stderr);
    same(&spilling, &golden, "after it went back");
}

/// A job with long keys, few of which fit into memory, is rescaled while it runs.
#[test]
fn a_job_that_spills_is_rescaled_while_it_runs() {
    const KEYS: usize = 4_000;
    const ROWS: usize = 3 * KEYS;
    let trial = Trial::new(&format!(
        r#"name = "scaled"
batch = "5ms"
state = {{ memory = "1MiB", folder = "cold" }}
[checkpoint]
dir = "checkpoint"
every = "100ms"
[sources.rows]
kind = "file"
path = "in.jsonl"
format = "json"
schema = {{ n = "int64", k = "text" }}
rows_per_batch_max = 60
[stages.counts]
from = "rows"
key = "k"
plugin = "{}"
[stages.once]
from = "rows"
key = "k"
deduplicate = {{ within = "1h" }}
[stages.visits]
from = "rows"
key = "k"
time = "to_timestamp_seconds(n)"
window = {{ gap = "{}s" }}
aggregate = {{ rows = "count(*)" }}
[sinks.visits]
from = "visits"
kind = "queue"
path = "visits.jsonl"
[stages.again]
from = "rows"
select = "k as rk, n as m"
[stages.pairs]
from = "rows"
join = {{ with = "again", on = {{ k = "rk" }}, within = ["{}s", "{}s"] }}
time = ["to_timestamp_seconds(n)", "to_timestamp_seconds(m)"]
[stages.own]
from = "rows"
join = {{ with = "again", on = {{ k = "rk" }}, as_of = true }}
time = ["to_timestamp_seconds(n)", "to_timestamp_seconds(m)"]
[stages.all]
from = "rows"
join = {{ with = "again", on = {{ k = "rk" }}, ttl = "1h" }}
window = "all"
[stages.thrice]
from = "rows"
key = "k"
time = "to_timestamp_seconds(n)"
pattern = {{ steps = "a b c", measures = {{ n = "c.n - a.n" }} }}
[stages.last]
from = "rows"
key = "k"
top = {{ n = 1, by = "n" }}
window = "all"
[stages.orders]
from = "rows"
select = "k, 'set' as todo, n + {KEYS} as second, n"
[stages.rung]
from = "orders"
key = "k"
time = "to_timestamp_seconds(n)"
plugin = "{}"
[sinks.pairs]
from = "pairs"
kind = "queue"
path = "pairs.jsonl"
[sinks.own]
from = "own"
kind = "queue"
path = "own.jsonl"
[sinks.all]
from = "all"
kind = "queue"
path = "all.jsonl"
[sinks.thrice]
from = "thrice"
kind = "queue"
path = "thrice.jsonl"
[sinks.last]
from = "last"
kind = "queue"
path = "last.jsonl"
[sinks.rung]
from = "rung"
kind = "queue"
path = "rung.jsonl"
[sinks.once]
from = "once"
kind = "queue"
path = "once.jsonl"
[sinks.counts]
from = "counts"
kind = "queue"
path = "counts.jsonl"
"#,
        plugin("running-count").display(),
        KEYS + 1,
        1,
        KEYS,
        plugin("alarm").display()
    ));
    let row = |n: usize| format!("{}\n", json!({ "n": n, "k": format!("{}{}", "x".repeat(300), n % KEYS) }));
    trial.write("in.jsonl", (0..ROWS).map(row).collect::<String>());
    let mut command = trial.isolated_command(&["run", "job.toml", "--workers", "1"]);
    let mut running = Process::start(command.env("MILLSTREAM_LOG", "debug"));
    running
        .wait_until("rows do not fit", |_| trial.path("once.jsonl").exists() && trial.rows("once.jsonl").len() == KEYS);
    for workers in ["3", "2"] {
        trial.run_command_ok(&["scale", "job.toml", "--workers", workers]);
    }
    let ended = running.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("the job has new workers").count(), 2, "{}", ended.stderr);
    assert!(!ended.stderr.contains("loaded ahead in vain"), "{}", ended.stderr);
    let once: Vec<u64> = trial.rows("once.jsonl").iter().map(|row| row["n"].as_u64().unwrap()).collect();
    assert!(once.into_iter().eq(0..KEYS as u64), "each key once, and in order");
    let visits = trial.rows("visits.jsonl");
    assert!(visits.len() == KEYS && visits.iter().all(|row| row["rows"] == 3), "{} visits", visits.len());
    // Each row with the next one of its key.
    let pairs = trial.rows("pairs.jsonl");
    assert!(pairs.len() == ROWS - KEYS && pairs.iter().all(|row| row["m"] == row["n"].as_u64().unwrap() + KEYS as u64));
    let of_all = |name: &str, count: usize, is: fn(&serde_json::Value) -> bool| {
        let rows = trial.rows(name);
        let wrong = rows.iter().find(|row| !is(row));
        assert!(rows.len() == count && wrong.is_none(), "{name}: {} rows; {wrong:?}", rows.len());
    };
    of_all("own.jsonl", ROWS, |row| row["m"] == row["n"]);
    of_all("all.jsonl", ROWS * 3, |row| row["op"] == "insert");
    of_all("thrice.jsonl", KEYS, |row| row["n"] == 2 * KEYS);
    of_all("last.jsonl", 2 * ROWS - KEYS, |_| true);
    of_all("rung.jsonl", ROWS, |_| true);
    let counts = state(&trial, "select count, count(*) as keys from counts group by count");
    assert_eq!(counts.trim(), json!({ "count": 3, "keys": KEYS }).to_string());
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn patterns_may_spill() {
        let stages = into_queues(PATTERNS, &["ended", "rising", "open", "counts"]);
        check_spills(17, (KEEPS, &stages), 300, matched);
    }

    #[test]
    fn sessions_may_spill() {
        let stages = SESSIONS.replace("SUM", &plugin("sum").display().to_string());
        let stages = into_queues(&stages, &["visits", "reduced", "refined", "again", "hours"]);
        let golden_of = |head: &str, open: bool| {
            let golden = golden(13, (head, &stages), visited);
            let lengths: Vec<usize> = golden.iter().map(String::len).collect();
            assert!(lengths.iter().take(6).all(|length| *length > 1_000), "{lengths:?}");
            assert!(lengths.iter().skip(6).all(|length| (*length > 1_000) == open), "{lengths:?}");
            golden
        };
        check_spilling(13, (KEEPS, &stages), &golden_of(KEEPS, true), visited);
        check_ends(13, &stages, &golden_of("", false), visited);
    }

    /// Batches that a sink has committed are replayed as the job was then, with all of its state in memory; the memory limit is
    /// the current one.
    #[test]
    fn a_job_without_a_state_limit_gets_one() {
        let stages = windows();
        let golden = golden(11, (KEEPS, &stages), windowed);
        let bounded = job(KEEPS, 11, &stages);
        bounded.killed("commit.after:31", &["--workers", "2", "--set", "checkpoint.every=7"]);
        bounded.change(KEEPS, &format!("{KEEPS}\nstate = {{ memory = \"1MiB\", folder = \"cold\" }}"));
        let ended = bounded.run_ok(&["--workers", "1"]);
        assert!(ended.stderr.contains("are replayed with the previous job"), "{}", ended.stderr);
        are_same(&windowed(&bounded), &golden, "with a bound");
    }
}
