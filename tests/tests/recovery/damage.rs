//! Damaged checkpoints. Whatever is truncated or flipped, the job is rejected with the name of what is damaged, or its output is
//! as if nothing had happened.

use millstream::error::Result;
use millstream::internals::checkpoint::store::{self, Store};
use millstream::internals::checkpoint::types::{Manifest, PlanEntry};
use millstream::internals::checkpoint::{manifest, plan, positions, read, record};
use millstream_tests::{Ended, Process, Trial, root};
use regex::Regex;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const INPUT: &str = "[[\"a\"],[\"b\"],[\"a\"]]\n[[\"b\"]]\n[]\n[[\"c\"],[\"a\"]]\n[[\"a\"],[\"b\"]]\n[[\"c\"]]\n[[\"a\"]]\n[[\"d\"],[\"b\"]]\n";
/// Larger files are damaged here and there.
const COMPLETE_BYTES_MAX: usize = 16 << 10;

/// A job with virtual time that counts words, with a checkpoint every second batch.
fn trial() -> Trial {
    let trial = Trial::new(&format!(
        r#"name = "counts"
clock = "manual"
workers = 1
[checkpoint]
dir = "checkpoint"
every = 2
[sources.words]
kind = "queue"
path = "input.jsonl"
schema = {{ word = "text" }}
[stages.totals]
from = "words"
key = "word"
plugin = "{}/plugins/running-count"
[sinks.out]
from = "totals"
kind = "queue"
path = "out.jsonl"
"#,
        root().display()
    ));
    trial.write("input.jsonl", INPUT);
    trial
}

fn run(trial: &Trial, arguments: &[&str], fault: &str) -> Ended {
    let all = [&["run", "job.toml", "--unsupervised"], arguments].concat();
    Process::start(trial.command(&all).env("MILLSTREAM_TEST_FAULT", fault)).wait()
}

fn golden() -> String {
    let trial = trial();
    assert_eq!(run(&trial, &[], "").code, Some(0));
    trial.text("out.jsonl")
}

type Files = BTreeMap<String, Vec<u8>>;

