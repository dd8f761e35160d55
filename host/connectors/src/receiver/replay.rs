//! Reading planned chunks again: the same bytes, ends, header, refused records and extent as when they were taken.

use super::directory::os_name;
use super::facts::Facts;
use super::file::Part;
use super::follow::beside::path_of;
use super::inbox::open::Open;
use super::{plain, queue, rate};
use crate::batch::chunk::Chunk;
use crate::batch::chunk::PlannedChunk;
use crate::batch::position::{Extent, Position};
use crate::error::{Error, Result};
use crate::job::spec::{Origin, SourceKind, SourceSpec};
use crate::limits::PART_ROWS_MAX;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

/// Makes the chunks of one planned batch of this source again. Errors are of kind `Job`, because starting again does not
/// mend them: what the plan tells of is not there any more, or not as it was. They name the file and say what to do.
///
/// `moved`: how far the batch moved the source's positions, which tells files of a log from each other.
pub fn replay(
    source: &SourceSpec,
    origin: &Origin,
    chunks: &[PlannedChunk],
    moved: &[(String, Position)],
) -> Result<Vec<Chunk>> {
    let mut replayer = Replayer { source, origin, moved, opened: None, line: None };
    let chunks = chunks.iter().map(|planned| {
        replayer.chunk(planned).map_err(|why| {
            let (name, at) = (&source.name, replayer.place(&planned.extent));
            Error::job(format!("source `{name}`: a batch cannot be replayed: {at}{why}{TO_DO}"))
        })
    });
    chunks.collect()
}

const TO_DO: &str = "; bring everything back as it was, or go on from an earlier batch with `--resume-from`";

struct Replayer<'a> {
    source: &'a SourceSpec,
    origin: &'a Origin,
    moved: &'a [(String, Position)],
    /// The file that was read last: chunks of one file follow each other.
    opened: Option<Opened<'a>>,
    /// The line of a queue that was read last, by its first byte.
    line: Option<(u64, Vec<Chunk>)>,
}

struct Opened<'a> {
    part: Part<'a>,
    file: File,
    bytes: u64,
    /// What the first records of the file name, if the format has such.
    header: Bytes,
}

impl<'a> Replayer<'a> {
    /// A chunk, or why it cannot be made again.
    fn chunk(&mut self, planned: &PlannedChunk) -> Result<Chunk, String> {
        if let Some(kept) = &planned.kept {
            return match is_whole(kept) && kept.rows() == planned.rows as usize {
                true => Ok(kept.clone()),
                false => Err("the rows that its plan holds are damaged".into()),
            };
        }
        let found = match &self.source.kind {
            SourceKind::Socket { .. } | SourceKind::RawSocket { .. } | SourceKind::Table(_) => {
                return Err("its plan does not hold the rows, which cannot be read a second time".into());
            }
            SourceKind::Rate { rows_per_second, .. } => made(planned, *rows_per_second)?,
            SourceKind::Queue { .. } => self.of_line(planned)?,
            SourceKind::File { .. }
            | SourceKind::Follow { .. }
            | SourceKind::Directory { .. }
            | SourceKind::Retry { .. } => self.open(&planned.extent)?.read(planned)?,
        };
        if found.rows() != planned.rows as usize || found.extent != planned.extent {
            return Err(changed(planned, found.rows()));
        }
        Ok(found)
    }

    /// Rows of a line of a queue.
    fn of_line(&mut self, planned: &PlannedChunk) -> Result<Chunk, String> {
        let Extent { start, bytes, row, .. } = planned.extent;
        if self.line.as_ref().is_none_or(|(at, _)| *at != start) {
            let opened = self.open(&planned.extent)?;
            let read = queue::reread(&mut opened.file, start, bytes).map_err(|error| plain(&error))?;
            self.line = Some((start, read.ok_or_else(|| changed(planned, 0))?));
        }
        let mut chunks = self.line.iter().flat_map(|(_, chunks)| chunks);
        let mut chunk = chunks.rfind(|chunk| chunk.extent.row <= row).cloned().unwrap_or_default();
        let before = usize::try_from(row.saturating_sub(chunk.extent.row)).unwrap_or(usize::MAX);
        if before > 0 {
            let _ = chunk.cut_front(before);
        }
        Ok(chunk.cut_front(planned.rows as usize))
    }

    /// The file of an extent, which is long enough.
    fn open(&mut self, extent: &Extent) -> Result<&mut Opened<'a>, String> {
        let opened = match self.opened.take().filter(|opened| opened.part.name == extent.file) {
            Some(opened) => opened,
            None => {
                let none = match self.source.kind {
                    SourceKind::Follow { .. } => "neither this file of the log nor a copy of it is there any more",
                    _ => "no folder can hold a file of this name",
                };
                let path = self.path(extent).ok_or(none)?;
                open(Part { source: self.source, path, name: extent.file.clone() })?
            }
        };
        let bytes = opened.bytes;
        let opened = self.opened.insert(opened);
        match extent.start.checked_add(extent.bytes) {
            Some(end) if end <= bytes => Ok(opened),
            _ => Err(format!("the file has shrunk to {bytes} bytes")),
        }
    }

    /// The file of an extent; `None`: there can be none.
    fn path(&self, extent: &Extent) -> Option<PathBuf> {
        let moved = self.moved.iter().rfind(|(file, _)| *file == extent.file);
        file_of(self.source, self.origin, &extent.file, moved.map(|(_, position)| *position).unwrap_or_default())
    }

    /// Names the file and the bytes of an extent, for messages.
    fn place(&self, extent: &Extent) -> String {
        let (start, end) = (extent.start, extent.start.saturating_add(extent.bytes));
        match (&self.source.kind, self.path(extent)) {
            (_, Some(path)) => format!("bytes {start} to {end} of `{}`: ", path.display()),
            (SourceKind::Follow { path, .. }, None) => {
                format!("bytes {start} to {end} of the log `{}`: ", path.display())
            }
            (SourceKind::Directory { .. } | SourceKind::Retry { .. }, None) => {
                format!("file `{}`: ", extent.file.escape_debug())
            }
            _ => format!("rows from {} on: ", extent.row),
        }
    }
}

