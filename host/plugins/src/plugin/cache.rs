//! Compiled code on disk, so that a job starts in milliseconds.
//!
//! Compiled code runs with the rights of this process. It is therefore only loaded from a directory that no other user can access, and only
//! if this user's Millstream wrote it: each file has an authentication code (HMAC-SHA256) next to it, with a key that is stored elsewhere.
//! A copied, shared or restored directory is therefore no attack vector. Code under the name of another component, partial files, and
//! files from two writers are detected and compiled again. Parent directories are not checked, because replacing the directory does not
//! give access to the key.

mod refusals;

use crate::limits::{CACHED_CODE_BYTES_MAX, COMPILED_FILES_MAX, FUNCTIONS_FILES_MAX};
use hmac::{Hmac, KeyInit, Mac};
use millstream_base::hex;
use millstream_base::private::{self, Key};
use sha2::{Digest as _, Sha256};
use std::cmp::Reverse;
use std::fs::{self, File, TryLockError};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use wasmparser::BinaryReader;
use wasmtime::Engine;
use wasmtime::component::Component;

/// A SHA-256 digest.
pub type DigestBytes = [u8; 32];

/// The digest of what is compiled: the component without its metadata in custom sections, which contain no code. So the code that
/// `millstream build` compiled to describe a plugin is found when the plugin is used.
pub fn code_digest(component: &[u8]) -> DigestBytes {
    // What cannot be parsed cannot be compiled either; its rejection is stored under this name.
    without_custom_sections(component).unwrap_or_else(|_| Sha256::digest(component).into())
}

fn without_custom_sections(component: &[u8]) -> wasmparser::Result<DigestBytes> {
    let mut digest = Sha256::new();
    let mut reader = BinaryReader::new(component, 0);
    digest.update(reader.read_bytes(8)?);
    while !reader.eof() {
        let start = reader.original_position();
        let id = reader.read_u8()?;
        let size = reader.read_var_u32()?;
        reader.read_bytes(size as usize)?;
        if id != 0 {
            digest.update(component.get(start..reader.original_position()).unwrap_or_default());
        }
    }
    Ok(digest.finalize().into())
}

/// Age at which foreign files in the directory are deleted: leftovers of a process that was killed while writing.
const LEFTOVER_AGE_MIN: Duration = Duration::from_secs(3_600);

/// The purpose of an authentication code, so that none is valid for anything else.
#[derive(Clone, Copy)]
enum CacheFileKind {
    Code,
    Failure,
    Functions,
}

impl CacheFileKind {
    /// The ending of the files.
    fn extension(self) -> &'static str {
        match self {
            CacheFileKind::Code => "code",
            CacheFileKind::Failure => "refused",
            CacheFileKind::Functions => "functions",
        }
    }

    /// Maximum files that are kept.
    fn files_max(self) -> usize {
        match self {
            CacheFileKind::Code | CacheFileKind::Failure => COMPILED_FILES_MAX,
            CacheFileKind::Functions => FUNCTIONS_FILES_MAX,
        }
    }
}

/// Characters of a file's name that identify its key.
const PREFIX_CHARS: usize = 16;

/// The environment variable with the directory of compiled code and of its key.
const CACHE_VARIABLE: &str = "MILLSTREAM_CACHE";

