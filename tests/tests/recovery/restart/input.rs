//! Files of sources that are not as they were when a batch was planned of them.

use super::{contains, killed, lines, refused, trial};
use millstream_tests::Trial;
use std::fs;

/// Sources of files, of which batches were planned that no sink has committed, and others that are in the checkpoint.
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
fn input_that_is_not_as_it_was_is_refused_before_anything_is_touched() {
    let file = "kind = \"file\"\npath = \"in/a.txt\"\naway_max = \"100ms\"";
    let directory = "kind = \"directory\"\npath = \"in\"\naway_max = \"100ms\"\npoll = \"10ms\"\nsettle = \"0s\"";
    for kind in [file, directory] {
        let trial = reading(kind, 2);
        killed(&trial, &["--until-idle"], "commit.before:4");
        let whole = trial.text("in/a.txt");
        let planned = "`./in/a.txt`, whose first ";
        // Gone.
        fs::rename(trial.path("in/a.txt"), trial.path("kept")).unwrap();
        let told = refused(&trial, &[]);
        if kind == file {
            contains(&told, &["job.toml:8: source `words`: path `./in/a.txt`: no such file or directory"]);
        } else {
            contains(&told, &["source `words`: ", planned, " no longer exists; batch ", "Restore it unchanged"]);
        }
        // Shorter than what was planned.
        trial.write("in/a.txt", &whole[..20]);
        let told = refused(&trial, &[]);
        contains(
            &told,
            &["source `words`: ", planned, "has shrunk to 20 bytes; batch ", "which must be replayed, needs it"],
        );
        assert!(told.contains("`--resume-from ") || told.contains("`--fresh`"), "{told}");
        // As long, but other records: the program cannot know before it reads them.
        trial.write("in/a.txt", whole.replace("line 1", "line\n1"));
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
        assert!(!ended.stderr.contains("starting it again"), "{}", ended.stderr);
        assert_eq!(trial.text("out.jsonl"), before);
        // As it was.
        trial.write("in/a.txt", &whole);
        trial.run_well(&["--until-idle"]);
        let expected = if kind == file { 10..20 } else { 10..30 };
        let rows: Vec<String> =
            trial.rows("out.jsonl").iter().map(|row| row["value"].as_str().unwrap().to_owned()).collect();
        let mut sorted = rows.clone();
        sorted.sort();
        assert_eq!(sorted, expected.map(|line| format!("line {line}")).collect::<Vec<_>>());
    }
}

#[test]
fn a_file_that_is_brought_back_for_batches_that_read_all_of_it_is_not_new() {
    for kind in ["file\"\npath = \"in/a.txt", "directory\"\npath = \"in\"\npoll = \"10ms\"\nsettle = \"0s"] {
        // The plan of the first batch holds the end of the file.
        let trial = reading(&format!("kind = \"{kind}\""), 10);
        killed(&trial, &["--until-idle"], "commit.before:1");
        let whole = trial.text("in/a.txt");
        // Another file with another time, as a backup brings it.
        trial.write("in/backup.tmp", &whole);
        fs::rename(trial.path("in/backup.tmp"), trial.path("in/a.txt")).unwrap();
        let expected = if kind.starts_with("file") { 10..20 } else { 10..30 };
        let expected: Vec<String> = expected.map(|line| format!("line {line}")).collect();
        let rows = || {
            let mut rows = trial.values("out.jsonl");
            // Where a slow machine makes a batch before the folder is read, the other file is older than the one brought back.
            rows.sort();
            rows
        };
        trial.run_well(&["--until-idle"]);
        assert_eq!(rows(), expected);
        // Nor is it when only the checkpoint knows it, and what is moved to its name then is.
        let ended = trial.run_well(&["--until-idle"]);
        assert_eq!(rows(), expected);
        assert!(!ended.stderr.contains("has changed"), "{}", ended.stderr);
        if kind.starts_with("directory") {
            trial.write("in/new.tmp", "line 30\n");
            fs::rename(trial.path("in/new.tmp"), trial.path("in/a.txt")).unwrap();
            trial.run_well(&["--until-idle"]);
            assert_eq!(rows(), [&expected[..], &["line 30".to_owned()]].concat());
        }
    }
}

#[test]
fn input_that_shrank_after_it_was_committed_can_be_given_up() {
    let trial = trial();
    trial.write("input.jsonl", lines(4));
    trial.run_well(&[]);
    trial.write("input.jsonl", lines(2));
    let told = refused(&trial, &[]);
    let words = ["source `words`: `./input.jsonl`, whose first ", "has shrunk to ", "`--drop-state words`"];
    contains(&told, &words);
    trial.run_well(&["--drop-state", "words"]);
    let batches = trial.batches("out.jsonl");
    assert_eq!(batches.len(), 6);
    let count = |word: &str| {
        let rows = batches[4]["rows"].as_array().unwrap();
        rows.iter().find(|row| row["word"] == word).map(|row| row["count"].as_i64().unwrap())
    };
    // What was counted stays, and the first line is counted once more.
    assert_eq!((count("a"), count("b"), count("c")), (Some(5), Some(3), None), "{batches:?}");
}
