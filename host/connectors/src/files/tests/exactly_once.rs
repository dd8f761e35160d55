//! Sinks of jobs with checkpoints: what they find after a process died between any two steps of a commit, and what they
//! refuse.

use super::super::settings::{FilesLayout, FilesRoll};
use super::*;
use crate::sink::marker::{self, Marker, Pending};
use crate::sink::written;
use millstream_base::ids::Generation;
use millstream_base::owner::Owner;
use std::time::Duration;

fn owner(job_id: &str, generation: u64) -> Owner {
    Owner { job: "job".into(), job_id: job_id.into(), generation: Generation(generation) }
}

/// Text in the folder `out`, in files that grow so.
fn rolling(roll: Option<FilesRoll>) -> FileWrites {
    FileWrites { layout: FilesLayout { roll, ..FilesLayout::default() }, ..FileWrites::new("out", FileFormat::Text) }
}

/// A folder `out` for a `files` sink, and a file `out.jsonl` for a queue.
struct SinkPaths {
    folder: TempDir,
    spec: SinkSpec,
    origin: Origin,
}

impl SinkPaths {
    fn new(spec: SinkSpec) -> SinkPaths {
        let folder = TempDir::new().unwrap();
        let origin = origin(folder.path());
        SinkPaths { folder, spec, origin }
    }

    fn files() -> SinkPaths {
        SinkPaths::new(files("out", FileFormat::Text))
    }

