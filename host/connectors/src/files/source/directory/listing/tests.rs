use super::super::WatchedFiles;
use super::super::walk::LocalDir;
use super::*;
use crate::files::source::settings::{DirectoryReads, FilesRead};
use std::fs;
use std::path::Path;

fn listing(dir: &Path, settle: Duration, ended: Vec<(String, Position)>) -> Listing {
    let times = WatchTimes { poll: Duration::from_millis(1), settle };
    let reads = DirectoryReads { times, ..DirectoryReads::new(dir) };
    Listing::new(&SourceSpec::from_config("in", reads), dir.into(), times, ended)
}

/// Looks, and takes all new files for read as they are.
fn look(listing: &mut Listing) -> (Vec<String>, ListingResult) {
    let spec = SourceSpec::from_config("in", DirectoryReads::new(&listing.path));
    let watched = WatchedFiles { path: listing.path.clone(), files: FilesRead::default(), times: listing.times };
    let mut dir = LocalDir::new(&spec, &watched, std::sync::Arc::new(|_| true));
    let look = listing.look(&mut dir).unwrap();
    for name in &look.new {
        listing.was_read(name.clone(), end_of(&listing.path.join(name)));
    }
    (look.new.iter().map(|name| name.to_string_lossy().into_owned()).collect(), look)
}

fn end_of(path: &Path) -> Position {
    let facts = FileFacts::of(&fs::metadata(path).unwrap());
    Position { offset: facts.bytes, mark: facts.mark() }
}

#[test]
fn a_file_is_taken_when_nobody_writes_to_it_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let settle = Duration::from_millis(300);
    let mut listing = listing(dir.path(), settle, Vec::new());
    let began = Instant::now();
    let mut text = String::new();
    while began.elapsed() < 2 * settle {
        text.push_str("more\n");
        fs::write(&path, &text).unwrap();
        let (new, look) = look(&mut listing);
        assert!(new.is_empty() && look.settling);
        std::thread::sleep(settle / 10);
    }
    let written = Instant::now();
    while look(&mut listing).0 != ["a"] {
        assert!(written.elapsed() < 20 * settle);
        std::thread::sleep(settle / 20);
    }
    // One that was written long ago and is moved in has stood still before.
    let old = dir.path().join(".old");
    fs::write(&old, "x\n").unwrap();
    fs::File::options().write(true).open(&old).unwrap().set_modified(SystemTime::now() - 2 * settle).unwrap();
    fs::rename(&old, dir.path().join("old")).unwrap();
    assert_eq!(look(&mut listing).0, ["old"]);
    assert_eq!(look(&mut listing).0.len(), 0);
}

#[test]
fn another_file_of_a_name_is_read_and_one_that_was_written_to_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    fs::write(&path, "one\n").unwrap();
    let mut first = listing(dir.path(), Duration::ZERO, Vec::new());
    assert_eq!(look(&mut first).0, ["a"]);
    for restarted in [false, true] {
        fs::write(&path, "one\n").unwrap();
        let end = end_of(&path);
        let mut listing = listing(dir.path(), Duration::ZERO, vec![("a".into(), end)]);
        fs::write(&path, "one\ntwo\n").unwrap();
        assert!(look(&mut listing).0.is_empty(), "it grew");
        assert!(listing.known[&OsString::from("a")].reported);
        fs::write(dir.path().join(".b"), "one\n").unwrap();
        fs::rename(dir.path().join(".b"), &path).unwrap();
        let mut other =
            if restarted { self::listing(dir.path(), Duration::ZERO, vec![("a".into(), end)]) } else { listing };
        assert_eq!(look(&mut other).0, ["a"], "another file is in its place");
    }
    // One that went away and came back, as it was and as another.
    let mut listing = listing(dir.path(), Duration::ZERO, vec![("a".into(), end_of(&path))]);
    fs::write(dir.path().join("b"), "").unwrap();
    fs::rename(&path, dir.path().join(".away")).unwrap();
    assert_eq!(look(&mut listing).0, ["b"]);
    fs::rename(dir.path().join(".away"), &path).unwrap();
    assert!(look(&mut listing).0.is_empty());
    fs::remove_file(&path).unwrap();
    assert!(look(&mut listing).0.is_empty());
    fs::write(&path, "three\n").unwrap();
    assert_eq!(look(&mut listing).0, ["a"]);
}

#[test]
fn names_that_are_gone_are_forgotten_in_the_end_and_those_that_are_there_never() {
    let dir = tempfile::tempdir().unwrap();
    let mut listing = listing(dir.path(), Duration::ZERO, Vec::new());
    listing.names_removed_max = 3;
    fs::write(dir.path().join("stays"), "").unwrap();
    let mut dropped_names = Vec::new();
    for i in 0..10 {
        let path = dir.path().join(format!("n{i}"));
        fs::write(&path, "").unwrap();
        dropped_names.append(&mut look(&mut listing).1.dropped_names);
        fs::remove_file(&path).unwrap();
    }
    dropped_names.append(&mut look(&mut listing).1.dropped_names);
    assert_eq!(dropped_names, ["n0", "n1", "n2", "n3", "n4", "n5", "n6"]);
    assert_eq!(listing.known.len(), 4);
    // A disk that is not mounted leaves an empty directory.
    fs::remove_file(dir.path().join("stays")).unwrap();
    for _ in 0..3 {
        assert!(look(&mut listing).1.dropped_names.is_empty());
    }
    fs::write(dir.path().join("next"), "").unwrap();
    assert_eq!(look(&mut listing).1.dropped_names, ["n7"]);
}
