//! Which files of a folder are to be read: new ones that nobody writes to any more. What is known of those that were read
//! is bounded: the names that are there, and a number of those that were.

use super::super::WatchTimes;
use super::super::file_facts::{FileChange, FileFacts};
use super::{Dir, os_name, stored_name};
use crate::limits::DIRECTORY_NAMES_GONE_MAX;
use millstream_base::batch::position::Position;
use millstream_base::job::spec::SourceSpec;
use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::io;
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
    times: WatchTimes,
    /// Of rows that are given back: the folder need not be there, and no name is forgotten.
    retry: bool,
    known: HashMap<OsString, KnownName>,
    /// Names that were read and were not there when they were looked for, the oldest news first.
    gone: VecDeque<OsString>,
    names_gone_max: usize,
    /// Files that may still be written, as they were when they were first seen so.
    settling: HashMap<OsString, (FileFacts, Instant)>,
    looks: u64,
}

/// A name that is not read.
struct KnownName {
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
pub struct ListingResult {
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
    pub fn new(source: &SourceSpec, path: PathBuf, times: WatchTimes, ended: Vec<(String, Position)>) -> Listing {
        let known = |end| KnownName { end: Some(end), seen: 0, gone: false, told: false };
        Listing {
            source: source.name.clone(),
            path,
            times,
            retry: source.kind.retry_dir().is_some(),
            known: ended.into_iter().filter_map(|(name, end)| Some((os_name(&name)?, known(end)))).collect(),
            gone: VecDeque::new(),
            names_gone_max: DIRECTORY_NAMES_GONE_MAX,
            settling: HashMap::new(),
            looks: 0,
        }
    }

    /// A file was read to its end.
    pub fn was_read(&mut self, name: OsString, end: Position) {
        self.settling.remove(&name);
        self.known.insert(name, KnownName { end: Some(end), seen: self.looks, gone: false, told: false });
    }

    /// Looks at the names of the folder. An error tells what could not be looked at.
    pub fn look(&mut self, dir: &mut dyn Dir) -> Result<ListingResult, (PathBuf, io::Error)> {
        let began = Instant::now();
        self.looks += 1;
        let mut look = ListingResult::default();
        let mut new = Vec::new();
        let found = dir.look(&mut |name, facts| {
            let Some(facts) = facts else { return self.leave_out(name) };
            if self.is_known(&name, facts) {
                return;
            }
            if self.has_settled(&name, facts) {
                new.push((facts.modified, name));
            } else {
                look.settling = true;
            }
        })?;
        self.settling.retain(|name, _| self.path.join(name).exists());
        if found.whole {
            look.forgotten = self.forget();
        }
        new.sort();
        look.new = new.into_iter().map(|(_, name)| name).collect();
        let busy = look.settling || !look.new.is_empty() || found.changed;
        let WatchTimes { poll, settle } = self.times;
        let wanted = if look.settling { poll.min(settle / LOOKS_AT_SETTLING) } else { poll };
        let rest =
            if found.rests { began.elapsed() * if busy { REST_BUSY } else { REST_QUIET } } else { Duration::ZERO };
        look.pause = wanted.max(rest);
        Ok(look)
    }

    /// What is no regular file is told once.
    fn leave_out(&mut self, name: OsString) {
        let (looks, path) = (self.looks, self.path.join(&name));
        let known = self.known.entry(name).or_insert_with(|| {
            warn!("source `{}`: `{}` is not a regular file and is ignored", self.source, path.display());
            KnownName { end: None, seen: looks, gone: false, told: true }
        });
        known.seen = looks;
    }

    /// Whether this file was read. One that came in the place of a file that was read is new; one that somebody wrote to
    /// after it was read is told.
    fn is_known(&mut self, name: &OsString, facts: FileFacts) -> bool {
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
            FileChange::Same => return true,
            FileChange::Changed if !was_gone => {
                if !known.told {
                    known.told = true;
                    warn!(
                        "source `{}`: `{}` has changed since it was read: {} bytes were read, it has {} now. It is not read \
                         again; write a file under another name and rename it when it is complete, or raise `settle`",
                        self.source,
                        path.display(),
                        end.offset,
                        facts.bytes
                    );
                }
                return true;
            }
            FileChange::Changed | FileChange::Replaced => {
                info!("source `{}`: another file replaced `{}`, which was already read", self.source, path.display());
            }
        }
        self.known.remove(name);
        false
    }

    /// Whether its length and time have stood still for long enough.
    fn has_settled(&mut self, name: &OsString, facts: FileFacts) -> bool {
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
pub fn is_left_out(name: &str) -> bool {
    name.starts_with(['.', '_']) || TEMPORARY_ENDS.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests;
