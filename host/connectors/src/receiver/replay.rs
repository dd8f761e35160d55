//! Reads planned chunks again: the same bytes, ends, header, rejected records and extent as the first time.

use super::compressed::Stream;
use super::content::Content;
use super::directory::os_name;
use super::file::{OTHER_OBJECT, SourceFile};
use super::file_facts::FileFacts;
use super::follow::log_dir::path_of;
use super::framing::Framer;
use super::object::{self, BucketReader};
use super::plain;
use bytes::Bytes;
use millstream_base::batch::chunk::Chunk;
use millstream_base::batch::chunk::PlannedChunk;
use millstream_base::batch::position::{Extent, Position, short_object_id};
use millstream_base::error::{Error, Result};
use millstream_base::inbox::open::GrowingChunk;
use millstream_base::job::spec::{Format, Origin, RereadClient, SourceKind, SourceSpec};
use millstream_base::limits::PART_ROWS_MAX;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Recreates the chunks of one planned batch of this source. Errors are of kind `Job`, because a restart does not
/// help: content that the plan lists was deleted or changed. They name the file and say what to do.
///
/// `moved`: how far the batch moved the source's positions, by which files of a log are distinguished. `again`: state that
/// is kept between the batches of a replay.
pub fn replay(
    source: &SourceSpec,
    origin: &Origin,
    chunks: &[PlannedChunk],
    moved: &[(String, Position)],
    again: &mut RereadClient,
) -> Result<Vec<Chunk>> {
    if let Some(read) = source.kind.declared().and_then(|config| config.reread(source, origin, chunks, again)) {
        let mut read = read?.into_iter();
        // Chunks that the plan contains are between the others.
        let chunk = |planned: &PlannedChunk| match &planned.kept {
            Some(kept) => of_plan(kept, planned).map_err(|why| cannot(source, &why)),
            None => read.next().ok_or_else(|| Error::bug("a chunk of a topic was not read again")),
        };
        return chunks.iter().map(chunk).collect();
    }
    if let Some(mut replayer) = source.kind.declared().and_then(|config| config.replay(source, origin)) {
        let chunk = |planned: &PlannedChunk| {
            let made = match &planned.kept {
                Some(kept) => of_plan(kept, planned),
                None => replayer.chunk(planned).and_then(|found| as_planned(found, planned)),
            };
            made.map_err(|why| cannot(source, &format!("{}{why}", replayer.message_prefix(&planned.extent))))
        };
        return chunks.iter().map(chunk).collect();
    }
    let mut replayer = Replayer { source, origin, moved, opened: None, bucket: None };
    let chunks = chunks.iter().map(|planned| {
        replayer
            .chunk(planned)
            .map_err(|why| cannot(source, &format!("{}{why}", replayer.message_prefix(&planned.extent))))
    });
    chunks.collect()
}

fn cannot(source: &SourceSpec, why: &str) -> Error {
    Error::job(format!("source `{}`: a batch cannot be replayed: {why}{TO_DO}", source.name))
}

const TO_DO: &str = "; restore the original state, or resume from an earlier batch with `--resume-from`";

struct Replayer<'a> {
    source: &'a SourceSpec,
    origin: &'a Origin,
    moved: &'a [(String, Position)],
    /// The file that was read last: chunks of one file follow each other.
    opened: Option<ReplayedFile<'a>>,
    /// The bucket, if the source reads one.
    bucket: Option<BucketReader>,
}

struct ReplayedFile<'a> {
    part: SourceFile<'a>,
    file: Stream,
    /// Identity of an object.
    object_id: u64,
    /// Length of the file; `None` if it is compressed.
    bytes: Option<u64>,
    /// The file's header record, if the format has one.
    header: Bytes,
}

