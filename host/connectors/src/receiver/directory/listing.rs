//! Which files of a folder are to be read: new ones that nobody writes to any more. What is known of those that were read
//! is bounded: the names that are there, and a number of those that were.

use super::super::Times;
use super::super::facts::{Facts, Since};
use super::{os_name, stored_name};
use crate::batch::position::Position;
use crate::job::spec::{SourceKind, SourceSpec};
use crate::limits::DIRECTORY_NAMES_GONE_MAX;
use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};
use tracing::{info, warn};

/// Names with one of these ends are files that somebody still writes.
const TEMPORARY_ENDS: [&str; 4] = [".tmp", ".part", "~", "_COPYING_"];
/// How many times longer than a look took the next one waits: where the folder changed, and where it did not.
const REST_BUSY: u32 = 4;
const REST_QUIET: u32 = 50;
/// How often to look, at least, while a file settles.
const LOOKS_AT_SETTLING: u32 = 4;

/// What is known of a folder.
pub struct Listing {
    source: String,
    path: PathBuf,
    times: Times,
    /// Of rows that are given back: the folder need not be there, and no name is forgotten.
    retry: bool,
    known: HashMap<OsString, Known>,
    /// Names that were read and were not there when they were looked for, the oldest news first.
    gone: VecDeque<OsString>,
    names_gone_max: usize,
    /// Files that may still be written, as they were when they were first seen so.
    settling: HashMap<OsString, (Facts, Instant)>,
    looks: u64,
    folder_modified: Option<SystemTime>,
}

/// A name that is not read.
struct Known {
    /// Where its file was read to its end; `None`: it is no regular file.
    end: Option<Position>,
    /// The last look that saw it.
    seen: u64,
    /// Not there at the last look.
    gone: bool,
    /// That it changed was told.
    told: bool,
}

/// What a look found.
#[derive(Debug, Default)]
pub struct Look {
    /// The files to read, the oldest first.
    pub new: Vec<OsString>,
    /// There are files that may still be written.
    pub settling: bool,
    /// Names that are not known any more, as positions have them.
    pub forgotten: Vec<String>,
    /// How long to wait before the next look.
    pub pause: Duration,
}

impl Listing {
    /// Of a folder in which files were read to their ends.
    pub fn new(source: &SourceSpec, path: PathBuf, times: Times, ended: Vec<(String, Position)>) -> Listing {
        let known = |end| Known { end: Some(end), seen: 0, gone: false, told: false };
        Listing {
            source: source.name.clone(),
            path,
            times,
            retry: matches!(source.kind, SourceKind::Retry { .. }),
            known: ended.into_iter().filter_map(|(name, end)| Some((os_name(&name)?, known(end)))).collect(),
            gone: VecDeque::new(),
            names_gone_max: DIRECTORY_NAMES_GONE_MAX,
            settling: HashMap::new(),
            looks: 0,
            folder_modified: None,
        }
    }

    /// A file was read to its end.
    pub fn was_read(&mut self, name: OsString, end: Position) {
        self.settling.remove(&name);
        self.known.insert(name, Known { end: Some(end), seen: self.looks, gone: false, told: false });
    }

