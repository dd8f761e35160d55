//! A store in an S3 bucket (or a server with the S3 protocol and conditional puts), or in an HDFS directory, which has equivalents. A log is a
//! directory of numbered objects, one per append.

use super::{Guard, Log, Object, Store, Version, is_inside, outside_error};
use bytes::Bytes;
use millstream_base::digest::checksum;
use millstream_base::error::{Error, Result as JobResult};
use millstream_base::fault;
use millstream_base::retry::{StoreError, StoreErrorKind};
use millstream_connect::objects::{Bucket, Client, is_draft, no_bucket};
use object_store::path::Path;
use object_store::{
    BackoffConfig, Error as ClientError, MultipartUpload, ObjectMeta, ObjectStoreExt, PutMode, PutOptions, PutResult,
    RetryConfig, UpdateVersion,
};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Larger objects are uploaded in parts of this size.
const PART_BYTES: usize = 16 << 20;
/// Maximum concurrent requests of one call.
const REQUESTS_MAX: usize = 16;
/// An unfinished object of this age is no longer being written: its writer died.
const DRAFT_AGE_MIN: Duration = Duration::from_secs(3600);
/// How long a request is retried before its failure is returned; callers that wait longer report it.
const RETRY: RetryConfig = RetryConfig {
    backoff: BackoffConfig { init_backoff: Duration::from_millis(50), max_backoff: Duration::from_secs(1), base: 2. },
    max_retries: 6,
    retry_timeout: Duration::from_secs(10),
};

/// A bucket, and a prefix of all names in it.
pub struct BucketStore(Arc<Objects>);

/// The objects of a bucket that belong to the store.
struct Objects(Bucket);

impl std::ops::Deref for Objects {
    type Target = Bucket;

    fn deref(&self) -> &Bucket {
        &self.0
    }
}

impl BucketStore {
    /// Opens a bucket without contacting the server. Settings are environment variables; those for the kind of location are used.
    pub fn open(url: &str, settings: &[(String, String)]) -> JobResult<BucketStore> {
        BucketStore::open_with(url, settings, RETRY)
    }

    fn open_with(url: &str, settings: &[(String, String)], retry: RetryConfig) -> JobResult<BucketStore> {
        let (_, rest) = url.split_once("://").unwrap_or_default();
        let prefix = rest.split_once('/').map_or("", |(_, prefix)| prefix.trim_end_matches('/'));
        if !(prefix.is_empty() || is_inside(prefix)) {
            return Err(Error::job(format!(
                "`dir` of [checkpoint] is \"{url}\"; write a bucket and a prefix, for example \"s3://bucket/prefix\""
            )));
        }
        let bucket = Bucket::open(url, settings, retry);
        Ok(BucketStore(Arc::new(Objects(bucket.map_err(|error| error.within("`dir` of [checkpoint]"))?))))
    }
}

impl Objects {
    fn at(&self, what: &str, path: &str) -> Result<Path, StoreError> {
        let parsed = if is_inside(path) { self.0.at(path) } else { None };
        parsed.ok_or_else(|| outside_error(what, path))
    }

    /// Returns an object and its ETag.
    fn get(&self, path: &str) -> Result<Option<(Bytes, Option<String>)>, StoreError> {
        let at = self.at("read", path)?;
        let client = self.client();
        self.run("read", path, async move { get(client.as_ref(), &at).await })
    }

    /// Returns the error for a log that has lost an append.
    fn incomplete(&self, log: &str, append: usize) -> StoreError {
        let reason = format!("append {append} of this log is missing; restore it from a copy");
        StoreError { kind: StoreErrorKind::Incomplete, ..self.error("read", log, reason, false) }
    }

    fn put(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        let at = self.at("write", path)?;
        let client = self.client();
        fault::point("store.write");
        self.run("write", path, async move {
            if bytes.len() <= PART_BYTES {
                client.put(&at, bytes.into()).await?;
            } else {
                put_in_parts(client.as_ref(), &at, bytes).await?;
            }
            Ok(())
        })
    }

    /// Lists all objects in a directory, by path, with their lengths.
    fn objects(&self, dir: &str) -> Result<BTreeMap<String, u64>, StoreError> {
        let objects = self.all(dir)?.into_iter().filter(|(path, _)| !is_draft(path));
        Ok(objects.map(|(path, object)| (path, object.size)).collect())
    }