/// The positions that batches moved which are going to be replayed, and which read these files: what stands in the place of
/// one is brought back for it, and is not new at its end.
pub fn brought_back<'a>(
    source: &SourceSpec,
    origin: &Origin,
    files: &BTreeSet<String>,
    moved: impl Iterator<Item = &'a mut (String, Position)>,
) {
    if !matches!(source.kind, SourceKind::File { .. } | SourceKind::Directory { .. } | SourceKind::Retry { .. }) {
        return;
    }
    for (name, position) in moved.filter(|(name, position)| position.ended() && files.contains(name)) {
        let path = file_of(source, origin, name, *position);
        // What is not there, or no file, is told when it is read.
        let there = path.and_then(|path| std::fs::metadata(path).ok()).filter(std::fs::Metadata::is_file);
        *position = there.map_or(*position, |metadata| Facts::of(&metadata).brought_back(*position));
    }
}

/// Where a file of a source is, by the name that positions and extents have of it, and a position in it; `None`: there can be
/// none.
pub fn file_of(source: &SourceSpec, origin: &Origin, name: &str, position: Position) -> Option<PathBuf> {
    match &source.kind {
        SourceKind::File { path } | SourceKind::Queue { path } => Some(origin.folder.join(path)),
        SourceKind::Follow { path, .. } => path_of(&origin.folder.join(path), name, position),
        SourceKind::Directory { path, .. } | SourceKind::Retry { path, .. } => {
            os_name(name).map(|name| origin.folder.join(path).join(name))
        }
        SourceKind::Rate { .. } | SourceKind::Socket { .. } | SourceKind::RawSocket { .. } | SourceKind::Table(_) => {
            None
        }
    }
}

/// Opens a file to read parts of it again.
fn open(part: Part<'_>) -> Result<Opened<'_>, String> {
    let metadata = std::fs::metadata(&part.path).map_err(|error| plain(&error))?;
    if !metadata.is_file() {
        return Err(NOT_A_FILE.into()); // Opening a pipe would wait for its writer.
    }
    let mut file = crate::regular::open(&part.path).map_err(|error| plain(&error))?;
    let header = part.header(&mut file).map_err(|error| error.message)?;
    Ok(Opened { bytes: metadata.len(), part, file, header })
}

/// Why something that is not a regular file cannot be read again.
pub const NOT_A_FILE: &str = "it is not a regular file, which alone can be read a second time";

impl Opened<'_> {
    /// The records of a range of the file. What was joined from several chunks is one again, whatever bounds the framer
    /// has.
    fn read(&mut self, planned: &PlannedChunk) -> Result<Chunk, String> {
        let extent = &planned.extent;
        self.file.seek(SeekFrom::Start(extent.start)).map_err(|error| plain(&error))?;
        let mut framer = self.part.framer(&self.header, extent.start);
        let mut joined = Open::default();
        let (mut left, mut rows, mut bytes) = (extent.bytes, 0, 0);
        while !framer.ended() {
            let wanted = left.min(framer.wanted() as u64);
            let buffer = framer.buffer(wanted as usize);
            let read = self.file.by_ref().take(wanted).read_to_end(buffer).map_err(|error| plain(&error))?;
            left = left.saturating_sub(read as u64);
            if read == 0 {
                framer.end();
            }
            while let Some(chunk) = framer.next(framer.ended()) {
                rows += chunk.rows();
                bytes += chunk.bytes.len();
                if rows > planned.rows as usize || bytes > u32::MAX as usize {
                    return Err(changed(planned, rows));
                }
                joined.add(chunk);
            }
        }
        Ok(joined.into_chunk())
    }
}

fn made(planned: &PlannedChunk, rows_per_second: u64) -> Result<Chunk, String> {
    let first = planned.extent.row;
    let end = first.checked_add(u64::from(planned.rows)).filter(|_| planned.rows as usize <= PART_ROWS_MAX);
    let end = end.ok_or("its plan tells of more rows than a chunk can have")?;
    Ok(rate::rows(first..end, planned.extent.start, rows_per_second))
}

fn changed(planned: &PlannedChunk, found: usize) -> String {
    let more = if found > planned.rows as usize { "at least " } else { "" };
    format!("the file was changed: {} records are planned, {more}{found} found", planned.rows)
}

/// Whether the ends of a chunk are ends of records.
fn is_whole(chunk: &Chunk) -> bool {
    chunk.ends.is_sorted() && chunk.ends.last().map_or(0, |end| *end as usize) == chunk.bytes.len()
}