    /// Looks at all names. An error tells what could not be looked at.
    pub fn look(&mut self) -> Result<Look, (PathBuf, io::Error)> {
        let began = Instant::now();
        self.looks += 1;
        let mut look = Look::default();
        let entries = match std::fs::read_dir(&self.path) {
            // Nothing was given back yet.
            Err(error) if error.kind() == ErrorKind::NotFound && self.retry => {
                return Ok(Look { pause: self.times.poll, ..look });
            }
            entries => entries.map_err(|error| (self.path.clone(), error))?,
        };
        let modified = std::fs::metadata(&self.path).and_then(|metadata| metadata.modified()).ok();
        let (mut new, mut empty) = (Vec::new(), true);
        for entry in entries {
            let entry = entry.map_err(|error| (self.path.clone(), error))?;
            let name = entry.file_name();
            empty = false;
            if is_left_out(&name.to_string_lossy()) {
                continue;
            }
            // Follows links, as opening does.
            let facts = match std::fs::metadata(entry.path()) {
                Ok(metadata) if metadata.is_file() => Facts::of(&metadata),
                Ok(metadata) if metadata.is_dir() => continue,
                Ok(_) => {
                    self.leave_out(name);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err((entry.path(), error)),
            };
            if self.is_known(&name, facts) {
                continue;
            }
            if self.has_settled(&name, facts) {
                new.push((facts.modified, name));
            } else {
                look.settling = true;
            }
        }
        self.settling.retain(|name, _| self.path.join(name).exists());
        // The empty folder of a disk that is not mounted tells nothing of its files.
        if !empty {
            look.forgotten = self.forget();
        }
        new.sort();
        look.new = new.into_iter().map(|(_, name)| name).collect();
        let busy = look.settling || self.folder_modified != modified;
        self.folder_modified = modified;
        let Times { poll, settle } = self.times;
        let wanted = if look.settling { poll.min(settle / LOOKS_AT_SETTLING) } else { poll };
        look.pause = wanted.max(began.elapsed() * if busy { REST_BUSY } else { REST_QUIET });
        Ok(look)
    }

    /// What is no regular file is told once.
    fn leave_out(&mut self, name: OsString) {
        let (looks, path) = (self.looks, self.path.join(&name));
        let known = self.known.entry(name).or_insert_with(|| {
            warn!("source `{}`: `{}` is not a regular file and is left out", self.source, path.display());
            Known { end: None, seen: looks, gone: false, told: true }
        });
        known.seen = looks;
    }

    /// Whether this file was read. One that came in the place of a file that was read is new; one that somebody wrote to
    /// after it was read is told.
    fn is_known(&mut self, name: &OsString, facts: Facts) -> bool {
        let Some(known) = self.known.get_mut(name) else { return false };
        let was_gone = std::mem::replace(&mut known.gone, false);
        known.seen = self.looks;
        let Some(end) = known.end else {
            // What was no regular file is one now.
            self.known.remove(name);
            return false;
        };
        let path = self.path.join(name);
        match facts.since(end) {
            Since::Same => return true,
            Since::Changed if !was_gone => {
                if !known.told {
                    known.told = true;
                    warn!(
                        "source `{}`: `{}` has changed since it was read: {} bytes were read, it has {} now. It is not read \
                         again; write a file under another name and rename it when it is whole, or raise `settle`",
                        self.source,
                        path.display(),
                        end.offset,
                        facts.bytes
                    );
                }
                return true;
            }
            Since::Changed | Since::Replaced => {
                info!("source `{}`: another file is in the place of `{}`, which was read", self.source, path.display());
            }
        }
        self.known.remove(name);
        false
    }

    /// Whether its length and time have stood still for long enough.
    fn has_settled(&mut self, name: &OsString, facts: Facts) -> bool {
        if self.times.settle.is_zero() {
            return true;
        }
        // By the machine's clock it may have stood still before it was first seen.
        if SystemTime::now().duration_since(facts.modified).is_ok_and(|age| age >= self.times.settle) {
            return true;
        }
        match self.settling.get(name) {
            Some((before, since)) if *before == facts => since.elapsed() >= self.times.settle,
            _ => {
                self.settling.insert(name.clone(), (facts, Instant::now()));
                false
            }
        }
    }

    /// Forgets names that this look did not see, but for the last so many: a folder that was away comes back as it was.
    fn forget(&mut self) -> Vec<String> {
        let (looks, mut missing) = (self.looks, Vec::new());
        self.known.retain(|name, known| {
            let kept = known.seen == looks || known.end.is_some();
            if known.seen != looks && kept && !std::mem::replace(&mut known.gone, true) {
                missing.push(name.clone());
            }
            kept
        });
        missing.sort();
        self.gone.extend(missing);
        let mut forgotten = Vec::new();
        // Names that came back are still in the queue.
        while !self.retry && self.gone.len() > self.names_gone_max {
            let Some(name) = self.gone.pop_front() else { break };
            if self.known.get(&name).is_some_and(|known| known.gone) {
                self.known.remove(&name);
                forgotten.push(stored_name(&name));
            }
        }
        forgotten
    }
}

/// Hidden and temporary names.
fn is_left_out(name: &str) -> bool {
    name.starts_with(['.', '_']) || TEMPORARY_ENDS.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests;
