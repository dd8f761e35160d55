//! A directory whose files are distributed over the processes of a job: rows arrive once and in order whatever dies, and none is
//! late that was in order in its file.

use millstream::internals::batch::partition::Share;
use millstream_tests::{DEADLINE, Hdfs, Process, Random, Trial, WeedServer, holds_within, hosts, kill};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Stops a job, one of whose processes may just have been killed.
fn stop(job: Process) {
    job.signal("TERM");
    let ended = job.wait();
    assert!(ended.code == Some(0) || ended.stderr.contains("died (signal 9) while it stopped"), "{}", ended.stderr);
}

fn begun(job: &mut Process) {
    // From then on a signal stops it in an orderly way.
    job.wait_until("it runs", |job| {
        ["resumes after the checkpoint", "begins at batch"].iter().any(|runs| job.stderr().contains(runs))
    });
}

fn reading(more: &str) -> Trial {
    let trial = Trial::new(&format!(
        r#"name = "files"
batch = "10ms"
[checkpoint]
dir = "checkpoint"
every = 5
[sources.in]
kind = "directory"
path = "in"
spread = true
poll = "10ms"
settle = "0s"
format = "json"
schema = {{ f = "int64", n = "int64", at = "timestamp(s)" }}
{more}
[sinks.out]
from = "in"
kind = "queue"
path = "out.jsonl"
"#
    ));
    std::fs::create_dir(trial.path("in")).unwrap();
    trial
}

/// This many rows of a file, starting with a number.
fn rows(file: u64, numbers: std::ops::Range<u64>) -> String {
    numbers.map(|n| json!({ "f": file, "n": n, "at": 1_600_000_000 + n }).to_string() + "\n").collect()
}

/// The rows of each file so far, in the order in which they arrived.
fn by_file(trial: &Trial) -> BTreeMap<u64, Vec<u64>> {
    let mut found: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for row in trial.rows("out.jsonl") {
        found.entry(row["f"].as_u64().unwrap()).or_default().push(row["n"].as_u64().unwrap());
    }
    found
}

/// Puts a file of this name and content there.
type Put<'a> = Box<dyn Fn(&Trial, &str, String) + 'a>;

/// Where a job's files are, and the settings to reach them.
struct SpreadDir<'a> {
    /// As in the job file.
    path: String,
    settings: Vec<(String, String)>,
    put: Put<'a>,
}

#[test]
fn files_move_between_processes_and_each_row_arrives_once_and_in_order() {
    // Directories are listed while files appear and disappear.
    let put = |trial: &Trial, name: &str, content| trial.move_in(&format!("in/{name}"), content);
    check_moves(&SpreadDir { path: "in".into(), settings: Vec::new(), put: Box::new(put) }, 9);
}

#[test]
fn objects_of_a_bucket_move_between_processes() {
    let server = WeedServer::start();
    let put = |_: &Trial, name: &str, content| server.put(&format!("spread/{name}"), content);
    let (path, settings) = ("s3://bucket/spread".to_owned(), server.settings());
    check_moves(&SpreadDir { path, settings, put: Box::new(put) }, 5);
}

/// Files arrive while processes die, and the job continues with others.
fn check_moves(dir: &SpreadDir<'_>, rounds: u64) {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut random = Random::new(seed);
    // Files are read in several batches.
    let trial = reading("rows_per_batch_max = 40\nbytes_per_batch_max = 2000\n");
    if dir.path != "in" {
        trial.change("path = \"in\"", &format!("path = \"{}\"", dir.path));
        // An object is complete from the start.
        trial.change("settle = \"0s\"\n", "");
    }
    let start = |random: &mut Random| {
        let (processes, workers) = (random.from(1, 3) as usize, random.from(1, 2).to_string());
        let (number, addresses) = (processes.to_string(), hosts(processes));
        let mut command = trial.command(&["run", "job.toml", "--workers", &workers]);
        if processes > 1 {
            command.args(["--processes", &number, "--hosts", &addresses]);
        }
        let mut job = Process::start(command.envs(dir.settings.iter().cloned()));
        begun(&mut job);
        job
    };
    let mut expected: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut all = 0;
    let mut put = |round: u64, random: &mut Random| {
        for file in 0..random.from(1, 6) {
            let (file, count) = (round * 10 + file, random.from(0, 300));
            (dir.put)(&trial, &format!("part-{file}.jsonl"), rows(file, 0..count));
            expected.insert(file, (0..count).collect());
            all += count as usize;
        }
        all
    };
    // A bucket is there with its first object.
    let mut before = 0;
    let mut all = put(0, &mut random);
    let mut job = start(&mut random);
    for round in 1..=rounds {
        let some = before + random.from(0, (all - before) as u64) as usize;
        assert!(holds_within(DEADLINE, || trial.rows("out.jsonl").len() >= some), "round {round}\n{}", job.stderr());
        match random.from(0, 3) {
            0 => {
                // One process of the job; the supervisor restarts all of them.
                let children = job.children();
                let chosen = random.from(0, children.len().max(1) as u64 - 1) as usize;
                children.get(chosen).into_iter().for_each(|child| kill(*child));
            }
            1 => {
                stop(job);
                job = start(&mut random);
            }
            _ => {
                job.kill_all();
                job = start(&mut random);
            }
        }
        before = all;
        all = put(round, &mut random);
    }
    assert!(holds_within(DEADLINE, || trial.rows("out.jsonl").len() >= all), "seed {seed}\n{}", job.stderr());
    stop(job);
    expected.retain(|_, numbers| !numbers.is_empty());
    assert_eq!(by_file(&trial), expected, "seed {seed}");
}

