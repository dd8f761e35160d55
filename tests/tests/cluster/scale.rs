//! Jobs that are rescaled while they run: nothing is lost or duplicated, whichever process dies during it, and the old processes
//! continue if the new ones fail.

mod hosts;

use millstream_tests::{Ended, Process, Trial, block, kill, plugin, wait_until};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The number of rows, and the maximum per batch.
const ROWS: usize = 2500;
const KEYS: usize = 97;
/// By then it is complete, however busy the machine is; a checkpoint that is never made is waited for twice as long.
const HANDOVER_MAX: Duration = Duration::from_secs(30);

/// Rows as they are, and running totals by key.
fn job(rows: usize) -> Trial {
    let trial = Trial::new(
        r#"
        name = "scaled"
        batch = "5ms"
        [checkpoint]
        dir = "checkpoint"
        every = "100ms"
        [sources.lines]
        kind = "file"
        path = "lines.jsonl"
        format = "json"
        schema = { n = "int64", k = "text" }
        rows_per_batch_max = 10
        [stages.totals]
        from = "lines"
        key = "k"
        window = "all"
        aggregate = { rows = "count(*)", last = "last(n)" }
        [sinks.out]
        from = "lines"
        kind = "queue"
        path = "out.jsonl"
        [sinks.totals]
        from = "totals"
        kind = "queue"
        path = "totals.jsonl"
        "#,
    );
    let line = |n: usize| format!("{{\"n\":{n},\"k\":\"k{}\"}}\n", n % KEYS);
    trial.write("lines.jsonl", (0..rows).map(line).collect::<String>());
    trial
}

/// Starts the job with one worker, and waits until a checkpoint holds something of it.
fn start(trial: &Trial, faults: &str) -> Process {
    let mut command = trial.isolated_command(&["run", "job.toml", "--workers", "1"]);
    let mut job = Process::start(command.env("MILLSTREAM_TEST_FAULT", faults).env("MILLSTREAM_LOG", "debug"));
    job.wait_until("it commits", |_| trial.batches("out.jsonl").len() > 30);
    job
}

fn scale(trial: &Trial, arguments: &[&str]) -> Ended {
    trial.run_command(&[&["scale", "job.toml"], arguments].concat())
}

/// Checks that all rows arrived once and in order, and each total once.
#[track_caller]
fn check_rows(trial: &Trial, rows: usize, output: &str) {
    let numbers: Vec<_> = trial.rows("out.jsonl").iter().map(|row| row["n"].as_u64().unwrap()).collect();
    assert!(numbers.iter().copied().eq(0..rows as u64), "{output}: {} rows of {rows}: {numbers:?}", numbers.len());
    let mut totals: BTreeMap<String, u64> = BTreeMap::new();
    let (mut last, mut of_rows) = (0, 0);
    for batch in trial.batches("totals.jsonl") {
        let id = batch["batch"].as_u64().unwrap();
        assert!(id > last, "{output}: batch {id} behind {last}");
        last = id;
        for row in batch["rows"].as_array().unwrap() {
            let key = row["k"].as_str().unwrap().to_owned();
            let total = row["rows"].as_u64().unwrap();
            let before = totals.insert(key.clone(), total).unwrap_or_default();
            assert!(total > before, "{output}: {key} has {total} behind {before}");
            of_rows += total - before;
        }
    }
    assert_eq!((of_rows as usize, totals.len()), (rows, KEYS), "{output}");
}

#[track_caller]
fn check_ends_ok(job: Process, output: &str) -> String {
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{output}: {}", ended.stderr);
    ended.stderr
}

/// More that keeps state, each in a table of its own kind.
fn more() -> String {
    format!(
        r#"
        [stages.entries]
        from = "lines"
        key = "k"
        plugin = "{}"
        timeout = "1h"
        [stages.once]
        from = "lines"
        key = "n"
        deduplicate = {{ within = "1h" }}
        [stages.recent]
        from = "lines"
        key = "k"
        window = {{ size = "2s", slide = "1s" }}
        aggregate = {{ rows = "count(*)" }}
        [sinks.entries-out]
        from = "entries"
        kind = "queue"
        path = "entries.jsonl"
        [sinks.once-out]
        from = "once"
        kind = "queue"
        path = "once.jsonl"
        [sinks.recent-out]
        from = "recent"
        kind = "queue"
        path = "recent.jsonl"
        "#,
        plugin("upgraded-1").display()
    )
}

