//! Jobs that get other workers and processes while they run: nothing is lost or doubled, whoever dies on the way, and the old
//! processes go on where the new ones fail.

mod hosts;

use millstream_tests::{Ended, Process, Trial, block, kill, plugin, until};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Rows, so many to a batch at most.
const ROWS: usize = 2500;
const KEYS: usize = 97;
/// By then it is done, however busy the machine is; a checkpoint that nobody makes is waited for twice as long.
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
    let mut command = trial.command_apart(&["run", "job.toml", "--workers", "1"]);
    let mut job = Process::start(command.env("MILLSTREAM_TEST_FAULT", faults).env("MILLSTREAM_LOG", "debug"));
    job.until("it commits", |_| trial.batches("out.jsonl").len() > 30);
    job
}

fn scale(trial: &Trial, arguments: &[&str]) -> Ended {
    trial.told(&[&["scale", "job.toml"], arguments].concat())
}

/// All rows came once and in order, and each total once.
#[track_caller]
fn is_right(trial: &Trial, rows: usize, told: &str) {
    let numbers: Vec<_> = trial.rows("out.jsonl").iter().map(|row| row["n"].as_u64().unwrap()).collect();
    assert!(numbers.iter().copied().eq(0..rows as u64), "{told}: {} rows of {rows}: {numbers:?}", numbers.len());
    let mut totals: BTreeMap<String, u64> = BTreeMap::new();
    let (mut last, mut of_rows) = (0, 0);
    for batch in trial.batches("totals.jsonl") {
        let id = batch["batch"].as_u64().unwrap();
        assert!(id > last, "{told}: batch {id} behind {last}");
        last = id;
        for row in batch["rows"].as_array().unwrap() {
            let key = row["k"].as_str().unwrap().to_owned();
            let total = row["rows"].as_u64().unwrap();
            let before = totals.insert(key.clone(), total).unwrap_or_default();
            assert!(total > before, "{told}: {key} has {total} behind {before}");
            of_rows += total - before;
        }
    }
    assert_eq!((of_rows as usize, totals.len()), (rows, KEYS), "{told}");
}

