//! HDFS as an object store: a file is an object, and the path of its directories is the beginning of its name. A file gets its name by a
//! rename when it is complete, so readers never see a partial file. Conditional replacement needs a directory of versions (`versions`), as
//! HDFS has no such request.

mod draft;
mod fault;
mod upload;
mod versions;

pub use draft::is_draft;
pub use fault::HdfsFault;

use bytes::Bytes;
use draft::Draft;
use fault::{NAME, not_found, pieces_with_timeout, with_timeout};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use hdfs_native::client::FileStatus;
use hdfs_native::file::FileReader;
use hdfs_native::{Client, ClientBuilder};
use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, RenameTargetMode,
    Result,
};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, UNIX_EPOCH};
use tokio::runtime::Handle;

/// Permissions of directories created on the way, as Hadoop's own tools set them.
const DIR_MODE: u32 = 0o755;
/// How long the client retries a silent server before it returns an error. Longer waits are reported by the caller.
const RETRY_SETTINGS: [(&str, &str); 3] = [
    ("dfs.client.failover.max.attempts", "4"),
    ("dfs.client.failover.sleep.base.millis", "50"),
    ("dfs.client.failover.sleep.max.millis", "500"),
];
/// How often a directory of versions is read again if it changes meanwhile.
const TRIES_MAX: usize = 20;
/// The suffix of a file that `hdfs dfs -put` is writing.
const COPYING: &str = "._COPYING_";

/// The files of a cluster.
#[derive(Clone, Debug)]
pub struct Hdfs {
    client: Client,
}

impl Hdfs {
    /// Opens `host:port`, or a name service of the configuration. Sends no request.
    pub fn open(authority: &str, settings: &[(String, String)], handle: Handle) -> Result<Hdfs> {
        let setting = |name: &str| settings.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let mut builder = ClientBuilder::new().with_url(format!("hdfs://{authority}")).with_io_runtime(handle);
        builder = builder.with_config(RETRY_SETTINGS);
        if let Some(dir) = setting("HADOOP_CONF_DIR") {
            builder = builder.with_config_dir(dir);
        }
        if let Some(user) = setting("HADOOP_USER_NAME") {
            builder = builder.with_user(user);
        }
        let client = builder.build().map_err(|error| fault::error(authority, error))?;
        Ok(Hdfs { client })
    }

    /// Returns the status of a file or directory.
    async fn status(&self, path: &str) -> Result<FileStatus> {
        with_timeout(path, self.client.get_file_info(path)).await
    }

    /// Lists a directory in the order of names.
    async fn entries(&self, dir: &str) -> Result<Vec<FileStatus>> {
        let mut entries = with_timeout(dir, self.client.list_status(dir, false)).await?;
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    /// Opens a file and returns its status.
    async fn open_file(&self, path: &str) -> Result<(FileReader, FileStatus)> {
        let file = with_timeout(path, self.client.read(path)).await?;
        let status = self.status(path).await?;
        // The file may have been replaced between the two responses, or is being written.
        if status.length != file.file_length() {
            return Err(HdfsFault::error("it is being changed", true));
        }
        Ok((file, status))
    }

    /// Opens the object of a name: a file, or the newest version in a directory of them.
    async fn open_object(&self, path: &str) -> Result<(FileReader, FileStatus, String)> {
        for _ in 0..TRIES_MAX {
            match self.open_file(path).await {
                Err(Error::NotFound { .. }) => {}
                opened => return opened.map(|(file, status)| (file, status.clone(), tag(&status))),
            }
            let Some(newest) = versions::newest(self, path).await? else { return Err(not_found(path)) };
            match self.open_file(&newest.status.path).await {
                // A newer version replaced this one.
                Err(Error::NotFound { .. }) => {}
                opened => return opened.map(|(file, status)| (file, status, newest.tag())),
            }
        }
        Err(HdfsFault::error("it is replaced repeatedly", true))
    }

    /// Writes a file that is not visible under its name yet.
    async fn draft(&self, path: &str, bytes: impl IntoIterator<Item = Bytes>) -> Result<Draft> {
        let mut draft = Draft::begin(&self.client, path).await?;
        for some in bytes {
            draft.add(some).await?;
        }
        draft.complete().await
    }

    /// Renames a file.
    async fn rename(&self, from: &str, to: &str, overwrite: bool) -> Result<()> {
        with_timeout(to, self.client.rename(from, to, overwrite)).await
    }

    async fn make_dir_of(&self, path: &str) -> Result<()> {
        match path.rsplit_once('/') {
            None | Some(("", _)) => Ok(()),
            Some((dir, _)) => with_timeout(dir, self.client.mkdirs(dir, DIR_MODE, true)).await,
        }
    }

    async fn remove(&self, location: Path) -> Result<Path> {
        let path = at(&location);
        let recursive = versions::newest(self, &path).await.is_ok_and(|newest| newest.is_some());
        match with_timeout(&path, self.client.delete(&path, recursive)).await? {
            true => Ok(location),
            false => Err(not_found(&path)),
        }
    }

    /// Returns all objects whose names begin with this prefix, in order.
    async fn below(&self, prefix: &str, deeper: bool) -> Result<Vec<ObjectMeta>> {
        let dir = prefix.rsplit_once('/').map_or("", |(dir, _)| dir);
        let mut found: BTreeMap<String, ObjectMeta> = BTreeMap::new();
        let mut dirs = vec![format!("/{dir}")];
        let first = dirs.clone();
        while let Some(dir) = dirs.pop() {
            let entries = match self.entries(&dir).await {
                // It was removed meanwhile.
                Err(Error::NotFound { .. }) if !first.contains(&dir) => continue,
                entries => entries?,
            };
            for status in entries {
                if status.path == dir && !status.isdir {
                    return Err(HdfsFault::error(
                        "it is a file; write its directory as the path, and its name as \
                        `pattern`",
                        false,
                    ));
                }
                let key = status.path.trim_start_matches('/');
                if !key.starts_with(prefix) || key.ends_with(COPYING) {
                    continue;
                }
                if status.isdir {
                    dirs.extend(deeper.then(|| status.path.clone()));
                    continue;
                }
                let version = versions::number(&status.path).and_then(|number| Some((number, key.rsplit_once('/')?.0)));
                let (key, tag) = match version {
                    Some((number, key)) => (key, versions::tag(number, &status)),
                    None => (key, tag(&status)),
                };
                // Names that the library cannot represent are not objects. The newest version comes last.
                if let Ok(location) = Path::parse(key) {
                    found.insert(key.to_owned(), meta(location, &status, tag));
                }
            }
        }
        Ok(found.into_values().collect())
    }
}

/// Returns the path of an object.
fn at(location: &Path) -> String {
    format!("/{location}")
}

/// Returns a tag that changes when another file gets the name.
fn tag(status: &FileStatus) -> String {
    format!("{}-{}", status.modification_time, status.length)
}

fn meta(location: Path, status: &FileStatus, tag: String) -> ObjectMeta {
    let modified = UNIX_EPOCH + Duration::from_millis(status.modification_time);
    let size = status.length as u64;
    ObjectMeta { location, last_modified: modified.into(), size, e_tag: Some(tag), version: None }
}

impl fmt::Display for Hdfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}

