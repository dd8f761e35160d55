//! Sinks of jobs with checkpoints: what they find after a process died between any two steps of a commit, and what they reject.

use super::super::settings::{FilesLayout, FilesRoll};
use super::*;
use millstream_base::ids::Generation;
use millstream_base::owner::Owner;
use millstream_connect::sink::marker::{self, Marker, Pending};
use millstream_connect::sink::written;
use std::time::Duration;

fn owner(job_id: &str, generation: u64) -> Owner {
    Owner { job: "job".into(), job_id: job_id.into(), generation: Generation(generation) }
}

/// Settings for text in the directory `out`, in files that roll like this.
fn rolling(roll: Option<FilesRoll>) -> FileWrites {
    FileWrites { layout: FilesLayout { roll, ..FilesLayout::default() }, ..FileWrites::new("out", FileFormat::Text) }
}

/// A directory `out` for a `files` sink, and a file `out.jsonl` for a queue.
struct SinkPaths {
    dir: TempDir,
    spec: SinkSpec,
    origin: Origin,
}

impl SinkPaths {
    fn new(spec: SinkSpec) -> SinkPaths {
        let dir = TempDir::new().unwrap();
        let origin = origin(dir.path());
        SinkPaths { dir, spec, origin }
    }

    fn files() -> SinkPaths {
        SinkPaths::new(files("out", FileFormat::Text))
    }

