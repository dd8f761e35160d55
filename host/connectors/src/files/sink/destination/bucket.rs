//! A prefix in a bucket, or an HDFS directory. Objects appear atomically. A staged object gets its name by a server-side copy or a rename,
//! and a marker is replaced conditionally on its ETag.

use super::super::is_part;
use super::{Destination, MarkerTag};
use bytes::Bytes;
use millstream_base::error::Result as JobResult;
use millstream_base::owner::Owner;
use millstream_base::retry::{StoreError, StoreErrorKind};
use millstream_connect::objects::{Bucket, environment, no_bucket};
use millstream_connect::sink::marker::{self, Marker};
use object_store::path::Path;
use object_store::{
    BackoffConfig, Error as ClientError, MultipartUpload, ObjectStoreExt, PutMode, PutOptions, RetryConfig,
    UpdateVersion,
};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Seek};
use std::time::Duration;

/// The maximum length of an object name in bytes, on S3 and compatible stores.
const NAME_BYTES_MAX: usize = 1_024;
/// Larger objects are uploaded in parts of this size.
const PIECE_BYTES: usize = 16 << 20;
/// How long the client retries on its own. Longer outages are reported, and the sink waits for their end.
const RETRY: RetryConfig = RetryConfig {
    backoff: BackoffConfig {
        init_backoff: Duration::from_millis(50),
        max_backoff: Duration::from_millis(500),
        base: 2.,
    },
    max_retries: 3,
    retry_timeout: Duration::from_secs(10),
};

/// All objects below a prefix.
pub struct BucketDestination(Bucket);

impl BucketDestination {
    /// Opens `s3://bucket/prefix` or a similar URL with the settings of the environment. Sends no request.
    pub fn open(url: &str) -> JobResult<BucketDestination> {
        Bucket::open(url, &environment(), RETRY).map(BucketDestination)
    }

    fn at(&self, what: &str, name: &str) -> Result<Path, StoreError> {
        self.0.at(name).ok_or_else(|| self.0.error(what, name, "no object can have this name", false))
    }

