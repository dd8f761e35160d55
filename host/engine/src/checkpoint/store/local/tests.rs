use super::*;
use millstream_base::retry::retry_transient;
use std::os::unix::fs::FileExt;

fn store() -> (tempfile::TempDir, Local) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Local::open(dir.path().join("made/on/demand"));
    (dir, store)
}

fn paths(store: &Local, dir: &str) -> Vec<String> {
    store.list(dir).expect("it lists").into_iter().map(|object| object.path).collect()
}

#[test]
fn objects_are_written_read_listed_and_deleted() {
    let (_dir, store) = store();
    assert_eq!(store.read("state/b").expect("an empty store"), None);
    assert!(paths(&store, "").is_empty());
    for path in ["state/b", "state/a", "state-2/c", "manifest.json", "state/deep/d"] {
        store.write(path, Bytes::from(format!("of {path}"))).expect(path);
    }
    store.write("state/b", "anew".into()).expect("it is replaced");
    assert_eq!(store.read("state/b").expect("it reads").as_deref(), Some(&b"anew"[..]));
    assert_eq!(paths(&store, "state"), ["state/a", "state/b", "state/deep/d"]);
    assert_eq!(paths(&store, ""), ["manifest.json", "state-2/c", "state/a", "state/b", "state/deep/d"]);
    assert_eq!(store.list("state-2").expect("it lists"), [Object { path: "state-2/c".into(), bytes: 12 }]);
    assert!(paths(&store, "plans").is_empty());
    store.delete("state/b").expect("it is deleted");
    store.delete("state/b").expect("no error the second time");
    assert_eq!(store.read("state/b").expect("it is gone"), None);
    assert!(store.write("../escaped", Bytes::new()).is_err());
}

#[test]
fn a_replacement_needs_the_version_that_is_there() {
    let (_dir, store) = store();
    let replace = |bytes: &'static str, expected: Option<&Version>| {
        store.replace("manifest.json", bytes.into(), expected).expect("no failure")
    };
    let first = replace("first", None).expect("there was none");
    assert!(replace("second", None).is_none(), "it already exists");
    let second = replace("second", Some(&first)).expect("the version fits");
    assert!(replace("third", Some(&first)).is_none(), "the version is an old one");
    assert_eq!(store.read_version("manifest.json").expect("it reads"), Some(("second".into(), second.clone())));
    // The response to the first attempt was lost.
    assert_eq!(replace("second", Some(&first)), Some(second));
    store.delete("manifest.json").expect("it is deleted");
    assert!(replace("third", Some(&first)).is_none(), "it is gone");
}

#[test]
fn what_a_dead_process_was_writing_is_not_seen_and_is_removed_by_the_next_owner() {
    let (_dir, store) = store();
    store.write("state/a", "a".into()).expect("it writes");
    let torn = store.root.join("state/.b.4711-0.tmp");
    fs::write(&torn, "half of b").expect("it writes");
    assert_eq!(paths(&store, ""), ["state/a"]);
    let lock = store.lock().expect("nobody has it");
    assert!(!torn.exists());
    assert_eq!(paths(&store, ""), ["state/a"], "the lock is no object");
    drop(lock);
}

#[test]
fn a_dir_in_use_is_refused_by_naming_the_process() {
    let (_dir, store) = store();
    let lock = store.lock().expect("nobody has it");
    let other = Local::open(store.root.clone());
    let error = other.lock().expect_err("it is in use");
    assert_eq!(error.kind, StoreErrorKind::Permanent);
    let text = error.to_string();
    assert!(text.contains(&format!("(process {})", std::process::id())), "{text}");
    assert!(text.contains(&store.location()) && text.contains("stop that job first"), "{text}");
    drop(lock);
    other.lock().expect("it is free again");
}

#[test]
fn a_dir_that_cannot_be_made_or_written_is_an_error_that_says_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("file"), "").expect("it writes");
    // /proc rejects new files even for root.
    for root in [dir.path().join("file/below"), PathBuf::from("/proc/self")] {
        let error = Local::open(root.clone()).lock().expect_err("no directory can be there").to_string();
        assert!(error.contains(&root.display().to_string()) && error.contains("name another `dir`"), "{error}");
    }
}

#[test]
fn a_log_grows_and_survives_an_append_that_failed() {
    let (_dir, store) = store();
    let path = "plans/000001-000-000000000000.log";
    assert_eq!(store.read_log(path).expect("none reads as empty"), Bytes::new());
    let mut log = log::FileLog::create(store.root.join(path), Disk::default()).expect("a new one");
    log.append(b"one,").expect("it appends");
    // As a full disk leaves it: some bytes were written.
    log.file.write_all_at(b"tw???", 4).expect("it writes");
    log.torn = true;
    log.append(b"two").expect("it appends");
    assert_eq!(store.read_log(path).expect("it reads"), Bytes::from("one,two"));
    assert_eq!(store.list("plans").expect("it lists"), [Object { path: path.into(), bytes: 7 }]);
    let error = store.log(path).err().expect("there is one that holds something");
    assert!(error.kind == StoreErrorKind::Permanent && error.to_string().contains(path), "{error}");
    store.delete_log(path).expect("it is deleted");
    store.log(path).expect("it can be made again");
    store.log(path).expect("and again, as it holds nothing");
}

#[test]
fn a_full_disk_is_waited_out() {
    // Writing there always fails for lack of space.
    let error = fs::OpenOptions::new().write(true).open("/dev/full").and_then(|mut full| full.write_all(b"x"));
    let error = io_failed("write x".into(), &error.expect_err("/dev/full is full"));
    assert_eq!(error.kind, StoreErrorKind::Transient);
    assert_eq!(error.reason, "No space left on device");

    let (_dir, store) = store();
    let mut first = Some(error);
    retry_transient(&millstream_base::failure::Failure::default(), || {
        first.take().map_or_else(|| store.write("x", "x".into()), Err)
    })
    .expect("there is room the second time");
    assert_eq!(store.read("x").expect("it reads"), Some("x".into()));
}

#[test]
fn a_skipped_sync_loses_what_was_written_where_the_disk_keeps_only_what_was_synced() {
    let (_dir, mut store) = store();
    store.disk = Disk { lose_unsynced: true, skip_sync: true };
    store.write("state/a", "a".into()).expect("it seems to write");
    store.log("plans/l").expect("a log").append(b"x").expect("it seems to append");
    assert_eq!(paths(&store, "state"), ["state/a"]);
    let after_death = Local::open(store.root.clone());
    assert_eq!(after_death.read("state/a").expect("it reads"), None);
    assert_eq!(after_death.read_log("plans/l").expect("it reads"), Bytes::new());

    store.disk.skip_sync = false;
    store.write("state/b", "b".into()).expect("it writes");
    store.log("plans/m").expect("a log").append(b"x").expect("it appends");
    assert_eq!(after_death.read("state/b").expect("it reads"), Some("b".into()));
    assert_eq!(after_death.read_log("plans/m").expect("it reads"), Bytes::from("x"));
}