impl<'a> Replayer<'a> {
    /// Recreates a chunk. The error says why this is impossible.
    fn chunk(&mut self, planned: &PlannedChunk) -> Result<Chunk, String> {
        if let Some(kept) = &planned.kept {
            return of_plan(kept, planned);
        }
        let kind = &self.source.kind;
        if !kind.names_files() && kind.file().is_none() {
            return Err("its plan does not contain the rows, and its source cannot read them again".into());
        }
        let found = self.open(&planned.extent)?.read(planned)?;
        as_planned(found, planned)
    }

    /// The file of an extent, which is long enough.
    fn open(&mut self, extent: &Extent) -> Result<&mut ReplayedFile<'a>, String> {
        let same = |opened: &ReplayedFile<'_>| opened.part.name == extent.file && is_same(opened.object_id, extent);
        let opened = match self.opened.take().filter(same) {
            Some(opened) => opened,
            None if self.source.kind.bucket().is_some() => self.open_object(extent)?,
            None => {
                let none = match self.source.kind.log() {
                    Some(_) => "neither this log file nor a copy of it exists",
                    None => "this is not a valid file name",
                };
                let path = self.path(extent).ok_or(none)?;
                open(SourceFile { source: self.source, path, name: extent.file.clone() })?
            }
        };
        let bytes = opened.bytes;
        let opened = self.opened.insert(opened);
        match extent.start.checked_add(extent.length()) {
            Some(end) if bytes.is_none_or(|bytes| end <= bytes) => Ok(opened),
            _ => Err(format!("the file has shrunk to {} bytes", bytes.unwrap_or_default())),
        }
    }

    /// Opens the object of an extent, if it is still the one that was read.
    fn open_object(&mut self, extent: &Extent) -> Result<ReplayedFile<'a>, String> {
        let reader = match self.bucket.take() {
            Some(reader) => reader,
            None => BucketReader::patient(self.source).map_err(|error| error.message)?,
        };
        let reader = self.bucket.insert(reader);
        let path = object::shown(reader.bucket.url(), &extent.file);
        let object = reader.open(&extent.file).map_err(|error| error.message)?.ok_or("it no longer exists")?;
        if !is_same(object.facts().object_id().unsigned_abs(), extent) {
            return Err(OTHER_OBJECT.into());
        }
        let part = SourceFile { source: self.source, path, name: extent.file.clone() };
        open_at(part, Content::from(object))
    }

    /// The file of an extent; `None`: there can be none.
    fn path(&self, extent: &Extent) -> Option<PathBuf> {
        let moved = self.moved.iter().rfind(|(file, _)| *file == extent.file);
        file_of(self.source, self.origin, &extent.file, moved.map(|(_, position)| *position).unwrap_or_default())
    }

    /// Names the file and the bytes of an extent, for messages.
    fn message_prefix(&self, extent: &Extent) -> String {
        let (start, end) = (extent.start, extent.start.saturating_add(extent.length()));
        let kind = &self.source.kind;
        if let Some(url) = kind.bucket() {
            return format!("bytes {start} to {end} of `{}`: ", object::shown(url, &extent.file).display());
        }
        match (self.path(extent), kind.log()) {
            (Some(path), _) => format!("bytes {start} to {end} of `{}`: ", path.display()),
            (None, Some(log)) => format!("bytes {start} to {end} of the log `{}`: ", log.display()),
            (None, None) if kind.names_files() => format!("file `{}`: ", extent.file.escape_debug()),
            _ => format!("rows from {} on: ", extent.row),
        }
    }
}

/// Returns the positions that batches to be replayed moved, and that read these files. A file that replaced another counts as
/// the restored one, and has no new content at its end.
pub fn restored<'a>(
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
        // A missing file, or a path that is not a file, is reported when it is read.
        let there = path.and_then(|path| std::fs::metadata(path).ok()).filter(std::fs::Metadata::is_file);
        *position = there.map_or(*position, |metadata| FileFacts::of(&metadata).restored(*position));
    }
}