    /// Reads an object and its ETag.
    fn get(&self, name: &str) -> Result<Option<(Bytes, Option<String>)>, StoreError> {
        let (client, at) = (self.0.client(), self.at("read", name)?);
        self.0.run("read", name, async move {
            match client.get(&at).await {
                Ok(found) => {
                    let tag = found.meta.e_tag.clone();
                    Ok(Some((found.bytes().await?, tag)))
                }
                Err(error @ ClientError::NotFound { .. }) if !no_bucket(&error) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    /// Lists the names below the prefix that begin with `begin` and that `choose` accepts. `one`: a single name suffices.
    fn names(&self, begin: &str, choose: fn(&str) -> bool, one: bool) -> Result<Vec<String>, StoreError> {
        self.0.list("", begin, one, move |name, _| choose(name).then(|| name.to_owned()))
    }

    fn send(&self, name: &str, bytes: Bytes) -> Result<(), StoreError> {
        let (client, at) = (self.0.client(), self.at("write", name)?);
        self.0.run("write", name, async move { client.put(&at, bytes.into()).await.map(drop) })
    }

    fn send_in_pieces(&self, name: &str, first: Bytes, file: &mut File) -> Result<(), StoreError> {
        let (client, at) = (self.0.client(), self.at("write", name)?);
        let mut upload = self.0.run("write", name, async move { client.put_multipart(&at).await })?;
        let mut piece = first;
        let sent = loop {
            if piece.is_empty() {
                break Ok(());
            }
            let request = upload.put_part(piece.into());
            let sent = self.0.run("write", name, request);
            match sent.and_then(|()| self.piece(name, file)) {
                Ok(next) => piece = next,
                Err(error) => break Err(error),
            }
        };
        match sent {
            Ok(()) => self.0.run("write", name, async move { upload.complete().await.map(drop) }),
            Err(error) => {
                // Parts of an aborted upload cost money until they are removed. The earlier error is the one to report.
                let _ = self.0.run("write", name, async move { upload.abort().await });
                Err(error)
            }
        }
    }

    /// Reads the next bytes of a file.
    fn piece(&self, name: &str, file: &mut File) -> Result<Bytes, StoreError> {
        let mut piece = Vec::new();
        let read = file.take(PIECE_BYTES as u64).read_to_end(&mut piece);
        read.map_err(|cause| {
            self.0.error("write", name, format!("its prepared content cannot be read: {cause}"), false)
        })?;
        Ok(piece.into())
    }
}

impl Destination for BucketDestination {
    fn shown(&self) -> String {
        self.0.url().to_owned()
    }

    fn too_long(&self, name: &str) -> Option<usize> {
        let is_too_long = self.0.at(name).is_some_and(|path| path.as_ref().len() > NAME_BYTES_MAX);
        is_too_long.then_some(NAME_BYTES_MAX)
    }

    fn marker(&self, name: &str) -> Result<Option<(Marker, MarkerTag)>, StoreError> {
        let Some((text, tag)) = self.get(name)? else { return Ok(None) };
        let wrong = |why: String| self.0.error("read", name, why, false);
        let marker = marker::parse(&text).map_err(|why| wrong(format!("the marker {why}")))?;
        let tag = tag.ok_or_else(|| wrong("the server returns no ETag, which commits need".into()))?;
        Ok(Some((marker, MarkerTag(Some(tag)))))
    }

    fn replace_marker(
        &self,
        name: &str,
        marker: &Marker,
        before: Option<&MarkerTag>,
        owner: &Owner,
    ) -> Result<MarkerTag, StoreError> {
        let (client, at) = (self.0.client(), self.at("write", name)?);
        let text = marker::text(marker).map_err(|cause| self.0.error("write", name, cause.to_string(), false))?;
        let mode = match before.and_then(|tag| tag.0.clone()) {
            None => PutMode::Create,
            Some(tag) => PutMode::Update(UpdateVersion { e_tag: Some(tag), version: None }),
        };
        let replaced = self.0.run("write", name, async move {
            match client.put_opts(&at, text.into(), PutOptions::from(mode)).await {
                Err(ClientError::AlreadyExists { .. } | ClientError::Precondition { .. }) => Ok(None),
                done => done.map(|done| Some(MarkerTag(done.e_tag))),
            }
        })?;
        match replaced {
            Some(tag @ MarkerTag(Some(_))) => return Ok(tag),
            Some(MarkerTag(None)) => {
                return Err(self.0.error("write", name, "the server returns no ETag, which commits need", false));
            }
            None => {}
        }
        // The condition failed, perhaps because an earlier attempt succeeded and its response was lost.
        match self.marker(name)? {
            Some((there, tag)) if there == *marker => Ok(tag),
            Some((there, tag)) => {
                there.check_owner(owner).map_err(|cause| {
                    let kind = StoreErrorKind::TakenOver;
                    StoreError { kind, ..self.0.error("write", name, cause.to_string(), false) }
                })?;
                let same = before == Some(&tag);
                let why = match same {
                    true => "another writer is writing it at the same time",
                    false => "another writer replaced it; is a copy of this job running?",
                };
                Err(self.0.error("write", name, why, same))
            }
            None => Err(self.0.error("write", name, "the marker is missing; what deleted it?", false)),
        }
    }

    fn workers(&self) -> Result<Vec<usize>, StoreError> {
        let begin = format!("{}-", super::super::exactly_once::MARKER);
        let names = self.names(&begin, |name| !name.contains('/'), false)?;
        Ok(names.iter().filter_map(|name| name.strip_prefix(&begin)?.parse().ok()).collect())
    }

    fn any_part(&self) -> Result<Option<String>, StoreError> {
        let part = |name: &str| name.rsplit('/').next().is_some_and(is_part);
        Ok(self.names("", part, true)?.pop())
    }

    fn begin(&self, hidden: &str) -> Result<File, StoreError> {
        let failed = |cause: io::Error| {
            millstream_base::retry::io_failed(
                format!("create a file for {} in {}", hidden, std::env::temp_dir().display()),
                &cause,
            )
        };
        tempfile::tempfile().map_err(failed)
    }

    fn stage(&self, hidden: &str, file: &mut File) -> Result<(), StoreError> {
        let begin = file.rewind();
        begin.map_err(|cause| {
            self.0.error("write", hidden, format!("its prepared content cannot be read: {cause}"), false)
        })?;
        let first = self.piece(hidden, file)?;
        match first.len() < PIECE_BYTES {
            true => self.send(hidden, first),
            false => self.send_in_pieces(hidden, first, file),
        }
    }

    fn show(&self, hidden: &str, part: &str) -> Result<(), StoreError> {
        let (client, from, to) = (self.0.client(), self.at("read", hidden)?, self.at("write", part)?);
        let renames = self.0.cloud().renames();
        self.0.run("write", part, async move {
            let named = match renames {
                true => client.rename_if_not_exists(&from, &to).await,
                // The server copies the object; then the old one is removed.
                false => client.rename(&from, &to).await,
            };
            match named {
                // An earlier attempt has done it.
                Err(error @ ClientError::NotFound { .. }) if !no_bucket(&error) => Ok(()),
                named => named,
            }
        })
    }

    fn write(&self, hidden: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.send(hidden, bytes.into())
    }

    fn read(&self, hidden: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.get(hidden)?.map(|(bytes, _)| bytes.to_vec()))
    }

    fn hidden(&self, dir: &str) -> Result<Vec<String>, StoreError> {
        let begin = format!("{dir}/");
        let names = self.names(&begin, |_| true, false)?;
        Ok(names.iter().filter_map(|name| name.strip_prefix(&begin).map(str::to_owned)).collect())
    }

    fn remove(&self, hidden: &str) -> Result<(), StoreError> {
        let (client, at) = (self.0.client(), self.at("remove", hidden)?);
        self.0.run("remove", hidden, async move {
            match client.delete(&at).await {
                Err(error @ ClientError::NotFound { .. }) if !no_bucket(&error) => Ok(()),
                removed => removed,
            }
        })
    }

    fn names(&self, dir: &str, after: &str) -> Result<Vec<String>, StoreError> {
        let (begin, own_behind) = (format!("{dir}/"), after.to_owned());
        let dir = begin.clone();
        self.0.list_after("", &begin, after, move |name, _| {
            let name = name.strip_prefix(&dir)?;
            (name > own_behind.as_str() && !name.contains('/')).then(|| name.to_owned())
        })
    }

    fn create(&self, name: &str, bytes: Vec<u8>) -> Result<bool, StoreError> {
        let (client, at) = (self.0.client(), self.at("write", name)?);
        // Stores whose conditional puts create no plain file support a rename, which never replaces another file.
        let renamed = self.0.cloud().renames().then(|| format!("{name}.{:016x}.tmp", RandomState::new().hash_one(0)));
        let from = renamed.map(|from| self.at("write", &from)).transpose()?;
        self.0.run("write", name, async move {
            let outcome = match &from {
                None => client.put_opts(&at, bytes.into(), PutOptions::from(PutMode::Create)).await.map(drop),
                Some(from) => {
                    client.put(from, bytes.into()).await?;
                    let named = client.rename_if_not_exists(from, &at).await;
                    if named.is_err() {
                        // Readers of logs ignore it, so it may stay.
                        let _ = client.delete(from).await;
                    }
                    named
                }
            };
            match outcome {
                Err(ClientError::AlreadyExists { .. } | ClientError::Precondition { .. }) => Ok(false),
                outcome => outcome.map(|()| true),
            }
        })
    }

    fn size(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let (client, at) = (self.0.client(), self.at("read", name)?);
        self.0.run("read", name, async move {
            match client.head(&at).await {
                Err(error @ ClientError::NotFound { .. }) if !no_bucket(&error) => Ok(None),
                found => found.map(|found| Some(found.size)),
            }
        })
    }
}