    fn queue() -> SinkPaths {
        SinkPaths::new(queue("out.jsonl"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn open(&self, job_id: &str, generation: u64) -> Result<Box<dyn Sink>> {
        let owner = owner(job_id, generation);
        open(&self.spec, texts(&[]).schema(), &self.origin, Some(&owner), &Failure::default(), ServerWait::No)
    }

    fn committed(&self) -> Option<BatchId> {
        committed(&self.spec, &self.origin, "a", ServerWait::No).unwrap()
    }

    fn marker(&self) -> Marker {
        marker::read(&self.path("out/.millstream")).unwrap().unwrap()
    }

    /// Names and bytes of all files of the folder `out`.
    fn all(&self) -> Vec<(String, Vec<u8>)> {
        let all = names(&self.path("out"));
        all.into_iter().map(|name| (name.clone(), fs::read(self.path("out").join(name)).unwrap())).collect()
    }

    /// The parts that a reader sees.
    fn parts(&self) -> Vec<String> {
        names(&self.path("out")).into_iter().filter(|name| !name.starts_with('.')).collect()
    }
}

fn rows(text: &str) -> Vec<RecordBatch> {
    vec![texts(&[Some(text)])]
}

const PART_2: &str = "part-0000000002.txt";
const PART_3: &str = "part-0000000003.txt";
const UNFINISHED_3: &str = "out/.part-0000000003.txt.tmp";

/// Batches 1 and 2 are committed, the latter with rows.
fn two() -> SinkPaths {
    let place = SinkPaths::files();
    let mut sink = place.open("a", 1).unwrap();
    assert_eq!((sink.committed(), place.committed()), (None, None));
    sink.commit(BatchId(1), BatchTime(0), vec![]).unwrap();
    sink.commit(BatchId(2), BatchTime(0), rows("two")).unwrap();
    assert_eq!((sink.committed(), place.committed()), (Some(BatchId(2)), Some(BatchId(2))));
    place
}

#[test]
fn a_batch_without_rows_is_not_said_to_be_kept() {
    let place = two();
    let mut sink = place.open("a", 2).unwrap();
    sink.commit(BatchId(3), BatchTime(0), vec![]).unwrap();
    assert_eq!((sink.committed(), place.committed()), (Some(BatchId(2)), Some(BatchId(2))));
    assert_eq!(sink.commit(BatchId(3), BatchTime(0), rows("three")).unwrap_err().kind, Kind::Bug);
}

#[test]
fn a_part_that_no_marker_names_is_not_committed_and_comes_again() {
    let place = two();
    fs::write(place.path(UNFINISHED_3), "three\n").unwrap();
    fs::write(place.path("out/.millstream.tmp"), "{\"vers").unwrap();
    assert_eq!(place.committed(), Some(BatchId(2)));
    let mut sink = place.open("a", 2).unwrap();
    assert_eq!(sink.committed(), Some(BatchId(2)));
    assert!(!place.path(UNFINISHED_3).exists());
    sink.commit(BatchId(3), BatchTime(0), rows("three")).unwrap();
    assert_eq!(place.parts(), [PART_2, PART_3]);
    assert_eq!(place.marker(), Marker::new(&owner("a", 2), Some(BatchId(3)), Some(PART_3.into())));
}

#[test]
fn a_part_that_the_marker_names_is_committed_and_gets_its_name() {
    let place = two();
    fs::write(place.path(UNFINISHED_3), "three\n").unwrap();
    let marker = Marker::new(&owner("a", 1), Some(BatchId(3)), Some(PART_3.into()));
    marker::replace(&place.path("out/.millstream"), &marker).unwrap();
    assert_eq!(place.committed(), Some(BatchId(3)));
    assert_eq!(place.parts(), [PART_2], "asking changes nothing");
    let mut sink = place.open("a", 2).unwrap();
    assert_eq!(sink.committed(), Some(BatchId(3)));
    assert_eq!(place.parts(), [PART_2, PART_3]);
    assert_eq!(fs::read_to_string(place.path("out").join(PART_3)).unwrap(), "three\n");
    let error = sink.commit(BatchId(3), BatchTime(0), rows("three")).unwrap_err();
    assert_eq!(error.kind, Kind::Bug);
}

#[test]
fn a_part_that_its_reader_moved_away_does_not_come_again() {
    let place = two();
    fs::rename(place.path("out").join(PART_2), place.path("taken")).unwrap();
    let sink = place.open("a", 2).unwrap();
    assert_eq!(sink.committed(), Some(BatchId(2)));
    assert_eq!(place.parts(), [""; 0]);
}

#[test]
fn a_part_without_its_marker_is_replaced_by_the_same_rows_only() {
    let place = two();
    fs::write(place.path("out").join(PART_3), "three\n").unwrap();
    let mut sink = place.open("a", 2).unwrap();
    let error = sink.commit(BatchId(3), BatchTime(0), rows("other")).unwrap_err();
    assert!(error.message.contains("sink `out`: batch 3") && error.message.contains("other rows"), "{error}");
    assert_eq!((place.marker().batch, sink.committed()), (Some(BatchId(2)), Some(BatchId(2))));
    sink.commit(BatchId(3), BatchTime(0), rows("three")).unwrap();
    assert_eq!(place.parts(), [PART_2, PART_3]);
    assert_eq!(place.marker().batch, Some(BatchId(3)));
}

#[test]
fn what_belongs_to_others_or_cannot_be_read_is_refused_and_not_touched() {
    let refused = |place: &SinkPaths, job_id: &str, part: &str| {
        let before = place.all();
        let schema = texts(&[]).schema();
        let checked = check(&place.spec, &schema, &place.origin, true, Some(job_id), ServerWait::No).unwrap_err();
        assert!(checked.message.starts_with("job.toml:9: sink `out`: ") && checked.message.contains(part), "{checked}");
        let read = committed(&place.spec, &place.origin, job_id, ServerWait::No).unwrap_err();
        assert!(read.message.contains(part), "{read}");
        let opened = place.open(job_id, 5).err().unwrap();
        assert!(opened.message.contains(part), "{opened}");
        assert_eq!(place.all(), before);
    };
    let place = two();
    refused(&place, "b", "belongs to another job `job`");
    let begins = check(&place.spec, &texts(&[]).schema(), &place.origin, false, None, ServerWait::No).unwrap_err();
    assert!(begins.message.contains("belongs to an earlier job `job`"), "{begins}");
    check(&place.spec, &texts(&[]).schema(), &place.origin, true, Some("a"), ServerWait::No).unwrap();

    let path = place.path("out/.millstream");
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(
            committed(&place.spec, &place.origin, "a", ServerWait::No).unwrap_err().message.contains("is damaged"),
            "{length}"
        );
    }
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, flipped).unwrap();
        assert!(
            committed(&place.spec, &place.origin, "a", ServerWait::No).unwrap_err().message.contains("is damaged"),
            "{bit}"
        );
    }
    refused(&place, "a", "is damaged");
    let later = Marker { version: 4, ..Marker::new(&owner("a", 1), None, None) };
    marker::replace(&path, &later).unwrap();
    refused(&place, "a", "a later version of Millstream");
    fs::remove_file(&path).unwrap();
    refused(&place, "a", "parts of an earlier run (part-0000000002.txt)");
}

