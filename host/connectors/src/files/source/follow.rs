//! Source `file` with `follow`: a log that grows. It is rotated by renaming it or by copying and truncating it, while the job runs or while it does
//! not.
//!
//! The log is the file at the path and the rotated files next to it. They are read the oldest first, each once and to its end. Files are identified
//! by their content, not by their names: see [`identity`].

pub mod log_dir;
mod reading;

use super::settings::WatchTimes;
use log_dir::{LogDir, LogFile, RecentBytes};
use millstream_base::error::Error;
use millstream_connect::receiver::failed;
use millstream_connect::receiver::outage::Outage;
use millstream_job::spec::SourceSpec;
use millstream_rows::batch::identity::{self, FileIdentity, HEAD_BYTES_MAX};
use millstream_rows::batch::position::{Position, Positions};
use millstream_rows::formats::Format;
use millstream_rows::inbox::Inbox;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tracing::{info, warn};

/// Interval of scanning a directory until two scans see the same.
const LOOKS_MAX: usize = 20;

/// Reads the log until the inbox is closed.
pub fn receive(source: &SourceSpec, path: &Path, times: WatchTimes, from: &Positions, inbox: &Inbox, runtime: &Handle) {
    let known = from.iter().filter_map(|(name, position)| FileIdentity::parse(name).map(|known| (known, *position)));
    let known: BTreeMap<u64, _> = known.map(|(known, position)| (known.number, (known, position))).collect();
    let next = known.keys().next_back().map_or(0, |last| last + 1);
    let outage = Outage::new(source, path);
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
        outage,
        reported_missing: false,
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
    /// The number of the next file.
    next: u64,
    /// The file that was last read to its end, and its position there, to notice later writes.
    previous: Option<(File, u64)>,
    /// The file that was read last, and its last bytes.
    recent: (u64, RecentBytes),
    /// Since when a begun file cannot be found.
    missing: Option<Instant>,
    outage: Outage,
    /// Whether it was reported that there is no file at the path.
    reported_missing: bool,
}

/// What to do next.
enum NextStep {
    /// Continue this file from this position.
    Read(FileIdentity, Position, LogFile, File),
    /// Nothing for now.
    Wait,
    /// The inbox is closed.
    End,
}

/// How reading a file ended.
#[derive(PartialEq)]
enum ReadEnd {
    /// Scan again: another file may have to be read.
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

    /// Decides what to read: begun files first, then the oldest that was not begun.
    fn next(&mut self) -> Result<NextStep, Error> {
        let (log_dir, indexes) = match self.look() {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(NextStep::Wait),
            Err(error) => {
                self.inbox.idle(false);
                self.outage.failed(&error)?;
                return Ok(NextStep::Wait);
            }
        };
        self.outage.recovered();
        if self.end_in_copy(&log_dir, &indexes)? {
            return Ok(NextStep::Wait);
        }
        if !self.drop_missing(&log_dir, &indexes)? {
            return Ok(if self.inbox.closed_within(self.runtime, Duration::ZERO) {
                NextStep::End
            } else {
                NextStep::Wait
            });
        }
        for (number, index) in &indexes {
            let (Some((identity, position)), Some(found)) = (self.known.get(number), log_dir.files.get(*index)) else {
                continue;
            };
            let grew = found.inode == identity.inode && found.bytes > position.offset;
            if !position.ended() || grew {
                let (identity, position) = (identity.clone(), Position { mark: position.mark & !1, ..*position });
                return self.open(identity, position, found);
            }
        }
        let taken: Vec<usize> = indexes.into_values().collect();
        let Some(found) = self.oldest_new(&log_dir, &taken)? else {
            self.nothing(&log_dir);
            return Ok(NextStep::Wait);
        };
        if found.current && !self.has_record(found) {
            self.inbox.idle(true);
            return Ok(NextStep::Wait);
        }
        let identity = FileIdentity::new(self.next, found.inode, &found.head);
        self.open(identity, Position::default(), found)
    }

