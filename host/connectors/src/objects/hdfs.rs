//! HDFS as a store of objects: a file is an object, and the path of its folders the beginning of its name. A file gets its name by
//! a rename when it is whole, so nobody sees half of one. What a bucket replaces on condition is a folder of versions here
//! (`versions`), as HDFS has no such request.

mod draft;
mod fault;
mod upload;
mod versions;

pub use draft::is_draft;
pub use fault::HdfsFault;

use bytes::Bytes;
use draft::Draft;
use fault::{NAME, in_time, not_found, pieces_in_time};
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

/// Who may do what with folders that are made on the way, as Hadoop's own tools have it.
const FOLDER_MODE: u32 = 0o755;
/// What the client does about a server that does not answer before it says so. Whoever waits longer tells people.
const PATIENCE: [(&str, &str); 3] = [
    ("dfs.client.failover.max.attempts", "4"),
    ("dfs.client.failover.sleep.base.millis", "50"),
    ("dfs.client.failover.sleep.max.millis", "500"),
];
/// How often a folder of versions is read anew that others change meanwhile.
const TRIES_MAX: usize = 20;
/// What `hdfs dfs -put` writes to before a file has its name.
const COPYING: &str = "._COPYING_";

/// The files of a cluster.
#[derive(Clone, Debug)]
pub struct Hdfs {
    client: Client,
}

impl Hdfs {
    /// Of `host:port`, or of a name service that the configuration knows. Asks the server nothing.
    pub fn open(authority: &str, settings: &[(String, String)], handle: Handle) -> Result<Hdfs> {
        let setting = |name: &str| settings.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let mut builder = ClientBuilder::new().with_url(format!("hdfs://{authority}")).with_io_runtime(handle);
        builder = builder.with_config(PATIENCE);
        if let Some(folder) = setting("HADOOP_CONF_DIR") {
            builder = builder.with_config_dir(folder);
        }
        if let Some(user) = setting("HADOOP_USER_NAME") {
            builder = builder.with_user(user);
        }
        let client = builder.build().map_err(|error| fault::error(authority, error))?;
        Ok(Hdfs { client })
    }

    /// What is known of a file or folder.
    async fn status(&self, path: &str) -> Result<FileStatus> {
        in_time(path, self.client.get_file_info(path)).await
    }

    /// What is in a folder, in the order of names.
    async fn entries(&self, folder: &str) -> Result<Vec<FileStatus>> {
        let mut entries = in_time(folder, self.client.list_status(folder, false)).await?;
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    /// Opens a file, with what is known of it.
    async fn open_file(&self, path: &str) -> Result<(FileReader, FileStatus)> {
        let file = in_time(path, self.client.read(path)).await?;
        let status = self.status(path).await?;
        // Another file may have come between the two answers, or somebody writes to this one.
        if status.length != file.file_length() {
            return Err(HdfsFault::error("it changes at the moment", true));
        }
        Ok((file, status))
    }

    /// Opens the object of a name: a file, or the newest version in a folder of them.
    async fn open_object(&self, path: &str) -> Result<(FileReader, FileStatus, String)> {
        for _ in 0..TRIES_MAX {
            match self.open_file(path).await {
                Err(Error::NotFound { .. }) => {}
                opened => return opened.map(|(file, status)| (file, status.clone(), tag(&status))),
            }
            let Some(newest) = versions::newest(self, path).await? else { return Err(not_found(path)) };
            match self.open_file(&newest.status.path).await {
                // One that is newer came, and this one went.
                Err(Error::NotFound { .. }) => {}
                opened => return opened.map(|(file, status)| (file, status, newest.tag())),
            }
        }
        Err(HdfsFault::error("it is replaced again and again", true))
    }

    /// Writes a file that nobody sees under its name yet.
    async fn draft(&self, path: &str, bytes: impl IntoIterator<Item = Bytes>) -> Result<Draft> {
        let mut draft = Draft::begin(&self.client, path).await?;
        for some in bytes {
            draft.add(some).await?;
        }
        draft.complete().await
    }

    /// Gives a file another name.
    async fn rename(&self, from: &str, to: &str, overwrite: bool) -> Result<()> {
        in_time(to, self.client.rename(from, to, overwrite)).await
    }

    async fn make_folder_of(&self, path: &str) -> Result<()> {
        match path.rsplit_once('/') {
            None | Some(("", _)) => Ok(()),
            Some((folder, _)) => in_time(folder, self.client.mkdirs(folder, FOLDER_MODE, true)).await,
        }
    }

    async fn remove(&self, location: Path) -> Result<Path> {
        let path = at(&location);
        let recursive = versions::newest(self, &path).await.is_ok_and(|newest| newest.is_some());
        match in_time(&path, self.client.delete(&path, recursive)).await? {
            true => Ok(location),
            false => Err(not_found(&path)),
        }
    }

    /// All objects whose names begin so, in order.
    async fn below(&self, prefix: &str, deeper: bool) -> Result<Vec<ObjectMeta>> {
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut found: BTreeMap<String, ObjectMeta> = BTreeMap::new();
        let mut folders = vec![format!("/{folder}")];
        let first = folders.clone();
        while let Some(folder) = folders.pop() {
            let entries = match self.entries(&folder).await {
                // Somebody removed it meanwhile.
                Err(Error::NotFound { .. }) if !first.contains(&folder) => continue,
                entries => entries?,
            };
            for status in entries {
                if status.path == folder && !status.isdir {
                    return Err(HdfsFault::error("it is a file; name its folder, and the file by `pattern`", false));
                }
                let key = status.path.trim_start_matches('/');
                if !key.starts_with(prefix) || key.ends_with(COPYING) {
                    continue;
                }
                if status.isdir {
                    folders.extend(deeper.then(|| status.path.clone()));
                    continue;
                }
                let version = versions::number(&status.path).and_then(|number| Some((number, key.rsplit_once('/')?.0)));
                let (key, tag) = match version {
                    Some((number, key)) => (key, versions::tag(number, &status)),
                    None => (key, tag(&status)),
                };
                // Names that the library cannot write are no objects. The newest version comes last.
                if let Ok(location) = Path::parse(key) {
                    found.insert(key.to_owned(), meta(location, &status, tag));
                }
            }
        }
        Ok(found.into_values().collect())
    }
}

/// The path of an object.
fn at(location: &Path) -> String {
    format!("/{location}")
}

/// What changes when another file gets the name.
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
        let bytes = pieces_in_time(path, file.read_range_stream(from, length).boxed());
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
        self.make_folder_of(&to).await?;
        self.rename(&from, &to, options.target_mode == RenameTargetMode::Overwrite).await
    }
}

#[async_trait::async_trait]
impl PaginatedListStore for Hdfs {
    /// All names at once: the server has no order over folders.
    async fn list_paginated(&self, prefix: Option<&str>, options: PaginatedListOptions) -> Result<PaginatedListResult> {
        let mut objects = self.below(prefix.unwrap_or_default(), options.delimiter.is_none()).await?;
        if let Some(offset) = options.offset {
            objects.retain(|object| object.location.as_ref() > offset.as_str());
        }
        let result = ListResult { common_prefixes: Vec::new(), objects };
        Ok(PaginatedListResult { result, page_token: None })
    }
}