#[test]
fn whoever_lost_the_job_commits_no_more() {
    let place = two();
    let mut old = place.open("a", 2).unwrap();
    let locked = place.open("a", 3).err().unwrap();
    assert!(locked.message.contains("another running process has it locked"), "{locked}");
    // Where locks do not reach, as between machines, the marker tells.
    let marker = Marker::new(&owner("a", 3), Some(BatchId(2)), Some(PART_2.into()));
    marker::replace(&place.path("out/.millstream"), &marker).unwrap();
    let lost = old.commit(BatchId(3), BatchTime(0), rows("three")).unwrap_err();
    assert!(lost.message.contains("generation 3") && lost.message.contains("was replaced"), "{lost}");
    assert_eq!((place.parts(), place.marker()), (vec![PART_2.to_string()], marker));
    drop(old);
    let lost = place.open("a", 2).err().unwrap();
    assert!(lost.message.contains("was replaced"), "{lost}");
}

/// A later start looks which shares there are, and then an older one begins with one that had no marker: it finds that it is late.
#[test]
fn an_older_start_does_not_begin_with_a_share_that_a_later_one_did_not_see() {
    for roll in [None, Some(FilesRoll { bytes: 1 << 20, time: Duration::from_secs(3600) })] {
        let place = SinkPaths::new(SinkSpec { kind: rolling(roll).into(), ..files("out", FileFormat::Text) });
        let later = place.open("a", 3).unwrap();
        let share = |generation| {
            let (schema, failure) = (texts(&[]).schema(), Failure::default());
            open_share(&place.spec, schema, &place.origin, Some(&owner("a", generation)), 1, &failure, ServerWait::No)
        };
        let lost = share(2).err().unwrap();
        assert!(lost.message.contains("generation 3") && lost.message.contains("was replaced"), "{lost}");
        assert!(share(3).is_ok());
        drop(later);
    }
}

