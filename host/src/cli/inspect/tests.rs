use super::facts::*;
use super::*;
use millstream_base::ids::{BatchId, BatchTime, Generation};
use millstream_engine::checkpoint::types::{Column, JobStart, TableOf};
use millstream_rows::batch::position::Position;
use std::collections::BTreeMap;
use std::fs;

#[test]
fn checkpoints_jobs_and_plugins_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for made in ["checkpoint", "lost/plans", "lost/state", "lost/blobs", "plugin/state", "odd.toml"] {
        fs::create_dir_all(path(made)).unwrap();
    }
    fs::write(path("checkpoint/manifest.json"), "").unwrap();
    assert_eq!(detect_kind(&path("checkpoint")).unwrap(), InspectedKind::Checkpoint);
    assert_eq!(detect_kind(Path::new("s3://bucket/prefix")).unwrap(), InspectedKind::Checkpoint);
    assert_eq!(detect_kind(&path("job.toml")).unwrap(), InspectedKind::Job);
    assert_eq!(detect_kind(&path("odd.toml")).unwrap(), InspectedKind::Plugin);
    assert_eq!(detect_kind(&path("plugin")).unwrap(), InspectedKind::Plugin);
    assert_eq!(detect_kind(&path("plugin.wasm")).unwrap(), InspectedKind::Plugin);
    let lost = detect_kind(&path("lost")).unwrap_err().message;
    assert!(lost.ends_with("but no manifest.json; restore a copy of manifest.json"), "{lost}");
}

fn source(source: &str, files: &[(&str, u64, i64)]) -> SourceFacts {
    let files = files.iter().map(|(name, offset, mark)| ((*name).into(), Position { offset: *offset, mark: *mark }));
    SourceFacts { source: source.into(), files: files.collect() }
}

fn facts() -> DirFacts {
    let column = |name: &str, kind: &str| Column { name: name.into(), kind: kind.into(), nullable: false };
    let table = TableFacts {
        of: TableOf::Stage,
        name: "totals".into(),
        identity: String::new(),
        key: vec![column("word", "text")],
        state: vec![column("n", "int64")],
        base: FilesFacts { files: 2, rows: 1000, bytes: 20_480 },
        changes: FilesFacts { files: 1, rows: 1, bytes: 700 },
    };
    let checkpoint = CheckpointFacts {
        batch: BatchId(120),
        time: BatchTime(1_700_000_000_000_000),
        written: 1_700_000_000_250_000,
        generation: Generation(2),
        files: 3,
        bytes: 21_180,
        tables: vec![table],
        sinks: [("out".to_owned(), BatchId(120))].into(),
    };
    let start = |generation, after, workers| JobStart {
        generation: Generation(generation),
        checkpoint: BatchId(0),
        after: BatchId(after),
        first: BatchId(after + 1),
        workers,
        sources: vec![],
        job_digest: String::new(),
        upgrade: false,
        started_us: 0,
    };
    let positions = BTreeMap::from([
        ("a".to_owned(), source("file in.txt", &[("", 10, 1)])),
        ("b".to_owned(), source("directory in", &[("1.txt", 5, 1), ("2.txt", 7, 1), ("3.txt", 9, 0)])),
        ("c".to_owned(), source("queue q", &[("", 3, 2)])),
        ("d".to_owned(), source("rate 5", &[("", 1, 99)])),
        ("e".to_owned(), source("socket 127.0.0.1:1", &[("", 4, 0)])),
        ("f".to_owned(), source("directory none", &[])),
        ("g".to_owned(), source("several sockets", &[("clock:a:1", 0, 0), ("rows:a:1", 7, 99)])),
    ]);
    DirFacts {
        place: "/data/words".into(),
        job: "words".into(),
        job_id: "00ff".into(),
        generation: Generation(2),
        running: Some(false),
        starts: vec![start(1, 0, 1), start(2, 117, 8)],
        checkpoints: vec![checkpoint],
        positions,
        received: BTreeMap::from([("e".to_owned(), 6)]),
        planned: Some(PlannedFacts { first: BatchId(121), last: BatchId(123), batches: 3 }),
        stored: BTreeMap::from([("state".to_owned(), StoredObjects { objects: 3, bytes: 21_180 })]),
        problems: vec!["state/x.arrow is missing; the checkpoint of batch 120 needs it".into()],
    }
}

#[test]
fn facts_are_told_in_words() {
    let expected = "\
job:           words (00ff)
checkpoint:    /data/words
running:       no
generation:    2
starts:        1: from batch 1, 1 worker
               2: after batch 117, from batch 118, 8 workers
checkpoints:   batch 120 of 2023-11-14 22:13:20.000 UTC: 3 files, 20.7 KiB, written 2023-11-14 22:13:20.250 UTC by start 2
batch 120:     stage totals: key word text; state n int64
                 base: 1000 rows in 2 files, 20.0 KiB; changes: 1 row in 1 file, 700 bytes
positions:     a (file in.txt): read to the end, byte 10
               b (directory in): 2 files read to the end; 3.txt read to byte 9
               c (queue q): read to byte 3, and 2 rows of the line there
               d (rate 5): 1 row made
               e (socket 127.0.0.1:1): 4 rows received
               f (directory none): nothing read yet
               g (several sockets): a:1 7 rows received
received:      e: 6 rows durable
planned:       3 batches, 121 to 123; the next startup replays them
stored:        state: 3 objects, 20.7 KiB
problems:      state/x.arrow is missing; the checkpoint of batch 120 needs it
";
    assert_eq!(text::render(&facts()), expected);
}

#[test]
fn a_dir_whose_lock_is_held_belongs_to_a_running_job() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(running(dir.path()), Some(false));
    let lock = fs::File::create(dir.path().join("lock")).unwrap();
    assert_eq!(running(dir.path()), Some(false));
    lock.lock().unwrap();
    assert_eq!(running(dir.path()), Some(true));
    lock.unlock().unwrap();
    assert_eq!(running(dir.path()), Some(false));
}
