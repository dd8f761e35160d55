//! Disks that are full or become read-only while a job runs. The job reports it within a second, waits, and resumes on its own
//! when they are writable again. Mounting small file systems needs root.

use millstream_tests::{DEADLINE, Process, Trial, holds_within, root, wait_until};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A file system of its own at this path. Unmounted when this is dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// A file system of 4 MiB in memory. If nothing may be mounted: `None`, with the reason printed.
    fn small(path: PathBuf) -> Option<Mounted> {
        fs::create_dir_all(&path).unwrap();
        let size = ["-t", "tmpfs", "-o", "size=4m", "small"];
        mount(&size, &path).map(|()| Mounted(path)).inspect_err(|why| eprintln!("NOT TESTED: {why}")).ok()
    }

    /// A read-only bind mount of the same files over themselves. It is created elsewhere, as it must not be in use before it is
    /// read-only.
    fn read_only(path: PathBuf) -> Mounted {
        let aside = Mounted(path.with_extension("aside"));
        fs::create_dir_all(&aside.0).unwrap();
        mount(&["--bind", path.to_str().unwrap()], &aside.0).unwrap();
        mount(&["-o", "remount,bind,ro"], &aside.0).unwrap();
        mount(&["--bind", aside.0.to_str().unwrap()], &path).unwrap();
        Mounted(path)
    }
}

fn mount(arguments: &[&str], path: &Path) -> Result<(), String> {
    let done = Command::new("mount").args(arguments).arg(path).output().map_err(|error| error.to_string())?;
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily, as the job may have a file open there.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Fills the disk; frees the space when it is dropped.
struct Filler(PathBuf);

impl Filler {
    fn of(dir: &Path) -> Filler {
        let filler = Filler(dir.join("filler"));
        let mut file = File::create(&filler.0).unwrap();
        // To the last byte.
        for block in [vec![1; 64 << 10], vec![1; 4096], vec![1; 1]] {
            while file.write_all(&block).is_ok() {}
        }
        filler
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        fs::remove_file(&self.0).expect("the filler is there");
    }
}

/// A job that counts generated numbers without end. Its checkpoints are in `checkpoint`, the files of its sinks in `out`.
fn job() -> Trial {
    let trial = Trial::new(&format!(
        r#"name = "numbers"
batch = "20ms"
workers = 2
[checkpoint]
dir = "checkpoint/folder"
every = "100ms"
[sources.made]
kind = "rate"
rows_per_second = 500
[stages.totals]
from = "made"
key = "value"
plugin = "{}/plugins/running-count"
[sinks.parts]
from = "totals"
kind = "files"
path = "out/parts"
[sinks.lines]
from = "made"
kind = "queue"
path = "out/lines.jsonl"
"#,
        root().display()
    ));
    fs::create_dir(trial.path("out")).unwrap();
    trial
}

/// How many numbers the `files` sink has made visible.
fn parts(trial: &Trial) -> usize {
    let names = fs::read_dir(trial.path("out/parts")).into_iter().flatten().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().starts_with("part-")).count()
}

/// Each number is there once in each sink, and counted once.
fn nothing_lost_or_doubled(trial: &Trial) {
    let lines = trial.rows("out/lines.jsonl");
    assert!((0..).zip(&lines).all(|(value, row)| row["value"] == value), "{lines:?}");
    let mut values = Vec::new();
    for entry in fs::read_dir(trial.path("out/parts")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("part-") {
            for line in fs::read_to_string(&path).unwrap().lines() {
                let row: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!(row["count"], 1, "{line}");
                values.push(row["value"].as_u64().unwrap());
            }
        }
    }
    values.sort_unstable();
    assert!(values.iter().copied().eq(0..lines.len() as u64), "{} and {}", values.len(), lines.len());
}

