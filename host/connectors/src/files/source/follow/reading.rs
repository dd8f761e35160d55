//! Reads one file of a log: as long as it is the one at the path, and to its end when it was rotated.

use super::log_dir::{self, LogFile, RecentBytes};
use super::{FollowedLog, ReadEnd};
use crate::files::source::file::SourceFile;
use millstream_base::error::Error;
use millstream_connect::receiver::failed;
use millstream_connect::receiver::framing::Framer;
use millstream_rows::batch::identity::{self, FileIdentity, TAIL_BYTES_MAX};
use millstream_rows::batch::position::Position;
use millstream_rows::formats::Format;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};
use tracing::info;

/// Minimum number of scans while a rotated file settles.
const LOOKS_AT_SETTLING: u32 = 4;
/// How long a rotated file must be unchanged, at least, if its last line has no end.
const HALF_LINE_SETTLE: Duration = Duration::from_secs(1);

impl FollowedLog<'_> {
    /// Reads a file as long as it is the one at the path, otherwise to its end.
    pub(super) fn read(
        &mut self,
        identity: FileIdentity,
        from: Position,
        found: &LogFile,
        file: File,
    ) -> Result<ReadEnd, Error> {
        let (source, number, name) = (self.source, identity.number, identity.name());
        let broken = |error: io::Error| failed(source, &found.path, &error);
        let reading = file.try_clone().map_err(broken)?;
        let part = SourceFile { source, path: found.path.clone(), name: name.clone() };
        let mut framer = match part.at(file, from) {
            Ok(opened) => opened.into_framer(),
            // It was truncated after it was opened.
            Err(_) if !identity::fits(&reading, from).map_err(broken)? => return Ok(ReadEnd::Look),
            Err(error) => return Err(error),
        };
        self.next = self.next.max(number.saturating_add(1));
        let mut position = from;
        self.known.insert(number, (identity.clone(), position));
        let mut tail = identity::tail_of(&reading, from.offset).map_err(broken)?;
        // It was truncated after it was opened: these are not the bytes before the position.
        if !identity::fits(&reading, from).map_err(broken)? {
            return Ok(ReadEnd::Look);
        }
        self.recent = (number, RecentBytes::from(&reading, from.offset).map_err(broken)?);
        let mut read_to = from.offset;
        let mut still: Option<(u64, Instant)> = None;
        loop {
            // Checked before the read, so that everything written before a rotation is read.
            let rotated = !self.is_current(found.inode);
            let block = read_block(&reading, framer.wanted()).map_err(broken)?;
            // It may have been truncated, and as much may have been written again.
            let other = read_to == 0 && !identity.begins(&identity::head_of(&reading).map_err(broken)?);
            if other || identity::tail_of(&reading, read_to).map_err(broken)? != tail {
                return Ok(ReadEnd::Look);
            }
            if block.is_empty() {
                let metadata = reading.metadata().map_err(broken)?;
                if !rotated {
                    still = None;
                    if self.previous_grew() {
                        self.previous = None;
                        return Ok(ReadEnd::Look);
                    }
                    self.inbox.idle(true);
                    if self.inbox.closed_within(self.runtime, self.times.poll) {
                        return Ok(ReadEnd::Inbox);
                    }
                    continue;
                }
                // The writer of an incomplete line may still have it open, and is about to complete it.
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
                    return Ok(ReadEnd::Inbox);
                }
                continue;
            }
            still = None;
            self.inbox.idle(false);
            read_to += block.len() as u64;
            self.recent.1.read(&block);
            tail.extend_from_slice(block.get(block.len().saturating_sub(TAIL_BYTES_MAX)..).unwrap_or_default());
            tail.drain(..tail.len().saturating_sub(TAIL_BYTES_MAX));
            framer.buffer(block.len()).extend_from_slice(&block);
            if !self.put(&mut framer, number, &mut position) {
                return Ok(ReadEnd::Inbox);
            }
        }
        // A last line without an end counts, now that it will not be completed.
        framer.end();
        if !self.put(&mut framer, number, &mut position) {
            return Ok(ReadEnd::Inbox);
        }
        let end = Position { offset: read_to, mark: identity::mark(&tail, true) };
        info!("source `{}`: `{}` was rotated and is read to its end, byte {read_to}", source.name, self.path.display());
        if let Some((_, known)) = self.known.get_mut(&number) {
            *known = end;
        }
        self.previous = Some((reading, read_to));
        let open = self.runtime.block_on(self.inbox.put_last(None, name, end));
        Ok(if open { ReadEnd::Look } else { ReadEnd::Inbox })
    }

    /// Puts all complete records into the inbox. `false`: the inbox is closed.
    fn put(&mut self, framer: &mut Framer, number: u64, position: &mut Position) -> bool {
        while let Some(chunk) = framer.next(true) {
            *position = identity::position_after(&chunk);
            if let Some((_, known)) = self.known.get_mut(&number) {
                *known = *position;
            }
            if !self.runtime.block_on(self.inbox.put(chunk)) {
                return false;
            }
        }
        true
    }

    /// Returns whether this file is at the path.
    fn is_current(&self, inode: u64) -> bool {
        match std::fs::metadata(self.path) {
            Ok(metadata) => metadata.ino() == inode,
            // A directory that is unavailable for a moment is not a rotation.
            Err(error) => error.kind() != ErrorKind::NotFound || self.path.parent().is_some_and(|dir| !is_there(dir)),
        }
    }

    /// Returns whether the file that was rotated last was written to.
    fn previous_grew(&self) -> bool {
        let Some((file, read_to)) = &self.previous else { return false };
        file.metadata().is_ok_and(|metadata| metadata.nlink() > 0 && metadata.len() > *read_to)
    }
}

fn is_there(dir: &Path) -> bool {
    dir.as_os_str().is_empty() || dir.exists()
}

/// Reads the available bytes, up to a maximum.
fn read_block(file: &File, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut block = Vec::new();
    let mut file = file;
    file.by_ref().take(bytes_max as u64).read_to_end(&mut block)?;
    Ok(block)
}

/// Returns how long a file has not been written to or renamed.
fn age(metadata: &std::fs::Metadata) -> Duration {
    let seconds = u64::try_from(metadata.ctime()).unwrap_or(0);
    let changed = Duration::new(seconds, u32::try_from(metadata.ctime_nsec()).unwrap_or(0));
    let last = log_dir::modified(metadata).max(SystemTime::UNIX_EPOCH + changed);
    SystemTime::now().duration_since(last).unwrap_or_default()
}
