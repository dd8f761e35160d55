//! Replay of planned chunks of files and objects: the same bytes, ends, header, rejected records and extent.

use super::compressed::Stream;
use super::content::Content;
use super::file::{OTHER_OBJECT, SourceFile};
use super::object::{self, BucketReader};
use bytes::Bytes;
use millstream_connect::receiver::framing::Framer;
use millstream_connect::receiver::plain;
use millstream_connect::receiver::replay::{NOT_A_FILE, changed, file_of};
use millstream_job::spec::{Origin, Replay, SourceSpec};
use millstream_rows::batch::chunk::{Chunk, PlannedChunk};
use millstream_rows::batch::position::{Extent, Position, short_object_id};
use millstream_rows::formats::Format;
use millstream_rows::inbox::open::GrowingChunk;
use std::path::{Path, PathBuf};

/// Reads planned chunks of files again.
pub struct FileReplay<'a> {
    source: &'a SourceSpec,
    origin: &'a Origin,
    moved: &'a [(String, Position)],
    /// The file that was read last: chunks of one file are in sequence.
    opened: Option<ReplayedFile<'a>>,
    /// The bucket, if one is read.
    bucket: Option<BucketReader>,
}

struct ReplayedFile<'a> {
    part: SourceFile<'a>,
    file: Stream,
    /// The ID of an object; 0 for a file.
    object_id: u64,
    /// The length of the file; `None`: it is compressed.
    bytes: Option<u64>,
    /// The first records of the file that name its columns, if the format has such.
    header: Bytes,
}

impl Replay for FileReplay<'_> {
    fn chunk(&mut self, planned: &PlannedChunk) -> Result<Chunk, String> {
        self.open(&planned.extent)?.read(planned)
    }

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

impl<'a> FileReplay<'a> {
    /// Creates the replay of one batch. `moved`: how far the batch moved the positions of the source, which tells files of a log from each other.
    pub fn new(source: &'a SourceSpec, origin: &'a Origin, moved: &'a [(String, Position)]) -> FileReplay<'a> {
        FileReplay { source, origin, moved, opened: None, bucket: None }
    }

    /// Opens the file of an extent, and checks that it is long enough.
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

    /// Returns the path of an extent's file; `None`: there can be none.
    fn path(&self, extent: &Extent) -> Option<PathBuf> {
        let moved = self.moved.iter().rfind(|(file, _)| *file == extent.file);
        file_of(self.source, self.origin, &extent.file, moved.map(|(_, position)| *position).unwrap_or_default())
    }
}

/// Returns whether a file still has this many bytes, decompressed if it is compressed.
pub fn has_bytes(source: &SourceSpec, path: &Path, bytes: u64) -> std::io::Result<bool> {
    Stream::of(source, path, millstream_base::regular::open(path)?)?.seek_to(bytes)
}

/// Returns whether an extent is of the object with this ID.
fn is_same(object_id: u64, extent: &Extent) -> bool {
    match extent.is_of_blocks() {
        true => short_object_id(object_id) == extent.of_known(),
        false => object_id == extent.row,
    }
}

/// Opens a file for replay.
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

impl ReplayedFile<'_> {
    /// Reads the records of a range of the file. Records of joined chunks become one chunk again, whatever chunks the framer makes.
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
                // The record was the last of a compressed file, perhaps because that was incomplete. Now more follows.
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
            // The row that reports the unreadable rest is planned after the others, or in a chunk of its own.
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
    /// Handles the end of the readable data. Returns the reason if the file is damaged.
    fn end(&mut self, framer: &mut Framer) -> Result<Option<String>, String> {
        let damage = self.file.damage().map_err(|error| plain(&error))?;
        let why = damage.map(|damage| self.part.unreadable(&damage));
        match &why {
            None => framer.end(),
            Some(why) => framer.break_off(why),
        }
        Ok(why)
    }

    /// Reads the records of some blocks, beginning with a record of the first block.
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