/// Prevents a job from writing in this directory for a while. It must report that soon but not repeatedly, stop, and resume on
/// its own without losing anything.
fn check_pause<T>(dir: &str, reason: &str, remedy: &str, disturb: impl Fn(&Path) -> T) {
    let trial = job();
    let Some(_small) = Mounted::small(trial.path(dir)) else { return };
    let mut job = trial.start(&[]);
    for time in 1..=2 {
        let before = parts(&trial);
        job.wait_until("it goes on", |_| parts(&trial) > before + 3);
        let printed = |job: &Process| job.stderr().matches("paused: cannot ").count();
        let said_before = printed(&job);
        let disturbed = disturb(&trial.path(dir));
        let began = Instant::now();
        job.wait_until("it says that it waits", |job| printed(job) > said_before);
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}: {}", began.elapsed(), job.stderr());
        // By now all other writes wait as well, and the job has stopped. Exception: a log of plans that was already open can
        // still be written below a read-only mount.
        let (first, open_log) = (parts(&trial), reason.contains("Read-only") && dir == "checkpoint");
        let mut since = (Instant::now(), first);
        wait_until("it stands still", || {
            let now = parts(&trial);
            if now != since.1 {
                since = (Instant::now(), now);
            }
            since.0.elapsed() > Duration::from_millis(700) || open_log && now > first + 20
        });
        let message = job.stderr();
        // At most once for each thread that writes: plans, state, sinks.
        let lines = message.lines().filter(|line| line.contains("paused: ")).count();
        assert!(lines <= 4 * time, "{message}");
        assert!(message.contains(reason) && message.contains(remedy), "{message}");
        assert!(message.lines().filter(|line| line.contains("paused: ")).all(|line| line.contains(dir)), "{message}");
        assert!(!message.contains("restarting it") && !message.contains("error:"), "{message}");
        let resumed = |job: &Process| job.stderr().matches("resumed after a pause of ").count();
        let before = resumed(&job);
        drop(disturbed);
        let again = holds_within(DEADLINE, || resumed(&job) > before && parts(&trial) > since.1 + 3);
        assert!(again, "{}", job.stderr());
    }
    job.signal("TERM");
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("restarting it"), "{}", ended.stderr);
    nothing_lost_or_doubled(&trial);
    // The next start reads all of it.
    let mut job = trial.start(&[]);
    job.wait_for_stderr(" 0 batches to replay");
    job.signal("TERM");
    assert_eq!(job.wait().code, Some(0));
    nothing_lost_or_doubled(&trial);
}

/// A job with this number of new keys per second. They do not fit into memory and are in files in `cold`. After a pause they
/// arrive all at once, and must fit there.
fn cold_job(keys_per_second: u32, checkpoint: &str) -> Trial {
    Trial::new(&format!(
        r#"name = "cold"
batch = "20ms"
state = {{ memory = "1MiB", folder = "cold" }}
{checkpoint}
[sources.made]
kind = "rate"
rows_per_second = {keys_per_second}
[stages.totals]
from = "made"
key = "value"
plugin = "{}/plugins/running-count"
[sinks.lines]
from = "totals"
kind = "queue"
path = "lines.jsonl"
"#,
        root().display()
    ))
}

/// Each number came once to the sink of such a job, and was counted once, in order.
fn check_each_once(trial: &Trial) {
    let text = trial.text("lines.jsonl");
    let complete = text.lines().filter(|line| line.ends_with("]}"));
    let mut values: Vec<u64> = Vec::new();
    for line in complete {
        let batch: serde_json::Value = serde_json::from_str(line).unwrap();
        for row in batch["rows"].as_array().unwrap() {
            assert_eq!(row["count"], 1, "{row}");
            values.push(row["value"].as_u64().unwrap());
        }
    }
    values.sort_unstable();
    assert!(values.len() > 10_000 && values.iter().copied().eq(0..values.len() as u64), "{}", values.len());
}

