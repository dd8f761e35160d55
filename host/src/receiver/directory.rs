//! Source `directory`: the files of a folder, and every file that is moved into it later.

use super::file::{failed, read};
use super::inbox::Inbox;
use crate::error::Error;
use crate::job::spec::SourceSpec;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tracing::{info, warn};

/// Names with one of these ends are files that somebody still writes.
const TEMPORARY_ENDS: [&str; 4] = [".tmp", ".part", "~", "_COPYING_"];

/// Reads the files of `folder`, then looks for new ones every `poll`, until the inbox is closed.
pub async fn receive(source: SourceSpec, folder: PathBuf, poll: Duration, inbox: Arc<Inbox>) {
    let mut folder = Folder { source, path: folder, seen: HashSet::new() };
    loop {
        let (reading, runtime) = (inbox.clone(), Handle::current());
        let pass = move || {
            let read = folder.read_new(&reading, &runtime);
            (folder, read)
        };
        let Ok((returned, read)) = tokio::task::spawn_blocking(pass).await else {
            return inbox.fail(Error::bug("the reader of a folder ended in a panic"));
        };
        folder = returned;
        match read {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return inbox.fail(error),
        }
        tokio::time::sleep(poll.max(POLL_MIN)).await;
    }
}

/// A folder is not looked at more often than this.
const POLL_MIN: Duration = Duration::from_millis(1);

struct Folder {
    source: SourceSpec,
    path: PathBuf,
    /// Names that were read or cannot be: no file is read twice.
    seen: HashSet<OsString>,
}

impl Folder {
    /// Reads all files that are new, the oldest first. `false`: the inbox is closed.
    fn read_new(&mut self, inbox: &Inbox, runtime: &Handle) -> Result<bool, Error> {
        let new = self.list_new()?;
        inbox.idle(new.is_empty());
        for (_, name) in new {
            let path = self.path.join(&name);
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    warn!("source `{}`: `{}` vanished before it was read", self.source.name, path.display());
                    continue;
                }
                Err(error) => return Err(failed(&self.source, &path, &error)),
            };
            info!("source `{}`: reading `{}`", self.source.name, path.display());
            self.seen.insert(name);
            if !read(&self.source, &path, file, inbox, runtime)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The files that were not seen yet, by time of modification and name.
    fn list_new(&mut self) -> Result<Vec<(SystemTime, OsString)>, Error> {
        let broken = |error| failed(&self.source, &self.path, &error);
        let mut new = Vec::new();
        let mut skipped = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(broken)? {
            let entry = entry.map_err(broken)?;
            let name = entry.file_name();
            if self.seen.contains(&name) || is_left_out(&name.to_string_lossy()) {
                continue;
            }
            // Follows links, as opening does.
            match std::fs::metadata(entry.path()) {
                Ok(metadata) if metadata.is_file() => {
                    new.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), name));
                }
                Ok(metadata) if metadata.is_dir() => {}
                Ok(_) => skipped.push(name),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(failed(&self.source, &entry.path(), &error)),
            }
        }
        for name in skipped {
            let path = self.path.join(&name);
            warn!("source `{}`: `{}` is not a regular file and is left out", self.source.name, path.display());
            self.seen.insert(name);
        }
        new.sort();
        Ok(new)
    }
}

/// Hidden and temporary names.
fn is_left_out(name: &str) -> bool {
    name.starts_with(['.', '_']) || TEMPORARY_ENDS.iter().any(|end| name.ends_with(end))
}
