//! The sink `postgres` with `parts = "worker"`: each worker commits its share of a batch in its own transaction, and the table
//! has each row once, whatever dies between two of them and however many workers come next.

use millstream_tests::{Ended, Postgres, Process, Trial, two_hosts, wait_until};
use std::collections::BTreeMap;

const ROWS: u64 = 600;

/// A job that counts up; each worker has rows of each batch.
fn counting(server: &Postgres, parts: &str) -> Trial {
    Trial::new(&format!(
        r#"name = "counting"
batch = "1ms"
[checkpoint]
dir = "checkpoint"
every = 5
[sources.in]
kind = "rate"
rows_per_second = 100000
rows_max = {ROWS}
rows_per_batch_max = 20
[stages.spread]
from = "in"
key = "value"
aggregate = {{ n = "count(*)" }}
[sinks.out]
from = "spread"
kind = "postgres"
url = "{}"
table = "numbers"
{parts}
"#,
        server.url()
    ))
}

fn start(trial: &Trial, faults: &str, arguments: &[&str]) -> Process {
    let mut command = trial.command(&[&["run", "job.toml", "--unsupervised"], arguments].concat());
    Process::start(command.env("MILLSTREAM_TEST_FAULT", faults).env("PW", Postgres::PASSWORD))
}

#[track_caller]
fn killed(trial: &Trial, at: &str, arguments: &[&str]) {
    let ended = start(trial, &format!("kill@{at}"), arguments).wait();
    assert_eq!(ended.code, None, "it does not come to {at}: {}", ended.stderr);
}

#[track_caller]
fn run_ok(trial: &Trial, arguments: &[&str]) -> Ended {
    let ended = start(trial, "", arguments).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended
}

#[track_caller]
fn check_all_stored(server: &Postgres) {
    let output = server.sql("select count(*), count(distinct value), min(value), max(value), sum(n) from numbers");
    assert_eq!(output, format!("{ROWS}|{ROWS}|0|{}|{ROWS}", ROWS - 1));
}

/// The last batches by the names of markers.
fn markers(server: &Postgres) -> BTreeMap<String, u64> {
    let lines = server.sql("select sink, batch from millstream_commits");
    lines.lines().map(|line| line.split_once('|').unwrap()).map(|(of, n)| (of.into(), n.parse().unwrap())).collect()
}

#[test]
fn each_worker_commits_its_share_with_its_own_marker() {
    let server = Postgres::start();
    let trial = counting(&server, "parts = \"worker\"");
    killed(&trial, "commit.after:12", &["--workers", "3"]);
    killed(&trial, "commit.written:6", &["--workers", "1"]);
    // Complete batches, and shares again after them.
    trial.change("parts = \"worker\"", "parts = \"batch\"");
    killed(&trial, "commit.marked:3", &["--workers", "2"]);
    trial.change("parts = \"batch\"", "parts = \"worker\"");
    let processes = ["--processes", "2", "--workers", "2", "--hosts", &two_hosts()];
    let mut together = trial.command(&[&["run", "job.toml"], &processes[..]].concat());
    let ended = Process::start(together.env("PW", Postgres::PASSWORD)).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    check_all_stored(&server);
    let markers = markers(&server);
    let names: Vec<&str> = markers.keys().map(String::as_str).collect();
    assert_eq!(names, ["out", "out/000", "out/001", "out/002", "out/003"]);
    // Without checkpoints there are no markers, and all workers write as well.
    let plain = counting(&server, "parts = \"worker\"");
    plain.change("[checkpoint]\ndir = \"checkpoint\"\nevery = 5\n", "");
    plain.change("table = \"numbers\"", "table = \"plain.numbers\"");
    server.sql("create schema plain");
    run_ok(&plain, &["--workers", "2"]);
    assert_eq!(server.sql("select count(distinct value) from plain.numbers"), ROWS.to_string());
    assert_eq!(server.sql("select to_regclass('plain.millstream_commits') is null"), "t");
}

/// One process has committed its share of a batch, and the other died in the middle of its transaction. The next start has as
/// many workers, fewer, or more.
#[test]
fn committed_shares_are_skipped_and_the_others_replayed() {
    for workers in ["2", "1", "3"] {
        let server = Postgres::start();
        let trial = counting(&server, "mode = \"upsert\"\nkey = \"value\"\nparts = \"worker\"");
        let hosts = two_hosts();
        let process = |number, faults| {
            let place = ["--workers", "1", "--processes", "2", "--process", number, "--hosts", &hosts];
            start(&trial, faults, &place)
        };
        // Not with one of the first batches: the next ones may not be made yet by then.
        let (first, mut second) = (process("0", ""), process("1", "hold@commit.marked:10"));
        let of = |name: &str| markers(&server).get(name).copied();
        // In the middle of a transaction. Its other threads continue, as the first process still waits for their messages about
        // this batch.
        second.wait_for_stderr("wants this thread to wait at `commit.marked`");
        assert_eq!(server.sql("select count(*) > 0 from numbers"), "t");
        wait_until("the first has committed more", || of("out/000") > of("out/001"));
        second.kill();
        first.kill();
        run_ok(&trial, &["--workers", workers]);
        check_all_stored(&server);
    }
}

/// Rows that may replace others must come from one worker.
#[test]
fn rows_that_replace_others_are_written_by_the_worker_of_their_key() {
    let server = Postgres::start();
    let refused = |sink: &str, keyed: bool, says: &str| {
        let trial = counting(&server, sink);
        if !keyed {
            trial.change("from = \"spread\"", "from = \"in\"");
        }
        let ended = start(&trial, "", &[]).wait();
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains("parts") && ended.stderr.contains(says), "{}", ended.stderr);
    };
    let upsert = "mode = \"upsert\"\nkey = \"value\"\nparts = \"worker\"";
    refused(upsert, false, "an older row may replace a newer one");
    refused("mode = \"upsert\"\nkey = \"n\"\nparts = \"worker\"", true, "an older row may replace a newer one");
    let aggregated = "aggregate = { n = \"count(*)\" }";
    for other in [
        // Its rows leave the worker at which they arrived.
        "deduplicate = { within = \"1h\" }",
        // Two keys of the stage may be one of the table.
        "aggregate = { n = \"count(*)\" }\nselect = \"value / 2 as value, n\"",
        "aggregate = { n = \"count(*)\" }\nselect = \"n as value, value as n\"",
        "sql = 'select value, count(*) as n from \"in\" group by value'",
    ] {
        let trial = counting(&server, upsert);
        trial.change(aggregated, other);
        let ended = start(&trial, "", &[]).wait();
        assert_eq!(ended.code, Some(2), "{other}: {}", ended.stderr);
        assert!(ended.stderr.contains("an older row may replace a newer one"), "{other}: {}", ended.stderr);
    }
    for other in [
        "aggregate = { n = \"count(*)\" }\nselect = \"n, value\"",
        "aggregate = { n = \"count(*)\" }\nselect = \"value, n * 1 as n\"\nfilter = \"n > 0\"",
        "repartition = {}\nselect = \"value, 1 as n\"",
        "top = { n = 1, by = \"value\" }\nselect = \"value, 1 as n\"",
    ] {
        server.sql("drop table if exists numbers, millstream_commits");
        let trial = counting(&server, upsert);
        trial.change(aggregated, other);
        run_ok(&trial, &["--workers", "2"]);
        check_all_stored(&server);
    }
    refused(&format!("{upsert}\nop = \"n\""), true, "needs the order of all rows");
}