#[async_trait::async_trait]
impl ObjectStore for Hdfs {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let path = at(location);
        let e_tag = match options.mode {
            PutMode::Overwrite => {
                let draft = self.draft(&path, payload).await?;
                draft.name(&path).await?;
                None
            }
            PutMode::Create => Some(versions::replace(self, &path, payload, None).await?),
            PutMode::Update(version) => {
                Some(versions::replace(self, &path, payload, Some(version.e_tag.unwrap_or_default())).await?)
            }
        };
        Ok(PutResult { e_tag, version: None })
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(upload::Upload::begin(&self.client, at(location)).await?))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let path = at(location);
        let attributes = Attributes::default();
        if options.head {
            let status = self.status(&path).await?;
            if status.isdir {
                return Err(not_found(&path));
            }
            let meta = meta(location.clone(), &status, tag(&status));
            let payload = GetResultPayload::Stream(futures_util::stream::empty().boxed());
            return Ok(GetResult { payload, meta, range: 0..0, attributes });
        }
        let (file, status, tag) = self.open_object(&path).await?;
        let meta = meta(location.clone(), &status, tag);
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            None => 0..meta.size,
            Some(range) => range.as_range(meta.size).map_err(|why| HdfsFault::error(&why.to_string(), false))?,
        };
        let (from, length) = (range.start as usize, range.end.saturating_sub(range.start) as usize);
        let bytes = pieces_with_timeout(path, file.read_range_stream(from, length).boxed());
        Ok(GetResult { payload: GetResultPayload::Stream(bytes.boxed()), meta, range, attributes })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let hdfs = self.clone();
        let remove = move |location| {
            let hdfs = hdfs.clone();
            async move { hdfs.remove(location).await }
        };
        locations.and_then(remove).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (hdfs, prefix) = (self.clone(), prefix.map(|prefix| format!("{prefix}/")).unwrap_or_default());
        let listed = async move {
            let found = hdfs.below(&prefix, true).await?;
            Ok::<_, Error>(futures_util::stream::iter(found.into_iter().map(Ok)))
        };
        futures_util::stream::once(listed).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let prefix = prefix.map(|prefix| format!("{prefix}/")).unwrap_or_default();
        Ok(ListResult { common_prefixes: Vec::new(), objects: self.below(&prefix, false).await? })
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(HdfsFault::error("files are not copied here, but renamed", false))
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let (from, to) = (at(from), at(to));
        self.make_dir_of(&to).await?;
        self.rename(&from, &to, options.target_mode == RenameTargetMode::Overwrite).await
    }
}

#[async_trait::async_trait]
impl PaginatedListStore for Hdfs {
    /// Returns all names in one page: the server has no order across directories.
    async fn list_paginated(&self, prefix: Option<&str>, options: PaginatedListOptions) -> Result<PaginatedListResult> {
        let mut objects = self.below(prefix.unwrap_or_default(), options.delimiter.is_none()).await?;
        if let Some(offset) = options.offset {
            objects.retain(|object| object.location.as_ref() > offset.as_str());
        }
        let result = ListResult { common_prefixes: Vec::new(), objects };
        Ok(PaginatedListResult { result, page_token: None })
    }
}
