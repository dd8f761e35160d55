//! Checkpoints while planned batches are run again: a start that is killed there goes on from the last of them.

use super::{golden, trial};
use millstream_tests::{Process, Trial};
use regex::Regex;
use std::path::Path;

/// Runs a job until this many rows are in `out.jsonl`, and kills it: none of them is in a checkpoint, whose writer waits.
fn planned(trial: &Trial, rows: usize, arguments: &[&str]) {
    let mut job = trial.start_with_faults("hold@checkpoint.state:1", arguments);
    job.until("all rows are committed", |_| trial.rows("out.jsonl").len() == rows);
    job.kill();
}

/// From which checkpoint the last start went on, and how many batches it had to run again.
fn gone_on(told: &str) -> (u64, u64) {
    let words = Regex::new(r"resumes after the checkpoint of batch (\d+) .* (\d+) batch(?:es)? to run again").unwrap();
    let found = words.captures_iter(told).last().unwrap_or_else(|| panic!("it does not go on: {told}"));
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
    trial.run_well(&[]);
    trial.text("out.jsonl")
}

#[test]
fn starts_that_are_killed_while_they_replay_come_further_each_time() {
    for every in ["every = 3", "every = \"3s\""] {
        let expected = output(every);
        for workers in ["1", "2"] {
            let trial = long(every);
            let workers = ["--workers", workers];
            planned(&trial, 24, &workers);
            for at in [0, 3, 6] {
                let told = trial.killed("checkpoint.published:1", &workers).stderr;
                assert_eq!(gone_on(&told), (at, 12 - at), "{every}");
            }
            // Killed where the next one would come.
            trial.killed("replay.batch:2", &workers);
            let told = trial.run_well(&workers).stderr;
            assert_eq!(gone_on(&told), (9, 3), "{every}");
            assert_eq!(trial.text("out.jsonl"), expected, "{every}");
        }
    }
}

/// Worker process 0 dies with the first checkpoint, and the supervisor starts both again.
#[test]
fn all_processes_of_a_job_go_on_from_a_checkpoint_made_in_a_replay() {
    let trial = long("every = 3");
    let two = ["--processes", "2", "--workers", "1"];
    let start = |faults: &str| {
        let mut command = trial.command(&[&["run", "job.toml"], &two[..]].concat());
        Process::start(command.env("MILLSTREAM_TEST_FAULT", faults))
    };
    let mut job = start("hold@checkpoint.state:1");
    job.until("all batches are committed", |_| trial.batches("out.jsonl").len() == 12);
    job.kill_all();
    let told = start("kill@checkpoint.published:1").wait();
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    let (batch, again) = gone_on(&told.stderr);
    assert_eq!((batch, again), (3, 9), "{}", told.stderr);
    assert_eq!(trial.text("out.jsonl"), output("every = 3"));
}

/// Where the last checkpoint is older than `every`, the next one does not wait until the start is as old: one that is killed
/// sooner, as all before it were, would never make any.
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
    let starts = [(); 4].map(|()| gone_on(&trial.killed("checkpoint.published:1", &[]).stderr).0);
    assert!(starts.is_sorted_by(|before, after| before < after), "{starts:?}");
    trial.run_well(&[]);
    assert_eq!(trial.rows("out.jsonl").len(), 8);
}

/// What sinks have, and what other workers must run again as it was, does not depend on where the checkpoints lie.
#[test]
fn other_workers_go_on_from_a_checkpoint_made_in_a_replay_as_it_was() {
    let golden = golden();
    let trial = trial();
    planned(&trial, 8, &["--workers", "1"]);
    // A start with the workers of before, which runs again what sinks have: killed with its first checkpoint.
    let other = ["--workers", "2"];
    trial.killed("checkpoint.published:1", &other);
    let told = trial.run_well(&other).stderr;
    assert!(told.contains("resumes after the checkpoint of batch 2 "), "{told}");
    assert_eq!(trial.text("out.jsonl"), golden);
}