#[test]
fn a_queue_goes_on_behind_its_last_whole_line() {
    let place = SinkPaths::queue();
    let path = place.path("out.jsonl");
    assert_eq!(place.committed(), None);
    let mut sink = place.open("a", 1).unwrap();
    assert_eq!((sink.committed(), fs::read_to_string(&path).unwrap()), (None, String::new()));
    for batch in [1, 2] {
        sink.commit(BatchId(batch), BatchTime(0), rows(&"x".repeat(100_000))).unwrap();
    }
    drop(sink);
    let whole = fs::read(&path).unwrap();
    let line = whole.split_inclusive(|b| *b == b'\n').nth(1).unwrap();
    assert_eq!(written(&place.spec, &place.origin, BatchId(2)).unwrap(), Some(line.to_vec()));
    assert_eq!(written(&place.spec, &place.origin, BatchId(3)).unwrap(), None);
    // Killed while it wrote the line of batch 2, at the beginning, in the middle and just before its end.
    for kept in [1, line.len() / 2, line.len() - 1] {
        fs::write(&path, &whole[..whole.len() - line.len() + kept]).unwrap();
        assert_eq!(place.committed(), Some(BatchId(1)));
        let mut sink = place.open("a", 2).unwrap();
        assert_eq!(sink.committed(), Some(BatchId(1)));
        assert_eq!(fs::read(&path).unwrap(), &whole[..whole.len() - line.len()]);
        sink.commit(BatchId(2), BatchTime(0), rows(&"x".repeat(100_000))).unwrap();
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
    let sink = place.open("a", 3).unwrap();
    assert!(place.open("a", 3).err().unwrap().message.contains("another running process"));
    drop(sink);
    assert!(place.open("a", 2).err().unwrap().message.contains("was replaced"));
    fs::write(&path, "{\"batch\":1,\"rows\":[]\n").unwrap();
    assert!(place.open("a", 3).err().unwrap().message.contains("not one that a queue sink writes"));
}

#[test]
fn a_queue_of_another_job_is_refused_and_not_touched() {
    let place = SinkPaths::queue();
    let (path, marker) = (place.path("out.jsonl"), place.path("out.jsonl.millstream"));
    place.open("a", 1).unwrap().commit(BatchId(1), BatchTime(0), rows("x")).unwrap();
    let schema = texts(&[]).schema();
    let refused = |job_id: Option<&str>, part: &str| {
        let before = (fs::read(&path).unwrap(), fs::read(&marker).ok());
        let opened = match job_id {
            Some(id) => place.open(id, 9),
            None => open(&place.spec, schema.clone(), &place.origin, None, &Failure::default(), ServerWait::No),
        };
        let checked = check(&place.spec, &schema, &place.origin, job_id.is_some(), job_id, ServerWait::No);
        for told in [opened.err().unwrap(), checked.unwrap_err()] {
            assert!(told.message.contains(part) && told.message.contains("choose another path"), "{told}");
        }
        assert_eq!((fs::read(&path).unwrap(), fs::read(&marker).ok()), before);
    };
    refused(Some("b"), "belongs to another job `job` with checkpoints");
    refused(None, "belongs to an earlier job `job` with checkpoints");
    let begins = check(&place.spec, &schema, &place.origin, true, None, ServerWait::No).unwrap_err();
    assert!(begins.message.contains("belongs to an earlier job `job`"), "{begins}");
    assert!(
        committed(&place.spec, &place.origin, "b", ServerWait::No)
            .unwrap_err()
            .message
            .contains("belongs to another job")
    );
    check(&place.spec, &schema, &place.origin, true, Some("a"), ServerWait::No).unwrap();
    // Rows of which nothing tells whose they are. A job without checkpoints promises nothing, and begins the file anew.
    fs::remove_file(&marker).unwrap();
    refused(Some("a"), "holds rows of an earlier run");
    check(&place.spec, &schema, &place.origin, false, None, ServerWait::No).unwrap();
    let running = open(&place.spec, schema.clone(), &place.origin, None, &Failure::default(), ServerWait::No).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"");
    let second =
        open(&place.spec, schema.clone(), &place.origin, None, &Failure::default(), ServerWait::No).err().unwrap();
    assert!(second.message.contains("another running process has it locked"), "{second}");
    drop(running);
    // An empty one holds nothing.
    assert_eq!(place.open("b", 1).unwrap().committed(), None);
}

#[test]
fn what_a_commit_would_write_is_what_it_writes() {
    for (spec, name) in [(files("out", FileFormat::Json), "out/part-0000000007.jsonl"), (queue("out"), "out")] {
        let place = SinkPaths::new(spec);
        let batch = texts(&[Some("a"), None]);
        let rendered =
            render(&place.spec, &batch.schema(), BatchId(7), BatchTime(5), std::slice::from_ref(&batch)).unwrap();
        place.open("a", 1).unwrap().commit(BatchId(7), BatchTime(5), vec![batch]).unwrap();
        assert_eq!(fs::read(place.path(name)).unwrap(), rendered);
        assert_eq!(written(&place.spec, &place.origin, BatchId(7)).unwrap(), Some(rendered));
    }
}