/// The files below a directory of the trial by relative path, without the lock and the partial files that a kill left.
fn files(trial: &Trial) -> Files {
    fn walk(root: &Path, dir: &Path, found: &mut Files) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                walk(root, &path, found);
            } else if name != "lock" && !name.ends_with(".tmp") {
                let inside = path.strip_prefix(root).unwrap().to_str().unwrap();
                found.insert(inside.to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    let mut found = Files::new();
    walk(trial.dir(), trial.dir(), &mut found);
    found
}

/// Restores the trial's directory.
fn restore(trial: &Trial, before: &Files) {
    for path in files(trial).keys().filter(|path| !before.contains_key(*path)) {
        fs::remove_file(trial.path(path)).unwrap();
    }
    for (path, bytes) in before {
        trial.write(path, bytes);
    }
}

/// The damage to a file. `None` instead of its bytes means that it is deleted.
type Damage = (String, Option<Vec<u8>>);

/// Every truncation and every flipped bit of a small file, many of a large one.
fn damages(bytes: &[u8]) -> Vec<Damage> {
    let small = bytes.len() <= COMPLETE_BYTES_MAX;
    let step = if small { 1 } else { bytes.len() / 64 };
    let bits = if small { 8 } else { 1 };
    let mut damages = vec![("is gone".to_owned(), None)];
    for at in (0..bytes.len()).step_by(step) {
        damages.push((format!("ends at byte {at}"), Some(bytes[..at].to_vec())));
        for bit in 0..bits {
            let bit = (bit + at) % 8;
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1 << bit;
            damages.push((format!("bit {bit} of byte {at} is flipped"), Some(flipped)));
        }
    }
    damages
}

/// A few of them, spread over the file.
fn few_damages(bytes: &[u8]) -> Vec<Damage> {
    let mut damages = damages(bytes);
    let step = damages.len() / 5;
    // Of several bits and kinds. A new log is empty and can only be deleted.
    (0..5).filter_map(|number| damages.get_mut(number * step + number).map(std::mem::take)).collect()
}

fn apply(trial: &Trial, path: &str, damaged: Option<&Vec<u8>>) {
    match damaged {
        Some(bytes) => drop(trial.write(path, bytes)),
        None => fs::remove_file(trial.path(path)).unwrap(),
    }
}

/// Reads one object as a start does. This is only for speed: most damage shows here.
fn read_first(store: &dyn Store, undamaged: &Manifest, path: &str) -> Result<()> {
    let tables = undamaged.checkpoints.iter().flat_map(|checkpoint| &checkpoint.tables);
    for table in tables.filter(|table| table.files.iter().any(|file| file.path == path)) {
        let (first, end) = positions::ALL_GROUPS;
        read::load_table(store, table, first, end, None)?;
    }
    if path.starts_with("plans/") {
        plan::read_heads(store)?.iter().try_for_each(|log| log.check(&store.location()))?;
    }
    Ok(())
}

/// Everything that a start reads of a checkpoint directory, or the error.
fn read_all(store: &dyn Store) -> Result<String> {
    let Some((manifest, _)) = manifest::read(store)? else { return Ok("nothing".into()) };
    let Manifest { starts, checkpoints, .. } = &manifest;
    let mut tables = Vec::new();
    for table in checkpoints.iter().flat_map(|checkpoint| &checkpoint.tables) {
        let (first, end) = positions::ALL_GROUPS;
        tables.push(read::load_table(store, table, first, end, None)?);
    }
    let logs = plan::read_heads(store)?;
    for log in &logs {
        log.check(&store.location())?;
    }
    let mut entries: Vec<PlanEntry> = Vec::new();
    plan::read_entries(store, &logs, |_, _| true, |_, entry| entries.push(entry))?;
    let record = record::read(store, starts.last().expect("a job that was started"))?;
    let logs: Vec<_> = logs.iter().map(|log| (&log.path, &log.heads)).collect();
    Ok(format!("{manifest:?}\n{tables:?}\n{logs:?}\n{entries:?}\n{record:?}"))
}

/// From each damage that is not rejected, the trial continues to the golden output. For each that is rejected, the fix that the
/// message names works.
fn check(trial: &Trial, golden: &str) {
    let before = files(trial);
    let complete: Vec<(&String, &Vec<u8>)> =
        before.iter().filter(|(path, _)| path.starts_with("checkpoint/")).collect();
    assert!(
        complete.iter().any(|(path, _)| path.ends_with(".log"))
            && complete.iter().any(|(path, _)| path.ends_with("totals.arrow"))
    );
    // In memory, if there is a directory for that: this much damage takes long on a disk.
    let memory = Path::new("/dev/shm");
    let copy = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let store = store::open("checkpoint", copy.path()).unwrap();
    for (path, bytes) in &complete {
        let path = copy.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let facts = read_all(&*store).unwrap();
    let (undamaged, _) = manifest::read(&*store).unwrap().unwrap();
    let last = undamaged.starts.last().unwrap();
    let named = trial.text("checkpoint/manifest.json");
    let mut others: BTreeMap<String, (&String, Damage)> = BTreeMap::new();
    let (mut noticed, mut harmless) = (0, 0);
    for (path, bytes) in &complete {
        let inside = path.strip_prefix("checkpoint/").unwrap();
        for (what, damaged) in damages(bytes) {
            let there = copy.path().join(path);
            match &damaged {
                Some(bytes) => fs::write(there, bytes).unwrap(),
                None => fs::remove_file(there).unwrap(),
            }
            match read_first(&*store, &undamaged, inside).and_then(|()| read_all(&*store)) {
                Err(error) => {
                    noticed += 1;
                    assert!(error.message.contains(inside), "{path} {what}, and nobody says so: {error}");
                }
                Ok(read) if read == facts => {
                    harmless += 1;
                    // Plans of jobs are read, and compared with their digest, if a batch must be replayed unchanged. Files of
                    // older starts and checkpoints are never read.
                    let unread = *inside != last.record_path() && !named.contains(inside);
                    assert!(unread || inside.starts_with("blobs/"), "{path} {what}, and nobody notices");
                }
                Ok(read) => drop(others.insert(read, (path, (what, damaged)))),
            }
        }
        fs::write(copy.path().join(path), bytes).unwrap();
    }
    let few =
        complete.iter().flat_map(|(path, bytes)| few_damages(bytes).into_iter().map(move |damage| (*path, damage)));
    let runs: Vec<_> = few.chain(others.into_values()).collect();
    println!("{noticed} damages are noticed, {harmless} are not read, {} are tried with the program", runs.len());
    let (mut went_on, mut refused) = (0, 0);
    for (path, (what, damaged)) in runs {
        apply(trial, path, damaged.as_ref());
        if continues(trial, path, &what, golden, &before) {
            went_on += 1
        } else {
            refused += 1
        }
        restore(trial, &before);
    }
    println!("{went_on} of them went on to the same output, {refused} were refused");
    assert!(refused > 10 && went_on > 5, "{refused} {went_on}");
}

/// Whether a start continues to the golden output; otherwise it must be rejected as expected.
fn continues(trial: &Trial, path: &str, what: &str, golden: &str, before: &Files) -> bool {
    let damaged = files(trial);
    let ended = run(trial, &[], "");
    let output = format!("{path} {what}: {}", ended.stderr);
    if ended.code == Some(0) {
        assert!(trial.text("out.jsonl") == golden, "{output}\n{}", trial.text("out.jsonl"));
        return true;
    }
    assert!(matches!(ended.code, Some(1 | 2)), "{output}");
    assert!(!output.contains("panicked") && !output.contains("bug in Millstream"), "{output}");
    let name = path.strip_prefix("checkpoint/").unwrap();
    // No message names a missing log; messages name its content.
    let named = ended.stderr.contains(name) || name.starts_with("plans/") && output.contains("plans are missing: ");
    assert!(named, "{output}");
    assert!(files(trial) == damaged, "something was changed: {output}");
    let nothing_left = output.contains("No other checkpoint can be read either");
    if path.ends_with("manifest.json") || nothing_left && path.ends_with(".arrow") {
        // All checkpoints need it, so there is no earlier batch to go back to.
        assert!(output.contains("`--fresh`") && output.contains("from a copy"), "{output}");
        trial.remove_queue("out.jsonl");
        assert_eq!(run(trial, &["--fresh", "--yes"], "").code, Some(0));
        assert!(trial.text("out.jsonl") == golden);
        return false;
    }
    let resume = Regex::new("`--resume-from ([0-9]+)`").unwrap();
    let batch = &resume.captures(&ended.stderr).unwrap_or_else(|| panic!("no way out: {output}"))[1];
    let ended = run(trial, &["--resume-from", batch], "");
    assert_eq!(ended.code, Some(0), "{output}\n--resume-from {batch}: {}", ended.stderr);
    let (out, batch) = (trial.text("out.jsonl"), batch.parse::<usize>().unwrap());
    let committed = String::from_utf8_lossy(&before["out.jsonl"]).into_owned();
    if batch >= committed.lines().count() {
        assert!(out == golden, "{output}\n--resume-from {batch}: {out}");
    } else {
        // Committed output stays, and the input after that batch is read again with new ids.
        assert!(out.starts_with(&committed), "{output}\n{out}");
        let rows =
            |text: &str| text.lines().map(|line| line.split_once("\"rows\"").unwrap().1.to_owned()).collect::<Vec<_>>();
        let (again, golden) = (rows(&out[committed.len()..]), rows(golden));
        assert_eq!(again, golden[batch..], "{output}\n--resume-from {batch}");
    }
    false
}

#[test]
fn damage_after_a_kill() {
    let golden = golden();
    let trial = trial();
    let four: String = INPUT.split_inclusive('\n').take(4).collect();
    trial.write("input.jsonl", four);
    assert_eq!(run(&trial, &[], "").code, Some(0));
    // After some checkpoints, with committed batches and others that are only planned.
    trial.write("input.jsonl", INPUT);
    assert_eq!(run(&trial, &[], "kill@commit.after:2").code, None);
    check(&trial, &golden);
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn damage_after_a_stop() {
        let golden = golden();
        let trial = trial();
        let five: String = INPUT.split_inclusive('\n').take(5).collect();
        trial.write("input.jsonl", five);
        assert_eq!(run(&trial, &[], "").code, Some(0));
        trial.write("input.jsonl", INPUT);
        check(&trial, &golden);
    }
}
