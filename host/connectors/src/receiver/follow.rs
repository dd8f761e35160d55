//! Source `file` with `follow`: a log that grows, and that is rotated, by renaming it or by copying and truncating it, while
//! the job runs or while it does not.
//!
//! The log is the file at the path and its rotated files beside it, read the oldest first, each once and to its end. Which is
//! which says what it holds, not its name: see [`identity`].

pub mod beside;

use super::Times;
use super::away::Away;
use super::file::{Part, failed};
use super::framing::Framer;
use super::inbox::Inbox;
use crate::batch::identity::{self, HEAD_BYTES_MAX, Identity, TAIL_BYTES_MAX};
use crate::batch::position::{Position, Positions};
use crate::error::Error;
use crate::job::spec::{Format, SourceSpec};
use beside::{Beside, Found};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::Handle;
use tracing::{info, warn};

/// How often a folder is looked at until two looks see the same.
const LOOKS_MAX: usize = 20;
/// How often to look, at least, while a rotated file settles.
const LOOKS_AT_SETTLING: u32 = 4;
/// For how long nobody has written to a rotated file, at least, whose last line has no end.
const HALF_LINE_SETTLE: Duration = Duration::from_secs(1);

/// Reads the log until the inbox is closed.
pub fn receive(source: &SourceSpec, path: &Path, times: Times, from: &Positions, inbox: &Inbox, runtime: &Handle) {
    let known = from.iter().filter_map(|(name, position)| Identity::parse(name).map(|known| (known, *position)));
    let known: BTreeMap<u64, _> = known.map(|(known, position)| (known.number, (known, position))).collect();
    let next = known.keys().next_back().map_or(0, |last| last + 1);
    let away = Away::new(source, path);
    let mut log =
        Log { source, path, times, inbox, runtime, known, next, previous: None, missing: None, away, told: false };
    if let Err(error) = log.follow() {
        inbox.fail(error);
    }
}

struct Log<'a> {
    source: &'a SourceSpec,
    path: &'a Path,
    times: Times,
    inbox: &'a Inbox,
    runtime: &'a Handle,
    /// Files that were begun, by number, and how far they were read.
    known: BTreeMap<u64, (Identity, Position)>,
    /// The number of the next one.
    next: u64,
    /// The file that was read to its end last, and where that was: who still writes to it is heard.
    previous: Option<(File, u64)>,
    /// Since when a file that was begun cannot be found.
    missing: Option<Instant>,
    away: Away,
    /// That there is no file at the path was told.
    told: bool,
}

/// What to do next.
enum Next {
    /// Read this file on from there.
    Read(Identity, Position, Found, File),
    /// Nothing for now.
    Wait,
    /// The inbox is closed.
    End,
}

/// How reading a file ended.
#[derive(PartialEq)]
enum Ended {
    /// Something else is to be read, or it: look.
    Look,
    /// The inbox is closed.
    Inbox,
}

