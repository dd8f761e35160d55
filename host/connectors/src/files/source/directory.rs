//! Reads the files of a directory, and every file that is moved into it later. The same for the objects of a bucket, and for retried rows, whose
//! directory may be absent and which no job waits for.

#[cfg_attr(not(feature = "objects"), path = "directory/bucket/absent.rs")]
mod bucket;
mod listing;
pub mod spread;
mod walk;

use super::content::Content;
use super::file::{OpenedFile, SourceFile};
use super::file_facts::FileFacts;
use super::object::{BucketReader, Pause};
use super::settings::{FilesRead, WatchTimes};
use bucket::BucketDir;
use listing::Listing;
use millstream_base::error::Error;
use millstream_base::fault;
use millstream_base::hex;
use millstream_connect::receiver::outage::{LOOK_EVERY, Outage};
use millstream_connect::receiver::{failed, panicked};
use millstream_job::spec::SourceSpec;
use millstream_rows::batch::position::{Position, Positions};
use millstream_rows::inbox::Inbox;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tracing::{info, warn};
use walk::{LocalDir, Walk};

/// A directory that is read, and how it is watched.
#[derive(Clone)]
pub struct WatchedFiles {
    /// The directory, or the URL of a bucket and a prefix.
    pub path: PathBuf,
    /// Which of its files are read.
    pub files: FilesRead,
    /// How it is watched.
    pub times: WatchTimes,
}

/// The location of a source's files.
trait Dir: Send {
    /// Reports the existing names, or at least the possibly new ones, with the facts of each; `None`: it is not a regular file. An error has the path
    /// that could not be listed.
    fn look(&mut self, see: &mut dyn FnMut(OsString, Option<FileFacts>)) -> Result<ScanResult, (PathBuf, io::Error)>;

    /// Opens a new file by its name and path. `None`: it no longer exists.
    fn open(&self, name: &str, path: &Path) -> Result<Option<Content>, Error>;

    /// Opens a file that was read in part, at that position. `None`: the inbox is closed.
    fn open_again<'a>(&self, part: SourceFile<'a>, from: Position) -> Result<Option<OpenedFile<'a>>, Error>;
}

/// Whether a scan of a directory saw all of it, and whether anything changed.
#[derive(Default)]
struct ScanResult {
    /// Names that were not reported do not exist.
    complete: bool,
    /// Something has changed since the previous scan.
    changed: bool,
    /// Slow scans must be rare.
    slow: bool,
}

/// Continues files that were read in part, then reads the new ones, then looks for more at every `poll`, until the inbox is closed. `from` has the
/// positions of an earlier startup.
pub async fn receive(source: SourceSpec, watched: WatchedFiles, from: Positions, inbox: Arc<Inbox>) {
    let (ended, begun) = from.into_iter().partition(|(_, position)| position.ended());
    let retry = source.kind.retry_dir().is_some();
    let mut finished = false;
    let files = match DirFiles::open(source, &watched, &inbox, &Handle::current()) {
        Ok(files) => files,
        Err(error) => return inbox.fail(error),
    };
    let listing = Listing::new(&files.source, files.path.clone(), watched.times, ended);
    let outage = Outage::new(&files.source, &files.path);
    let mut dir = WatchedDir { files, begun, listing, outage };
    loop {
        let (reading, runtime) = (inbox.clone(), Handle::current());
        let pass = move || {
            fault::thread("folder-reader");
            let read = dir.pass(&reading, &runtime);
            (dir, read)
        };
        let (returned, next) = match tokio::task::spawn_blocking(pass).await {
            Ok(passed) => passed,
            Err(error) => return inbox.fail(panicked("the reader of a directory", error)),
        };
        dir = returned;
        let pause = match next {
            Ok(Some(pause)) => pause,
            Ok(None) => return,
            // The job ended while the source waited for a server.
            Err(_) if inbox.is_closed() => return,
            Err(error) => return inbox.fail(error),
        };
        // A job does not wait for rows that may be retried later.
        if retry && !finished {
            finished = true;
            inbox.finish();
        }
        tokio::time::sleep(pause.max(POLL_MIN)).await;
    }
}

/// Minimum interval between scans of a directory.
const POLL_MIN: Duration = Duration::from_millis(1);

/// The files of a directory, read one by one.
struct DirFiles {
    source: SourceSpec,
    path: PathBuf,
    dir: Box<dyn Dir>,
}

/// The result of reading a file.
enum FileRead {
    /// It was read to its end, at this position.
    Ended(Position),
    /// It does not exist.
    Missing,
    /// The inbox is closed.
    Closed,
}

impl DirFiles {
    /// Opens the directory of a source.
    fn open(
        source: SourceSpec,
        watched: &WatchedFiles,
        inbox: &Arc<Inbox>,
        runtime: &Handle,
    ) -> Result<DirFiles, Error> {
        let (waiting, runtime) = (inbox.clone(), runtime.clone());
        let pause: Pause = Arc::new(move |time| !waiting.closed_within(&runtime, time));
        let (path, dir): (_, Box<dyn Dir>) = match source.kind.bucket() {
            Some(_) => {
                let reader = BucketReader::new(&source, pause)?;
                (reader.bucket.url().into(), Box::new(BucketDir::new(&watched.files, reader)))
            }
            None => (watched.path.clone(), Box::new(LocalDir::new(&source, watched, pause))),
        };
        Ok(DirFiles { source, path, dir })
    }