    fn queue() -> SinkPaths {
        SinkPaths::new(queue("out.jsonl"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn open(&self, job_id: &str, generation: u64) -> Result<Box<dyn Sink>> {
        let owner = owner(job_id, generation);
        open(&self.spec, strings(&[]).schema(), &self.origin, Some(&owner), &Failure::default(), StartupRetry::No)
    }

    fn committed(&self) -> Option<BatchId> {
        committed(&self.spec, &self.origin, "a", StartupRetry::No).unwrap()
    }

    fn marker(&self) -> Marker {
        marker::read(&self.path("out/.millstream")).unwrap().unwrap()
    }

    /// Returns names and bytes of all files of the directory `out`.
    fn all(&self) -> Vec<(String, Vec<u8>)> {
        let all = names(&self.path("out"));
        all.into_iter().map(|name| (name.clone(), fs::read(self.path("out").join(name)).unwrap())).collect()
    }

    /// Returns the parts that a reader sees.
    fn parts(&self) -> Vec<String> {
        names(&self.path("out")).into_iter().filter(|name| !name.starts_with('.')).collect()
    }
}

fn rows(text: &str) -> Vec<RecordBatch> {
    vec![strings(&[Some(text)])]
}

const PART_2: &str = "part-0000000002.txt";
const PART_3: &str = "part-0000000003.txt";
const UNFINISHED_3: &str = "out/.part-0000000003.txt.tmp";

/// Returns paths where batches 1 and 2 are committed, the latter with rows.
fn two() -> SinkPaths {
    let paths = SinkPaths::files();
    let mut sink = paths.open("a", 1).unwrap();
    assert_eq!((sink.committed(), paths.committed()), (None, None));
    sink.commit(BatchId(1), BatchTime(0), vec![]).unwrap();
    sink.commit(BatchId(2), BatchTime(0), rows("two")).unwrap();
    assert_eq!((sink.committed(), paths.committed()), (Some(BatchId(2)), Some(BatchId(2))));
    paths
}

#[test]
fn a_batch_without_rows_is_not_said_to_be_kept() {
    let paths = two();
    let mut sink = paths.open("a", 2).unwrap();
    sink.commit(BatchId(3), BatchTime(0), vec![]).unwrap();
    assert_eq!((sink.committed(), paths.committed()), (Some(BatchId(2)), Some(BatchId(2))));
    assert_eq!(sink.commit(BatchId(3), BatchTime(0), rows("three")).unwrap_err().kind, Kind::Bug);
}

#[test]
fn a_part_that_no_marker_names_is_not_committed_and_comes_again() {
    let paths = two();
    fs::write(paths.path(UNFINISHED_3), "three\n").unwrap();
    fs::write(paths.path("out/.millstream.tmp"), "{\"vers").unwrap();
    assert_eq!(paths.committed(), Some(BatchId(2)));
    let mut sink = paths.open("a", 2).unwrap();
    assert_eq!(sink.committed(), Some(BatchId(2)));
    assert!(!paths.path(UNFINISHED_3).exists());
    sink.commit(BatchId(3), BatchTime(0), rows("three")).unwrap();
    assert_eq!(paths.parts(), [PART_2, PART_3]);
    assert_eq!(paths.marker(), Marker::new(&owner("a", 2), Some(BatchId(3)), Some(PART_3.into())));
}

#[test]
fn a_part_that_the_marker_names_is_committed_and_gets_its_name() {
    let paths = two();
    fs::write(paths.path(UNFINISHED_3), "three\n").unwrap();
    let marker = Marker::new(&owner("a", 1), Some(BatchId(3)), Some(PART_3.into()));
    marker::replace(&paths.path("out/.millstream"), &marker).unwrap();
    assert_eq!(paths.committed(), Some(BatchId(3)));
    assert_eq!(paths.parts(), [PART_2], "asking changes nothing");
    let mut sink = paths.open("a", 2).unwrap();
    assert_eq!(sink.committed(), Some(BatchId(3)));
    assert_eq!(paths.parts(), [PART_2, PART_3]);
    assert_eq!(fs::read_to_string(paths.path("out").join(PART_3)).unwrap(), "three\n");
    let error = sink.commit(BatchId(3), BatchTime(0), rows("three")).unwrap_err();
    assert_eq!(error.kind, Kind::Bug);
}

#[test]
fn a_part_that_its_reader_moved_away_does_not_come_again() {
    let paths = two();
    fs::rename(paths.path("out").join(PART_2), paths.path("taken")).unwrap();
    let sink = paths.open("a", 2).unwrap();
    assert_eq!(sink.committed(), Some(BatchId(2)));
    assert_eq!(paths.parts(), [""; 0]);
}

#[test]
fn a_part_without_its_marker_is_replaced_by_the_same_rows_only() {
    let paths = two();
    fs::write(paths.path("out").join(PART_3), "three\n").unwrap();
    let mut sink = paths.open("a", 2).unwrap();
    let error = sink.commit(BatchId(3), BatchTime(0), rows("other")).unwrap_err();
    assert!(error.message.contains("sink `out`: batch 3") && error.message.contains("other rows"), "{error}");
    assert_eq!((paths.marker().batch, sink.committed()), (Some(BatchId(2)), Some(BatchId(2))));
    sink.commit(BatchId(3), BatchTime(0), rows("three")).unwrap();
    assert_eq!(paths.parts(), [PART_2, PART_3]);
    assert_eq!(paths.marker().batch, Some(BatchId(3)));
}

#[test]
fn what_belongs_to_others_or_cannot_be_read_is_refused_and_not_touched() {
    let rejection = |paths: &SinkPaths, job_id: &str, part: &str| {
        let before = paths.all();
        let schema = strings(&[]).schema();
        let checked = check(&paths.spec, &schema, &paths.origin, true, Some(job_id), StartupRetry::No).unwrap_err();
        assert!(checked.message.starts_with("job.toml:9: sink `out`: ") && checked.message.contains(part), "{checked}");
        let read = committed(&paths.spec, &paths.origin, job_id, StartupRetry::No).unwrap_err();
        assert!(read.message.contains(part), "{read}");
        let opened = paths.open(job_id, 5).err().unwrap();
        assert!(opened.message.contains(part), "{opened}");
        assert_eq!(paths.all(), before);
    };
    let paths = two();
    rejection(&paths, "b", "belongs to another job `job`");
    let begins = check(&paths.spec, &strings(&[]).schema(), &paths.origin, false, None, StartupRetry::No).unwrap_err();
    assert!(begins.message.contains("belongs to an earlier job `job`"), "{begins}");
    check(&paths.spec, &strings(&[]).schema(), &paths.origin, true, Some("a"), StartupRetry::No).unwrap();

    let path = paths.path("out/.millstream");
    let content = fs::read(&path).unwrap();
    for length in 0..content.len() {
        fs::write(&path, &content[..length]).unwrap();
        assert!(
            committed(&paths.spec, &paths.origin, "a", StartupRetry::No).unwrap_err().message.contains("is damaged"),
            "{length}"
        );
    }
    for bit in 0..content.len() * 8 {
        let mut flipped = content.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, flipped).unwrap();
        assert!(
            committed(&paths.spec, &paths.origin, "a", StartupRetry::No).unwrap_err().message.contains("is damaged"),
            "{bit}"
        );
    }
    rejection(&paths, "a", "is damaged");
    let later = Marker { version: 4, ..Marker::new(&owner("a", 1), None, None) };
    marker::replace(&path, &later).unwrap();
    rejection(&paths, "a", "a later version of Millstream");
    fs::remove_file(&path).unwrap();
    rejection(&paths, "a", "parts of an earlier run (part-0000000002.txt)");
}

#[test]
fn whoever_lost_the_job_commits_no_more() {
    let paths = two();
    let mut old = paths.open("a", 2).unwrap();
    let locked = paths.open("a", 3).err().unwrap();
    assert!(locked.message.contains("another running process has it locked"), "{locked}");
    // Where locks have no effect, as between machines, the marker decides.
    let marker = Marker::new(&owner("a", 3), Some(BatchId(2)), Some(PART_2.into()));
    marker::replace(&paths.path("out/.millstream"), &marker).unwrap();
    let lost = old.commit(BatchId(3), BatchTime(0), rows("three")).unwrap_err();
    assert!(lost.message.contains("generation 3") && lost.message.contains("was replaced"), "{lost}");
    assert_eq!((paths.parts(), paths.marker()), (vec![PART_2.to_string()], marker));
    drop(old);
    let lost = paths.open("a", 2).err().unwrap();
    assert!(lost.message.contains("was replaced"), "{lost}");
}

/// A later run lists the shares. Then an earlier one opens a share that had no marker yet: it must notice that it is late.
#[test]
fn an_older_start_does_not_begin_with_a_share_that_a_later_one_did_not_see() {
    for roll in [None, Some(FilesRoll { bytes: 1 << 20, time: Duration::from_secs(3600) })] {
        let paths = SinkPaths::new(SinkSpec { kind: rolling(roll).into(), ..files("out", FileFormat::Text) });
        let later = paths.open("a", 3).unwrap();
        let share = |generation| {
            let (schema, failure) = (strings(&[]).schema(), Failure::default());
            open_share(&paths.spec, schema, &paths.origin, Some(&owner("a", generation)), 1, &failure, StartupRetry::No)
        };
        let lost = share(2).err().unwrap();
        assert!(lost.message.contains("generation 3") && lost.message.contains("was replaced"), "{lost}");
        assert!(share(3).is_ok());
        drop(later);
    }
}

#[test]
fn a_queue_goes_on_behind_its_last_whole_line() {
    let paths = SinkPaths::queue();
    let path = paths.path("out.jsonl");
    assert_eq!(paths.committed(), None);
    let mut sink = paths.open("a", 1).unwrap();
    assert_eq!((sink.committed(), fs::read_to_string(&path).unwrap()), (None, String::new()));
    for batch in [1, 2] {
        sink.commit(BatchId(batch), BatchTime(0), rows(&"x".repeat(100_000))).unwrap();
    }
    drop(sink);
    let content = fs::read(&path).unwrap();
    let line = content.split_inclusive(|b| *b == b'\n').nth(1).unwrap();
    assert_eq!(written(&paths.spec, &paths.origin, BatchId(2)).unwrap(), Some(line.to_vec()));
    assert_eq!(written(&paths.spec, &paths.origin, BatchId(3)).unwrap(), None);
    // Killed while writing the line of batch 2: at the beginning, in the middle and just before its end.
    for kept in [1, line.len() / 2, line.len() - 1] {
        fs::write(&path, &content[..content.len() - line.len() + kept]).unwrap();
        assert_eq!(paths.committed(), Some(BatchId(1)));
        let mut sink = paths.open("a", 2).unwrap();
        assert_eq!(sink.committed(), Some(BatchId(1)));
        assert_eq!(fs::read(&path).unwrap(), &content[..content.len() - line.len()]);
        sink.commit(BatchId(2), BatchTime(0), rows(&"x".repeat(100_000))).unwrap();
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    let sink = paths.open("a", 3).unwrap();
    assert!(paths.open("a", 3).err().unwrap().message.contains("another running process"));
    drop(sink);
    assert!(paths.open("a", 2).err().unwrap().message.contains("was replaced"));
    fs::write(&path, "{\"batch\":1,\"rows\":[]\n").unwrap();
    assert!(paths.open("a", 3).err().unwrap().message.contains("a line that no queue sink writes"));
}

#[test]
fn a_queue_of_another_job_is_refused_and_not_touched() {
    let paths = SinkPaths::queue();
    let (path, marker) = (paths.path("out.jsonl"), paths.path("out.jsonl.millstream"));
    paths.open("a", 1).unwrap().commit(BatchId(1), BatchTime(0), rows("x")).unwrap();
    let schema = strings(&[]).schema();
    let rejection = |job_id: Option<&str>, part: &str| {
        let before = (fs::read(&path).unwrap(), fs::read(&marker).ok());
        let opened = match job_id {
            Some(id) => paths.open(id, 9),
            None => open(&paths.spec, schema.clone(), &paths.origin, None, &Failure::default(), StartupRetry::No),
        };
        let checked = check(&paths.spec, &schema, &paths.origin, job_id.is_some(), job_id, StartupRetry::No);
        for error in [opened.err().unwrap(), checked.unwrap_err()] {
            assert!(error.message.contains(part) && error.message.contains("choose another path"), "{error}");
        }
        assert_eq!((fs::read(&path).unwrap(), fs::read(&marker).ok()), before);
    };
    rejection(Some("b"), "belongs to another job `job` with checkpoints");
    rejection(None, "belongs to an earlier job `job` with checkpoints");
    let begins = check(&paths.spec, &schema, &paths.origin, true, None, StartupRetry::No).unwrap_err();
    assert!(begins.message.contains("belongs to an earlier job `job`"), "{begins}");
    assert!(
        committed(&paths.spec, &paths.origin, "b", StartupRetry::No)
            .unwrap_err()
            .message
            .contains("belongs to another job")
    );
    check(&paths.spec, &schema, &paths.origin, true, Some("a"), StartupRetry::No).unwrap();
    // Rows without a marker. A job without checkpoints guarantees nothing and truncates the file.
    fs::remove_file(&marker).unwrap();
    rejection(Some("a"), "holds rows of an earlier run");
    check(&paths.spec, &schema, &paths.origin, false, None, StartupRetry::No).unwrap();
    let running =
        open(&paths.spec, schema.clone(), &paths.origin, None, &Failure::default(), StartupRetry::No).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"");
    let second =
        open(&paths.spec, schema.clone(), &paths.origin, None, &Failure::default(), StartupRetry::No).err().unwrap();
    assert!(second.message.contains("another running process has it locked"), "{second}");
    drop(running);
    // An empty file holds nothing.
    assert_eq!(paths.open("b", 1).unwrap().committed(), None);
}

#[test]
fn what_a_commit_would_write_is_what_it_writes() {
    for (spec, name) in [(files("out", FileFormat::Json), "out/part-0000000007.jsonl"), (queue("out"), "out")] {
        let paths = SinkPaths::new(spec);
        let batch = strings(&[Some("a"), None]);
        let rendered =
            render(&paths.spec, &batch.schema(), BatchId(7), BatchTime(5), std::slice::from_ref(&batch)).unwrap();
        paths.open("a", 1).unwrap().commit(BatchId(7), BatchTime(5), vec![batch]).unwrap();
        assert_eq!(fs::read(paths.path(name)).unwrap(), rendered);
        assert_eq!(written(&paths.spec, &paths.origin, BatchId(7)).unwrap(), Some(rendered));
    }
}

/// Returns paths of a sink whose parts grow, with batches 1 and 2 in an open part, as left by a process that died.
fn open_part() -> SinkPaths {
    let kind = rolling(Some(FilesRoll { bytes: 1 << 20, time: Duration::from_secs(3600) }));
    let paths = SinkPaths::new(SinkSpec { kind: kind.into(), ..files("out", FileFormat::Text) });
    let mut sink = paths.open("a", 1).unwrap();
    for (batch, text) in [(1, "one"), (2, "two")] {
        sink.commit(BatchId(batch), BatchTime(0), rows(text)).unwrap();
    }
    assert_eq!((sink.committed(), paths.committed()), (Some(BatchId(2)), Some(BatchId(2))));
    assert_eq!(paths.parts(), [""; 0], "nobody sees half a part");
    paths
}

/// Returns the hidden files of incomplete parts.
fn waiting(paths: &SinkPaths) -> Vec<String> {
    names(&paths.path("out/.millstream-open"))
}

#[test]
fn a_start_completes_what_was_left_open() {
    let paths = open_part();
    assert_eq!(waiting(&paths).iter().filter(|name| name.ends_with(".rows")).count(), 2);
    let mut sink = paths.open("a", 2).unwrap();
    assert_eq!((paths.parts(), waiting(&paths)), (vec!["part-0000000001.txt".to_owned()], vec![]));
    let part = paths.path("out/part-0000000001.txt");
    assert_eq!(fs::read_to_string(&part).unwrap(), "one\ntwo\n");
    assert_eq!((sink.committed(), paths.marker().pending), (Some(BatchId(2)), None));
    // Its reader may take it away; it does not reappear.
    fs::remove_file(&part).unwrap();
    sink.commit(BatchId(3), BatchTime(0), rows("three")).unwrap();
    sink.finish().unwrap();
    assert_eq!((paths.parts(), waiting(&paths)), (vec![PART_3.to_owned()], vec![]));
    drop(sink);
    paths.open("a", 3).unwrap();
    assert_eq!(paths.parts(), [PART_3]);
}

#[test]
fn rows_that_are_committed_and_gone_are_told() {
    let paths = open_part();
    let lost = waiting(&paths).into_iter().find(|name| name.ends_with(".rows")).unwrap();
    fs::remove_file(paths.path("out/.millstream-open").join(lost)).unwrap();
    let error = paths.open("a", 2).err().unwrap().message;
    assert!(error.contains("had 2 rows, but 1 were found; restore .millstream-open from a copy"), "{error}");
    assert_eq!(paths.parts(), [""; 0]);
    let others = paths.open("b", 2).err().unwrap().message;
    assert!(others.contains("belongs to another job `job`"), "{others}");
    let none = open(&paths.spec, strings(&[]).schema(), &paths.origin, None, &Failure::default(), StartupRetry::No)
        .err()
        .unwrap();
    assert!(none.message.contains("belongs to an earlier job `job`"), "{none}");
    assert_eq!(waiting(&paths).iter().filter(|name| name.ends_with(".rows")).count(), 1, "and nothing is touched");
}

/// A batch whose part has rolled: the marker names it, and the process died before the part was renamed.
#[test]
fn a_staged_part_that_the_marker_names_gets_its_name() {
    let paths = open_part();
    let hidden = waiting(&paths).into_iter().find(|name| name.ends_with(".tmp")).unwrap();
    let staged = paths.path("out/.millstream-open").join(hidden);
    fs::write(&staged, "one\ntwo\n").unwrap();
    let pending = Pending { by: Generation(1), shows: vec!["part-0000000001.txt".into()], ..Pending::default() };
    let marker = Marker::new(&owner("a", 1), Some(BatchId(2)), None).with(Some(pending));
    marker::replace(&paths.path("out/.millstream"), &marker).unwrap();
    paths.open("a", 2).unwrap();
    assert_eq!((paths.parts(), waiting(&paths)), (vec!["part-0000000001.txt".to_owned()], vec![]));
}