#[test]
fn a_running_job_is_rescaled() {
    let rows = 2 * ROWS;
    let trial = job(rows);
    trial.write("job.toml", trial.text("job.toml") + &more());
    let job = start(&trial, "");
    let steps: [(&[&str], &str); 4] = [
        (&["--workers", "3"], "3 workers in 1 process\n"),
        (&["--workers", "1", "--processes", "2"], "2 workers in 2 processes\n"),
        (&["--workers", "2"], "4 workers in 2 processes\n"),
        (&["--workers", "2", "--processes", "1"], "2 workers in 1 process\n"),
    ];
    for (arguments, status) in steps {
        let ended = scale(&trial, arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}\n{}", ended.stderr, job.stderr());
        for strings in [
            "job.toml: new workers start next to the old ones",
            "job.toml: the new workers take over\n",
            "job.toml: batches continue after a pause of ",
        ] {
            let is_last_but_quick = strings.contains("take over") && !ended.stdout.contains(strings);
            assert!(is_last_but_quick || ended.stdout.contains(strings), "{strings}: {}", ended.stdout);
        }
        let output = trial.run_command_ok(&["status", "job.toml"]);
        assert!(output.contains(status), "{output}");
    }
    assert!(
        !trial.rows("out.jsonl").is_empty() && trial.rows("out.jsonl").len() < rows,
        "it is too quick for this test"
    );
    let output = check_ends_ok(job, "it ends");
    assert!(!output.contains("loaded ahead in vain"), "{output}");
    assert!(!output.contains("restarting it"), "{output}");
    check_rows(&trial, rows, "in the end");
    for file in ["entries.jsonl", "once.jsonl"] {
        let mut numbers: Vec<_> = trial.rows(file).iter().map(|row| row["n"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(0..rows as u64), "{file}: {} rows", numbers.len());
    }
    assert_eq!(output.matches("the job has new workers; pause between batches: ").count(), 4, "{output}");
}

/// At each step: the command fails, and the job continues unchanged.
#[test]
fn no_death_while_rescaling_loses_or_duplicates_a_row() {
    // Steps of the new process, and of the old one.
    let new = ["loading", "loaded", "taken", "claim", "claimed", "started"];
    let old = ["save", "ending", "barrier", "publish", "published", "handed"];
    std::thread::scope(|scope| {
        for points in [&new[..3], &new[3..], &old[..3], &old[3..]] {
            scope.spawn(move || {
                for point in points {
                    let trial = job(ROWS);
                    let mut job = start(&trial, &format!("kill@handover.{point}:1"));
                    let ended = scale(&trial, &["--workers", "2"]);
                    let output = format!("{point}: {}{}\n{}", ended.stdout, ended.stderr, job.stderr());
                    assert_eq!(ended.code, Some(1), "{output}");
                    assert!(ended.stderr.contains("the workers are unchanged"), "{output}");
                    let status = trial.run_command_ok(&["status", "job.toml"]);
                    assert!(status.contains("1 worker in 1 process"), "{output}{status}");
                    job.wait_until("it goes on", |_| trial.rows("out.jsonl").len() == ROWS);
                    check_ends_ok(job, &output);
                    check_rows(&trial, ROWS, &output);
                }
            });
        }
    });
}

/// A request to processes that are just being restarted waits until they run, and is not lost.
#[test]
fn a_restarting_job_is_rescaled_as_soon_as_it_runs() {
    let trial = job(4 * ROWS);
    let mut job = start(&trial, "");
    let first = job.children();
    first.iter().for_each(|child| kill(*child));
    let mut again = Vec::new();
    wait_until("restarting it", || {
        again = job.children().into_iter().filter(|child| !first.contains(child)).collect();
        !again.is_empty()
    });
    again.iter().for_each(|child| millstream_tests::signal("STOP", *child));
    assert!(!job.stderr().contains("resumes after the checkpoint"), "it runs already");
    let exchange = Process::start(&mut trial.isolated_command(&["scale", "job.toml", "--workers", "2"]));
    job.wait_for_stderr("starting new processes to take over the job");
    again.iter().for_each(|child| millstream_tests::signal("CONT", *child));
    let began = Instant::now();
    let ended = exchange.wait();
    assert_eq!(ended.code, Some(0), "{}{}", ended.stderr, job.stderr());
    assert!(began.elapsed() < HANDOVER_MAX, "{:?}: {}", began.elapsed(), job.stderr());
    let output = check_ends_ok(job, "it ends");
    check_rows(&trial, 4 * ROWS, &output);
}

/// A request to a job that is just starting waits, too, and reports that.
#[test]
fn a_starting_job_is_rescaled_as_soon_as_it_runs() {
    let trial = job(4 * ROWS);
    let mut job = Process::start(&mut trial.isolated_command(&["run", "job.toml", "--workers", "1"]));
    wait_until("its process is started", || !job.children().is_empty());
    let children = job.children();
    children.iter().for_each(|child| millstream_tests::signal("STOP", *child));
    assert!(!job.stderr().contains("begins at batch"), "it runs already");
    let mut exchange = Process::start(&mut trial.isolated_command(&["scale", "job.toml", "--workers", "2"]));
    exchange.wait_until("it says that it waits", |exchange| {
        exchange.stdout().contains("the job is starting; the new workers start as soon as it runs")
    });
    children.iter().for_each(|child| millstream_tests::signal("CONT", *child));
    job.wait_for_stderr("starting new processes to take over the job");
    let ended = exchange.wait();
    assert_eq!(ended.code, Some(0), "{}{}", ended.stderr, job.stderr());
    let output = check_ends_ok(job, "it ends");
    check_rows(&trial, 4 * ROWS, &output);
}

/// The supervisor dies during a handover: all processes die with it, and the next start resumes.
#[test]
fn the_death_of_a_supervisor_while_rescaling_ends_all_processes() {
    for point in ["loaded", "ending", "claimed"] {
        let trial = job(ROWS);
        let job = start(&trial, &format!("stop@handover.{point}:1"));
        let exchange = Process::start(&mut trial.isolated_command(&["scale", "job.toml", "--workers", "2"]));
        let children = || job.children();
        wait_until(&format!("one stops at {point}"), || {
            children().iter().any(|child| millstream_tests::stopped(*child))
        });
        let left = job.children();
        kill(job.id());
        wait_until("all are gone", || left.iter().all(|child| !millstream_tests::is_alive(*child)));
        let ended = exchange.wait();
        assert_eq!(ended.code, Some(1), "{point}: {}", ended.stderr);
        assert!(ended.stderr.contains("has ended or restarted in the meantime"), "{point}: {}", ended.stderr);
        let again = Process::start(&mut trial.isolated_command(&["run", "job.toml", "--workers", "3"]));
        check_ends_ok(again, point);
        check_rows(&trial, ROWS, point);
    }
}

/// A new process that does not respond during the handover is abandoned, and the job is restarted unchanged.
#[test]
fn a_new_process_that_hangs_is_abandoned() {
    let trial = job(ROWS);
    let mut job = start(&trial, "stop@handover.claim:1");
    let ended = scale(&trial, &["--workers", "2"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("does not respond and was killed; the job restarts unchanged"), "{}", ended.stderr);
    job.wait_until("it goes on", |_| trial.rows("out.jsonl").len() == ROWS);
    check_ends_ok(job, "as it was");
    check_rows(&trial, ROWS, "as it was");
}

/// The commands of a user, and their output.
#[test]
fn the_examples_of_the_page_are_true() {
    let page = "docs/how-to/change-the-number-of-workers.md";
    let trial = job(2 * ROWS);
    let job = start(&trial, "");
    let shown = block(page, "text", "job.toml: ").text;
    for (line, status) in block(page, "sh", "--processes 2 --workers 3")
        .text
        .lines()
        .zip(["4 workers in 1 process", "6 workers in 2 processes"])
    {
        let strings: Vec<&str> = line.split_whitespace().skip(1).collect();
        let output = trial.run_command_ok(&strings);
        let plain = |line: &str| line.replace(|c: char| c.is_ascii_digit(), "");
        let mut said: Vec<String> = output.lines().map(plain).collect();
        // Each checkpoint that they load is logged.
        said.dedup();
        // Steps that were over before the next look are not shown.
        let mut all = shown.lines().map(plain);
        assert!(said.iter().all(|said| all.any(|line| line == *said)), "{output} is not as in {shown}");
        assert!(said.first() == shown.lines().map(plain).next().as_ref() && all.next().is_none(), "{output}");
        let output = trial.run_command_ok(&["status", "job.toml"]);
        assert!(output.contains(status), "{output}");
    }
    check_ends_ok(job, "it ends");
    check_rows(&trial, 2 * ROWS, "as the page says");
}

#[test]
fn a_job_that_cannot_be_rescaled_says_what_to_do() {
    let trial = job(10);
    let output = scale(&trial, &["--workers", "2"]);
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("is not running"), "{}", output.stderr);
    for (arguments, strings) in [
        (&["--workers", "0"][..], "--workers is 0"),
        (&["--processes", "2", "--hosts", "a:1,b:2"], "cannot be used with"),
        (&[], "--workers"),
    ] {
        let output = scale(&trial, arguments);
        assert!(output.code == Some(2) && output.stderr.contains(strings), "{arguments:?}: {}", output.stderr);
    }
    let forever = "name = \"a\"\n[sources.in]\nkind = \"rate\"\nrows_per_second = 100\n\
                   [sinks.out]\nfrom = \"in\"\nkind = \"queue\"\npath = \"out.jsonl\"\n";
    let trial = Trial::new(forever);
    let mut job = Process::start(&mut trial.isolated_command(&["run", "job.toml"]));
    job.wait_until("it runs", |_| !trial.rows("out.jsonl").is_empty());
    let output = scale(&trial, &["--workers", "2"]);
    assert!(output.code == Some(2) && output.stderr.contains("add [checkpoint] with a `dir`"), "{}", output.stderr);
    job.stop();
}
