//! Source `directory`: the files of a folder, and every file that is moved into it later. The same for the objects of a bucket, and
//! for rows that are given back to a stage, whose folder need not be there, and for which no job waits.

#[cfg_attr(not(feature = "objects"), path = "directory/bucket/absent.rs")]
mod bucket;
mod listing;
pub mod spread;
mod walk;

use super::content::Content;
use super::file::{OpenedFile, SourceFile, failed};
use super::file_facts::FileFacts;
use super::object::{BucketReader, Pause};
use super::outage::{LOOK_EVERY, Outage};
use super::{WatchTimes, panicked};
use bucket::BucketDir;
use listing::Listing;
use millstream_base::batch::position::{Position, Positions};
use millstream_base::error::Error;
use millstream_base::fault;
use millstream_base::hex;
use millstream_base::inbox::Inbox;
use millstream_base::job::spec::{FilesRead, SourceSpec};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tracing::{info, warn};
use walk::{LocalDir, Walk};

/// Where the files of a source are.
trait Dir: Send {
    /// Tells the names that are there, or those of them that may be new, with what is known of each; `None`: it is no regular
    /// file. An error tells what could not be looked at.
    fn look(&mut self, see: &mut dyn FnMut(OsString, Option<FileFacts>)) -> Result<ScanResult, (PathBuf, io::Error)>;

    /// Opens a file that is new, by its name and path. `None`: it no longer exists.
    fn open(&self, name: &str, path: &Path) -> Result<Option<Content>, Error>;

    /// Opens a file that was read in part, at the place where that ended. `None`: the inbox is closed.
    fn open_again<'a>(&self, part: SourceFile<'a>, from: Position) -> Result<Option<OpenedFile<'a>>, Error>;
}

/// Whether a scan of a folder saw all of it, and whether anything changed.
#[derive(Default)]
struct ScanResult {
    /// Whatever was not told is not there.
    whole: bool,
    /// Something is not as it was at the look before.
    changed: bool,
    /// Looks that take long have to be rare.
    rests: bool,
}

/// Reads on in the files of `path` that were not read to their end, then the new ones, then looks for more every
/// `poll`, until the inbox is closed.
pub async fn receive(source: SourceSpec, path: PathBuf, times: WatchTimes, from: Positions, inbox: Arc<Inbox>) {
    let (ended, begun) = from.into_iter().partition(|(_, position)| position.ended());
    let retry = source.kind.retry_dir().is_some();
    let mut finished = false;
    let files = match DirFiles::open(source, path, &inbox, &Handle::current()) {
        Ok(files) => files,
        Err(error) => return inbox.fail(error),
    };
    let listing = Listing::new(&files.source, files.path.clone(), times, ended);
    let away = Outage::new(&files.source, &files.path);
    let mut dir = WatchedDir { files, begun, listing, away };
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
            // What waited for a server ended with the job.
            Err(_) if inbox.is_closed() => return,
            Err(error) => return inbox.fail(error),
        };
        // A job does not wait for rows that may be given back later.
        if retry && !finished {
            finished = true;
            inbox.finish();
        }
        tokio::time::sleep(pause.max(POLL_MIN)).await;
    }
}

/// A folder is not looked at more often than this.
const POLL_MIN: Duration = Duration::from_millis(1);

/// The files of a folder, to be read one by one.
struct DirFiles {
    source: SourceSpec,
    path: PathBuf,
    place: Box<dyn Dir>,
}

/// What became of a file that was to be read.
enum FileRead {
    /// Its end is there.
    Ended(Position),
    /// It is not there.
    Missing,
    /// The inbox is closed.
    Closed,
}

impl DirFiles {
    /// Of a source. `path`: the folder, where it is one of this machine.
    fn open(source: SourceSpec, path: PathBuf, inbox: &Arc<Inbox>, runtime: &Handle) -> Result<DirFiles, Error> {
        let (waiting, runtime) = (inbox.clone(), runtime.clone());
        let pause: Pause = Arc::new(move |time| !waiting.closed_within(&runtime, time));
        let (path, place): (_, Box<dyn Dir>) = match source.kind.bucket() {
            Some(_) => {
                let reader = BucketReader::new(&source, pause)?;
                (reader.bucket.url().into(), Box::new(BucketDir::new(&source, reader)))
            }
            None => (path.clone(), Box::new(LocalDir::new(&source, path, pause))),
        };
        Ok(DirFiles { source, path, place })
    }

