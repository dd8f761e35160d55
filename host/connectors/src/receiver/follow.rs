//! Source `file` with `follow`: a log that grows, and that is rotated, by renaming it or by copying and truncating it, while
//! the job runs or while it does not.
//!
//! The log is the file at the path and its rotated files beside it. They are read the oldest first, each once and to its end.
//! Which file is which is told by its content, not by its name: see [`identity`].

pub mod log_dir;
mod reading;

use super::WatchTimes;
use super::file::failed;
use super::outage::Outage;
use log_dir::{LogDir, LogFile, RecentBytes};
use millstream_base::batch::identity::{self, FileIdentity, HEAD_BYTES_MAX};
use millstream_base::batch::position::{Position, Positions};
use millstream_base::error::Error;
use millstream_base::inbox::Inbox;
use millstream_base::job::spec::{Format, SourceSpec};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tracing::{info, warn};

/// How often a folder is looked at until two looks see the same.
const LOOKS_MAX: usize = 20;

/// Reads the log until the inbox is closed.
pub fn receive(source: &SourceSpec, path: &Path, times: WatchTimes, from: &Positions, inbox: &Inbox, runtime: &Handle) {
    let known = from.iter().filter_map(|(name, position)| FileIdentity::parse(name).map(|known| (known, *position)));
    let known: BTreeMap<u64, _> = known.map(|(known, position)| (known.number, (known, position))).collect();
    let next = known.keys().next_back().map_or(0, |last| last + 1);
    let away = Outage::new(source, path);
    let mut log = FollowedLog {
        source,
        path,
        times,
        inbox,
        runtime,
        known,
        next,
        previous: None,
        recent: Default::default(),
        missing: None,
        away,
        told: false,
    };
    if let Err(error) = log.follow() {
        inbox.fail(error);
    }
}

struct FollowedLog<'a> {
    source: &'a SourceSpec,
    path: &'a Path,
    times: WatchTimes,
    inbox: &'a Inbox,
    runtime: &'a Handle,
    /// Files that were begun, by number, and how far they were read.
    known: BTreeMap<u64, (FileIdentity, Position)>,
    /// The number of the next one.
    next: u64,
    /// The file that was read to its end last, and where that was: who still writes to it is heard.
    previous: Option<(File, u64)>,
    /// The file that was read last, and its last bytes.
    recent: (u64, RecentBytes),
    /// Since when a file that was begun cannot be found.
    missing: Option<Instant>,
    away: Outage,
    /// That there is no file at the path was told.
    told: bool,
}

/// What to do next.
enum NextStep {
    /// Read this file on from there.
    Read(FileIdentity, Position, LogFile, File),
    /// Nothing for now.
    Wait,
    /// The inbox is closed.
    End,
}

/// How reading a file ended.
#[derive(PartialEq)]
enum ReadEnd {
    /// Something else is to be read, or it: look.
    Look,
    /// The inbox is closed.
    Inbox,
}