    /// Continues to read a file from a position.
    fn read_on(&self, name: String, from: Position, inbox: &Inbox, runtime: &Handle) -> Result<FileRead, Error> {
        let os_name = os_name(&name).ok_or_else(|| no_name(&self.source, &name))?;
        let path = self.path.join(&os_name);
        info!("source `{}`: reading on in `{}` from byte {}", self.source.name, path.display(), from.offset);
        let part = SourceFile { source: &self.source, path, name };
        let Some(opened) = self.dir.open_again(part, from)? else { return Ok(FileRead::Closed) };
        Ok(opened.read(inbox, runtime)?.map_or(FileRead::Closed, FileRead::Ended))
    }

    /// Reads a new file.
    fn read_new(&self, name: String, inbox: &Inbox, runtime: &Handle) -> Result<FileRead, Error> {
        let os_name = os_name(&name).ok_or_else(|| no_name(&self.source, &name))?;
        let path = self.path.join(&os_name);
        let Some(file) = self.dir.open(&name, &path)? else { return Ok(FileRead::Missing) };
        info!("source `{}`: reading `{}`", self.source.name, path.display());
        let part = SourceFile { source: &self.source, path, name };
        let read = part.at(file, Position::default())?.read(inbox, runtime)?;
        Ok(read.map_or(FileRead::Closed, FileRead::Ended))
    }
}

struct WatchedDir {
    files: DirFiles,
    /// Files that an earlier startup has read in part.
    begun: Vec<(String, Position)>,
    listing: Listing,
    outage: Outage,
}

impl WatchedDir {
    /// Reads everything that can be read now, and returns the pause before the next scan. `None`: the inbox is closed.
    fn pass(&mut self, inbox: &Inbox, runtime: &Handle) -> Result<Option<Duration>, Error> {
        if !self.read_on(inbox, runtime)? {
            return Ok(None);
        }
        let look = match self.listing.look(self.files.dir.as_mut()) {
            Ok(look) => look,
            Err((path, error)) => {
                inbox.idle(false);
                if path != self.files.path {
                    return Err(failed(&self.files.source, &path, &error));
                }
                self.outage.failed(&error)?;
                return Ok(Some(LOOK_EVERY));
            }
        };
        self.outage.recovered();
        inbox.idle(look.new.is_empty() && !look.settling);
        if !look.dropped_names.is_empty() && !inbox.drop_files(look.dropped_names) {
            return Ok(None);
        }
        for name in look.new {
            if !self.read_new(name, inbox, runtime)? {
                return Ok(None);
            }
        }
        Ok(Some(look.pause))
    }

    /// Continues the files that were read in part. `false`: the inbox is closed.
    fn read_on(&mut self, inbox: &Inbox, runtime: &Handle) -> Result<bool, Error> {
        for (name, from) in std::mem::take(&mut self.begun) {
            let os_name = os_name(&name).ok_or_else(|| no_name(&self.files.source, &name))?;
            match self.files.read_on(name, from, inbox, runtime)? {
                FileRead::Ended(end) => self.listing.was_read(os_name, end),
                FileRead::Missing => {}
                FileRead::Closed => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Reads a new file. `false`: the inbox is closed.
    fn read_new(&mut self, name: OsString, inbox: &Inbox, runtime: &Handle) -> Result<bool, Error> {
        match self.files.read_new(stored_name(&name), inbox, runtime)? {
            FileRead::Ended(end) => self.listing.was_read(name, end),
            FileRead::Missing => {
                let (source, path) = (&self.files.source.name, self.files.path.join(&name));
                warn!("source `{source}`: `{}` vanished before it was read", path.display());
            }
            FileRead::Closed => return Ok(false),
        }
        Ok(true)
    }
}

/// Returns whether a file with this path within the directory is read.
pub fn accepts(files: &FilesRead, name: &Path) -> bool {
    takes_by(&Walk::new(files), files.subfolders, name)
}

/// Like [`accepts`], with a parsed pattern.
fn takes_by(walk: &Walk, subfolders: bool, name: &Path) -> bool {
    let depth = name.components().count();
    let hidden = |part: Component<'_>| listing::is_ignored(&part.as_os_str().to_string_lossy());
    (depth == 1 || (depth > 1 && subfolders)) && !name.components().any(hidden) && walk.accepts(name)
}

/// Returns a file's name as in positions and plans. A name that is not UTF-8 is written in hexadecimal digits after a slash, which no name contains.
fn stored_name(name: &OsStr) -> String {
    name.to_str().map_or_else(|| format!("/{}", hex::encode(name.as_bytes())), str::to_owned)
}

/// Returns the path within the directory of a file with this stored name; `None`: the name is invalid.
pub fn os_name(stored: &str) -> Option<OsString> {
    let name = match stored.strip_prefix('/') {
        None => stored.as_bytes().to_vec(),
        Some(digits) => hex::decode(digits)?,
    };
    let plain = |part: &[u8]| !part.is_empty() && part != b"." && part != b".." && !part.contains(&0);
    name.split(|byte| *byte == b'/').all(plain).then(|| OsString::from_vec(name))
}

/// Returns the error for an invalid stored name.
pub fn no_name(source: &SourceSpec, stored: &str) -> Error {
    let name = &source.name;
    Error::environment(format!(
        "source `{name}`: the checkpoint names a file `{}`, which is not a valid file name; was it written by \
        another program?",
        stored.escape_debug()
    ))
}
