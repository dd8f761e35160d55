//! A folder whose files are spread over the processes of a job: rows come once and in order whatever dies, and none is late that
//! was in order in its file.

use millstream::internals::batch::partition::Share;
use millstream_tests::{DEADLINE, Hdfs, Process, Random, Trial, WeedServer, holds_within, hosts, kill};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Stops a job, of which a process may just have been killed.
fn stop(job: Process) {
    job.signal("TERM");
    let ended = job.wait();
    assert!(ended.code == Some(0) || ended.stderr.contains("died (signal 9) while it stopped"), "{}", ended.stderr);
}

fn begun(job: &mut Process) {
    // From then on a signal ends it in an orderly way.
    job.until("it runs", |job| {
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

/// So many rows of a file, from a number on.
fn rows(file: u64, numbers: std::ops::Range<u64>) -> String {
    numbers.map(|n| json!({ "f": file, "n": n, "at": 1_600_000_000 + n }).to_string() + "\n").collect()
}

/// What came of each file so far, in the order in which it came.
fn by_file(trial: &Trial) -> BTreeMap<u64, Vec<u64>> {
    let mut found: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for row in trial.rows("out.jsonl") {
        found.entry(row["f"].as_u64().unwrap()).or_default().push(row["n"].as_u64().unwrap());
    }
    found
}

/// Puts a file of this name and content there.
type Put<'a> = Box<dyn Fn(&Trial, &str, String) + 'a>;

/// Where the files of a job lie, and what it needs to get there.
struct FilesPlace<'a> {
    /// As the job file names it.
    path: String,
    settings: Vec<(String, String)>,
    put: Put<'a>,
}

#[test]
fn files_move_between_processes_and_each_row_comes_once_and_in_order() {
    // Folders are looked at while files come and go.
    let put = |trial: &Trial, name: &str, content| trial.move_in(&format!("in/{name}"), content);
    moves(&FilesPlace { path: "in".into(), settings: Vec::new(), put: Box::new(put) }, 9);
}

#[test]
fn objects_of_a_bucket_move_between_processes() {
    let server = WeedServer::start();
    let put = |_: &Trial, name: &str, content| server.put(&format!("spread/{name}"), content);
    let (path, settings) = ("s3://bucket/spread".to_owned(), server.settings());
    moves(&FilesPlace { path, settings, put: Box::new(put) }, 5);
}

/// Files come while processes die, and the job goes on with others.
fn moves(place: &FilesPlace<'_>, rounds: u64) {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut random = Random::new(seed);
    // Files are read in several batches.
    let trial = reading("rows_per_batch_max = 40\nbytes_per_batch_max = 2000\n");
    if place.path != "in" {
        trial.change("path = \"in\"", &format!("path = \"{}\"", place.path));
        // An object is whole from the first.
        trial.change("settle = \"0s\"\n", "");
    }
    let start = |random: &mut Random| {
        let (processes, workers) = (random.from(1, 3) as usize, random.from(1, 2).to_string());
        let (number, addresses) = (processes.to_string(), hosts(processes));
        let mut command = trial.command(&["run", "job.toml", "--workers", &workers]);
        if processes > 1 {
            command.args(["--processes", &number, "--hosts", &addresses]);
        }
        let mut job = Process::start(command.envs(place.settings.iter().cloned()));
        begun(&mut job);
        job
    };
    let mut expected: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut all = 0;
    let mut put = |round: u64, random: &mut Random| {
        for file in 0..random.from(1, 6) {
            let (file, count) = (round * 10 + file, random.from(0, 300));
            (place.put)(&trial, &format!("part-{file}.jsonl"), rows(file, 0..count));
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
                // One process of the job; the supervisor starts all of them again.
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

/// All files have the same times, each in order: with fewer clocks the rows of those that are read later would be late.
#[test]
fn no_row_is_late_that_is_in_order_in_its_file() {
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
        job.until("some rows", |_| came(&trial) >= all / 3);
        job.kill_all();
        let mut job = trial.start_processes(if processes == 1 { 1 } else { random.from(1, 3) as usize }, 1);
        job.until("all rows", |_| came(&trial) >= all);
        // Of the files that were read the furthest counts, and what comes now moves the time behind it.
        trial.move_in("in/empty.jsonl", "");
        trial.move_in("in/last.jsonl", rows(99, 5000..5001));
        let wanted: Vec<u64> =
            (0..30).map(|window| counts.iter().filter(|count| **count / 10 > window).count() as u64 * 10).collect();
        let wanted: Vec<u64> = wanted.into_iter().filter(|count| *count > 0).collect();
        let done = holds_within(DEADLINE, || windows(&trial).len() >= wanted.len());
        assert!(done, "seed {seed}: {:?} of {wanted:?}\n{}", windows(&trial), job.stderr());
        stop(job);
        assert_eq!(trial.rows("late.jsonl"), [json!(null); 0], "seed {seed}");
        assert_eq!(windows(&trial), wanted, "seed {seed}");
    }
}

/// The clocks of files that are spread are others.
#[test]
fn a_job_that_spreads_its_files_does_not_go_on_where_one_was_that_did_not() {
    let trial = reading(WINDOWS);
    trial.move_in("in/0.jsonl", rows(0, 0..100));
    let mut job = trial.start_processes(1, 1);
    job.until("all rows", |_| trial.rows("out.jsonl").len() == 100);
    stop(job);
    trial.change("spread = true", "spread = false");
    let told = trial.refused(&["run", "job.toml"]);
    assert!(told.contains("in with spread = true"), "{told}");
    assert!(told.contains("--drop-state"), "{told}");
}

/// Names are read again where other files have them, and are forgotten by nobody who needs them.
#[test]
fn a_file_in_the_place_of_one_that_was_read_is_read_by_its_process() {
    let trial = reading("");
    let names: Vec<String> = (0..4).map(|file| format!("{file}.jsonl")).collect();
    assert!((0..2).all(|process| names.iter().any(|name| Share::of(process, 2).owns(name))));
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
            job.until("all rows", |_| trial.rows("out.jsonl").len() >= expected.len() * 20);
        }
        // What has gone before anybody reads it, or behind that, holds nothing up.
        std::fs::remove_file(trial.path(&format!("in/{}", names[0]))).unwrap();
        stop(job);
        assert_eq!(by_file(&trial), expected);
    }
}

/// A status tells which process reads which file, how far it is, and how far its time has come.
#[test]
fn a_status_tells_of_the_files_that_are_read() {
    let trial = reading(&format!("rows_per_batch_max = 1\nbytes_per_batch_max = 64\n{WINDOWS}"));
    trial.change("batch = \"10ms\"", "batch = \"200ms\"");
    let name = |process: usize| {
        let share = Share::of(process, 2);
        (0..).map(|file| format!("{file}.jsonl")).find(|name| share.owns(name)).unwrap()
    };
    let names = [name(0), name(1)];
    names.iter().for_each(|name| drop(trial.write(&format!("in/{name}"), rows(7, 0..50_000))));
    let hosts = hosts(2);
    let arguments = ["run", "job.toml", "--processes", "2", "--hosts", &hosts];
    let mut job = Process::start(&mut trial.command_apart(&arguments));
    let told = || -> Vec<Value> {
        let ended = trial.told(&["status", "job.toml", "--json"]);
        let status: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
        status["sources"][0]["partitions"]["furthest"].as_array().cloned().unwrap_or_default()
    };
    let is_told = |of: &[Value]| {
        of.len() == 2
            && of.iter().all(|file| file["position"].as_u64() > Some(0) && file["times_us"]["counts"].is_i64())
    };
    job.until("both files are told of", |_| is_told(&told()));
    let by_process: BTreeSet<(u64, String)> = told()
        .iter()
        .map(|file| (file["process"].as_u64().unwrap(), file["name"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(by_process, (0..).zip(names).collect());
    job.kill_all();
}

/// What takes long: `make torture` runs it, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn files_of_hdfs_move_between_processes() {
        let hdfs = Hdfs::start();
        let put = |_: &Trial, name: &str, content| hdfs.put(&format!("/spread/{name}"), content);
        moves(&FilesPlace { path: hdfs.url("/spread"), settings: Vec::new(), put: Box::new(put) }, 5);
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
                trial.run_well(&arguments);
                let expected: BTreeMap<u64, Vec<u64>> = (0..7).map(|file| (file, (0..50).collect())).collect();
                assert_eq!(by_file(&trial), expected, "spread: {spread}");
            }
            // No file ends the time of all.
            trial.write("in/last", rows(99, 500..501));
            trial.run_well(&arguments);
            let late = trial.rows("late.jsonl").len() as u64;
            assert_eq!(
                (windows(&trial).iter().sum::<u64>() + late, late * u64::from(spread)),
                (350, 0),
                "spread: {spread}"
            );
        }
    }

    /// A job that ends when nothing is left to read has read what all processes own.
    #[test]
    fn a_job_ends_by_itself_when_all_processes_have_read_their_files() {
        for processes in [1, 2, 3] {
            let trial = reading(WINDOWS);
            let names: Vec<String> = (0..9).map(|file| format!("{file}.jsonl")).collect();
            let owners = (0..processes).filter(|process| {
                let share = Share::of(*process, processes);
                names.iter().any(|name| share.owns(name))
            });
            assert_eq!(owners.count(), processes, "each has something to read");
            for (file, name) in (0_u64..).zip(&names) {
                trial.write(&format!("in/{name}"), rows(file, 0..20 * file));
            }
            let (number, addresses) = (processes.to_string(), hosts(processes));
            let together = ["--until-idle", "--workers", "1", "--processes", &number, "--hosts", &addresses];
            let arguments: &[&str] = if processes == 1 { &["--until-idle"] } else { &together };
            trial.run_well(arguments);
            let expected: BTreeMap<u64, Vec<u64>> = (1..9).map(|file| (file, (0..20 * file).collect())).collect();
            assert_eq!(by_file(&trial), expected);
            trial.run_well(arguments);
            assert_eq!(by_file(&trial), expected, "nothing is new");
            assert_eq!(trial.rows("late.jsonl"), [json!(null); 0]);
            // All windows are out but the last one, as the files that were read to their ends hold nothing back.
            assert_eq!(windows(&trial).len(), 15, "{processes} processes: {:?}", windows(&trial));
        }
    }
}
