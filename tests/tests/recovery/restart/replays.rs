//! Checkpoints while planned batches are replayed: a start that is killed there resumes from the last of them.

use super::{golden, trial};
use millstream_tests::{Process, Trial};
use regex::Regex;
use std::path::Path;

/// Runs a job until this many rows are in `out.jsonl`, and kills it. None of them is in a checkpoint, whose writer waits.
fn planned(trial: &Trial, rows: usize, arguments: &[&str]) {
    let mut job = trial.start_with_faults("hold@checkpoint.state:1", arguments);
    job.wait_until("all rows are committed", |_| trial.rows("out.jsonl").len() == rows);
    job.kill();
}

/// The checkpoint from which the last start resumed, and how many batches it had to replay.
fn resumed_from(message: &str) -> (u64, u64) {
    let strings = Regex::new(r"resumes after the checkpoint of batch (\d+) .* (\d+) batch(?:es)? to replay").unwrap();
    let found = strings.captures_iter(message).last().unwrap_or_else(|| panic!("it does not go on: {message}"));
    let number = |group: usize| found[group].parse().unwrap();
    (number(1), number(2))
}

/// Rows, and a checkpoint that is due after each third batch, by their count or by their times.
fn long(every: &str) -> Trial {
    let trial = trial();
    trial.change("every = 2", every);
    let lines: String = (0..12).map(|n| format!("[[\"k{}\",{}],[\"k\",1]]\n", n % 3, n + 1)).collect();
    trial.write("input.jsonl", lines);
    trial
}

fn output(every: &str) -> String {
    let trial = long(every);
    trial.run_ok(&[]);
    trial.text("out.jsonl")
}

#[test]
fn starts_that_are_killed_while_they_replay_progress_each_time() {
    for every in ["every = 3", "every = \"3s\""] {
        let expected = output(every);
        for workers in ["1", "2"] {
            let trial = long(every);
            let workers = ["--workers", workers];
            planned(&trial, 24, &workers);
            for at in [0, 3, 6] {
                let message = trial.killed("checkpoint.published:1", &workers).stderr;
                assert_eq!(resumed_from(&message), (at, 12 - at), "{every}");
            }
            // Killed at the point of the next checkpoint.
            trial.killed("replay.batch:2", &workers);
            let message = trial.run_ok(&workers).stderr;
            assert_eq!(resumed_from(&message), (9, 3), "{every}");
            assert_eq!(trial.text("out.jsonl"), expected, "{every}");
        }
    }
}

/// Worker process 0 dies with the first checkpoint, and the supervisor starts both again.
#[test]
fn all_processes_of_a_job_resume_from_a_checkpoint_made_in_a_replay() {
    let trial = long("every = 3");
    let two = ["--processes", "2", "--workers", "1"];
    let start = |faults: &str| {
        let mut command = trial.command(&[&["run", "job.toml"], &two[..]].concat());
        Process::start(command.env("MILLSTREAM_TEST_FAULT", faults))
    };
    let mut job = start("hold@checkpoint.state:1");
    job.wait_until("all batches are committed", |_| trial.batches("out.jsonl").len() == 12);
    job.kill_all();
    let message = start("kill@checkpoint.published:1").wait();
    assert_eq!(message.code, Some(0), "{}", message.stderr);
    let (batch, again) = resumed_from(&message.stderr);
    assert_eq!((batch, again), (3, 9), "{}", message.stderr);
    assert_eq!(trial.text("out.jsonl"), output("every = 3"));
}

/// If the last checkpoint is older than `every`, the next one does not wait until the start is that old. A start that is always
/// killed sooner would otherwise never make one.
#[test]
fn a_checkpoint_that_is_due_is_made_with_the_first_batch_of_a_start() {
    let job = |dir: &Path| {
        format!(
            "name = \"due\"\nbatch = \"5ms\"\n[checkpoint]\ndir = \"checkpoint\"\nevery = \"1ms\"\n[sources.rows]\n\
             kind = \"file\"\npath = \"{}/rows.jsonl\"\nformat = \"json\"\nschema = {{ n = \"int64\" }}\n\
             rows_per_batch_max = 1\n[sinks.out]\nfrom = \"rows\"\nkind = \"queue\"\npath = \"out.jsonl\"\n",
            dir.display()
        )
    };
    let trial = Trial::new("");
    trial.write("job.toml", job(trial.dir()));
    trial.write("rows.jsonl", (1..=8).map(|n| format!("{{\"n\":{n}}}\n")).collect::<String>());
    planned(&trial, 8, &[]);
    let starts = [(); 4].map(|()| resumed_from(&trial.killed("checkpoint.published:1", &[]).stderr).0);
    assert!(starts.is_sorted_by(|before, after| before < after), "{starts:?}");
    trial.run_ok(&[]);
    assert_eq!(trial.rows("out.jsonl").len(), 8);
}

/// The output of sinks, and what other workers must replay unchanged, does not depend on the positions of checkpoints.
#[test]
fn other_workers_resume_from_a_checkpoint_made_in_an_unchanged_replay() {
    let golden = golden();
    let trial = trial();
    planned(&trial, 8, &["--workers", "1"]);
    // A start with the previous workers, which replays what sinks have committed: killed with its first checkpoint.
    let other = ["--workers", "2"];
    trial.killed("checkpoint.published:1", &other);
    let message = trial.run_ok(&other).stderr;
    assert!(message.contains("resumes after the checkpoint of batch 2 "), "{message}");
    assert_eq!(trial.text("out.jsonl"), golden);
}
