//! The storage of checkpoints: a directory, a bucket of an object store, or an HDFS directory. All calls block; use them on threads that may wait.

#[cfg(feature = "objects")]
mod bucket;
mod local;

use millstream_base::retry::{StoreError, StoreErrorKind};

use bytes::Bytes;
use millstream_base::error::{Error, Result};
use millstream_job::spec::CHECKPOINT_SCHEMES;
use std::any::Any;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Objects by path. Paths are relative, with `/` as the separator.
pub trait Store: Send + Sync {
    /// Returns the store's location for messages: a directory or a URL.
    fn location(&self) -> String;
    /// Returns the local directory of the store, if it has one.
    fn dir(&self) -> Option<PathBuf> {
        None
    }
    /// Makes this process the only one that changes the store, until the guard is dropped or the process ends. Fails if another process has the lock,
    /// or if the store is not writable. Returns `None` if the store cannot lock, and only the condition of [`Store::replace`] keeps others out.
    fn lock(&self) -> Result<Option<Guard>, StoreError>;
    /// Returns an object's bytes; `None` if it does not exist.
    fn read(&self, path: &str) -> Result<Option<Bytes>, StoreError>;
    /// Returns an object as a random-access file, if the store has it as one. The file stays readable after the object is deleted. Returns `None` if
    /// the object does not exist or the store has no files; use [`Store::read`] then.
    fn open(&self, _path: &str) -> Result<Option<File>, StoreError> {
        Ok(None)
    }
    /// Writes an object atomically. It is durable, under its name, when this returns.
    fn write(&self, path: &str, bytes: Bytes) -> Result<(), StoreError>;
    /// Returns an object's bytes and its version, for [`Store::replace`].
    fn read_version(&self, path: &str) -> Result<Option<(Bytes, Version)>, StoreError>;
    /// Writes an object if it still has this version (`None`: if it does not exist). Returns `Ok(None)`, and writes nothing, if it has not. An object
    /// that already contains exactly these bytes counts as written: an earlier attempt may have succeeded although its response was lost. So bytes of
    /// different processes must differ if they are to be distinguished.
    fn replace(&self, path: &str, bytes: Bytes, expected: Option<&Version>) -> Result<Option<Version>, StoreError>;
    /// Lists the objects in this directory (empty: all), in order of path.
    fn list(&self, dir: &str) -> Result<Vec<Object>, StoreError>;
    /// Deletes an object; a missing one is not an error.
    fn delete(&self, path: &str) -> Result<(), StoreError>;
    /// Creates a log. What [`Log::append`] wrote before it returned is read back by [`Store::read_log`]. Fails if a non-empty log exists at this
    /// path.
    fn log(&self, path: &str) -> Result<Box<dyn Log>, StoreError>;
    /// Returns everything appended to a log; the end may be a torn append. A missing log reads as empty.
    fn read_log(&self, path: &str) -> Result<Bytes, StoreError>;
    /// Deletes a log; a missing one is not an error.
    fn delete_log(&self, path: &str) -> Result<(), StoreError>;
}

/// Holds the lock of [`Store::lock`].
pub type Guard = Box<dyn Any + Send + Sync>;

/// An append-only log.
pub trait Log: Send {
    /// Appends bytes; they are durable when this returns. After an error, which may have come after the bytes were written, only the same bytes may
    /// be appended next.
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError>;
}

/// A version of an object: opaque, compared by the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub String);

/// An object in a listing. A log counts as one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its path.
    pub path: String,
    /// Its length.
    pub bytes: u64,
}

/// Opens a store: a directory (relative to `base`), `s3://bucket/prefix`, or `hdfs://namenode:8020/folder`. Creates nothing.
///
/// S3 is configured by the usual environment variables: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, for other
/// servers `AWS_ENDPOINT_URL`, and `AWS_ALLOW_HTTP=true` if that is not `https`.
pub fn open(dir: &str, base: &Path) -> Result<Arc<dyn Store>> {
    open_with(dir, base, &millstream_connect::objects::environment())
}

/// Does the same as [`open`], with these settings instead of environment variables.
pub fn open_with(dir: &str, base: &Path, settings: &[(String, String)]) -> Result<Arc<dyn Store>> {
    if CHECKPOINT_SCHEMES.iter().any(|scheme| dir.starts_with(scheme)) {
        #[cfg(feature = "objects")]
        return Ok(Arc::new(bucket::BucketStore::open(dir, settings)?));
        #[cfg(not(feature = "objects"))]
        return Err(unsupported_error(dir, settings));
    }
    if dir.is_empty() || dir.contains("://") {
        return Err(Error::job(format!(
            "`dir` of [checkpoint] is \"{dir}\"; write a directory, for example \"checkpoints/my-job\", \
            \"s3://bucket/prefix\", or \"hdfs://namenode:8020/dir\""
        )));
    }
    Ok(Arc::new(local::Local::open(base.join(dir))))
}

/// Returns the error for a location that this build does not support.
#[cfg(not(feature = "objects"))]
fn unsupported_error(dir: &str, _settings: &[(String, String)]) -> Error {
    let (what, feature) = if dir.starts_with("hdfs://") { ("HDFS", "hdfs") } else { ("a bucket", "objects") };
    let what = millstream_base::built::absent(what, feature);
    Error::job(format!("`dir` of [checkpoint]: {what}"))
}

/// Returns whether a path names an object inside the store. Paths are read from files, so they are not trusted.
fn is_inside(path: &str) -> bool {
    !path.split('/').any(|part| matches!(part, "" | "." | "..") || part.starts_with('.') || part.contains('\0'))
}

/// Returns the error for a path that is not [`is_inside`].
fn outside_error(what: &str, path: &str) -> StoreError {
    StoreError {
        what: format!("{what} {path:?}"),
        reason: "it is not a path inside the store".into(),
        kind: StoreErrorKind::Permanent,
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
        assert_eq!(open("a/b", "/base".as_ref()).expect("a directory").location(), "/base/a/b");
        assert_eq!(open("/a/b", "/base".as_ref()).expect("a directory").location(), "/a/b");
    }

    #[test]
    fn paths_out_of_the_store_are_refused() {
        let good = ["manifest.json", "state/000001-000000000002-000-totals.arrow"];
        let bad = ["", "/etc/passwd", "../x", "state/../../x", "state//x", "state/", "./x", ".x", "a\0b"];
        assert!(good.iter().all(|path| is_inside(path)));
        assert!(bad.iter().all(|path| !is_inside(path)));
    }
}