#[test]
fn a_full_disk_of_spilled_rows() {
    let trial = cold_job(20_000, "");
    let Some(_small) = Mounted::small(trial.path("cold")) else { return };
    let mut job = trial.start(&["--workers", "1"]);
    let lines = || fs::read_to_string(trial.path("lines.jsonl")).unwrap_or_default().lines().count();
    job.wait_until("it begins", |_| lines() > 3);
    let filler = Filler::of(&trial.path("cold"));
    job.wait_for_stderr("paused: cannot write cold rows of state in ");
    let message = job.stderr();
    assert!(message.contains("No space left on device; the job resumes automatically when there is room"), "{message}");
    let before = lines();
    drop(filler);
    job.wait_for_stderr("resumed after a pause of ");
    job.wait_until("it goes on", |_| lines() > before + 5);
    job.kill();
    check_each_once(&trial);
}

/// The processes that are to take a job over may be who takes the room that it waits for, and so must not wait for it in turn.
#[test]
fn a_job_that_waits_for_room_keeps_the_workers_that_it_has() {
    let trial = cold_job(5_000, "[checkpoint]\ndir = \"checkpoint\"\nevery = \"100ms\"");
    let Some(_small) = Mounted::small(trial.path("cold")) else { return };
    let mut job = trial.start(&["--workers", "1"]);
    job.wait_until("a checkpoint is made", |_| trial.batches("lines.jsonl").len() > 20);
    let filler = Filler::of(&trial.path("cold"));
    job.wait_for_stderr("paused: cannot write cold rows of state in ");
    let scaled = trial.run_command(&["scale", "job.toml", "--workers", "2"]);
    assert_eq!(scaled.code, Some(1), "{}", scaled.stdout);
    let message = "the workers are unchanged: a process waits: cannot write cold rows of state in ";
    assert!(scaled.stderr.contains(message), "{}", scaled.stderr);
    assert!(scaled.stderr.contains("No space left on device; the job continues unchanged"), "{}", scaled.stderr);
    let before = trial.batches("lines.jsonl").len();
    drop(filler);
    job.wait_for_stderr("resumed after a pause of ");
    job.wait_until("it goes on", |_| trial.batches("lines.jsonl").len() > before + 5);
    job.kill_all();
    check_each_once(&trial);
}

#[test]
fn a_full_disk_of_checkpoints() {
    check_pause(
        "checkpoint",
        "No space left on device",
        "the job resumes automatically when there is room",
        Filler::of,
    );
}

#[test]
fn a_full_disk_of_sinks() {
    check_pause("out", "No space left on device", "the job resumes automatically when there is room", Filler::of);
}

#[test]
fn a_read_only_dir_of_checkpoints() {
    let read_only = |path: &Path| Mounted::read_only(path.to_owned());
    check_pause(
        "checkpoint",
        "Read-only file system",
        "the job resumes automatically when this works again",
        read_only,
    );
}

#[test]
fn a_read_only_dir_of_sinks() {
    let read_only = |path: &Path| Mounted::read_only(path.to_owned());
    check_pause("out", "Read-only file system", "the job resumes automatically when this works again", read_only);
}

#[test]
fn a_job_that_waits_for_a_disk_can_be_stopped_immediately_and_resumes_later() {
    let trial = job();
    let Some(_small) = Mounted::small(trial.path("checkpoint")) else { return };
    let mut job = trial.start(&[]);
    job.wait_until("it goes on", |_| parts(&trial) > 3);
    let filler = Filler::of(&trial.path("checkpoint"));
    job.wait_for_stderr("paused: cannot ");
    job.signal("TERM");
    job.wait_for_stderr("stopping; finishing batches in flight (again: stop immediately)");
    job.signal_again("TERM");
    let ended = job.wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    // A start waits, too.
    let mut job = trial.start(&[]);
    job.wait_for_stderr("No space left on device; the job resumes automatically when there is room");
    drop(filler);
    let before = parts(&trial);
    job.wait_until("it goes on", |_| parts(&trial) > before + 3);
    job.signal("TERM");
    assert_eq!(job.wait().code, Some(0));
    nothing_lost_or_doubled(&trial);
}
