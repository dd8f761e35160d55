//! Compiled code on disk, so that a job starts in milliseconds.
//!
//! Compiled code runs with the rights of this process, so it is only taken from a folder that nobody else can write
//! to, and only if it is what was written: beside each file stands its digest.

use crate::limits::COMPILED_FILES_MAX;
use sha2::{Digest as _, Sha256};
use std::fs::{self, DirBuilder, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use wasmtime::Engine;
use wasmtime::component::Component;

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// The folder of compiled code.
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The user's cache. `None`, said in the log, where there is none that can be trusted.
    pub fn of_user() -> Option<Cache> {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
        let Some(base) = base else {
            tracing::warn!("compiled plugins are not cached: neither XDG_CACHE_HOME nor HOME is set");
            return None;
        };
        let folder = base.join("millstream").join("compiled");
        Cache::open(&folder)
            .inspect_err(|e| tracing::warn!("compiled plugins are not cached in {}: {e}", folder.display()))
            .ok()
    }

    /// The cache in this folder, which is made where it is missing.
    pub fn open(folder: &Path) -> io::Result<Cache> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let found = fs::symlink_metadata(folder)?;
        // A file that we make belongs to us: that is our user id, without a system call that std does not offer.
        let ours = tempfile::Builder::new().prefix(".owner").tempfile_in(folder)?.as_file().metadata()?.uid();
        if !found.is_dir() || found.uid() != ours || found.mode() & 0o077 != 0 {
            let wanted = format!("it must be a folder of user {ours} that only this user may use (mode 0700)");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, wanted));
        }
        Ok(Cache { folder: folder.to_owned() })
    }

    /// The name under which the code of a component is kept: it depends on the component, on wasmtime and on all
    /// that wasmtime's code depends on (its settings, the processor).
    pub fn key(engine: &Engine, component: &Digest) -> String {
        let mut all = Sha(Sha256::new());
        all.write(component);
        engine.precompile_compatibility_hash().hash(&mut all);
        hex(&all.0.finalize().into())
    }

    /// Takes compiled code from the cache; `None` where there is none, or none that is whole.
    pub fn load(&self, engine: &Engine, key: &str) -> Option<Component> {
        let (code, digest) = (self.code(key), self.digest(key));
        let expected = fs::read_to_string(digest).ok()?;
        let found = hex(&digest_of_file(&code).ok()?);
        if found != expected {
            tracing::warn!("{} is damaged; the plugin is compiled again", code.display());
            return None;
        }
        // SAFETY: the bytes are those that `store` wrote (the digest beside them says so), in a folder that only this
        // user can write to (`open` checked owner and mode), so nobody else can have made or can now change them.
        let loaded = unsafe { Component::deserialize_file(engine, &code) };
        loaded.inspect_err(|e| tracing::warn!("{}: {e:#}; the plugin is compiled again", code.display())).ok()
    }

    /// Keeps compiled code. A failure costs time at the next start, nothing else, so it is only said.
    pub fn store(&self, key: &str, component: &Component) {
        let stored = component.serialize().map_err(io::Error::other).and_then(|code| {
            let digest: Digest = Sha256::digest(&code).into();
            self.replace(&self.digest(key), hex(&digest).as_bytes())?;
            self.replace(&self.code(key), &code)?;
            self.prune()
        });
        if let Err(e) = stored {
            tracing::warn!("the compiled plugin is not kept in {}: {e}", self.folder.display());
        }
    }

    fn code(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.code"))
    }

    fn digest(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.sha256"))
    }

    /// Readers see the old file or the new one, never a part.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(bytes)?;
        file.persist(path).map(drop).map_err(|e| e.error)
    }

    fn prune(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "code") {
                files.push((fs::metadata(&path)?.modified()?, path));
            }
        }
        files.sort();
        for (_, path) in files.iter().take(files.len().saturating_sub(COMPILED_FILES_MAX)) {
            fs::remove_file(path)?;
            fs::remove_file(path.with_extension("sha256"))?;
        }
        Ok(())
    }
}

/// The digest in hexadecimal.
pub fn hex(digest: &Digest) -> String {
    use std::fmt::Write as _;
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn digest_of_file(path: &Path) -> io::Result<Digest> {
    let (mut file, mut digest) = (File::open(path)?, Sha256::new());
    let mut block = vec![0; 1 << 16];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(digest.finalize().into()),
            n => digest.update(block.get(..n).unwrap_or_default()),
        }
    }
}

/// Lets wasmtime's compatibility hash flow into a digest.
struct Sha(Sha256);

impl Hasher for Sha {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}