/// A sink whose parts grow, with batches 1 and 2 in a part that is open, left behind as by a process that died.
fn open_part() -> SinkPaths {
    let kind = rolling(Some(FilesRoll { bytes: 1 << 20, time: Duration::from_secs(3600) }));
    let place = SinkPaths::new(SinkSpec { kind: kind.into(), ..files("out", FileFormat::Text) });
    let mut sink = place.open("a", 1).unwrap();
    for (batch, text) in [(1, "one"), (2, "two")] {
        sink.commit(BatchId(batch), BatchTime(0), rows(text)).unwrap();
    }
    assert_eq!((sink.committed(), place.committed()), (Some(BatchId(2)), Some(BatchId(2))));
    assert_eq!(place.parts(), [""; 0], "nobody sees half a part");
    place
}

/// The hidden files that wait for a part to be complete.
fn waiting(place: &SinkPaths) -> Vec<String> {
    names(&place.path("out/.millstream-open"))
}

#[test]
fn a_start_completes_what_was_left_open() {
    let place = open_part();
    assert_eq!(waiting(&place).iter().filter(|name| name.ends_with(".rows")).count(), 2);
    let mut sink = place.open("a", 2).unwrap();
    assert_eq!((place.parts(), waiting(&place)), (vec!["part-0000000001.txt".to_owned()], vec![]));
    let part = place.path("out/part-0000000001.txt");
    assert_eq!(fs::read_to_string(&part).unwrap(), "one\ntwo\n");
    assert_eq!((sink.committed(), place.marker().pending), (Some(BatchId(2)), None));
    // Its reader may take it away; it does not come again.
    fs::remove_file(&part).unwrap();
    sink.commit(BatchId(3), BatchTime(0), rows("three")).unwrap();
    sink.finish().unwrap();
    assert_eq!((place.parts(), waiting(&place)), (vec![PART_3.to_owned()], vec![]));
    drop(sink);
    place.open("a", 3).unwrap();
    assert_eq!(place.parts(), [PART_3]);
}

#[test]
fn rows_that_are_committed_and_gone_are_told() {
    let place = open_part();
    let lost = waiting(&place).into_iter().find(|name| name.ends_with(".rows")).unwrap();
    fs::remove_file(place.path("out/.millstream-open").join(lost)).unwrap();
    let told = place.open("a", 2).err().unwrap().message;
    assert!(told.contains("had 2 rows, and 1 are there; restore .millstream-open from a copy"), "{told}");
    assert_eq!(place.parts(), [""; 0]);
    let others = place.open("b", 2).err().unwrap().message;
    assert!(others.contains("belongs to another job `job`"), "{others}");
    let none =
        open(&place.spec, texts(&[]).schema(), &place.origin, None, &Failure::default(), ServerWait::No).err().unwrap();
    assert!(none.message.contains("belongs to an earlier job `job`"), "{none}");
    assert_eq!(waiting(&place).iter().filter(|name| name.ends_with(".rows")).count(), 1, "and nothing is touched");
}

/// A batch whose part has rolled: the marker says so, and the process died before the part got its name.
#[test]
fn a_staged_part_that_the_marker_names_gets_its_name() {
    let place = open_part();
    let hidden = waiting(&place).into_iter().find(|name| name.ends_with(".tmp")).unwrap();
    let staged = place.path("out/.millstream-open").join(hidden);
    fs::write(&staged, "one\ntwo\n").unwrap();
    let pending = Pending { by: Generation(1), shows: vec!["part-0000000001.txt".into()], ..Pending::default() };
    let marker = Marker::new(&owner("a", 1), Some(BatchId(2)), None).with(Some(pending));
    marker::replace(&place.path("out/.millstream"), &marker).unwrap();
    place.open("a", 2).unwrap();
    assert_eq!((place.parts(), waiting(&place)), (vec!["part-0000000001.txt".to_owned()], vec![]));
}