    /// Does the same, including objects that are being written.
    fn all(&self, dir: &str) -> Result<BTreeMap<String, ObjectMeta>, StoreError> {
        let begin = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let found = self.0.list(dir, &begin, false, |path, object| Some((path.to_owned(), object.clone())))?;
        Ok(found.into_iter().collect())
    }

    /// Deletes objects; they need not exist.
    fn remove(&self, what: &str, paths: Vec<String>) -> Result<(), StoreError> {
        let full_paths = paths.iter().map(|path| self.at("delete", path)).collect::<Result<Vec<_>, _>>()?;
        let client = self.client();
        self.run("delete", what, async move {
            let delete = |at: Path| {
                let client = client.clone();
                async move {
                    match client.delete(&at).await {
                        Err(error @ ClientError::NotFound { .. }) if !no_bucket(&error) => Ok(()),
                        done => done,
                    }
                }
            };
            run_concurrently(full_paths, delete).await.map(|_| ())
        })
    }
}

async fn get(client: &dyn Client, at: &Path) -> Result<Option<(Bytes, Option<String>)>, ClientError> {
    match client.get(at).await {
        Ok(found) => {
            let tag = found.meta.e_tag.clone();
            Ok(Some((found.bytes().await?, tag)))
        }
        Err(error @ ClientError::NotFound { .. }) if !no_bucket(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn put_in_parts(client: &dyn Client, at: &Path, mut bytes: Bytes) -> Result<PutResult, ClientError> {
    let mut upload = client.put_multipart(at).await?;
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        parts.push(upload.put_part(bytes.split_to(PART_BYTES.min(bytes.len())).into()));
    }
    let sent = run_concurrently(parts, |part| part).await;
    let done = match sent {
        Ok(_) => upload.complete().await,
        Err(error) => Err(error),
    };
    if done.is_err() {
        // Parts that belong to no object cost money until they are removed; the original error matters more.
        let _ = upload.abort().await;
    }
    done
}

/// Runs several futures concurrently, and returns their results in order.
async fn run_concurrently<I, T, F>(items: Vec<I>, work: impl Fn(I) -> F) -> Result<Vec<T>, ClientError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, ClientError>> + Send + 'static,
{
    let mut results = Vec::with_capacity(items.len());
    let mut items = items.into_iter();
    loop {
        let running: Vec<_> = items.by_ref().take(REQUESTS_MAX).map(|item| tokio::spawn(work(item))).collect();
        if running.is_empty() {
            return Ok(results);
        }
        for task in running {
            results.push(task.await.map_err(|source| ClientError::JoinError { source })??);
        }
    }
}

impl Store for BucketStore {
    fn location(&self) -> String {
        self.0.url().to_owned()
    }

    fn lock(&self) -> Result<Option<Guard>, StoreError> {
        if self.0.cloud().renames() {
            let old = |object: &ObjectMeta| {
                SystemTime::from(object.last_modified).elapsed().is_ok_and(|age| age >= DRAFT_AGE_MIN)
            };
            let all = self.0.all("")?.into_iter();
            let left = all.filter(|(path, object)| is_draft(path) && old(object)).map(|(path, _)| path);
            self.0.remove("", left.collect())?;
        }
        Ok(None)
    }

    fn read(&self, path: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.0.get(path)?.map(|(bytes, _)| bytes))
    }

    fn write(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.0.put(path, bytes)
    }

    fn read_version(&self, path: &str) -> Result<Option<(Bytes, Version)>, StoreError> {
        match self.0.get(path)? {
            None => Ok(None),
            Some((bytes, Some(tag))) => Ok(Some((bytes, Version(tag)))),
            Some((_, None)) => Err(self.0.error("read", path, "the server returns no ETag, which commits need", false)),
        }
    }

    fn replace(&self, path: &str, bytes: Bytes, expected: Option<&Version>) -> Result<Option<Version>, StoreError> {
        let at = self.0.at("write", path)?;
        let client = self.0.client();
        let mode = match expected {
            None => PutMode::Create,
            Some(Version(tag)) => PutMode::Update(UpdateVersion { e_tag: Some(tag.clone()), version: None }),
        };
        let payload = bytes.clone();
        fault::point("store.write");
        let response = self.0.run("write", path, async move {
            match client.put_opts(&at, payload.into(), PutOptions::from(mode)).await {
                Err(ClientError::AlreadyExists { .. } | ClientError::Precondition { .. }) => Ok(None),
                done => done.map(|done| done.e_tag),
            }
        })?;
        if let Some(tag) = response {
            return Ok(Some(Version(tag)));
        }
        // The condition failed; but perhaps an earlier attempt succeeded although its response was lost.
        match self.read_version(path)? {
            Some((there, version)) if there == bytes => Ok(Some(version)),
            there if there.as_ref().map(|(_, version)| version) == expected => {
                Err(self.0.error("write", path, "another process is writing it at the same time", true))
            }
            _ => Ok(None),
        }
    }

    fn list(&self, dir: &str) -> Result<Vec<Object>, StoreError> {
        if !(dir.is_empty() || is_inside(dir)) {
            return Err(outside_error("list", dir));
        }
        let mut lengths: BTreeMap<String, u64> = BTreeMap::new();
        for (path, bytes) in self.0.objects(dir)? {
            let path = append_of(&path).map(|(log, _)| log.to_owned()).unwrap_or(path);
            let length = lengths.entry(path).or_default();
            *length = length.saturating_add(bytes);
        }
        Ok(lengths.into_iter().map(|(path, bytes)| Object { path, bytes }).collect())
    }

    fn delete(&self, path: &str) -> Result<(), StoreError> {
        self.0.remove(path, vec![path.to_owned()])
    }

    fn log(&self, path: &str) -> Result<Box<dyn Log>, StoreError> {
        self.0.at("write", path)?;
        if !self.0.objects(path)?.is_empty() {
            return Err(self.0.error("make the log", path, "it already exists", false));
        }
        Ok(Box::new(BucketLog { bucket: self.0.clone(), path: path.to_owned(), next: 0, failed: None }))
    }

    fn read_log(&self, path: &str) -> Result<Bytes, StoreError> {
        self.0.at("read", path)?;
        let mut full_paths = Vec::new();
        for part in self.0.objects(path)?.into_keys() {
            if append_of(&part).map(|(_, number)| number) != Some(full_paths.len()) {
                return Err(self.0.incomplete(path, full_paths.len()));
            }
            full_paths.push(self.0.at("read", &part)?);
        }
        let client = self.0.client();
        let found = self.0.run("read", path, async move {
            let read = |at: Path| {
                let client = client.clone();
                async move { get(client.as_ref(), &at).await }
            };
            run_concurrently(full_paths, read).await
        })?;
        // The log may be being deleted concurrently.
        let part = |(number, found): (usize, Option<_>)| {
            found.map(|(bytes, _): (Bytes, _)| bytes).ok_or_else(|| self.0.incomplete(path, number))
        };
        let parts = found.into_iter().enumerate().map(part).collect::<Result<Vec<_>, _>>()?;
        Ok(parts.concat().into())
    }

    fn delete_log(&self, path: &str) -> Result<(), StoreError> {
        self.0.at("delete", path)?;
        // Concurrently, so a partly deleted log may have lost any append. Deleted logs are no longer needed, and a reader takes such a log for
        // damaged.
        self.0.remove(path, self.0.objects(path)?.into_keys().collect())
    }
}

/// Returns the log and the number of the object of an append.
fn append_of(path: &str) -> Option<(&str, usize)> {
    let (log, number) = path.rsplit_once('/')?;
    let is_number = number.len() == 9 && number.bytes().all(|byte| byte.is_ascii_digit());
    Some((log, number.parse().ok().filter(|_| is_number)?))
}

struct BucketLog {
    bucket: Arc<Objects>,
    path: String,
    next: usize,
    /// Checksum of an append that failed. Its request may still succeed, late, so its number cannot be used for other bytes.
    failed: Option<String>,
}

impl Log for BucketLog {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let path = format!("{}/{:09}", self.path, self.next);
        let sum = checksum(bytes);
        if self.failed.as_ref().is_some_and(|failed| *failed != sum) {
            return Err(self.bucket.error("write", &path, "an append with other bytes failed before", false));
        }
        fault::point("store.append");
        self.failed = Some(sum);
        self.bucket.put(&path, Bytes::copy_from_slice(bytes))?;
        self.failed = None;
        self.next = self.next.saturating_add(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