impl FollowedLog<'_> {
    fn follow(&mut self) -> Result<(), Error> {
        loop {
            match self.next()? {
                NextStep::Read(identity, position, found, file) => {
                    if self.read(identity, position, &found, file)? == ReadEnd::Inbox {
                        return Ok(());
                    }
                }
                NextStep::Wait => {
                    if self.inbox.closed_within(self.runtime, self.times.poll) {
                        return Ok(());
                    }
                }
                NextStep::End => return Ok(()),
            }
        }
    }

    /// Looks what there is: a file that was begun comes first, then the oldest that was not.
    fn next(&mut self) -> Result<NextStep, Error> {
        let (beside, places) = match self.look() {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(NextStep::Wait),
            Err(error) => {
                self.inbox.idle(false);
                self.away.failed(&error)?;
                return Ok(NextStep::Wait);
            }
        };
        self.away.recovered();
        if self.end_in_copy(&beside, &places)? {
            return Ok(NextStep::Wait);
        }
        if !self.forget(&beside, &places)? {
            return Ok(if self.inbox.closed_within(self.runtime, Duration::ZERO) {
                NextStep::End
            } else {
                NextStep::Wait
            });
        }
        for (number, place) in &places {
            let (Some((identity, position)), Some(found)) = (self.known.get(number), beside.files.get(*place)) else {
                continue;
            };
            let grew = found.inode == identity.inode && found.bytes > position.offset;
            if !position.ended() || grew {
                let (identity, position) = (identity.clone(), Position { mark: position.mark & !1, ..*position });
                return self.open(identity, position, found);
            }
        }
        let taken: Vec<usize> = places.into_values().collect();
        let Some(found) = self.oldest_new(&beside, &taken)? else {
            self.nothing(&beside);
            return Ok(NextStep::Wait);
        };
        if found.current && !self.has_record(found) {
            self.inbox.idle(true);
            return Ok(NextStep::Wait);
        }
        let identity = FileIdentity::new(self.next, found.inode, &found.head);
        self.open(identity, Position::default(), found)
    }

    /// The oldest file that was not begun.
    fn oldest_new<'b>(&self, beside: &'b LogDir, taken: &[usize]) -> Result<Option<&'b LogFile>, Error> {
        for (place, found) in beside.files.iter().enumerate() {
            if taken.contains(&place) || found.bytes == 0 || !(found.rotated || found.current) {
                continue;
            }
            let copy = beside.is_copy_of_current(found).map_err(|error| failed(self.source, &found.path, &error))?;
            if !copy {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The files of the log, and where those are that were begun. Names move while somebody rotates, so it counts what was the
    /// same before and after all files were looked into. `None`: they move all the time.
    fn look(&self) -> io::Result<Option<(LogDir, BTreeMap<u64, usize>)>> {
        let inodes: Vec<u64> = self.known.values().map(|(known, _)| known.inode).collect();
        let mut before = LogDir::look(self.path, &inodes)?;
        for _ in 0..LOOKS_MAX {
            let places = self.find(&before)?;
            let again = LogDir::look(self.path, &inodes)?;
            if again.same(&before) {
                return Ok(Some((before, places)));
            }
            before = again;
        }
        Ok(None)
    }

    /// Where the files are that were begun, by number: themselves, or else copies of them.
    fn find(&self, beside: &LogDir) -> io::Result<BTreeMap<u64, usize>> {
        let mut places = BTreeMap::new();
        let mut taken = Vec::new();
        for copies in [false, true] {
            for (number, (known, position)) in &self.known {
                if places.contains_key(number) {
                    continue;
                }
                if let Some(place) = beside.find(known, *position, copies, &taken)? {
                    taken.push(place);
                    places.insert(*number, place);
                }
            }
        }
        Ok(places)
    }

    /// Where the file that was read last is not to be found as far as it was read, but a copy that was made before its last lines
    /// were written: the copy is that file, and holds nothing new. Whether it is so.
    fn end_in_copy(&mut self, beside: &LogDir, places: &BTreeMap<u64, usize>) -> Result<bool, Error> {
        let (number, recent) = &self.recent;
        let known =
            self.known.get_mut(number).filter(|(_, position)| !position.ended() && !places.contains_key(number));
        let Some((known, position)) = known else { return Ok(false) };
        let taken: Vec<usize> = places.values().copied().collect();
        let found = beside.short_copy(known, recent, &taken).map_err(|error| failed(self.source, self.path, &error))?;
        let Some((_, end)) = found.filter(|(_, end)| end.offset <= position.offset) else { return Ok(false) };
        let (name, source, path) = (known.name(), &self.source.name, self.path.display());
        info!(
            "source `{source}`: `{path}` was copied and truncated; the copy ends at byte {}, and {} were read before",
            end.offset, position.offset
        );
        *position = end;
        self.runtime.block_on(self.inbox.put_last(None, name, end));
        Ok(true)
    }

    /// Forgets the files that are not there any more. One of which more was to be read is looked for a little longer, and
    /// then told. `false`: nothing can be read now.
    fn forget(&mut self, beside: &LogDir, places: &BTreeMap<u64, usize>) -> Result<bool, Error> {
        let missing = self.known.iter().filter(|(number, _)| !places.contains_key(number));
        let missing: Vec<(u64, String, Position)> =
            missing.map(|(number, (known, position))| (*number, known.name(), *position)).collect();
        if missing.iter().all(|(_, _, position)| position.ended()) {
            self.missing = None;
        } else if self.missing.get_or_insert_with(Instant::now).elapsed() < self.times.settle {
            self.inbox.idle(false);
            return Ok(false);
        }
        for (number, _, position) in &missing {
            self.known.remove(number);
            if !position.ended() {
                self.tell_lost(beside, *position);
            }
        }
        let names: Vec<String> = missing.into_iter().map(|(_, name, _)| name).collect();
        Ok(names.is_empty() || self.inbox.forget(names))
    }

    fn tell_lost(&self, beside: &LogDir, position: Position) {
        let (name, path, read) = (&self.source.name, self.path.display(), position.offset);
        let packed = match beside.packed.first() {
            Some(packed) => {
                format!(" `{packed}` next to it is compressed and cannot be read: let the rotation compress it later.")
            }
            None => String::new(),
        };
        warn!(
            "source `{name}`: the file at `{path}` was truncated or deleted after {read} bytes were read, and \
             neither it nor a copy is next to the path: later lines in it are lost.{packed} Continuing with the \
             existing file"
        );
    }

    /// There is nothing to read.
    fn nothing(&mut self, beside: &LogDir) {
        self.inbox.idle(true);
        let there = beside.files.iter().any(|found| found.current);
        if !there && !self.told {
            warn!("source `{}`: no file at `{}` yet; waiting for it", self.source.name, self.path.display());
        }
        self.told = !there;
    }

    /// Whether a file has as much as can be told from the beginning of others: a record, or many bytes.
    fn has_record(&self, found: &LogFile) -> bool {
        let lines = memchr::memchr_iter(b'\n', &found.head).count();
        let lines_by_r = memchr::memchr_iter(b'\r', &found.head).count();
        match self.source.format {
            _ if found.head.len() == HEAD_BYTES_MAX => true,
            // A header alone may be the same in each.
            Format::Csv { header: true, .. } => lines.max(lines_by_r) > 1,
            Format::Csv { header: false, .. } => lines.max(lines_by_r) > 0,
            Format::Binary { .. } => true,
            _ => lines > 0,
        }
    }

    /// Opens a file that was found; where another has its name meanwhile, look again.
    fn open(&mut self, identity: FileIdentity, position: Position, found: &LogFile) -> Result<NextStep, Error> {
        let broken = |error: io::Error| failed(self.source, &found.path, &error);
        let Some(file) = log_dir::open(&found.path).map_err(broken)? else { return Ok(NextStep::Wait) };
        let same = file.metadata().map_err(broken)?.ino() == found.inode
            && identity.begins(&identity::head_of(&file).map_err(broken)?)
            && identity::fits(&file, position).map_err(broken)?;
        if !same {
            return Ok(NextStep::Wait);
        }
        let (name, path) = (&self.source.name, found.path.display());
        match position.offset {
            0 => info!("source `{name}`: reading `{path}`"),
            offset => info!("source `{name}`: reading on in `{path}` from byte {offset}"),
        }
        Ok(NextStep::Read(identity, position, found.clone(), file))
    }
}

#[cfg(test)]
mod tests;