const WINDOWS: &str = r#"
[stages.counts]
from = "in"
aggregate = { n = "count(*)" }
time = "at"
idle = "200ms"
window = { size = "10s" }
[sinks.windows]
from = "counts"
kind = "queue"
path = "windows.jsonl"
[sinks.missed]
from = "counts.late"
kind = "queue"
path = "late.jsonl"
"#;

/// Rows in all windows of the times up to here.
fn windows(trial: &Trial) -> Vec<u64> {
    trial.rows("windows.jsonl").iter().map(|row| row["n"].as_u64().unwrap()).collect()
}

/// All files have the same times, each in order: with fewer watermarks the rows of those that are read later would be late.
#[test]
fn rows_in_order_within_their_file_are_never_late() {
    for (seed, processes) in [(1, 1), (2, 2), (3, 3)] {
        let mut random = Random::new(seed);
        let trial = reading(&format!("rows_per_batch_max = 60\nbytes_per_batch_max = 4000\n{WINDOWS}"));
        let files = 8;
        let counts: Vec<u64> = (0..files).map(|_| 10 * random.from(0, 30)).collect();
        for (file, count) in counts.iter().enumerate() {
            trial.write(&format!("in/{file}.jsonl"), rows(file as u64, 0..*count));
        }
        let all: u64 = counts.iter().sum();
        let mut job = trial.start_processes(processes, 2);
        let came = |trial: &Trial| trial.rows("out.jsonl").len() as u64;
        job.wait_until("some rows", |_| came(&trial) >= all / 3);
        job.kill_all();
        let mut job = trial.start_processes(if processes == 1 { 1 } else { random.from(1, 3) as usize }, 1);
        job.wait_until("all rows", |_| came(&trial) >= all);
        // Of the files that were read, the latest time counts, and new rows advance the time after it.
        trial.move_in("in/empty.jsonl", "");
        trial.move_in("in/last.jsonl", rows(99, 5000..5001));
        let required: Vec<u64> =
            (0..30).map(|window| counts.iter().filter(|count| **count / 10 > window).count() as u64 * 10).collect();
        let required: Vec<u64> = required.into_iter().filter(|count| *count > 0).collect();
        let done = holds_within(DEADLINE, || windows(&trial).len() >= required.len());
        assert!(done, "seed {seed}: {:?} of {required:?}\n{}", windows(&trial), job.stderr());
        stop(job);
        assert_eq!(trial.rows("late.jsonl"), [json!(null); 0], "seed {seed}");
        assert_eq!(windows(&trial), required, "seed {seed}");
    }
}

/// Distributed files have other watermarks.
#[test]
fn a_job_does_not_resume_after_files_become_distributed() {
    let trial = reading(WINDOWS);
    trial.move_in("in/0.jsonl", rows(0, 0..100));
    let mut job = trial.start_processes(1, 1);
    job.wait_until("all rows", |_| trial.rows("out.jsonl").len() == 100);
    stop(job);
    trial.change("spread = true", "spread = false");
    let output = trial.rejected_message(&["run", "job.toml"]);
    assert!(output.contains("in with spread = true"), "{output}");
    assert!(output.contains("--drop-state"), "{output}");
}

/// Names are read again if other files have them, and are kept as long as they are needed.
#[test]
fn a_file_that_replaces_a_read_one_is_read_by_its_process() {
    let trial = reading("");
    let names: Vec<String> = (0..4).map(|file| format!("{file}.jsonl")).collect();
    assert!((0..2).all(|process| names.iter().any(|name| Share::new(process, 2).owns(name))));
    let mut expected = BTreeMap::new();
    for (version, processes) in [(0_u64, 2), (1, 2), (2, 3), (3, 1)] {
        let mut job = trial.start_processes(processes, 1);
        begun(&mut job);
        for again in 0..2 {
            for (file, name) in (0_u64..).zip(&names) {
                let number = version * 100 + again * 10 + file;
                trial.move_in(&format!("in/{name}"), rows(number, 0..20));
                expected.insert(number, (0..20).collect::<Vec<u64>>());
            }
            job.wait_until("all rows", |_| trial.rows("out.jsonl").len() >= expected.len() * 20);
        }
        // Files deleted before they are read, or after it, hold nothing up.
        std::fs::remove_file(trial.path(&format!("in/{}", names[0]))).unwrap();
        stop(job);
        assert_eq!(by_file(&trial), expected);
    }
}

