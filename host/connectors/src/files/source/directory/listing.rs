//! Decides which files of a directory to read: new ones that are no longer written to. Memory is bounded: it tracks existing names, and a number of
//! deleted ones that were read.

use super::{Dir, os_name, stored_name};
use crate::files::source::file_facts::{FileChange, FileFacts};
use crate::files::source::settings::WatchTimes;
use crate::limits::DIRECTORY_NAMES_REMOVED_MAX;
use millstream_job::spec::SourceSpec;
use millstream_rows::batch::position::Position;
use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};
use tracing::{info, warn};

/// Suffixes of names of files that are still being written.
const TEMPORARY_ENDS: [&str; 4] = [".tmp", ".part", "~", "_COPYING_"];
/// The pause after a scan, as a multiple of its duration: if the directory has changed, and if it has not.
const REST_BUSY: u32 = 4;
const REST_QUIET: u32 = 50;
/// Minimum number of scans while a file settles.
const LOOKS_AT_SETTLING: u32 = 4;

/// What is known about a directory.
pub struct Listing {
    source: String,
    path: PathBuf,
    times: WatchTimes,
    /// Whether it has retried rows: the directory may be absent, and no name is dropped.
    retry: bool,
    known: HashMap<OsString, KnownName>,
    /// Names of deleted files that were read, the first deleted ones first.
    deleted: VecDeque<OsString>,
    names_removed_max: usize,
    /// Files that may still be written, as they were when first seen in this state.
    settling: HashMap<OsString, (FileFacts, Instant)>,
    looks: u64,
}

/// A name that is not read again.
struct KnownName {
    /// The position at which its file was read to its end; `None`: it is not a regular file.
    end: Option<Position>,
    /// The last scan that saw it.
    seen: u64,
    /// Whether the last scan did not see it.
    deleted: bool,
    /// Whether its change was reported.
    reported: bool,
}

/// The result of a scan.
#[derive(Debug, Default)]
pub struct ListingResult {
    /// The files to read, the oldest first.
    pub new: Vec<OsString>,
    /// Whether there are files that may still be written.
    pub settling: bool,
    /// Names that are no longer tracked, as in positions.
    pub dropped_names: Vec<String>,
    /// The pause before the next scan.
    pub pause: Duration,
}

impl Listing {
    /// Creates the state of a directory in which files were read to their ends.
    pub fn new(source: &SourceSpec, path: PathBuf, times: WatchTimes, ended: Vec<(String, Position)>) -> Listing {
        let known = |end| KnownName { end: Some(end), seen: 0, deleted: false, reported: false };
        Listing {
            source: source.name.clone(),
            path,
            times,
            retry: source.kind.retry_dir().is_some(),
            known: ended.into_iter().filter_map(|(name, end)| Some((os_name(&name)?, known(end)))).collect(),
            deleted: VecDeque::new(),
            names_removed_max: DIRECTORY_NAMES_REMOVED_MAX,
            settling: HashMap::new(),
            looks: 0,
        }
    }

    /// Notes that a file was read to its end.
    pub fn was_read(&mut self, name: OsString, end: Position) {
        self.settling.remove(&name);
        self.known.insert(name, KnownName { end: Some(end), seen: self.looks, deleted: false, reported: false });
    }

    /// Scans the names of the directory. An error has the path that could not be listed.
    pub fn look(&mut self, dir: &mut dyn Dir) -> Result<ListingResult, (PathBuf, io::Error)> {
        let began = Instant::now();
        self.looks += 1;
        let mut look = ListingResult::default();
        let mut new = Vec::new();
        let found = dir.look(&mut |name, facts| {
            let Some(facts) = facts else { return self.ignore(name) };
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
        if found.complete {
            look.dropped_names = self.drop_old_names();
        }
        new.sort();
        look.new = new.into_iter().map(|(_, name)| name).collect();
        let busy = look.settling || !look.new.is_empty() || found.changed;
        let WatchTimes { poll, settle } = self.times;
        let wanted = if look.settling { poll.min(settle / LOOKS_AT_SETTLING) } else { poll };
        let rest =
            if found.slow { began.elapsed() * if busy { REST_BUSY } else { REST_QUIET } } else { Duration::ZERO };
        look.pause = wanted.max(rest);
        Ok(look)
    }

    /// Ignores something that is not a regular file, and reports that once.
    fn ignore(&mut self, name: OsString) {
        let (looks, path) = (self.looks, self.path.join(&name));
        let known = self.known.entry(name).or_insert_with(|| {
            warn!("source `{}`: `{}` is not a regular file and is ignored", self.source, path.display());
            KnownName { end: None, seen: looks, deleted: false, reported: true }
        });
        known.seen = looks;
    }

    /// Returns whether this file was read. A file that replaced one that was read is new. A file that was written to after it was read is not, and is
    /// reported.
    fn is_known(&mut self, name: &OsString, facts: FileFacts) -> bool {
        let Some(known) = self.known.get_mut(name) else { return false };
        let was_deleted = std::mem::replace(&mut known.deleted, false);
        known.seen = self.looks;
        let Some(end) = known.end else {
            // It is a regular file now.
            self.known.remove(name);
            return false;
        };
        let path = self.path.join(name);
        match facts.since(end) {
            FileChange::Same => return true,
            FileChange::Changed if !was_deleted => {
                if !known.reported {
                    known.reported = true;
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

    /// Returns whether its length and time have been unchanged for long enough.
    fn has_settled(&mut self, name: &OsString, facts: FileFacts) -> bool {
        if self.times.settle.is_zero() {
            return true;
        }
        // By the machine's clock, it may have been unchanged before it was first seen.
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

    /// Drops names that this scan did not see, except the most recent ones: a directory that was unavailable comes back unchanged.
    fn drop_old_names(&mut self) -> Vec<String> {
        let (looks, mut missing) = (self.looks, Vec::new());
        self.known.retain(|name, known| {
            let kept = known.seen == looks || known.end.is_some();
            if known.seen != looks && kept && !std::mem::replace(&mut known.deleted, true) {
                missing.push(name.clone());
            }
            kept
        });
        missing.sort();
        self.deleted.extend(missing);
        let mut dropped_names = Vec::new();
        // Names that reappeared are still in the queue.
        while !self.retry && self.deleted.len() > self.names_removed_max {
            let Some(name) = self.deleted.pop_front() else { break };
            if self.known.get(&name).is_some_and(|known| known.deleted) {
                self.known.remove(&name);
                dropped_names.push(stored_name(&name));
            }
        }
        dropped_names
    }
}

/// Returns whether a name is hidden or temporary.
pub fn is_ignored(name: &str) -> bool {
    name.starts_with(['.', '_']) || TEMPORARY_ENDS.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests;