/// The process that holds it compiles; others wait.
pub struct CompileLock(#[expect(dead_code, reason = "the lock goes with the file")] Option<File>);

/// The directory of compiled code.
pub struct Cache {
    dir: PathBuf,
    key: Key,
    /// Prefix of its files: other users with other keys may share the directory, and cannot use each other's files.
    prefix: String,
}

impl Cache {
    /// Opens the cache in the directory that [`CACHE_VARIABLE`] names, or else the user's. `None` if none can be trusted, which is logged.
    pub fn of_user() -> Option<Cache> {
        let untrusted = |dir: &Path, e: &io::Error| {
            tracing::warn!("compiled plugins are not cached in {}: {e}", dir.display());
        };
        if let Some(given_path) =
            std::env::var_os(CACHE_VARIABLE).filter(|given_path| !given_path.is_empty()).map(PathBuf::from)
        {
            // Its key is inside: naming a directory means trusting all of it.
            let opened = match given_path.is_absolute() {
                true => private::dir(&given_path)
                    .and_then(|()| Cache::open(&given_path.join("compiled"), &given_path.join("cache.key"))),
                false => Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("{CACHE_VARIABLE} must be an absolute path"),
                )),
            };
            return opened.inspect_err(|e| untrusted(&given_path, e)).ok();
        }
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = |xdg, of_home: &str| absolute(xdg).or_else(|| absolute("HOME").map(|home| home.join(of_home)));
        let bases = base("XDG_CACHE_HOME", ".cache").zip(base("XDG_STATE_HOME", ".local/state"));
        let Some((cache, state)) = bases else {
            tracing::warn!(
                "compiled plugins are not cached: HOME is not set, nor {CACHE_VARIABLE}, nor both XDG_CACHE_HOME and XDG_STATE_HOME"
            );
            return None;
        };
        let dir = cache.join("millstream").join("compiled");
        Cache::open(&dir, &state.join("millstream").join("cache.key")).inspect_err(|e| untrusted(&dir, e)).ok()
    }

    /// Opens the cache in this directory, with the key in this file. Creates both if they are missing.
    pub fn open(dir: &Path, key: &Path) -> io::Result<Cache> {
        private::dir(dir)?;
        let key = Key::open(key).map_err(|e| io::Error::new(e.kind(), format!("the key {}: {e}", key.display())))?;
        let mut id = Hmac::<Sha256>::new_from_slice(key.bytes()).map_err(io::Error::other)?;
        id.update(b"millstream names\n");
        let prefix = hex::encode(&id.finalize().into_bytes()).chars().take(PREFIX_CHARS).collect();
        Ok(Cache { dir: dir.to_owned(), key, prefix })
    }

    /// The name under which the code of a component is kept: it depends on [`code_digest`], on wasmtime and on all
    /// that wasmtime's code depends on (its settings, the processor).
    pub fn key(engine: &Engine, code: &DigestBytes) -> String {
        let mut all = ShaHasher(Sha256::new());
        all.write(code);
        engine.precompile_compatibility_hash().hash(&mut all);
        hex::encode(&all.0.finalize())
    }

    /// Loads compiled code; `None` if it is missing, incomplete, or not ours.
    pub fn load(&self, engine: &Engine, name: &str) -> Option<Component> {
        let code = self.path(name, CacheFileKind::Code);
        let mut bytes = Vec::new();
        let read = self.authentic(name, CacheFileKind::Code).and_then(|mut file| {
            was_used(&file);
            file.read_to_end(&mut bytes)
        });
        if let Err(e) = read {
            if e.kind() != io::ErrorKind::NotFound {
                tracing::warn!("{}: {e}; the plugin is compiled again", code.display());
            }
            return None;
        }
        // SAFETY: the bytes are those that `store` wrote: their authentication code proves it, and only this user has its key.
        // They are read from the file that was checked, which only this user can write. What its path names by now does not
        // matter, as other users may own parent directories.
        let loaded = unsafe { Component::deserialize(engine, &bytes) };
        loaded.inspect_err(|e| tracing::warn!("{}: {e:#}; the plugin is compiled again", code.display())).ok()
    }

    /// Waits until no other process compiles this name, for at most `longest`: what takes minutes is done once per machine. If this cannot be
    /// determined, each process compiles.
    pub fn lock_entry(&self, name: &str, longest: Duration) -> CompileLock {
        const LOOK_EVERY: Duration = Duration::from_millis(20);
        let path = self.dir.join(format!("{}-{name}.lock", self.prefix));
        let Ok(file) = private::open_or_create(&path) else { return CompileLock(None) };
        let until = Instant::now().checked_add(longest);
        loop {
            match file.try_lock() {
                Ok(()) => return CompileLock(Some(file)),
                Err(TryLockError::WouldBlock) if until.is_none_or(|until| Instant::now() < until) => {
                    std::thread::sleep(LOOK_EVERY);
                }
                Err(_) => return CompileLock(None),
            }
        }
    }

    /// Stores compiled code. A failure only makes the next startup slower, so it is only logged.
    pub fn store(&self, name: &str, code: &[u8]) {
        if let Err(e) = self.keep(name, CacheFileKind::Code, code) {
            tracing::warn!("the compiled plugin is not cached in {}: {e}", self.dir.display());
        }
    }

    /// Returns the stored functions of a runtime; empty if there are none.
    pub fn functions(&self, name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = self.authentic(name, CacheFileKind::Functions).and_then(|mut file| {
            was_used(&file);
            file.read_to_end(&mut bytes)
        });
        read.map_or_else(|_| Vec::new(), |_| bytes)
    }

    /// Keeps functions of a runtime. A failure costs time, nothing else.
    pub fn keep_functions(&self, name: &str, functions: &[u8]) {
        if let Err(e) = self.keep(name, CacheFileKind::Functions, functions) {
            tracing::debug!("compiled functions are not cached in {}: {e}", self.dir.display());
        }
    }

    fn keep(&self, name: &str, purpose: CacheFileKind, bytes: &[u8]) -> io::Result<()> {
        let code = self.authentication(name, purpose, bytes)?.finalize().into_bytes();
        let path = self.path(name, purpose);
        self.replace(&mac_of(&path), &code)?;
        self.replace(&path, bytes)?;
        self.prune()
    }

    /// Opens a stored file at its beginning, if it is complete and ours.
    fn authentic(&self, name: &str, purpose: CacheFileKind) -> io::Result<File> {
        let path = self.path(name, purpose);
        let mut file = private::open(&path)?;
        let mut expected = Vec::new();
        private::open(&mac_of(&path))?.take(64).read_to_end(&mut expected)?;
        let found = self.authentication(name, purpose, &file)?;
        found.verify_slice(&expected).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, "it is damaged, or was not created by this user's Millstream")
        })?;
        io::Seek::rewind(&mut file)?;
        Ok(file)
    }

    fn authentication(&self, name: &str, purpose: CacheFileKind, mut bytes: impl Read) -> io::Result<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.bytes()).map_err(io::Error::other)?;
        mac.update(format!("millstream {} {name}\n", purpose.extension()).as_bytes());
        let mut block = vec![0; 1 << 16];
        loop {
            match bytes.read(&mut block)? {
                0 => return Ok(mac),
                n => mac.update(block.get(..n).unwrap_or_default()),
            }
        }
    }

    fn path(&self, name: &str, purpose: CacheFileKind) -> PathBuf {
        self.dir.join(format!("{}-{name}.{}", self.prefix, purpose.extension()))
    }

    /// Readers see the old file or the new one, never a part.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        file.write_all(bytes)?;
        file.persist(path).map(drop).map_err(|e| e.error)
    }

    /// Removes the files beyond the limit that were not used for longest. Others may do the same at the same time.
    fn prune(&self) -> io::Result<()> {
        for purpose in [CacheFileKind::Code, CacheFileKind::Failure, CacheFileKind::Functions] {
            let mut files = self.files(|path| path.extension().is_some_and(|e| e == purpose.extension()))?;
            files.sort_by_key(|file| Reverse(file.modified));
            let mut bytes: u64 = 0;
            let beyond = files.iter().enumerate().filter(|(number, file)| {
                bytes = bytes.saturating_add(file.bytes);
                *number >= purpose.files_max() || bytes > CACHED_CODE_BYTES_MAX
            });
            for (_, CachedFile { path, .. }) in beyond {
                remove(path)?;
                remove(&mac_of(path))?;
            }
        }
        let kept = ["code", "refused", "functions", "mac"];
        let foreign = |path: &Path| !path.extension().and_then(|e| e.to_str()).is_some_and(|e| kept.contains(&e));
        for CachedFile { modified, path, .. } in self.files(foreign)? {
            if modified.elapsed().is_ok_and(|age| age > LEFTOVER_AGE_MIN) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    fn files(&self, which: impl Fn(&Path) -> bool) -> io::Result<Vec<CachedFile>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            match fs::symlink_metadata(&path) {
                Ok(found) if !found.is_dir() && which(&path) => {
                    files.push(CachedFile { modified: found.modified()?, bytes: found.len(), path });
                }
                _ => {}
            }
        }
        Ok(files)
    }
}

/// A file of the directory.
struct CachedFile {
    modified: SystemTime,
    bytes: u64,
    path: PathBuf,
}

/// Marks a file as used. The least recently used file is deleted first, so what a job loads at each startup stays. If it cannot be marked,
/// it may be compiled again.
fn was_used(file: &File) {
    file.set_modified(SystemTime::now()).ok();
}

/// The path of a file's authentication code: `x.code` has `x.code.mac`.
fn mac_of(path: &Path) -> PathBuf {
    path.with_added_extension("mac")
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Lets wasmtime's compatibility hash flow into a digest.
struct ShaHasher(Sha256);

impl Hasher for ShaHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests;