#[track_caller]
fn ends_well(job: Process, told: &str) -> String {
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{told}: {}", ended.stderr);
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
fn a_running_job_gets_other_workers_and_processes() {
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
        for words in [
            "job.toml: new workers start next to the old ones",
            "job.toml: the new workers take over\n",
            "job.toml: batches continue after a pause of ",
        ] {
            let is_last_but_quick = words.contains("take over") && !ended.stdout.contains(words);
            assert!(is_last_but_quick || ended.stdout.contains(words), "{words}: {}", ended.stdout);
        }
        let told = trial.well(&["status", "job.toml"]);
        assert!(told.contains(status), "{told}");
    }
    assert!(
        !trial.rows("out.jsonl").is_empty() && trial.rows("out.jsonl").len() < rows,
        "it is too quick for this test"
    );
    let told = ends_well(job, "it ends");
    assert!(!told.contains("loaded ahead in vain"), "{told}");
    assert!(!told.contains("starting it again"), "{told}");
    is_right(&trial, rows, "in the end");
    for file in ["entries.jsonl", "once.jsonl"] {
        let mut numbers: Vec<_> = trial.rows(file).iter().map(|row| row["n"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(0..rows as u64), "{file}: {} rows", numbers.len());
    }
    assert_eq!(told.matches("the job has new workers; pause between batches: ").count(), 4, "{told}");
}

/// At each step: the command fails, and the job goes on as it was.
#[test]
fn whoever_dies_on_the_way_nothing_is_lost_or_doubled() {
    // Of the new process, and of the old one.
    let new = ["loading", "loaded", "taken", "claim", "claimed", "started"];
    let old = ["save", "ending", "barrier", "publish", "published", "handed"];
    std::thread::scope(|scope| {
        for points in [&new[..3], &new[3..], &old[..3], &old[3..]] {
            scope.spawn(move || {
                for point in points {
                    let trial = job(ROWS);
                    let mut job = start(&trial, &format!("kill@handover.{point}:1"));
                    let ended = scale(&trial, &["--workers", "2"]);
                    let told = format!("{point}: {}{}\n{}", ended.stdout, ended.stderr, job.stderr());
                    assert_eq!(ended.code, Some(1), "{told}");
                    assert!(ended.stderr.contains("the workers are unchanged"), "{told}");
                    let status = trial.well(&["status", "job.toml"]);
                    assert!(status.contains("1 worker in 1 process"), "{told}{status}");
                    job.until("it goes on", |_| trial.rows("out.jsonl").len() == ROWS);
                    ends_well(job, &told);
                    is_right(&trial, ROWS, &told);
                }
            });
        }
    });
}

/// What is asked of processes that are only being started again waits until they run, and is not lost.
#[test]
fn a_job_that_is_just_started_again_is_scaled_as_soon_as_it_runs() {
    let trial = job(4 * ROWS);
    let mut job = start(&trial, "");
    let first = job.children();
    first.iter().for_each(|child| kill(*child));
    let mut again = Vec::new();
    until("it is started again", || {
        again = job.children().into_iter().filter(|child| !first.contains(child)).collect();
        !again.is_empty()
    });
    again.iter().for_each(|child| millstream_tests::signal("STOP", *child));
    assert!(!job.stderr().contains("resumes after the checkpoint"), "it runs already");
    let asking = Process::start(&mut trial.command_apart(&["scale", "job.toml", "--workers", "2"]));
    job.until_stderr("starting new processes to take over the job");
    again.iter().for_each(|child| millstream_tests::signal("CONT", *child));
    let began = Instant::now();
    let ended = asking.wait();
    assert_eq!(ended.code, Some(0), "{}{}", ended.stderr, job.stderr());
    assert!(began.elapsed() < HANDOVER_MAX, "{:?}: {}", began.elapsed(), job.stderr());
    let told = ends_well(job, "it ends");
    is_right(&trial, 4 * ROWS, &told);
}

/// What is asked of a job that is just starting waits, too, and says so.
#[test]
fn a_job_that_is_just_starting_is_scaled_as_soon_as_it_runs() {
    let trial = job(4 * ROWS);
    let mut job = Process::start(&mut trial.command_apart(&["run", "job.toml", "--workers", "1"]));
    until("its process is started", || !job.children().is_empty());
    let children = job.children();
    children.iter().for_each(|child| millstream_tests::signal("STOP", *child));
    assert!(!job.stderr().contains("begins at batch"), "it runs already");
    let mut asking = Process::start(&mut trial.command_apart(&["scale", "job.toml", "--workers", "2"]));
    asking.until("it says that it waits", |asking| {
        asking.stdout().contains("the job is starting; the new workers start as soon as it runs")
    });
    children.iter().for_each(|child| millstream_tests::signal("CONT", *child));
    job.until_stderr("starting new processes to take over the job");
    let ended = asking.wait();
    assert_eq!(ended.code, Some(0), "{}{}", ended.stderr, job.stderr());
    let told = ends_well(job, "it ends");
    is_right(&trial, 4 * ROWS, &told);
}

/// The supervisor dies while others are on their way to take the job over: all die with it, and the next start goes on.
#[test]
fn a_supervisor_that_dies_on_the_way_takes_all_along() {
    for point in ["loaded", "ending", "claimed"] {
        let trial = job(ROWS);
        let job = start(&trial, &format!("stop@handover.{point}:1"));
        let asking = Process::start(&mut trial.command_apart(&["scale", "job.toml", "--workers", "2"]));
        let children = || job.children();
        until(&format!("one stops at {point}"), || children().iter().any(|child| millstream_tests::stopped(*child)));
        let left = job.children();
        kill(job.id());
        until("all are gone", || left.iter().all(|child| !millstream_tests::lives(*child)));
        let ended = asking.wait();
        assert_eq!(ended.code, Some(1), "{point}: {}", ended.stderr);
        assert!(ended.stderr.contains("has ended or restarted in the meantime"), "{point}: {}", ended.stderr);
        let again = Process::start(&mut trial.command_apart(&["run", "job.toml", "--workers", "3"]));
        ends_well(again, point);
        is_right(&trial, ROWS, point);
    }
}

/// A new process that does not answer while it takes the job over is given up, and the job is started as it was.
#[test]
fn a_new_process_that_hangs_is_given_up() {
    let trial = job(ROWS);
    let mut job = start(&trial, "stop@handover.claim:1");
    let ended = scale(&trial, &["--workers", "2"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("does not respond and was killed; the job restarts unchanged"), "{}", ended.stderr);
    job.until("it goes on", |_| trial.rows("out.jsonl").len() == ROWS);
    ends_well(job, "as it was");
    is_right(&trial, ROWS, "as it was");
}

/// What somebody types, and what they then see.
#[test]
fn the_page_shows_what_is_there() {
    let page = "docs/how-to/change-the-number-of-workers.md";
    let trial = job(2 * ROWS);
    let job = start(&trial, "");
    let shown = block(page, "text", "job.toml: ").text;
    for (line, status) in block(page, "sh", "--processes 2 --workers 3")
        .text
        .lines()
        .zip(["4 workers in 1 process", "6 workers in 2 processes"])
    {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let told = trial.well(&words);
        let plain = |line: &str| line.replace(|c: char| c.is_ascii_digit(), "");
        let mut said: Vec<String> = told.lines().map(plain).collect();
        // Each checkpoint that they load is told.
        said.dedup();
        // Steps that were over before the next look are not shown.
        let mut all = shown.lines().map(plain);
        assert!(said.iter().all(|said| all.any(|line| line == *said)), "{told} is not as in {shown}");
        assert!(said.first() == shown.lines().map(plain).next().as_ref() && all.next().is_none(), "{told}");
        let told = trial.well(&["status", "job.toml"]);
        assert!(told.contains(status), "{told}");
    }
    ends_well(job, "it ends");
    is_right(&trial, 2 * ROWS, "as the page says");
}

#[test]
fn what_cannot_be_scaled_says_what_to_do() {
    let trial = job(10);
    let told = scale(&trial, &["--workers", "2"]);
    assert_eq!(told.code, Some(1));
    assert!(told.stderr.contains("is not running"), "{}", told.stderr);
    for (arguments, words) in [
        (&["--workers", "0"][..], "--workers is 0"),
        (&["--processes", "2", "--hosts", "a:1,b:2"], "cannot be used with"),
        (&[], "--workers"),
    ] {
        let told = scale(&trial, arguments);
        assert!(told.code == Some(2) && told.stderr.contains(words), "{arguments:?}: {}", told.stderr);
    }
    let forever = "name = \"a\"\n[sources.in]\nkind = \"rate\"\nrows_per_second = 100\n\
                   [sinks.out]\nfrom = \"in\"\nkind = \"queue\"\npath = \"out.jsonl\"\n";
    let trial = Trial::new(forever);
    let mut job = Process::start(&mut trial.command_apart(&["run", "job.toml"]));
    job.until("it runs", |_| !trial.rows("out.jsonl").is_empty());
    let told = scale(&trial, &["--workers", "2"]);
    assert!(told.code == Some(2) && told.stderr.contains("add [checkpoint] with a `dir`"), "{}", told.stderr);
    job.stop();
}
