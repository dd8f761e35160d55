//! Source `directory`: the files of a folder, and every file that is moved into it later. The same for rows that are given
//! back to a stage, whose folder need not be there, and for which no job waits.

use super::file::{Part, failed};
use super::inbox::Inbox;
use crate::checkpoint::types::{Position, Positions};
use crate::error::Error;
use crate::job::spec::{SourceKind, SourceSpec};
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tracing::{info, warn};

/// Names with one of these ends are files that somebody still writes.
const TEMPORARY_ENDS: [&str; 4] = [".tmp", ".part", "~", "_COPYING_"];

/// Reads on in the files of `folder` that were not read to their end, then the new ones, then looks for more every
/// `poll`, until the inbox is closed.
pub async fn receive(source: SourceSpec, folder: PathBuf, poll: Duration, from: Positions, inbox: Arc<Inbox>) {
    let seen = from.keys().filter_map(|name| os_name(name)).collect();
    let begun = from.into_iter().filter(|(_, position)| position.mark == 0).collect();
    let retry = matches!(source.kind, SourceKind::Retry { .. });
    let mut finished = false;
    let mut folder = Folder { source, path: folder, begun, seen };
    loop {
        let (reading, runtime) = (inbox.clone(), Handle::current());
        let pass = move || {
            let read = folder.read_on(&reading, &runtime).and_then(|open| match open {
                true => folder.read_new(&reading, &runtime),
                false => Ok(false),
            });
            (folder, read)
        };
        let Ok((returned, read)) = tokio::task::spawn_blocking(pass).await else {
            return inbox.fail(Error::bug("the reader of a folder ended in a panic"));
        };
        folder = returned;
        match read {
            // A job does not wait for rows that may be given back later.
            Ok(true) if retry && !finished => {
                finished = true;
                inbox.finish();
            }
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
    /// Files that an earlier start has read in part.
    begun: Vec<(String, Position)>,
    /// Names that were read or cannot be: no file is read twice.
    seen: HashSet<OsString>,
}

impl Folder {
    /// Reads the files on that were begun. `false`: the inbox is closed.
    fn read_on(&mut self, inbox: &Inbox, runtime: &Handle) -> Result<bool, Error> {
        for (name, from) in std::mem::take(&mut self.begun) {
            let path = os_name(&name).map(|name| self.path.join(name)).ok_or_else(|| no_name(&self.source, &name))?;
            info!("source `{}`: reading on in `{}` from byte {}", self.source.name, path.display(), from.offset);
            if !(Part { source: &self.source, path, name }).open(from)?.read(inbox, runtime)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

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
            let part = Part { source: &self.source, path, name: stored_name(&name) };
            self.seen.insert(name);
            if !part.at(file, Position::default())?.read(inbox, runtime)? {
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
        let entries = match std::fs::read_dir(&self.path) {
            // Nothing was given back yet.
            Err(error)
                if error.kind() == ErrorKind::NotFound && matches!(self.source.kind, SourceKind::Retry { .. }) =>
            {
                return Ok(new);
            }
            entries => entries.map_err(broken)?,
        };
        for entry in entries {
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

/// A file's name as positions and plans hold it. One that is not UTF-8 is written in hexadecimal digits behind a slash, which no
/// name has.
fn stored_name(name: &OsStr) -> String {
    name.to_str().map_or_else(
        || {
            name.as_bytes().iter().fold(String::from("/"), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}"); // Writing to a string cannot fail.
                hex
            })
        },
        str::to_owned,
    )
}

/// The name of a file in the folder that was stored so; `None`: it cannot be one.
pub fn os_name(stored: &str) -> Option<OsString> {
    let name = match stored.strip_prefix('/') {
        None => stored.as_bytes().to_vec(),
        Some(hex) => {
            let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
            digits.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect::<Option<Vec<u8>>>()?
        }
    };
    let plain = !name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/') && !name.contains(&0);
    plain.then(|| OsString::from_vec(name))
}

/// The error of a stored name that cannot be one of a file in a folder.
pub fn no_name(source: &SourceSpec, stored: &str) -> Error {
    let name = &source.name;
    Error::environment(format!(
        "source `{name}`: the checkpoint names a file `{}`, which no folder can hold; was it written by something else?",
        stored.escape_debug()
    ))
}