impl Log<'_> {
    fn follow(&mut self) -> Result<(), Error> {
        loop {
            match self.next()? {
                Next::Read(identity, position, found, file) => {
                    if self.read(identity, position, &found, file)? == Ended::Inbox {
                        return Ok(());
                    }
                }
                Next::Wait => {
                    if self.inbox.closed_within(self.runtime, self.times.poll) {
                        return Ok(());
                    }
                }
                Next::End => return Ok(()),
            }
        }
    }

    /// Looks what there is: a file that was begun comes first, then the oldest that was not.
    fn next(&mut self) -> Result<Next, Error> {
        let (beside, places) = match self.look() {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Next::Wait),
            Err(error) => {
                self.inbox.idle(false);
                self.away.failed(&error)?;
                return Ok(Next::Wait);
            }
        };
        self.away.back();
        if !self.forget(&beside, &places)? {
            return Ok(if self.inbox.closed_within(self.runtime, Duration::ZERO) { Next::End } else { Next::Wait });
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
            return Ok(Next::Wait);
        };
        if found.current && !self.has_record(found) {
            self.inbox.idle(true);
            return Ok(Next::Wait);
        }
        let identity = Identity::of(self.next, found.inode, &found.head);
        self.open(identity, Position::default(), found)
    }

    /// The oldest file that was not begun.
    fn oldest_new<'b>(&self, beside: &'b Beside, taken: &[usize]) -> Result<Option<&'b Found>, Error> {
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
    fn look(&self) -> io::Result<Option<(Beside, BTreeMap<u64, usize>)>> {
        let inodes: Vec<u64> = self.known.values().map(|(known, _)| known.inode).collect();
        let mut before = Beside::look(self.path, &inodes)?;
        for _ in 0..LOOKS_MAX {
            let places = self.find(&before)?;
            let again = Beside::look(self.path, &inodes)?;
            if again.same(&before) {
                return Ok(Some((before, places)));
            }
            before = again;
        }
        Ok(None)
    }

    /// Where the files are that were begun, by number: themselves, or else copies of them.
    fn find(&self, beside: &Beside) -> io::Result<BTreeMap<u64, usize>> {
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

    /// Forgets the files that are not there any more. One of which more was to be read is looked for a little longer, and
    /// then told. `false`: nothing can be read now.
    fn forget(&mut self, beside: &Beside, places: &BTreeMap<u64, usize>) -> Result<bool, Error> {
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

    fn tell_lost(&self, beside: &Beside, position: Position) {
        let (name, path, read) = (&self.source.name, self.path.display(), position.offset);
        let packed = match beside.packed.first() {
            Some(packed) => {
                format!(" `{packed}` beside it is packed and cannot be read: let the rotation pack it later.")
            }
            None => String::new(),
        };
        warn!(
            "source `{name}`: the file at `{path}` of which {read} bytes were read was truncated or is gone, and neither it nor \
             a copy is beside the path: what else was written to it is lost.{packed} Going on with what is there"
        );
    }

    /// There is nothing to read.
    fn nothing(&mut self, beside: &Beside) {
        self.inbox.idle(true);
        let there = beside.files.iter().any(|found| found.current);
        if !there && !self.told {
            warn!("source `{}`: there is no file at `{}` yet; waiting for it", self.source.name, self.path.display());
        }
        self.told = !there;
    }

    /// Whether a file has as much as can be told from the beginning of others: a record, or many bytes.
    fn has_record(&self, found: &Found) -> bool {
        let lines = memchr::memchr_iter(b'\n', &found.head).count();
        match self.source.format {
            _ if found.head.len() == HEAD_BYTES_MAX => true,
            // A header alone may be the same in each.
            Format::Csv { header: true, .. } => lines > 1,
            Format::Binary { .. } => true,
            _ => lines > 0,
        }
    }

    /// Opens a file that was found; where another has its name meanwhile, look again.
    fn open(&mut self, identity: Identity, position: Position, found: &Found) -> Result<Next, Error> {
        let broken = |error: io::Error| failed(self.source, &found.path, &error);
        let Some(file) = beside::open(&found.path).map_err(broken)? else { return Ok(Next::Wait) };
        let same = file.metadata().map_err(broken)?.ino() == found.inode
            && identity.begins(&identity::head_of(&file).map_err(broken)?)
            && identity::fits(&file, position).map_err(broken)?;
        if !same {
            return Ok(Next::Wait);
        }
        let (name, path) = (&self.source.name, found.path.display());
        match position.offset {
            0 => info!("source `{name}`: reading `{path}`"),
            offset => info!("source `{name}`: reading on in `{path}` from byte {offset}"),
        }
        Ok(Next::Read(identity, position, found.clone(), file))
    }

    /// Reads a file on as long as it is the one at the path, and to its end otherwise.
    fn read(&mut self, identity: Identity, from: Position, found: &Found, file: File) -> Result<Ended, Error> {
        let (source, number, name) = (self.source, identity.number, identity.name());
        let broken = |error: io::Error| failed(source, &found.path, &error);
        let reading = file.try_clone().map_err(broken)?;
        let part = Part { source, path: found.path.clone(), name: name.clone() };
        let mut framer = match part.at(file, from) {
            Ok(opened) => opened.into_framer(),
            // Truncated since it was opened.
            Err(_) if !identity::fits(&reading, from).map_err(broken)? => return Ok(Ended::Look),
            Err(error) => return Err(error),
        };
        self.next = self.next.max(number.saturating_add(1));
        let mut position = from;
        self.known.insert(number, (identity.clone(), position));
        let mut tail = identity::tail_of(&reading, from.offset).map_err(broken)?;
        // Truncated since it was opened: these are not the bytes before the position.
        if !identity::fits(&reading, from).map_err(broken)? {
            return Ok(Ended::Look);
        }
        let mut read_to = from.offset;
        let mut still: Option<(u64, Instant)> = None;
        loop {
            // Asked before the read: what was written before it was rotated is there.
            let rotated = !self.is_current(found.inode);
            let block = read_block(&reading, framer.wanted()).map_err(broken)?;
            // Somebody may have truncated it, and written as much to it again.
            let other = read_to == 0 && !identity.begins(&identity::head_of(&reading).map_err(broken)?);
            if other || identity::tail_of(&reading, read_to).map_err(broken)? != tail {
                return Ok(Ended::Look);
            }
            if block.is_empty() {
                let metadata = reading.metadata().map_err(broken)?;
                if !rotated {
                    still = None;
                    if self.previous_grew() {
                        self.previous = None;
                        return Ok(Ended::Look);
                    }
                    self.inbox.idle(true);
                    if self.inbox.closed_within(self.runtime, self.times.poll) {
                        return Ok(Ended::Inbox);
                    }
                    continue;
                }
                // Who has begun a line in it may still hold it open, and is about to end it.
                let half =
                    !matches!(source.format, Format::Binary { .. }) && tail.last().is_some_and(|byte| *byte != b'\n');
                let settle = if half { self.times.settle.max(HALF_LINE_SETTLE) } else { self.times.settle };
                let since = match still {
                    Some((bytes, since)) if bytes == metadata.len() => since,
                    _ => Instant::now(),
                };
                still = Some((metadata.len(), since));
                if since.elapsed() >= settle || (!found.current && age(&metadata) >= settle) {
                    break;
                }
                self.inbox.idle(false);
                let pause = self.times.poll.min(settle / LOOKS_AT_SETTLING);
                if self.inbox.closed_within(self.runtime, pause) {
                    return Ok(Ended::Inbox);
                }
                continue;
            }
            still = None;
            self.inbox.idle(false);
            read_to += block.len() as u64;
            tail.extend_from_slice(block.get(block.len().saturating_sub(TAIL_BYTES_MAX)..).unwrap_or_default());
            tail.drain(..tail.len().saturating_sub(TAIL_BYTES_MAX));
            framer.buffer(block.len()).extend_from_slice(&block);
            if !self.put(&mut framer, number, &mut position) {
                return Ok(Ended::Inbox);
            }
        }
        // A last line without its end is one, now that nobody will end it.
        framer.end();
        if !self.put(&mut framer, number, &mut position) {
            return Ok(Ended::Inbox);
        }
        let end = Position { offset: read_to, mark: identity::mark(&tail, true) };
        info!("source `{}`: `{}` was rotated and is read to its end, byte {read_to}", source.name, self.path.display());
        if let Some((_, known)) = self.known.get_mut(&number) {
            *known = end;
        }
        self.previous = Some((reading, read_to));
        let open = self.runtime.block_on(self.inbox.put_last(None, name, end));
        Ok(if open { Ended::Look } else { Ended::Inbox })
    }

    /// Hands over all whole records. `false`: the inbox is closed.
    fn put(&mut self, framer: &mut Framer, number: u64, position: &mut Position) -> bool {
        while let Some(chunk) = framer.next(true) {
            *position = identity::behind(&chunk);
            if let Some((_, known)) = self.known.get_mut(&number) {
                *known = *position;
            }
            if !self.runtime.block_on(self.inbox.put(chunk)) {
                return false;
            }
        }
        true
    }

    /// Whether this file stands at the path.
    fn is_current(&self, inode: u64) -> bool {
        match std::fs::metadata(self.path) {
            Ok(metadata) => metadata.ino() == inode,
            // A folder that is away for a moment is no rotation.
            Err(error) => {
                error.kind() != ErrorKind::NotFound || self.path.parent().is_some_and(|folder| !is_there(folder))
            }
        }
    }

    /// Whether somebody wrote to the file that was rotated last.
    fn previous_grew(&self) -> bool {
        let Some((file, read_to)) = &self.previous else { return false };
        file.metadata().is_ok_and(|metadata| metadata.nlink() > 0 && metadata.len() > *read_to)
    }
}

fn is_there(folder: &Path) -> bool {
    folder.as_os_str().is_empty() || folder.exists()
}

/// What is there, at most so much.
fn read_block(file: &File, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut block = Vec::new();
    let mut file = file;
    file.by_ref().take(bytes_max as u64).read_to_end(&mut block)?;
    Ok(block)
}

/// For how long nobody has written to a file, or given it another name.
fn age(metadata: &std::fs::Metadata) -> Duration {
    let seconds = u64::try_from(metadata.ctime()).unwrap_or(0);
    let changed = Duration::new(seconds, u32::try_from(metadata.ctime_nsec()).unwrap_or(0));
    let last = beside::modified(metadata).max(SystemTime::UNIX_EPOCH + changed);
    SystemTime::now().duration_since(last).unwrap_or_default()
}

#[cfg(test)]
mod tests;