/// The status shows which process reads which file, its position and its event time.
#[test]
fn a_status_lists_the_files_being_read() {
    let trial = reading(&format!("rows_per_batch_max = 1\nbytes_per_batch_max = 64\n{WINDOWS}"));
    trial.change("batch = \"10ms\"", "batch = \"200ms\"");
    let name = |process: usize| {
        let share = Share::new(process, 2);
        (0..).map(|file| format!("{file}.jsonl")).find(|name| share.owns(name)).unwrap()
    };
    let names = [name(0), name(1)];
    names.iter().for_each(|name| drop(trial.write(&format!("in/{name}"), rows(7, 0..50_000))));
    let hosts = hosts(2);
    let arguments = ["run", "job.toml", "--processes", "2", "--hosts", &hosts];
    let mut job = Process::start(&mut trial.isolated_command(&arguments));
    let output = || -> Vec<Value> {
        let ended = trial.run_command(&["status", "job.toml", "--json"]);
        let status: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
        status["sources"][0]["partitions"]["furthest"].as_array().cloned().unwrap_or_default()
    };
    let is_told = |of: &[Value]| {
        of.len() == 2
            && of.iter().all(|file| file["position"].as_u64() > Some(0) && file["times_us"]["counts"].is_i64())
    };
    job.wait_until("both files are told of", |_| is_told(&output()));
    let by_process: BTreeSet<(u64, String)> = output()
        .iter()
        .map(|file| (file["process"].as_u64().unwrap(), file["name"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(by_process, (0..).zip(names).collect());
    job.kill_all();
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn files_of_hdfs_move_between_processes() {
        let hdfs = Hdfs::start();
        let put = |_: &Trial, name: &str, content| hdfs.put(&format!("/spread/{name}"), content);
        check_moves(&SpreadDir { path: hdfs.url("/spread"), settings: Vec::new(), put: Box::new(put) }, 5);
    }

    /// Files may have the names that positions of other sources have.
    #[test]
    fn a_file_may_have_any_name() {
        for spread in [true, false] {
            let trial = reading(WINDOWS);
            if !spread {
                trial.change("spread = true", "spread = false");
            }
            let names = ["end", "clock:a", "of:a=b", "rows:a", "cluster", "ü", "a b"];
            for (file, name) in (0_u64..).zip(names) {
                trial.write(&format!("in/{name}"), rows(file, 0..50));
            }
            let hosts = hosts(2);
            let arguments = ["--until-idle", "--processes", "2", "--hosts", &hosts];
            for _ in 0..2 {
                trial.run_ok(&arguments);
                let expected: BTreeMap<u64, Vec<u64>> = (0..7).map(|file| (file, (0..50).collect())).collect();
                assert_eq!(by_file(&trial), expected, "spread: {spread}");
            }
            // No file ends the time of all.
            trial.write("in/last", rows(99, 500..501));
            trial.run_ok(&arguments);
            let late = trial.rows("late.jsonl").len() as u64;
            assert_eq!(
                (windows(&trial).iter().sum::<u64>() + late, late * u64::from(spread)),
                (350, 0),
                "spread: {spread}"
            );
        }
    }

    /// A job that ends when nothing is left to read has read the files of all processes.
    #[test]
    fn a_job_ends_when_all_processes_have_read_their_files() {
        for processes in [1, 2, 3] {
            let trial = reading(WINDOWS);
            let names: Vec<String> = (0..9).map(|file| format!("{file}.jsonl")).collect();
            let owners = (0..processes).filter(|process| {
                let share = Share::new(*process, processes);
                names.iter().any(|name| share.owns(name))
            });
            assert_eq!(owners.count(), processes, "each has something to read");
            for (file, name) in (0_u64..).zip(&names) {
                trial.write(&format!("in/{name}"), rows(file, 0..20 * file));
            }
            let (number, addresses) = (processes.to_string(), hosts(processes));
            let together = ["--until-idle", "--workers", "1", "--processes", &number, "--hosts", &addresses];
            let arguments: &[&str] = if processes == 1 { &["--until-idle"] } else { &together };
            trial.run_ok(arguments);
            let expected: BTreeMap<u64, Vec<u64>> = (1..9).map(|file| (file, (0..20 * file).collect())).collect();
            assert_eq!(by_file(&trial), expected);
            trial.run_ok(arguments);
            assert_eq!(by_file(&trial), expected, "nothing is new");
            assert_eq!(trial.rows("late.jsonl"), [json!(null); 0]);
            // All windows but the last one are out, as files that were read to their ends hold nothing back.
            assert_eq!(windows(&trial).len(), 15, "{processes} processes: {:?}", windows(&trial));
        }
    }
}
