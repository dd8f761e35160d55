//! HDFS as source, sink and store of checkpoints, with a real cluster that is killed and restarted.

use millstream_tests::{Hdfs, Process, Trial};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

/// A job with checkpoints that copies what is below `/in` to `out.jsonl`.
fn copying(hdfs: &Hdfs, more: &str) -> Trial {
    Trial::new(&format!(
        "batch = \"20ms\"\n[checkpoint]\ndir = \"{}\"\nevery = 3\n[sources.in]\nkind = \"directory\"\npath = \"{}\"\n\
         poll = \"20ms\"\n{more}\n[sinks.out]\nfrom = \"in\"\nkind = \"queue\"\npath = \"out.jsonl\"\n",
        "kept",
        hdfs.url("/in")
    ))
}

/// A job with checkpoints that passes numbered rows of two days to a sink of two workers.
fn writing(hdfs: &Hdfs, rows: u64, sink: &str) -> Trial {
    let trial = Trial::new(&format!(
        "workers = 2\nbatch = \"5ms\"\n[checkpoint]\ndir = \"kept\"\nevery = 4\n[sources.in]\nkind = \"file\"\n\
         path = \"in.jsonl\"\nformat = \"json\"\nschema = {{ n = \"int64\", day = \"text\" }}\nrows_per_batch_max = 20\n\
         [sinks.out]\nfrom = \"in\"\nkind = \"files\"\npath = \"{}\"\n{sink}\n",
        hdfs.url("/out")
    ));
    let row = |n: u64| format!("{{\"n\":{n},\"day\":\"{}\"}}\n", ["mon", "tue/x"][n as usize % 2]);
    trial.write("in.jsonl", (0..rows).map(row).collect::<String>());
    trial
}

fn start(trial: &Trial, arguments: &[&str], fault: &str) -> Process {
    let all = [&["run", "job.toml"], arguments].concat();
    Process::start(trial.command(&all).env("MILLSTREAM_TEST_FAULT", fault))
}

#[track_caller]
fn run(trial: &Trial) -> String {
    let ended = start(trial, &["--until-idle"], "").wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stderr
}

/// Runs the job until it kills itself at a step.
#[track_caller]
fn killed(trial: &Trial, step: &str) {
    let ended = start(trial, &["--until-idle", "--unsupervised"], &format!("kill@{step}")).wait();
    assert_eq!(ended.code, None, "it does not come to {step}: {}", ended.stderr);
}

fn lines(numbers: std::ops::Range<u32>) -> String {
    numbers.map(|number| format!("line {number}\n")).collect()
}

/// The numbers of the lines that were written, in order of their size.
fn read(trial: &Trial) -> Vec<u32> {
    if !trial.path("out.jsonl").exists() {
        return Vec::new();
    }
    let values = trial.values("out.jsonl");
    let mut numbers: Vec<_> = values.iter().map(|line| line[5..].parse().expect("a number")).collect();
    numbers.sort_unstable();
    numbers
}

/// The files of the sink, without hidden ones; `None` if HDFS does not respond.
fn parts(hdfs: &Hdfs) -> Option<BTreeMap<String, Vec<u8>>> {
    let paths = hdfs.paths("/out")?;
    let seen = paths.iter().filter(|path| !path.contains("/."));
    seen.map(|path| Some((path.to_owned(), hdfs.get(path)?))).collect()
}

/// The numbers in parts of JSON lines, each of which must be complete.
#[track_caller]
fn numbers(parts: &BTreeMap<String, Vec<u8>>) -> Vec<u64> {
    let mut numbers = Vec::new();
    for (name, bytes) in parts {
        let text = std::str::from_utf8(bytes).expect("a text");
        assert!(text.ends_with('\n'), "{name} is half a part: {text}");
        let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        numbers.extend(rows.map(|row| row["n"].as_u64().expect("a number")));
    }
    numbers.sort_unstable();
    numbers
}

const ROLLED: &str = "partition_by = [\"day\"]\nroll = { size = \"1KiB\", time = \"1h\" }";

