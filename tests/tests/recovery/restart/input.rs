//! Files of sources that are not as they were when a batch was planned of them.

use super::{contains, killed, lines, rejection, trial};
use millstream_tests::Trial;
use std::fs;

/// File sources with planned batches that no sink has committed, and others that are in the checkpoint.
fn reading(kind: &str, rows_per_batch_max: u64) -> Trial {
    let trial = Trial::new(&format!(
        r#"name = "reading"
batch = "10ms"
[checkpoint]
dir = "checkpoint"
every = 2
[sources.words]
{kind}
rows_per_batch_max = {rows_per_batch_max}
[sinks.out]
from = "words"
kind = "queue"
path = "out.jsonl"
"#
    ));
    let lines = |from: usize| (from..from + 10).map(|line| format!("line {line}\n")).collect::<String>();
    trial.write("in/a.txt", lines(10));
    trial.write("in/b.txt", lines(20));
    trial
}

#[test]
fn changed_input_is_rejected_before_anything_is_touched() {
    let file = "kind = \"file\"\npath = \"in/a.txt\"\naway_max = \"100ms\"";
    let directory = "kind = \"directory\"\npath = \"in\"\naway_max = \"100ms\"\npoll = \"10ms\"\nsettle = \"0s\"";
    for kind in [file, directory] {
        let trial = reading(kind, 2);
        killed(&trial, &["--until-idle"], "commit.before:4");
        let complete = trial.text("in/a.txt");
        let planned = "`./in/a.txt`, whose first ";
        // Gone.
        fs::rename(trial.path("in/a.txt"), trial.path("kept")).unwrap();
        let output = rejection(&trial, &[]);
        if kind == file {
            contains(&output, &["job.toml:8: source `words`: path `./in/a.txt`: no such file or directory"]);
        } else {
            contains(&output, &["source `words`: ", planned, " no longer exists; batch ", "Restore it unchanged"]);
        }
        // Shorter than what was planned.
        trial.write("in/a.txt", &complete[..20]);
        let output = rejection(&trial, &[]);
        contains(
            &output,
            &["source `words`: ", planned, "has shrunk to 20 bytes; batch ", "which must be replayed, needs it"],
        );
        assert!(output.contains("`--resume-from ") || output.contains("`--fresh`"), "{output}");
        // Same length but other records: the program cannot know before it reads them.
        trial.write("in/a.txt", complete.replace("line 1", "line\n1"));
        let before = trial.text("out.jsonl");
        let ended = trial.run(&["--until-idle"]);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        contains(
            &ended.stderr,
            &[
                "source `words`: a batch cannot be replayed: bytes ",
                "of `./in/a.txt`: the file was changed: 2 records are planned",
            ],
        );
        assert!(!ended.stderr.contains("restarting it"), "{}", ended.stderr);
        assert_eq!(trial.text("out.jsonl"), before);
        // Unchanged.
        trial.write("in/a.txt", &complete);
        trial.run_ok(&["--until-idle"]);
        let expected = if kind == file { 10..20 } else { 10..30 };
        let rows: Vec<String> =
            trial.rows("out.jsonl").iter().map(|row| row["value"].as_str().unwrap().to_owned()).collect();
        let mut sorted = rows.clone();
        sorted.sort();
        assert_eq!(sorted, expected.map(|line| format!("line {line}")).collect::<Vec<_>>());
    }
}

#[test]
fn a_file_restored_for_batches_that_read_it_completely_is_not_new() {
    for kind in ["file\"\npath = \"in/a.txt", "directory\"\npath = \"in\"\npoll = \"10ms\"\nsettle = \"0s"] {
        // The plan of the first batch holds the end of the file.
        let trial = reading(&format!("kind = \"{kind}\""), 10);
        killed(&trial, &["--until-idle"], "commit.before:1");
        let complete = trial.text("in/a.txt");
        // Another file with another time, as a backup brings it.
        trial.write("in/backup.tmp", &complete);
        fs::rename(trial.path("in/backup.tmp"), trial.path("in/a.txt")).unwrap();
        let expected = if kind.starts_with("file") { 10..20 } else { 10..30 };
        let expected: Vec<String> = expected.map(|line| format!("line {line}")).collect();
        let rows = || {
            let mut rows = trial.values("out.jsonl");
            // If a slow machine makes a batch before the directory is read, the other file is older than the restored one.
            rows.sort();
            rows
        };
        trial.run_ok(&["--until-idle"]);
        assert_eq!(rows(), expected);
        // Nor is it when only the checkpoint knows it, and what is moved to its name then is.
        let ended = trial.run_ok(&["--until-idle"]);
        assert_eq!(rows(), expected);
        assert!(!ended.stderr.contains("has changed"), "{}", ended.stderr);
        if kind.starts_with("directory") {
            trial.write("in/new.tmp", "line 30\n");
            fs::rename(trial.path("in/new.tmp"), trial.path("in/a.txt")).unwrap();
            trial.run_ok(&["--until-idle"]);
            assert_eq!(rows(), [&expected[..], &["line 30".to_owned()]].concat());
        }
    }
}

#[test]
fn input_that_shrank_after_it_was_committed_can_be_skipped() {
    let trial = trial();
    trial.write("input.jsonl", lines(4));
    trial.run_ok(&[]);
    trial.write("input.jsonl", lines(2));
    let output = rejection(&trial, &[]);
    let words = ["source `words`: `./input.jsonl`, whose first ", "has shrunk to ", "`--drop-state words`"];
    contains(&output, &words);
    trial.run_ok(&["--drop-state", "words"]);
    let batches = trial.batches("out.jsonl");
    assert_eq!(batches.len(), 6);
    let count = |word: &str| {
        let rows = batches[4]["rows"].as_array().unwrap();
        rows.iter().find(|row| row["word"] == word).map(|row| row["count"].as_i64().unwrap())
    };
    // What was counted stays, and the first line is counted again.
    assert_eq!((count("a"), count("b"), count("c")), (Some(5), Some(3), None), "{batches:?}");
}
