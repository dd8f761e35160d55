use super::*;
use millstream_base::package_name::PackageName;
use semver::Version;
use std::os::unix::fs::{PermissionsExt, symlink};

fn store() -> (tempfile::TempDir, PackageStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = PackageStore { dir: dir.path().join("store") };
    (dir, store)
}

fn name() -> PackageName {
    "a".parse().unwrap()
}

#[test]
fn bytes_come_back_and_damage_is_seen_and_mended() {
    let (_dir, store) = store();
    let digest = store.put(b"bytes").unwrap();
    assert_eq!(store.get(&digest).unwrap().unwrap(), b"bytes");
    let file = store.file(&digest).unwrap().unwrap();
    assert_eq!(store.get(&Digest::compute(b"others")).unwrap(), None);
    fs::write(&file, b"bites").unwrap();
    assert!(store.get(&digest).unwrap_err().message.contains("Remove the file"));
    assert!(store.file(&digest).is_err());
    assert_eq!(store.check().unwrap().damages.len(), 1);
    store.put(b"bytes").unwrap();
    assert_eq!(store.get(&digest).unwrap().unwrap(), b"bytes");
    assert_eq!(store.check().unwrap(), StoreCheck { files: 1, damages: Vec::new() });
}

#[test]
fn links_and_dirs_are_no_bytes() {
    let (_dir, store) = store();
    let digest = store.put(b"bytes").unwrap();
    let file = store.file(&digest).unwrap().unwrap();
    fs::remove_file(&file).unwrap();
    symlink("/dev/zero", &file).unwrap();
    assert!(store.get(&digest).is_err());
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(store.get(&digest).is_err());
}

#[test]
fn a_dir_that_others_write_to_is_not_used() {
    let (_dir, store) = store();
    fs::create_dir(&store.dir).unwrap();
    fs::set_permissions(&store.dir, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(store.put(b"bytes").unwrap_err().message.contains("only you can write to"));
}

#[test]
fn a_version_is_seen_in_one_registry_only() {
    let (_dir, store) = store();
    let version = Version::new(1, 0, 0);
    let manifest = Digest::compute(b"manifest");
    assert_eq!(store.seen_digest("r", &name(), &version).unwrap(), None);
    store.see("r", &name(), &version, &manifest).unwrap();
    assert_eq!(store.seen_digest("r", &name(), &version).unwrap(), Some(manifest));
    assert_eq!(store.seen_digest("q", &name(), &version).unwrap(), None);
    assert_eq!(store.seen_digest("r", &name(), &Version::new(1, 0, 1)).unwrap(), None);
}

#[test]
fn signatures_are_kept_once_and_not_without_end() {
    let (_dir, store) = store();
    let manifest = Digest::compute(b"manifest");
    store.keep_signatures(&manifest, &[b"one".to_vec(), b"two".to_vec()]).unwrap();
    store.keep_signatures(&manifest, &[b"two".to_vec()]).unwrap();
    assert_eq!(store.signatures(&manifest).unwrap().len(), 2);
    let full: Vec<Vec<u8>> = (0..64_u32).map(|number| vec![number as u8]).collect();
    store.keep_signatures(&manifest, &full).unwrap();
    store.keep_signatures(&manifest, &[b"one".to_vec()]).unwrap();
    assert_eq!(store.signatures(&manifest).unwrap(), [b"one".to_vec()], "what is there now counts");
    let many: Vec<Vec<u8>> = (0..1_000_u32).map(|number| number.to_le_bytes().to_vec()).collect();
    store.keep_signatures(&manifest, &many).unwrap();
    assert_eq!(store.signatures(&manifest).unwrap().len(), crate::limits::PACKAGE_SIGNATURES_MAX);
}

#[test]
fn what_no_lock_file_needs_goes() {
    let (dir, store) = store();
    let (layer, manifest) = (store.put(b"layer").unwrap(), store.put(b"manifest").unwrap());
    let other = store.put(b"other").unwrap();
    store.see("r", &name(), &Version::new(1, 0, 0), &manifest).unwrap();
    store.see("r", &name(), &Version::new(2, 0, 0), &other).unwrap();
    store.keep_signatures(&manifest, &[b"s".to_vec()]).unwrap();
    store.keep_signatures(&other, &[b"s".to_vec()]).unwrap();
    fs::write(store.path(&[BYTES, ".tmpleft"]), b"half").unwrap();
    let lock_file = dir.path().join("millstream.lock");
    let text = format!(
        "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nregistry = \"r\"\nmanifest = \"{manifest}\"\nlayer = \"{layer}\"\n"
    );
    fs::write(&lock_file, text).unwrap();
    store.note_lock(&lock_file).unwrap();

    let swept = gc::gc(&store).unwrap();
    assert_eq!((swept.files, swept.bytes, swept.locks.len(), swept.deleted.len()), (1, 5, 1, 0));
    assert!(store.get(&layer).unwrap().is_some() && store.get(&manifest).unwrap().is_some());
    assert!(store.get(&other).unwrap().is_none());
    assert_eq!(store.seen_digest("r", &name(), &Version::new(1, 0, 0)).unwrap(), Some(manifest));
    assert_eq!(store.seen_digest("r", &name(), &Version::new(2, 0, 0)).unwrap(), None);
    assert_eq!(store.signatures(&manifest).unwrap().len(), 1);
    assert!(store.signatures(&other).unwrap().is_empty());
    assert_eq!(fs::read_dir(store.path(&[BYTES])).unwrap().count(), 2);

    fs::write(&lock_file, "damaged").unwrap();
    assert!(gc::gc(&store).is_err(), "nobody knows what it needs");
    assert!(store.get(&layer).unwrap().is_some());
    fs::remove_file(&lock_file).unwrap();
    let swept = gc::gc(&store).unwrap();
    assert_eq!((swept.files, swept.locks.len(), swept.deleted), (2, 0, vec![lock_file]));
    assert!(store.locks().unwrap().is_empty());
}

#[test]
fn nobody_tidies_up_while_something_is_added() {
    let (_dir, store) = store();
    let store_lock = store.hold().unwrap();
    let digest = store.put(b"bytes").unwrap();
    std::thread::scope(|scope| {
        let sweeper = scope.spawn(|| gc::gc(&store).unwrap());
        // Another process that adds does not wait.
        drop(store.hold().unwrap());
        assert!(store.get(&digest).unwrap().is_some());
        assert!(!sweeper.is_finished());
        drop(store_lock);
        assert_eq!(sweeper.join().unwrap().files, 1);
    });
}
