//! Source `directory`: the files of a folder, and every file that is moved into it later. The same for rows that are given
//! back to a stage, whose folder need not be there, and for which no job waits.

mod listing;

use super::away::{Away, LOOK_EVERY};
use super::file::{Part, failed};
use super::inbox::Inbox;
use super::{Times, panicked};
use crate::batch::position::{Position, Positions};
use crate::error::Error;
use crate::fault;
use crate::job::spec::{SourceKind, SourceSpec};
use listing::Listing;
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tracing::{info, warn};

/// Reads on in the files of `path` that were not read to their end, then the new ones, then looks for more every
/// `poll`, until the inbox is closed.
pub async fn receive(source: SourceSpec, path: PathBuf, times: Times, from: Positions, inbox: Arc<Inbox>) {
    let (ended, begun) = from.into_iter().partition(|(_, position)| position.ended());
    let retry = matches!(source.kind, SourceKind::Retry { .. });
    let mut finished = false;
    let listing = Listing::new(&source, path.clone(), times, ended);
    let mut folder = Folder { away: Away::new(&source, &path), source, path, begun, listing };
    loop {
        let (reading, runtime) = (inbox.clone(), Handle::current());
        let pass = move || {
            fault::thread("folder-reader");
            let read = folder.pass(&reading, &runtime);
            (folder, read)
        };
        let (returned, next) = match tokio::task::spawn_blocking(pass).await {
            Ok(passed) => passed,
            Err(error) => return inbox.fail(panicked("the reader of a folder", error)),
        };
        folder = returned;
        let pause = match next {
            Ok(Some(pause)) => pause,
            Ok(None) => return,
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

struct Folder {
    source: SourceSpec,
    path: PathBuf,
    /// Files that an earlier start has read in part.
    begun: Vec<(String, Position)>,
    listing: Listing,
    away: Away,
}

impl Folder {
    /// Reads all that is to be read now, and says how long to wait before the next look. `None`: the inbox is closed.
    fn pass(&mut self, inbox: &Inbox, runtime: &Handle) -> Result<Option<Duration>, Error> {
        if !self.read_on(inbox, runtime)? {
            return Ok(None);
        }
        let look = match self.listing.look() {
            Ok(look) => look,
            Err((path, error)) => {
                inbox.idle(false);
                if path != self.path {
                    return Err(failed(&self.source, &path, &error));
                }
                self.away.failed(&error)?;
                return Ok(Some(LOOK_EVERY));
            }
        };
        self.away.back();
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
            let os_name = os_name(&name).ok_or_else(|| no_name(&self.source, &name))?;
            let path = self.path.join(&os_name);
            info!("source `{}`: reading on in `{}` from byte {}", self.source.name, path.display(), from.offset);
            let there = Away::new(&self.source, &path)
                .wait_out(|| std::fs::metadata(&path), |time| !inbox.closed_within(runtime, time));
            // What is wrong with a file that is still not there is said by who opens it.
            if let Ok(None) = there {
                return Ok(false);
            }
            let Some(end) = (Part { source: &self.source, path, name }).open(from)?.read(inbox, runtime)? else {
                return Ok(false);
            };
            self.listing.was_read(os_name, end);
        }
        Ok(true)
    }

    /// Reads a file that is new. `false`: the inbox is closed.
    fn read_new(&mut self, name: OsString, inbox: &Inbox, runtime: &Handle) -> Result<bool, Error> {
        let path = self.path.join(&name);
        let file = match crate::regular::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                warn!("source `{}`: `{}` vanished before it was read", self.source.name, path.display());
                return Ok(true);
            }
            Err(error) => return Err(failed(&self.source, &path, &error)),
        };
        info!("source `{}`: reading `{}`", self.source.name, path.display());
        let part = Part { source: &self.source, path, name: stored_name(&name) };
        let Some(end) = part.at(file, Position::default())?.read(inbox, runtime)? else { return Ok(false) };
        self.listing.was_read(name, end);
        Ok(true)
    }
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
