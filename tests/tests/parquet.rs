//! Files of Parquet as sources, written by another program.

use millstream_tests::{Process, Trial, WeedServer, root};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Has pyarrow do something in a folder, where `pa` and `pq` are.
fn python(folder: &Path, script: &str) {
    let python = Command::new(root().join("scripts/python.sh")).output().expect("a shell").stdout;
    let python = String::from_utf8(python).expect("a path");
    let script = format!("import pyarrow as pa, pyarrow.parquet as pq, datetime\n{script}");
    let ended = Process::start(Command::new(python.trim()).args(["-c", &script]).current_dir(folder)).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// A job with checkpoints that copies a folder to `out.jsonl`.
fn copying(path: &str, schema: &str) -> Trial {
    Trial::new(&format!(
        "batch = \"20ms\"\n[checkpoint]\ndir = \"kept\"\nevery = 3\n[sources.in]\nkind = \"directory\"\npath = \"{path}\"\n\
         poll = \"20ms\"\nformat = \"parquet\"\nschema = {{ {schema} }}\nrows_per_batch_max = 150\n\
         [sinks.out]\nfrom = \"in\"\nkind = \"queue\"\npath = \"out.jsonl\"\n"
    ))
}

fn start(trial: &Trial, settings: &[(String, String)], fault: &str) -> Process {
    let mut command = trial.command(&["run", "job.toml", "--until-idle", "--unsupervised"]);
    Process::start(command.envs(settings.iter().cloned()).env("MILLSTREAM_TEST_FAULT", fault))
}

const NUMBERED: &str =
    "pq.write_table(pa.table({'x': ['y' * 40] * 3000, 'n': range(3000)}), 'numbered', row_group_size=700)";

#[test]
fn rows_of_parquet_are_read_exactly_once() {
    let server = WeedServer::start();
    for (path, step) in [("in", "plan.durable:5"), ("in", "commit.after:7"), ("s3://bucket/in", "commit.written:6")] {
        let trial = copying(path, "n = \"int64\", x = \"text\", none = \"text\"");
        python(trial.folder(), NUMBERED);
        let bytes = fs::read(trial.path("numbered")).expect("it is there");
        fs::create_dir(trial.path("in")).expect("a folder");
        fs::write(trial.path("in/1.parquet"), &bytes).expect("it can be written");
        server.put("in/1.parquet", &bytes);
        let ended = start(&trial, &server.settings(), &format!("kill@{step}")).wait();
        assert_eq!(ended.code, None, "it does not come to {step}: {}", ended.stderr);
        let ended = start(&trial, &server.settings(), "").wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let rows = trial.rows("out.jsonl");
        let numbers: Vec<_> = rows.iter().map(|row| row["n"].as_u64().expect("a number")).collect();
        assert_eq!(numbers, (0..3000).collect::<Vec<_>>(), "{path} {step}");
        assert!(rows.iter().all(|row| row["x"] == "y".repeat(40) && row["none"] == Value::Null));
    }
}

#[test]
fn types_of_other_writers_become_those_of_the_job() {
    let schema = "i = \"int64\", f = \"float64\", d = \"text\", t = \"timestamp\", naive = \"timestamp\", b = \"bool\", \
                  inner = { type = \"int64\", path = \"s.a\" }, word = \"text\"";
    let trial = copying("in", schema);
    fs::create_dir(trial.path("in")).expect("a folder");
    python(
        trial.folder(),
        "at = datetime.datetime(2026, 11, 21, 12, 30, 0, 250000)\n\
         pq.write_table(pa.table({'i': pa.array([7, None], pa.int16()), 'f': pa.array([0.5, 2], pa.float32()),\n\
         'd': pa.array([datetime.date(2026, 11, 21), None]), 't': pa.array([at, None], pa.timestamp('ms', 'Europe/Berlin')),\n\
         'naive': pa.array([at, at], pa.timestamp('ns')), 'b': [True, False], 's': [{'a': 1, 'z': 2}, {'a': None, 'z': 3}],\n\
         'word': pa.array(['a', 'b']).dictionary_encode(), 'left out': [[1], [2]]}), 'in/1.parquet')",
    );
    let ended = start(&trial, &[], "").wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let time = "2026-11-21T12:30:00.250000Z";
    let expected = [
        json!({ "i": 7, "f": 0.5, "d": "2026-11-21", "t": time, "naive": time, "b": true, "inner": 1, "word": "a" }),
        json!({ "i": null, "f": 2.0, "d": null, "t": null, "naive": time, "b": false, "inner": null, "word": "b" }),
    ];
    assert_eq!(trial.rows("out.jsonl"), expected);
}

/// What cannot be read of a file is told, and the job reads on in others.
#[test]
fn damaged_files_are_told() {
    let trial = copying("in", "n = \"int64\"");
    python(trial.folder(), NUMBERED);
    let bytes = fs::read(trial.path("numbered")).expect("it is there");
    fs::create_dir(trial.path("in")).expect("a folder");
    trial.write("in/1.parquet", "this is not one");
    trial.write("in/2.parquet", &bytes[..bytes.len() / 2]);
    let mut broken = bytes.clone();
    broken.iter_mut().skip(bytes.len() / 2).step_by(7).take(40).for_each(|byte| *byte ^= 0x55);
    trial.write("in/3.parquet", &broken);
    trial.write("in/4.parquet", &bytes);
    let ended = start(&trial, &[], "").wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for name in ["1.parquet", "2.parquet"] {
        assert!(ended.stderr.contains(&format!("{name}`: it is damaged, or not whole")), "{}", ended.stderr);
    }
    let rows = trial.rows("out.jsonl");
    let numbers: Vec<_> = rows.iter().filter_map(|row| row["n"].as_u64()).collect();
    assert!(numbers.ends_with(&(0..3000).collect::<Vec<_>>()), "{} rows", numbers.len());
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}
