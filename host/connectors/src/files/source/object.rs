//! Reads objects of a bucket in pieces; the next piece is requested while the current one is read. If the server is unreachable in the middle of a
//! read, the read waits, so that no decoder notices.

use super::file_facts::FileFacts;
use crate::limits::OBJECT_PIECE_BYTES;
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use millstream_base::error::Error;
use millstream_base::retry::StoreError;
use millstream_connect::objects::{Bucket, Client, Requests, environment, is_transient, no_bucket};
use millstream_connect::receiver::outage::Outage;
use millstream_job::spec::SourceSpec;
use object_store::path::Path as ObjectPath;
use object_store::{
    BackoffConfig, Error as ClientError, GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt,
    RetryConfig,
};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long the client retries a request on its own. Longer outages are logged, and waited for here.
const RETRY: RetryConfig = RetryConfig {
    backoff: BackoffConfig {
        init_backoff: Duration::from_millis(50),
        max_backoff: Duration::from_millis(200),
        base: 2.,
    },
    max_retries: 2,
    retry_timeout: Duration::from_secs(5),
};

/// Waits for this time; returns whether to continue.
pub type Pause = Arc<dyn Fn(Duration) -> bool + Send + Sync>;

/// Reads the bucket of a source.
#[derive(Clone)]
pub struct BucketReader {
    source: Arc<SourceSpec>,
    /// The bucket.
    pub bucket: Arc<Bucket>,
    pause: Pause,
}

/// Returns the bucket that a source reads, opened with the settings of the environment. Sends no request.
pub fn bucket_of(source: &SourceSpec) -> Result<Bucket, Error> {
    let url = source.kind.bucket().ok_or_else(|| Error::bug("no source of objects"))?;
    Bucket::open(url, &environment(), RETRY)
}

/// Returns the path of an object for messages.
pub fn shown(location: &str, name: &str) -> PathBuf {
    Path::new(location).join(name)
}

impl BucketReader {
    /// Opens the bucket of a source; `pause` waits and returns whether to continue.
    pub fn new(source: &SourceSpec, pause: Pause) -> Result<BucketReader, Error> {
        let bucket = bucket_of(source).map_err(|error| error.within(format!("source `{}`", source.name)))?;
        Ok(BucketReader::of(source, bucket, pause))
    }

    /// Reads an open bucket of a source.
    pub fn of(source: &SourceSpec, bucket: Bucket, pause: Pause) -> BucketReader {
        BucketReader { source: Arc::new(source.clone()), bucket: Arc::new(bucket), pause }
    }

    /// Opens the bucket of a source that waits until its server is reachable, or has been unreachable for too long.
    pub fn patient(source: &SourceSpec) -> Result<BucketReader, Error> {
        let pause = |time| {
            std::thread::sleep(time);
            true
        };
        BucketReader::new(source, Arc::new(pause))
    }

    /// Opens a new object, with its first bytes. `None`: it does not exist or is empty.
    pub fn open_new(&self, name: &str) -> Result<Option<Object>, Error> {
        let Some(location) = self.bucket.at(name) else { return Ok(None) };
        let found = self.retry_unreachable(name, || {
            let (client, location) = (self.bucket.client(), location.clone());
            let found = self.bucket.run("read", name, async move {
                let range = Some(GetRange::Bounded(0..OBJECT_PIECE_BYTES));
                let found = match client.get_opts(&location, GetOptions { range, ..GetOptions::default() }).await {
                    Ok(found) => found,
                    Err(error @ ClientError::NotFound { .. }) if !no_bucket(&error) => return Ok(None),
                    Err(error) if is_transient(&error) => return Err(error),
                    Err(error) => {
                        // An empty object has no first byte.
                        let empty = client.head(&location).await.is_ok_and(|meta| meta.size == 0);
                        return if empty { Ok(None) } else { Err(error) };
                    }
                };
                let (meta, wanted) = (found.meta.clone(), found.meta.size.min(OBJECT_PIECE_BYTES));
                Ok(Some((meta, collect(found, wanted).await)))
            })?;
            let complete = |(meta, piece): (_, Result<_, String>)| match piece {
                Ok(piece) => Ok((meta, piece)),
                Err(why) => Err(self.bucket.error("read", name, why, true)),
            };
            found.map(complete).transpose()
        })?;
        Ok(found.map(|(meta, piece)| {
            let mut object = Object::new(self.clone(), name, meta);
            object.piece = piece;
            object.request_next();
            object
        }))
    }

