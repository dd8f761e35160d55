//! Where checkpoints are kept: a folder, a bucket of an object store, or a folder of HDFS. All calls block; they belong to threads that
//! may wait.

#[cfg(feature = "objects")]
mod bucket;
mod local;

use millstream_base::patience::{StoreError, StoreErrorKind};

use bytes::Bytes;
use millstream_base::error::{Error, Result};
use millstream_base::job::spec::CHECKPOINT_SCHEMES;
use std::any::Any;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Objects by path. Paths are relative, with `/` between their parts.
pub trait Store: Send + Sync {
    /// The store's place in words, for messages: a folder or a URL.
    fn place(&self) -> String;
    /// The folder of this machine that the store is, where it is one.
    fn folder(&self) -> Option<PathBuf> {
        None
    }
    /// Makes this process the only one that changes the store, until the guard is dropped or the process ends. An error
    /// where another process has it, or where nothing can be written. `None`: the store cannot lock, and the condition
    /// of [`Store::replace`] alone keeps others out.
    fn lock(&self) -> Result<Option<Guard>, StoreError>;
    /// An object's bytes; `None`: there is none.
    fn read(&self, path: &str) -> Result<Option<Bytes>, StoreError>;
    /// An object as a file that can be read anywhere, where the store has it as one; it can be read on when it is deleted. `None`: there
    /// is none, or the store has other ways, and [`Store::read`] is to be asked.
    fn open(&self, _path: &str) -> Result<Option<File>, StoreError> {
        Ok(None)
    }
    /// Writes an object whole or not at all. It is durable, under its name, when this returns.
    fn write(&self, path: &str, bytes: Bytes) -> Result<(), StoreError>;
    /// An object's bytes and its version, for [`Store::replace`].
    fn read_version(&self, path: &str) -> Result<Option<(Bytes, Version)>, StoreError>;
    /// Writes an object if it is still of this version (`None`: if there is none). `Ok(None)`: it is not, and nothing
    /// was written. An object that holds exactly these bytes counts as written: an earlier attempt may have come through
    /// although its answer was lost. So bytes that must be told apart from those of another process must differ.
    fn replace(&self, path: &str, bytes: Bytes, expected: Option<&Version>) -> Result<Option<Version>, StoreError>;
    /// The objects whose path begins with this folder (empty: all), in order of path.
    fn list(&self, folder: &str) -> Result<Vec<Object>, StoreError>;
    /// Removes an object; it is no error that there is none.
    fn delete(&self, path: &str) -> Result<(), StoreError>;
    /// A new log. What [`Log::append`] wrote before it returned is read back by [`Store::read_log`]. An error where there
    /// is one of this path that holds something.
    fn log(&self, path: &str) -> Result<Box<dyn Log>, StoreError>;
    /// All that was appended to a log; the end may be an append that was cut short. No log reads as an empty one.
    fn read_log(&self, path: &str) -> Result<Bytes, StoreError>;
    /// Removes a log; it is no error that there is none.
    fn delete_log(&self, path: &str) -> Result<(), StoreError>;
}

/// Holds what [`Store::lock`] locked.
pub type Guard = Box<dyn Any + Send + Sync>;

/// An append-only log.
pub trait Log: Send {
    /// Appends bytes; they are durable when this returns. After an error, which may have come after the bytes were
    /// written, only the same bytes may be appended next.
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError>;
}

/// A version of an object: opaque, compared by the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub String);

/// An object of a listing. A log counts as one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its path.
    pub path: String,
    /// Its length.
    pub bytes: u64,
}

/// Opens a store: a folder (relative to `base`), `s3://bucket/prefix`, or `hdfs://namenode:8020/folder`. Makes nothing.
///
/// S3 is told where and who by the usual environment variables: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
/// `AWS_SESSION_TOKEN`, `AWS_REGION`, for other servers `AWS_ENDPOINT_URL`, and `AWS_ALLOW_HTTP=true` where that is not
/// `https`.
pub fn open(dir: &str, base: &Path) -> Result<Arc<dyn Store>> {
    open_with(dir, base, &millstream_connectors::objects::environment())
}

/// As [`open`], with these in place of environment variables.
pub fn open_with(dir: &str, base: &Path, settings: &[(String, String)]) -> Result<Arc<dyn Store>> {
    if CHECKPOINT_SCHEMES.iter().any(|scheme| dir.starts_with(scheme)) {
        #[cfg(feature = "objects")]
        return Ok(Arc::new(bucket::BucketStore::open(dir, settings)?));
        #[cfg(not(feature = "objects"))]
        return Err(absent(dir, settings));
    }
    if dir.is_empty() || dir.contains("://") {
        return Err(Error::job(format!(
            "`dir` of [checkpoint] is \"{dir}\"; write a directory, for example \"checkpoints/my-job\", \"s3://bucket/prefix\", or \"hdfs://namenode:8020/folder\""
        )));
    }
    Ok(Arc::new(local::Local::open(base.join(dir))))
}

/// The error for a place that this build cannot reach.
#[cfg(not(feature = "objects"))]
fn absent(dir: &str, _settings: &[(String, String)]) -> Error {
    let (what, feature) = if dir.starts_with("hdfs://") { ("HDFS", "hdfs") } else { ("a bucket", "objects") };
    let what = millstream_base::built::absent(what, feature);
    Error::job(format!("`dir` of [checkpoint]: {what}"))
}

/// Whether a path names an object inside the store. Paths are read from files, so they are not trusted.
fn inside(path: &str) -> bool {
    !path.split('/').any(|part| matches!(part, "" | "." | "..") || part.starts_with('.') || part.contains('\0'))
}

/// The error for a path that is not [`inside`].
fn outside(what: &str, path: &str) -> StoreError {
    StoreError {
        what: format!("{what} {path:?}"),
        reason: "it is not a path inside the store".into(),
        kind: StoreErrorKind::Lasting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_place_is_an_error_that_says_what_is_possible() {
        for dir in ["gs://bucket/x", "file:///tmp/x", "http://localhost/x", ""] {
            let error = open(dir, "/tmp".as_ref()).err().expect(dir);
            assert!(error.message.contains(&format!("\"{dir}\"")), "{error}");
            assert!(error.message.contains("a directory") && error.message.contains("s3://bucket/prefix"), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
        assert!(open("s3:///x", "/tmp".as_ref()).err().expect("no bucket").message.contains("bucket"));
        assert_eq!(open("a/b", "/base".as_ref()).expect("a folder").place(), "/base/a/b");
        assert_eq!(open("/a/b", "/base".as_ref()).expect("a folder").place(), "/a/b");
    }

    #[test]
    fn paths_out_of_the_store_are_refused() {
        let good = ["manifest.json", "state/000001-000000000002-000-totals.arrow"];
        let bad = ["", "/etc/passwd", "../x", "state/../../x", "state//x", "state/", "./x", ".x", "a\0b"];
        assert!(good.iter().all(|path| inside(path)));
        assert!(bad.iter().all(|path| !inside(path)));
    }
}