/// Returns path and position of a local file, by its name in positions and extents; `None` if there cannot be
/// such a file.
pub fn file_of(source: &SourceSpec, origin: &Origin, name: &str, position: Position) -> Option<PathBuf> {
    let (kind, full) = (&source.kind, |path| origin.dir.join(path));
    if let Some(log) = kind.log() {
        return path_of(&full(log), name, position);
    }
    match kind.dir().or(kind.retry_dir()) {
        Some(dir) => os_name(name).map(|name| full(dir).join(name)),
        None => kind.file().map(full),
    }
}

/// Returns whether a file still has this number of bytes, decompressed if it is compressed.
pub fn holds(source: &SourceSpec, path: &Path, bytes: u64) -> std::io::Result<bool> {
    Stream::of(source, path, millstream_base::regular::open(path)?)?.seek_to(bytes)
}

/// Whether an extent is of what is known so.
fn is_same(object_id: u64, extent: &Extent) -> bool {
    match extent.is_of_blocks() {
        true => short_object_id(object_id) == extent.of_known(),
        false => object_id == extent.row,
    }
}

/// Opens a file to read parts of it again.
fn open(part: SourceFile<'_>) -> Result<ReplayedFile<'_>, String> {
    let metadata = std::fs::metadata(&part.path).map_err(|error| plain(&error))?;
    if !metadata.is_file() {
        return Err(NOT_A_FILE.into()); // Opening a pipe would wait for its writer.
    }
    let file = millstream_base::regular::open(&part.path).map_err(|error| plain(&error))?;
    open_at(part, file.into())
}

fn open_at(part: SourceFile<'_>, file: Content) -> Result<ReplayedFile<'_>, String> {
    let mut file = Stream::of(part.source, &part.path, file).map_err(|error| plain(&error))?;
    let facts = file.facts().map_err(|error| plain(&error))?;
    let header = part.header(&mut file).map_err(|error| error.message)?;
    let bytes = (!file.is_compressed()).then_some(facts.bytes);
    Ok(ReplayedFile { bytes, part, file, header, object_id: facts.object_id().unsigned_abs() })
}

/// Why something that is not a regular file cannot be read again.
pub const NOT_A_FILE: &str = "it is not a regular file, so it cannot be read again";

impl ReplayedFile<'_> {
    /// The records of a range of the file. What was joined from several chunks is one again, whatever bounds the framer
    /// has.
    fn read(&mut self, planned: &PlannedChunk) -> Result<Chunk, String> {
        let extent = &planned.extent;
        if !self.file.seek_to(extent.start).map_err(|error| plain(&error))? {
            return Err(changed(planned, 0));
        }
        let facts = self.file.facts().map_err(|error| plain(&error))?;
        let mut framer = self.part.framer(&self.header, extent.start, &facts);
        let mut joined = GrowingChunk::default();
        if extent.is_of_blocks() {
            return self.read_blocks(planned, framer);
        }
        let (mut left, mut rows, mut bytes, mut damage) = (extent.bytes, 0, 0, None);
        let source = self.part.source;
        let ends_line = |byte: Option<&u8>| match source.format {
            Format::Binary { .. } | Format::Protobuf(_) => true,
            Format::Csv { .. } => matches!(byte, Some(b'\n' | b'\r')),
            _ => byte == Some(&b'\n'),
        };
        let mut ends_in_line = false;
        while !framer.ended() {
            let wanted = left.min(framer.wanted() as u64);
            let buffer = framer.buffer(wanted as usize);
            let read = self.file.fill(buffer, wanted).map_err(|error| plain(&error))?;
            left = left.saturating_sub(read as u64);
            if read > 0 {
                ends_in_line = !ends_line(buffer.last());
            } else {
                // The record was the last of a compressed file, perhaps because the file was incomplete; now more follows.
                if ends_in_line && self.file.has_more().map_err(|error| plain(&error))? {
                    return Err("the file was changed: its last record is longer now".into());
                }
                damage = self.end(&mut framer)?;
            }
            while let Some(chunk) = framer.next(framer.ended()) {
                rows += chunk.rows();
                bytes += chunk.bytes.len();
                if rows > planned.rows as usize || bytes > u32::MAX as usize {
                    return Err(changed(planned, rows));
                }
                joined.add(chunk);
            }
            // The row that reports a read error is planned after the others, or in its own chunk.
            if framer.ended()
                && rows + 1 == planned.rows as usize
                && let Some(why) = damage.take()
            {
                framer.reject_rest(why);
                framer.next(true).into_iter().for_each(|chunk| joined.add(chunk));
            }
        }
        Ok(joined.into_chunk())
    }
}

impl ReplayedFile<'_> {
    /// Nothing more comes: the file ends here, or is damaged, as this says then.
    fn end(&mut self, framer: &mut Framer) -> Result<Option<String>, String> {
        let damage = self.file.damage().map_err(|error| plain(&error))?;
        let why = damage.map(|damage| self.part.unreadable(&damage));
        match &why {
            None => framer.end(),
            Some(why) => framer.break_off(why),
        }
        Ok(why)
    }

    /// The records of some blocks, from one of them on.
    fn read_blocks(&mut self, planned: &PlannedChunk, framer: Framer) -> Result<Chunk, String> {
        let extent = &planned.extent;
        let mut framer = framer.skip_records(extent.first_record());
        let (mut left, wanted_rows) = (extent.length(), planned.rows as usize);
        let mut joined = GrowingChunk::default();
        let (mut rows, mut damage) = (0, None);
        while !framer.ended() && rows < wanted_rows {
            let wanted = left.min(framer.wanted() as u64);
            let buffer = framer.buffer(wanted as usize);
            let read = self.file.fill(buffer, wanted).map_err(|error| plain(&error))?;
            left = left.saturating_sub(read as u64);
            if read == 0 {
                damage = self.end(&mut framer)?;
            }
            while rows < wanted_rows
                && let Some(mut chunk) = framer.next(framer.ended())
            {
                let chunk = chunk.cut_front(wanted_rows - rows);
                rows += chunk.rows();
                joined.add(chunk);
            }
            if framer.ended()
                && rows + 1 == wanted_rows
                && let Some(why) = damage.take()
            {
                framer.reject_rest(why);
                framer.next(true).into_iter().for_each(|chunk| joined.add(chunk));
            }
        }
        Ok(Chunk { extent: extent.clone(), ..joined.into_chunk() })
    }
}