    /// Opens an object. `None`: it does not exist.
    pub fn open(&self, name: &str) -> Result<Option<Object>, Error> {
        let Some(location) = self.bucket.at(name) else { return Ok(None) };
        let found = self.retry_unreachable(name, || {
            let (client, location) = (self.bucket.client(), location.clone());
            self.bucket.run("look at", name, async move {
                match client.head(&location).await {
                    Err(error @ ClientError::NotFound { .. }) if !no_bucket(&error) => Ok(None),
                    found => found.map(Some),
                }
            })
        })?;
        Ok(found.map(|meta| Object::new(self.clone(), name, meta)))
    }

    /// Retries while the server is unreachable. Returns the error if that lasts too long, or if the job ends.
    fn retry_unreachable<T>(&self, name: &str, mut attempt: impl FnMut() -> Result<T, StoreError>) -> Result<T, Error> {
        let path = shown(self.bucket.url(), name);
        let mut outage = Outage::new(&self.source, &path);
        let done = outage.wait_out(|| attempt().map_err(io::Error::other), |time| (self.pause)(time))?;
        done.ok_or_else(|| self.end_error())
    }

    /// Returns the error for a job that ends.
    pub fn goes_on(&self) -> Result<(), Error> {
        if (self.pause)(Duration::ZERO) { Ok(()) } else { Err(self.end_error()) }
    }

    fn end_error(&self) -> Error {
        Error::environment(format!("source `{}`: the job ends", self.source.name))
    }
}

/// Returns the facts of an object that was listed or opened.
pub fn facts(meta: &ObjectMeta) -> FileFacts {
    FileFacts::of_object(meta.size, meta.last_modified.into(), meta.e_tag.as_deref())
}

/// An object that is read.
pub struct Object {
    reader: BucketReader,
    name: String,
    location: ObjectPath,
    facts: FileFacts,
    etag: Option<String>,
    /// The offset of the next byte.
    at: u64,
    /// The available bytes from there on.
    piece: Bytes,
    /// The requested piece, and its offset.
    next: Option<(u64, Requests<Fetched>)>,
}

/// The result of a request for a piece.
enum Fetched {
    Piece(Bytes),
    /// The response was interrupted, for this reason.
    Broken(String),
    /// Another object has the name now.
    Other,
    /// It no longer exists.
    Gone,
}

impl Clone for Object {
    fn clone(&self) -> Object {
        let Object { reader, name, location, facts, etag, at, piece, .. } = self;
        Object {
            reader: reader.clone(),
            name: name.clone(),
            location: location.clone(),
            facts: *facts,
            etag: etag.clone(),
            at: *at,
            piece: piece.clone(),
            next: None,
        }
    }
}

impl Object {
    fn new(reader: BucketReader, name: &str, meta: ObjectMeta) -> Object {
        Object {
            reader,
            name: name.to_owned(),
            facts: facts(&meta),
            etag: meta.e_tag,
            location: meta.location,
            at: 0,
            piece: Bytes::new(),
            next: None,
        }
    }

    /// Returns its facts as of when it was opened.
    pub fn facts(&self) -> FileFacts {
        self.facts
    }

    /// Seeks to an offset, which may be after the end.
    pub fn seek_to(&mut self, offset: u64) {
        match offset.checked_sub(self.at).and_then(|ahead| usize::try_from(ahead).ok()) {
            Some(ahead) if ahead <= self.piece.len() => drop(self.piece.split_to(ahead)),
            _ => self.piece = Bytes::new(),
        }
        self.at = offset;
    }

    fn request(&self, from: u64) -> Requests<Fetched> {
        let bucket = &self.reader.bucket;
        let to = from.saturating_add(OBJECT_PIECE_BYTES).min(self.facts.bytes);
        bucket.start(fetch(bucket.client(), self.location.clone(), self.etag.clone(), self.facts, from..to))
    }

    /// Requests the piece after the available bytes.
    fn request_next(&mut self) {
        let end = self.at.saturating_add(self.piece.len() as u64);
        self.next = (end < self.facts.bytes).then(|| (end, self.request(end)));
    }