    /// Returns the oldest file that was not begun.
    fn oldest_new<'b>(&self, log_dir: &'b LogDir, taken: &[usize]) -> Result<Option<&'b LogFile>, Error> {
        for (index, found) in log_dir.files.iter().enumerate() {
            if taken.contains(&index) || found.bytes == 0 || !(found.rotated || found.current) {
                continue;
            }
            let copy = log_dir.is_copy_of_current(found).map_err(|error| failed(self.source, &found.path, &error))?;
            if !copy {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Returns the files of the log, and which of them were begun. Names change during a rotation, so only what was the same before and after all
    /// files were examined counts. `None`: they change all the time.
    fn look(&self) -> io::Result<Option<(LogDir, BTreeMap<u64, usize>)>> {
        let inodes: Vec<u64> = self.known.values().map(|(known, _)| known.inode).collect();
        let mut before = LogDir::look(self.path, &inodes)?;
        for _ in 0..LOOKS_MAX {
            let indexes = self.find(&before)?;
            let again = LogDir::look(self.path, &inodes)?;
            if again.is_same_dir(&before) {
                return Ok(Some((before, indexes)));
            }
            before = again;
        }
        Ok(None)
    }

    /// Returns the files that were begun, by number: the files themselves, or else copies of them.
    fn find(&self, log_dir: &LogDir) -> io::Result<BTreeMap<u64, usize>> {
        let mut indexes = BTreeMap::new();
        let mut taken = Vec::new();
        for copies in [false, true] {
            for (number, (known, position)) in &self.known {
                if indexes.contains_key(number) {
                    continue;
                }
                if let Some(index) = log_dir.find(known, *position, copies, &taken)? {
                    taken.push(index);
                    indexes.insert(*number, index);
                }
            }
        }
        Ok(indexes)
    }

    /// Handles the file that was read last, if only a copy without its last lines exists: the copy is that file, and has nothing new. Returns whether
    /// that is the case.
    fn end_in_copy(&mut self, log_dir: &LogDir, indexes: &BTreeMap<u64, usize>) -> Result<bool, Error> {
        let (number, recent) = &self.recent;
        let known =
            self.known.get_mut(number).filter(|(_, position)| !position.ended() && !indexes.contains_key(number));
        let Some((known, position)) = known else { return Ok(false) };
        let taken: Vec<usize> = indexes.values().copied().collect();
        let found =
            log_dir.short_copy(known, recent, &taken).map_err(|error| failed(self.source, self.path, &error))?;
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

    /// Drops files that no longer exist. A file that was not read to its end is looked for a little longer, and then reported. `false`: nothing can
    /// be read now.
    fn drop_missing(&mut self, log_dir: &LogDir, indexes: &BTreeMap<u64, usize>) -> Result<bool, Error> {
        let missing = self.known.iter().filter(|(number, _)| !indexes.contains_key(number));
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
                self.report_lost(log_dir, *position);
            }
        }
        let names: Vec<String> = missing.into_iter().map(|(_, name, _)| name).collect();
        Ok(names.is_empty() || self.inbox.drop_files(names))
    }

    fn report_lost(&self, log_dir: &LogDir, position: Position) {
        let (name, path, read) = (&self.source.name, self.path.display(), position.offset);
        let compressed = match log_dir.compressed.first() {
            Some(compressed) => {
                format!(
                    " `{compressed}` next to it is compressed and cannot be read: let the rotation compress it later."
                )
            }
            None => String::new(),
        };
        warn!(
            "source `{name}`: the file at `{path}` was truncated or deleted after {read} bytes were read, and \
             neither it nor a copy is next to the path: later lines in it are lost.{compressed} Continuing with the \
             existing file"
        );
    }

    /// Notes that there is nothing to read.
    fn nothing(&mut self, log_dir: &LogDir) {
        self.inbox.idle(true);
        let exists = log_dir.files.iter().any(|found| found.current);
        if !exists && !self.reported_missing {
            warn!("source `{}`: no file at `{}` yet; waiting for it", self.source.name, self.path.display());
        }
        self.reported_missing = !exists;
    }

    /// Returns whether a file has enough content to distinguish it from others: a record, or many bytes.
    fn has_record(&self, found: &LogFile) -> bool {
        let lines = memchr::memchr_iter(b'\n', &found.head).count();
        let lines_by_r = memchr::memchr_iter(b'\r', &found.head).count();
        match self.source.format {
            _ if found.head.len() == HEAD_BYTES_MAX => true,
            // The header alone may be the same in all of them.
            Format::Csv { header: true, .. } => lines.max(lines_by_r) > 1,
            Format::Csv { header: false, .. } => lines.max(lines_by_r) > 0,
            Format::Binary { .. } => true,
            _ => lines > 0,
        }
    }

    /// Opens a file that was found. If another has its name meanwhile, the result is to scan again.
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