#[test]
fn files_are_read_exactly_once() {
    let hdfs = Hdfs::start();
    for step in ["plan.durable:5", "commit.written:5", "commit.after:7"] {
        let trial = copying(&hdfs, "rows_per_batch_max = 7\nsubfolders = true");
        hdfs.put("/in/1.txt", lines(0..30));
        hdfs.put("/in/deep/er/2.txt", lines(30..60));
        for passed_over in ["/in/3.txt._COPYING_", "/in/4.tmp", "/in/_temporary/5.txt", "/in/.6.txt", "/inside/7.txt"] {
            hdfs.put(passed_over, "wrong\n");
        }
        hdfs.put("/in/empty.txt", "");
        killed(&trial, step);
        hdfs.put("/in/3.txt", lines(60..70));
        run(&trial);
        assert_eq!(read(&trial), (0..70).collect::<Vec<_>>(), "{step}");
        hdfs.delete("/in");
    }
    // In pieces, and from the middle on.
    let line = |number: usize| "x".repeat(number * 7919 % 3000);
    let text: String = (0..9000).map(|number| line(number) + "\n").collect();
    assert!(text.len() > 12 << 20);
    hdfs.put("/in/large.txt", &text);
    let trial = copying(&hdfs, "bytes_per_batch_max = \"700KiB\"");
    killed(&trial, "commit.after:9");
    run(&trial);
    let rows = trial.values("out.jsonl");
    assert_eq!(rows.len(), 9000);
    assert!(rows.iter().enumerate().all(|(number, row)| *row == line(number)));
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn files_are_written_exactly_once() {
        let hdfs = Hdfs::start();
        let layouts = [("", "batch"), ("partition_by = \"day\"", "worker"), (ROLLED, "batch"), (ROLLED, "worker")];
        let steps = ["commit.before:9", "commit.written:9", "commit.marked:9", "commit.after:9", "finish.before:1"];
        for (number, (layout, by)) in layouts.iter().enumerate() {
            // Without growing parts, none is open at the end. Each step is tested with every other layout.
            let steps = &steps[..steps.len() - usize::from(*layout != ROLLED)];
            for step in steps.iter().skip(number % 2).step_by(2) {
                let trial = writing(&hdfs, 300, &format!("parts = \"{by}\"\n{layout}"));
                killed(&trial, step);
                run(&trial);
                let written = parts(&hdfs).expect("the cluster answers");
                assert_eq!(
                    numbers(&written),
                    (0..300).collect::<Vec<_>>(),
                    "{by} {layout} {step}: {:?}",
                    written.keys()
                );
                if !layout.is_empty() {
                    assert!(written.keys().all(|name| name.starts_with("/out/day=")), "{:?}", written.keys());
                }
                hdfs.delete("/out");
            }
        }
        // Larger than a piece that is sent at a time.
        let trial = writing(&hdfs, 1, "roll = { size = \"64MiB\", time = \"1h\" }");
        trial.change("rows_per_batch_max = 20", "rows_per_batch_max = 100000");
        let row = |n: u64| format!("{{\"n\":{n},\"day\":\"{}\"}}\n", "d".repeat(900));
        trial.write("in.jsonl", (0..40_000).map(row).collect::<String>());
        run(&trial);
        let written = parts(&hdfs).expect("the cluster answers");
        assert!(written.values().any(|bytes| bytes.len() > 17 << 20), "{:?}", written.keys());
        assert_eq!(numbers(&written), (0..40_000).collect::<Vec<_>>());
    }

    /// Job and cluster are killed repeatedly while a reader looks: what it has seen never changes.
    #[test]
    fn no_row_is_lost_or_seen_twice_while_job_and_cluster_are_killed() {
        let mut hdfs = Hdfs::start();
        let trial = writing(&hdfs, 4000, &format!("parts = \"worker\"\n{ROLLED}"));
        let mut seen: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for round in 0..6 {
            let mut job = start(&trial, &["--unsupervised"], "");
            let before = seen.len();
            job.wait_until("it writes", |job| {
                // The previous look may not have seen everything that the job had written before it was killed.
                let Some(now) = parts(&hdfs).filter(|_| job.stderr().contains("`job` ")) else { return false };
                for (name, bytes) in &seen {
                    assert_eq!(now.get(name), Some(bytes), "{name} was seen before and is not as it was");
                }
                seen = now;
                seen.len() > before + round % 3
            });
            if round % 2 == 1 {
                hdfs.kill();
                job.wait_for_stderr("paused: cannot ");
                hdfs.start_again();
                job.wait_for_stderr("resumed after a pause");
            }
            job.kill();
        }
        // The rest in few batches: a cluster takes half a second to close a file.
        trial.change("rows_per_batch_max = 20", "rows_per_batch_max = 500");
        run(&trial);
        let written = parts(&hdfs).expect("the cluster answers");
        for (name, bytes) in &seen {
            assert_eq!(written.get(name), Some(bytes), "{name} was seen before and is not as it was");
        }
        assert_eq!(numbers(&written), (0..4000).collect::<Vec<_>>());
        let left = hdfs.paths("/out/.millstream-open").expect("the cluster answers");
        assert!(left.is_empty(), "{left:?}");
    }

    /// The job is killed repeatedly while files arrive, and so is the cluster, which also stores the checkpoints.
    #[test]
    fn no_row_is_lost_or_read_twice_while_job_and_cluster_are_killed() {
        let mut hdfs = Hdfs::start();
        let trial = copying(&hdfs, "rows_per_batch_max = 5");
        trial.change("dir = \"kept\"", &format!("dir = \"{}\"", hdfs.url("/kept/job")));
        let mut number = 0;
        for round in 0..9_u32 {
            for _ in 0..2 {
                hdfs.put(&format!("/in/{number:05}.txt"), lines(number * 10..number * 10 + 10));
                number += 1;
            }
            let mut job = start(&trial, &["--unsupervised"], "");
            let some = read(&trial).len() + 1 + (round as usize * 7) % 19;
            job.wait_until("it commits", |_| read(&trial).len() >= some);
            if round % 3 == 2 {
                hdfs.kill();
                job.wait_until("it says that the cluster is away", |job| {
                    let output = job.stderr();
                    output.contains("it waits for up to 5m (`away_max`)") || output.contains("paused: cannot ")
                });
                hdfs.start_again();
                if round == 5 {
                    hdfs.put(&format!("/in/{number:05}.txt"), lines(number * 10..number * 10 + 10));
                    number += 1;
                    job.wait_until("it goes on by itself", |_| read(&trial).len() as u32 == number * 10);
                }
            }
            job.signal("KILL");
            job.wait();
        }
        run(&trial);
        assert_eq!(read(&trial), (0..number * 10).collect::<Vec<_>>());
        let output = Process::start(&mut trial.command(&["inspect", &hdfs.url("/kept/job")])).wait();
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        // Old versions of conditionally replaced files are deleted.
        let mut versions = hdfs.paths("/kept/job/manifest.json").expect("the cluster answers");
        // The temporary file of a killed job stays for an hour.
        versions.retain(|path| !path.ends_with(".tmp"));
        assert!((1..=2).contains(&versions.len()), "{versions:?}");
    }

    /// An older start that was taken for dead comes back in the middle of a commit.
    #[test]
    fn an_older_start_writes_no_more() {
        let hdfs = Hdfs::start();
        let trial = writing(&hdfs, 600, ROLLED);
        trial.change("dir = \"kept\"", &format!("dir = \"{}\"", hdfs.url("/kept")));
        let mut old = start(&trial, &["--unsupervised"], "stop@commit.written:9");
        let state = format!("/proc/{}/stat", old.id());
        old.wait_until("it stands still", |_| fs::read_to_string(&state).is_ok_and(|text| text.contains(") T ")));
        run(&trial);
        let before = parts(&hdfs).expect("the cluster answers");
        old.signal("CONT");
        let ended = old.wait();
        assert_ne!(ended.code, Some(0), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("was replaced") || ended.stderr.contains("has taken over the job"),
            "{}",
            ended.stderr
        );
        let after = parts(&hdfs).expect("the cluster answers");
        assert_eq!(before, after);
        assert_eq!(numbers(&after), (0..600).collect::<Vec<_>>());
    }

    #[test]
    fn an_unreachable_cluster_is_waited_for_and_errors_are_reported() {
        let mut hdfs = Hdfs::start();
        hdfs.put("/in/1.txt", lines(0..10));
        hdfs.kill();
        let (reads, writes) = (copying(&hdfs, ""), writing(&hdfs, 100, ""));
        let mut reading = start(&reads, &["--unsupervised"], "");
        reading.wait_for_stderr("it waits for up to 5m (`away_max`)");
        let mut write = start(&writes, &["--unsupervised"], "");
        write.wait_for_stderr("paused: cannot ");
        hdfs.start_again();
        reading.wait_until("the file is read", |_| read(&reads).len() == 10);
        reading.signal("KILL");
        assert_eq!(write.wait().code, Some(0));
        assert_eq!(numbers(&parts(&hdfs).expect("the cluster answers")), (0..100).collect::<Vec<_>>());

        let output = |trial: &Trial, user: &str| {
            let all = ["run", "job.toml", "--until-idle", "--unsupervised"];
            let ended = Process::start(trial.command(&all).env("HADOOP_USER_NAME", user)).wait();
            assert!(!matches!(ended.code, Some(0) | None), "{}", ended.stderr);
            ended.stderr
        };
        let me = &std::env::var("USER").unwrap_or_else(|_| "root".into());
        let elsewhere = copying(&hdfs, "");
        elsewhere.change("/in\"", "/nowhere\"");
        let message = output(&elsewhere, me);
        assert!(message.contains(&format!("source `in`: cannot list {}", hdfs.url("/nowhere"))), "{message}");
        assert!(message.contains("create the directory first, or write another path"), "{message}");
        let file = copying(&hdfs, "");
        file.change("/in\"", "/in/1.txt\"");
        let message = output(&file, me);
        assert!(
            message.contains("it is a file; write its directory as the path, and its name as `pattern`"),
            "{message}"
        );
        hdfs.delete("/out");
        let message = output(&writing(&hdfs, 100, ""), "stranger");
        assert!(message.contains("Permission denied: user=stranger"), "{message}");
        assert!(message.contains("check HADOOP_USER_NAME"), "{message}");
        assert!(!message.contains("\tat "), "no stack of Java: {message}");
        let kept = copying(&hdfs, "");
        kept.change("dir = \"kept\"", &format!("dir = \"{}\"", hdfs.url("/kept")));
        let message = output(&kept, "stranger");
        assert!(message.contains("Permission denied: user=stranger"), "{message}");
        hdfs.put("/out/part-0000000001.jsonl", "{}\n");
        let message = output(&writing(&hdfs, 100, ""), me);
        assert!(message.contains("holds parts of an earlier run (part-0000000001.jsonl)"), "{message}");
        let nowhere = copying(&hdfs, "");
        nowhere.change(&hdfs.url("/in"), "hdfs:///in");
        let message = nowhere.rejected_message(&["validate", "job.toml"]);
        assert!(message.contains("names no server; write hdfs://namenode:8020/dir"), "{message}");
    }

    /// A batch is planned, and its input has changed when it is to be replayed.
    #[test]
    fn a_batch_of_another_file_is_not_replayed() {
        let hdfs = Hdfs::start();
        for (change, message) in [("other", "the object was replaced"), ("gone", "it no longer exists")] {
            hdfs.put("/in/1.txt", lines(0..30));
            let trial = copying(&hdfs, "rows_per_batch_max = 7");
            trial.change("batch = \"20ms\"", "batch = \"0s\"");
            killed(&trial, "plan.durable:1");
            match change {
                // Same length as before.
                "other" => hdfs.put("/in/1.txt", lines(0..30).replace("line 1\n", "line 7\n")),
                _ => hdfs.delete("/in/1.txt"),
            }
            let ended = start(&trial, &["--until-idle"], "").wait();
            assert_eq!(ended.code, Some(2), "{}", ended.stderr);
            // The replay or the next read sees it, whichever looks first.
            let seen = ["a batch cannot be replayed: bytes ", "cannot continue in "];
            assert!(seen.iter().any(|seen| ended.stderr.contains(&format!("source `in`: {seen}"))), "{}", ended.stderr);
            assert!(ended.stderr.contains(message), "{}", ended.stderr);
        }
    }
}