    /// Makes the next bytes available. `false`: this is the end.
    fn have(&mut self) -> io::Result<bool> {
        if self.piece.is_empty() && self.at < self.facts.bytes {
            self.get().map_err(io::Error::other)?;
        }
        Ok(!self.piece.is_empty())
    }

    /// Reads as many of the first bytes as fit. The next read begins with them.
    pub fn first(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.seek_to(0);
        self.have()?;
        let count = self.piece.len().min(bytes.len());
        if let (Some(to), Some(from)) = (bytes.get_mut(..count), self.piece.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    /// Appends at most `bytes_max` bytes to the buffer; fewer means the end.
    pub fn fill(&mut self, buffer: &mut Vec<u8>, bytes_max: u64) -> io::Result<usize> {
        let before = buffer.len();
        let mut left = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        while left > 0 && self.have()? {
            let given = self.give(left);
            left -= given.len();
            buffer.extend_from_slice(&given);
        }
        Ok(buffer.len() - before)
    }

    /// Takes the next available bytes, up to a maximum.
    fn give(&mut self, bytes_max: usize) -> Bytes {
        let given = self.piece.split_to(self.piece.len().min(bytes_max));
        self.at = self.at.saturating_add(given.len() as u64);
        given
    }

    /// Receives the piece that begins here, and requests the next one.
    fn get(&mut self) -> Result<(), Error> {
        let mut requested = self.next.take().filter(|(from, _)| *from == self.at).map(|(_, requests)| requests);
        let bucket = &self.reader.bucket;
        let fetched = self.reader.retry_unreachable(&self.name, || {
            let requests = requested.take().unwrap_or_else(|| self.request(self.at));
            match bucket.result("read", &self.name, requests)? {
                Fetched::Broken(why) => Err(bucket.error("read", &self.name, why, true)),
                fetched => Ok(fetched),
            }
        })?;
        let what = match fetched {
            Fetched::Piece(piece) => {
                self.piece = piece;
                self.request_next();
                return Ok(());
            }
            Fetched::Other => "another object replaced it",
            Fetched::Gone | Fetched::Broken(_) => "it was removed",
        };
        let (source, path, at) = (&self.reader.source.name, shown(bucket.url(), &self.name), self.at);
        Err(Error::job(format!(
            "source `{source}`: cannot continue in `{}` from byte {at}: {what} while it was being read. Objects \
             that are being read must not change, so write new data under new names; restore the original, or \
             discard its position with `--drop-state {source}`: the existing file is then read from its beginning",
            path.display()
        )))
    }
}

/// Reads a range of an object, if it is still the same.
async fn fetch(
    client: Arc<dyn Client>,
    location: ObjectPath,
    etag: Option<String>,
    known: FileFacts,
    range: std::ops::Range<u64>,
) -> Result<Fetched, ClientError> {
    let wanted = range.end.saturating_sub(range.start);
    let options = GetOptions { range: Some(GetRange::Bounded(range)), if_match: etag, ..GetOptions::default() };
    let found = match client.get_opts(&location, options).await {
        Err(ClientError::Precondition { .. }) => return Ok(Fetched::Other),
        Err(error @ ClientError::NotFound { .. }) if !no_bucket(&error) => return Ok(Fetched::Gone),
        found => found?,
    };
    // The server may not support conditions.
    if facts(&found.meta).object_id() != known.object_id() {
        return Ok(Fetched::Other);
    }
    Ok(collect(found, wanted).await.map_or_else(Fetched::Broken, Fetched::Piece))
}

/// Returns all bytes of a response, which must be this many; or why they are not.
async fn collect(found: GetResult, wanted: u64) -> Result<Bytes, String> {
    let mut piece = BytesMut::with_capacity(usize::try_from(wanted).unwrap_or_default());
    let mut bytes = found.into_stream();
    while let Some(some) = bytes.try_next().await.map_err(|error| error.to_string())? {
        piece.extend_from_slice(&some);
        if piece.len() as u64 > wanted {
            break;
        }
    }
    if piece.len() as u64 != wanted {
        return Err(format!("{} bytes came, and {wanted} were requested", piece.len()));
    }
    Ok(piece.freeze())
}

impl Read for Object {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || !self.have()? {
            return Ok(0);
        }
        let given = self.give(buffer.len());
        if let Some(to) = buffer.get_mut(..given.len()) {
            to.copy_from_slice(&given);
        }
        Ok(given.len())
    }
}
