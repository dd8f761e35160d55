use super::*;
use crate::plugin::compile::CompileFailure;
use millstream_base::error::Kind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::thread;

struct CacheDir(tempfile::TempDir);

impl CacheDir {
    fn new() -> CacheDir {
        CacheDir(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The only file of this name, whatever it begins with.
    fn file(&self, name: &str) -> Option<PathBuf> {
        let ending = format!("-{name}");
        let files = fs::read_dir(self.path("compiled")).unwrap().map(|entry| entry.unwrap().path());
        let mut found = files.filter(|path| path.to_str().unwrap().ends_with(&ending));
        let first = found.next();
        assert_eq!(found.next(), None, "{name}");
        first
    }

    fn open(&self) -> io::Result<Cache> {
        Cache::open(&self.path("compiled"), &self.path("state/cache.key"))
    }
}

fn content(cache: &Cache, name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    cache.authentic(name, CacheFileKind::Code).ok()?.read_to_end(&mut bytes).unwrap();
    Some(bytes)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[test]
fn only_what_this_key_signed_is_taken() {
    let dir = CacheDir::new();
    let cache = dir.open().unwrap();
    let code = |name| cache.path(name, CacheFileKind::Code);
    cache.store("a", b"code of a");
    cache.store("b", b"code of b");
    assert_eq!(content(&cache, "a").unwrap(), b"code of a");
    // The code of one under the name of the other.
    for (from, to) in [(code("a"), code("b")), (mac_of(&code("a")), mac_of(&code("b")))] {
        fs::copy(from, to).unwrap();
    }
    assert_eq!(content(&cache, "b"), None);
    // Changed, cut, without its authentication code, and with an empty one.
    let code = code("a");
    fs::write(&code, b"code of A").unwrap();
    assert_eq!(content(&cache, "a"), None);
    fs::write(&code, b"code of").unwrap();
    assert_eq!(content(&cache, "a"), None);
    cache.store("a", b"code of a");
    assert!(content(&cache, "a").is_some());
    fs::write(mac_of(&code), b"").unwrap();
    assert_eq!(content(&cache, "a"), None);
    fs::remove_file(mac_of(&code)).unwrap();
    assert_eq!(content(&cache, "a"), None);
    // Another key.
    cache.store("a", b"code of a");
    fs::remove_file(dir.path("state/cache.key")).unwrap();
    assert_eq!(content(&dir.open().unwrap(), "a"), None);
}

/// For example if two home directories share one `XDG_CACHE_HOME`, each with its own key.
#[test]
fn who_has_another_key_has_other_files() {
    let dir = CacheDir::new();
    let homes = ["a", "b"].map(|home| Cache::open(&dir.path("compiled"), &dir.path(&format!("{home}/cache.key"))));
    let [a, b] = homes.map(Result::unwrap);
    a.store("plugin", b"code of a");
    b.store("plugin", b"code of b");
    assert_eq!(content(&a, "plugin").unwrap(), b"code of a");
    assert_eq!(content(&b, "plugin").unwrap(), b"code of b");
    a.keep_functions("runtime", b"functions");
    assert!(b.functions("runtime").is_empty());
    assert_eq!(a.functions("runtime"), b"functions");
}

#[test]
fn links_and_files_of_others_are_not_followed() {
    let dir = CacheDir::new();
    let cache = dir.open().unwrap();
    cache.store("a", b"code");
    let (code, elsewhere) = (cache.path("a", CacheFileKind::Code), dir.path("elsewhere"));
    fs::rename(&code, &elsewhere).unwrap();
    symlink(&elsewhere, &code).unwrap();
    assert_eq!(content(&cache, "a"), None, "a link");
    fs::remove_file(&code).unwrap();
    fs::rename(&elsewhere, &code).unwrap();
    assert!(content(&cache, "a").is_some());
    fs::set_permissions(&code, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(content(&cache, "a"), None, "a file that others may read");
    fs::rename(dir.path("compiled"), dir.path("other")).unwrap();
    symlink(dir.path("other"), dir.path("compiled")).unwrap();
    assert!(dir.open().is_err_and(|e| e.to_string().contains("not a link")));
}

#[test]
fn the_key_is_the_users_alone() {
    let dir = CacheDir::new();
    dir.open().unwrap();
    let key = dir.path("state/cache.key");
    assert_eq!((mode(&key), mode(&dir.path("state")), fs::metadata(&key).unwrap().len()), (0o600, 0o700, 32));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(dir.open().is_err_and(|e| e.to_string().contains("only this user can access (mode 0600)")));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(dir.path("state"), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(dir.open().is_err_and(|e| e.to_string().contains("mode 0700")));
    fs::set_permissions(dir.path("state"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(&key, [1; 31]).unwrap();
    assert!(dir.open().is_err_and(|e| e.to_string().contains("31 bytes instead of 32")));
    fs::remove_file(&key).unwrap();
    symlink("/dev/zero", &key).unwrap();
    assert!(dir.open().is_err());
}

#[test]
fn many_that_begin_at_once_have_one_key_and_hurt_nothing() {
    let dir = CacheDir::new();
    let keys: Vec<Vec<u8>> = thread::scope(|scope| {
        let open = || {
            let cache = dir.open().unwrap();
            for round in 0..20 {
                cache.store("shared", format!("code {round}").as_bytes());
                if let Some(found) = content(&cache, "shared") {
                    assert!(found.starts_with(b"code "));
                }
            }
            cache.key.bytes().to_vec()
        };
        let all: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(keys.iter().all(|key| *key == keys[0]));
    let cache = dir.open().unwrap();
    cache.store("shared", b"code");
    assert_eq!(content(&cache, "shared").unwrap(), b"code");
}

#[test]
fn the_oldest_go_with_what_is_beside_them() {
    let dir = CacheDir::new();
    let cache = dir.open().unwrap();
    for number in 0..COMPILED_FILES_MAX + 3 {
        cache.store(&format!("n{number:03}"), b"code");
    }
    let files = fs::read_dir(dir.path("compiled")).unwrap().count();
    assert_eq!(files, 2 * COMPILED_FILES_MAX);
}

#[test]
fn files_that_are_large_together_go_although_they_are_few() {
    let dir = CacheDir::new();
    let cache = dir.open().unwrap();
    for (name, seconds) in [("first", 30), ("second", 20), ("third", 10)] {
        cache.store(name, b"code");
        let file = fs::File::options().write(true).open(dir.file(&format!("{name}.code")).unwrap()).unwrap();
        // Without blocks on the disk.
        file.set_len(CACHED_CODE_BYTES_MAX / 3).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
    }
    cache.store("fourth", &[0; 100]);
    let is_there = |name: &str| dir.file(&format!("{name}.code")).is_some();
    assert_eq!(["first", "second", "third", "fourth"].map(is_there), [false, true, true, true]);
}

#[test]
fn what_is_used_stays() {
    let (dir, engine) = (CacheDir::new(), Engine::default());
    let cache = dir.open().unwrap();
    // A component without anything in it.
    let code = Component::new(&engine, b"\0asm\x0d\0\x01\0").unwrap().serialize().unwrap();
    cache.store("used", &code);
    let path = dir.file("used.code").unwrap();
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(1000);
    fs::File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
    assert!(cache.load(&engine, "used").is_some());
    for number in 0..COMPILED_FILES_MAX - 1 {
        cache.store(&format!("n{number:03}"), b"code");
    }
    assert!(cache.load(&engine, "used").is_some(), "it is there still");
    cache.store("one more", b"code");
    assert!(dir.file("n000.code").is_none() && path.exists());
}

#[test]
fn refusals_are_remembered_for_less_time_only() {
    let dir = CacheDir::new();
    let cache = dir.open().unwrap();
    let failure = CompileFailure { kind: Kind::Plugin, message: "takes too long".into(), permanent: true };
    cache.store_failure("a", &failure, Duration::from_secs(2));
    assert!(
        cache
            .stored_failure("a", Duration::from_secs(2))
            .is_some_and(|found| found.message.starts_with("takes too long\n"))
    );
    let minutes = |cache: &Cache| -> u64 {
        let message = cache.stored_failure("a", Duration::from_secs(2)).unwrap().message;
        let (_, rest) = message.split_once("the next one is in ").unwrap();
        rest.split_once(" minutes").unwrap().0.parse().unwrap()
    };
    assert_eq!(minutes(&cache), 60, "as long as it is kept");
    assert_eq!(cache.stored_failure("a", Duration::from_secs(3)), None, "with more time it is tried again");
    assert_eq!(cache.stored_failure("b", Duration::from_secs(2)), None);
    let file = File::options().write(true).open(dir.file("a.refused").unwrap()).unwrap();
    let ago = |seconds: u64| std::time::SystemTime::now() - Duration::from_secs(seconds);
    file.set_modified(ago(1_790)).unwrap();
    assert!((30..=31).contains(&minutes(&cache)), "{}", minutes(&cache));
    let old = ago(crate::limits::COMPILE_REFUSED_S + 1);
    file.set_modified(old).unwrap();
    assert_eq!(cache.stored_failure("a", Duration::from_secs(2)), None, "and after a while");
}