/// The rows of a planned chunk, of a source that makes them of their numbers.
pub fn made(planned: &PlannedChunk, rows: impl FnOnce(std::ops::Range<u64>) -> Chunk) -> Result<Chunk, String> {
    let first = planned.extent.row;
    let end = first.checked_add(u64::from(planned.rows)).filter(|_| planned.rows as usize <= PART_ROWS_MAX);
    let end = end.ok_or("its plan lists more rows than a chunk can have")?;
    Ok(rows(first..end))
}

/// Returns the recreated chunk if it is the planned one.
fn as_planned(found: Chunk, planned: &PlannedChunk) -> Result<Chunk, String> {
    match found.rows() == planned.rows as usize && found.extent == planned.extent {
        true => Ok(found),
        false => Err(changed(planned, found.rows())),
    }
}

/// Returns the error if another number of records was found.
pub fn changed(planned: &PlannedChunk, found: usize) -> String {
    let more = if found > planned.rows as usize { "at least " } else { "" };
    format!("the file was changed: {} records are planned, {more}{found} found", planned.rows)
}

/// A chunk that the plan itself holds.
fn of_plan(kept: &Chunk, planned: &PlannedChunk) -> Result<Chunk, String> {
    match (kept.ready.is_some() || is_whole(kept)) && kept.rows() == planned.rows as usize {
        true => Ok(kept.clone()),
        false => Err("the rows that its plan holds are damaged".into()),
    }
}

/// Whether the ends of a chunk are ends of records.
fn is_whole(chunk: &Chunk) -> bool {
    chunk.ends.is_sorted() && chunk.ends.last().map_or(0, |end| *end as usize) == chunk.bytes.len()
}