    /// Reads a file on that was begun.
    fn read_on(&self, name: String, from: Position, inbox: &Inbox, runtime: &Handle) -> Result<FileRead, Error> {
        let os_name = os_name(&name).ok_or_else(|| no_name(&self.source, &name))?;
        let path = self.path.join(&os_name);
        info!("source `{}`: reading on in `{}` from byte {}", self.source.name, path.display(), from.offset);
        let part = SourceFile { source: &self.source, path, name };
        let Some(opened) = self.place.open_again(part, from)? else { return Ok(FileRead::Closed) };
        Ok(opened.read(inbox, runtime)?.map_or(FileRead::Closed, FileRead::Ended))
    }

    /// Reads a file that is new.
    fn read_new(&self, name: String, inbox: &Inbox, runtime: &Handle) -> Result<FileRead, Error> {
        let os_name = os_name(&name).ok_or_else(|| no_name(&self.source, &name))?;
        let path = self.path.join(&os_name);
        let Some(file) = self.place.open(&name, &path)? else { return Ok(FileRead::Missing) };
        info!("source `{}`: reading `{}`", self.source.name, path.display());
        let part = SourceFile { source: &self.source, path, name };
        let read = part.at(file, Position::default())?.read(inbox, runtime)?;
        Ok(read.map_or(FileRead::Closed, FileRead::Ended))
    }
}

struct WatchedDir {
    files: DirFiles,
    /// Files that an earlier start has read in part.
    begun: Vec<(String, Position)>,
    listing: Listing,
    away: Outage,
}

impl WatchedDir {
    /// Reads all that is to be read now, and says how long to wait before the next look. `None`: the inbox is closed.
    fn pass(&mut self, inbox: &Inbox, runtime: &Handle) -> Result<Option<Duration>, Error> {
        if !self.read_on(inbox, runtime)? {
            return Ok(None);
        }
        let look = match self.listing.look(self.files.place.as_mut()) {
            Ok(look) => look,
            Err((path, error)) => {
                inbox.idle(false);
                if path != self.files.path {
                    return Err(failed(&self.files.source, &path, &error));
                }
                self.away.failed(&error)?;
                return Ok(Some(LOOK_EVERY));
            }
        };
        self.away.recovered();
        inbox.idle(look.new.is_empty() && !look.settling);
        if !look.forgotten.is_empty() && !inbox.forget(look.forgotten) {
            return Ok(None);
        }
        for name in look.new {
            if !self.read_new(name, inbox, runtime)? {
                return Ok(None);
            }
        }
        Ok(Some(look.pause))
    }

    /// Reads the files on that were begun. `false`: the inbox is closed.
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

    /// Reads a file that is new. `false`: the inbox is closed.
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

/// Whether a file of this name, from the folder on, is one of those that are read.
pub fn takes(files: &FilesRead, name: &Path) -> bool {
    takes_by(&Walk::new(files), files.subfolders, name)
}

/// The same, where the pattern was read before.
fn takes_by(walk: &Walk, subfolders: bool, name: &Path) -> bool {
    let depth = name.components().count();
    let hidden = |part: Component<'_>| listing::is_left_out(&part.as_os_str().to_string_lossy());
    (depth == 1 || (depth > 1 && subfolders)) && !name.components().any(hidden) && walk.takes(name)
}

/// A file's name as positions and plans hold it. One that is not UTF-8 is written in hexadecimal digits behind a slash, which no
/// name has.
fn stored_name(name: &OsStr) -> String {
    name.to_str().map_or_else(|| format!("/{}", hex::encode(name.as_bytes())), str::to_owned)
}

/// The name of a file in the folder, or in a folder in it, that was stored so; `None`: it cannot be one.
pub fn os_name(stored: &str) -> Option<OsString> {
    let name = match stored.strip_prefix('/') {
        None => stored.as_bytes().to_vec(),
        Some(digits) => hex::decode(digits)?,
    };
    let plain = |part: &[u8]| !part.is_empty() && part != b"." && part != b".." && !part.contains(&0);
    name.split(|byte| *byte == b'/').all(plain).then(|| OsString::from_vec(name))
}

/// The error of a stored name that cannot be one of a file in a folder.
pub fn no_name(source: &SourceSpec, stored: &str) -> Error {
    let name = &source.name;
    Error::environment(format!(
        "source `{name}`: the checkpoint names a file `{}`, which is not a valid file name; was it written by \
        another program?",
        stored.escape_debug()
    ))
}
