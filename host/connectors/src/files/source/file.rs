//! Reads files: the `file` source, and each file of a `directory`.

use super::compressed::Stream;
use super::content::Content;
use super::file_facts::{FileChange, FileFacts};
use bytes::Bytes;
use millstream_base::error::Error;
use millstream_connect::receiver::framing::{Counter, Framer, StreamCursor};
use millstream_connect::receiver::outage::Outage;
use millstream_connect::receiver::replay::NOT_A_FILE;
use millstream_connect::receiver::{failed, framer, plain, reject_unfit_header, run_until_closed};
use millstream_job::spec::SourceSpec;
use millstream_rows::batch::position::{Position, Positions, short_object_id};
use millstream_rows::formats::Format;
use millstream_rows::inbox::Inbox;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tracing::warn;

/// Bytes read at a time to find the header of a file.
const HEADER_READ_BYTES: usize = 64 << 10;
/// Bytes read at a time to find only a byte order mark.
const MARK_READ_BYTES: usize = 4;
/// Bytes read at a time from a pipe: its capacity.
const PIPE_READ_BYTES: usize = 64 << 10;

/// How often to check whether a finished file has changed.
const CHANGE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Reads one file to its end, then finishes the source.
pub fn receive(source: &SourceSpec, path: &Path, from: &Positions, inbox: &Arc<Inbox>, runtime: &Handle) {
    let from = from.get("").copied().unwrap_or_default();
    let read = if from.ended() { Ok(Some(from)) } else { read(source, path, from, inbox, runtime) };
    match read {
        Ok(Some(end)) => {
            inbox.finish();
            let watched = FinishedFile { source: source.name.clone(), path: path.to_owned(), end };
            let inbox = inbox.clone();
            run_until_closed(inbox, runtime, "the thread that watches a file", watched.warn_if_changed());
        }
        Ok(None) => {}
        Err(error) => inbox.fail(error),
    }
}

/// Reads the file from a position to its end. `None`: the inbox is closed.
fn read(
    source: &SourceSpec,
    path: &Path,
    from: Position,
    inbox: &Inbox,
    runtime: &Handle,
) -> Result<Option<Position>, Error> {
    let found =
        Outage::new(source, path).wait_out(|| std::fs::metadata(path), |time| !inbox.closed_within(runtime, time));
    // Opening the file reports that it is still missing.
    if let Ok(None) = found {
        return Ok(None);
    }
    SourceFile { source, path: path.to_owned(), name: String::new() }.open(from)?.read(inbox, runtime)
}

/// A file that was read to its end.
struct FinishedFile {
    source: String,
    path: PathBuf,
    end: Position,
}

impl FinishedFile {
    /// Waits until the file is written to, and logs one warning.
    async fn warn_if_changed(self) {
        loop {
            // A pipe has no length. A file that replaces a deleted one is not read.
            let facts = std::fs::metadata(&self.path).ok().filter(std::fs::Metadata::is_file);
            if let Some(facts) = facts.map(|metadata| FileFacts::of(&metadata))
                && facts.since(self.end) != FileChange::Same
            {
                let (name, path, Position { offset, .. }) = (&self.source, self.path.display(), self.end);
                return warn!(
                    "source `{name}`: `{path}` has changed since it was read to its end: {offset} bytes were read, it has \
                     {} now. The rest is not read; write `follow = true` for a file that grows",
                    facts.bytes
                );
            }
            tokio::time::sleep(CHANGE_CHECK_INTERVAL).await;
        }
    }
}

/// The error for an object that was replaced after a part of it was read.
pub const OTHER_OBJECT: &str = "the object was replaced: its length or its etag differs";

/// One file of a source.
pub struct SourceFile<'a> {
    /// The source.
    pub source: &'a SourceSpec,
    /// Path of the file.
    pub path: PathBuf,
    /// Name of the file in positions and extents.
    pub name: String,
}

impl<'a> SourceFile<'a> {
    /// Opens the file at a position.
    pub fn open(self, from: Position) -> Result<OpenedFile<'a>, Error> {
        if from.offset > 0 {
            let metadata = std::fs::metadata(&self.path).map_err(|error| self.changed(from, &plain(&error)))?;
            if !metadata.is_file() {
                return Err(self.changed(from, NOT_A_FILE)); // Opening a pipe would wait for its writer.
            }
        }
        let file = match self.source.format {
            // Parquet is read from the end of the file, and a pipe has none.
            Format::Parquet => millstream_base::regular::open(&self.path),
            _ => File::open(&self.path),
        };
        let file = file.map_err(|error| self.failed(&error))?;
        self.at(file, from)
    }

    /// Like `open`, for a file or object that is already open.
    pub fn at(self, file: impl Into<Content>, from: Position) -> Result<OpenedFile<'a>, Error> {
        let mut file = Stream::of(self.source, &self.path, file).map_err(|error| self.failed(&error))?;
        let facts = file.facts().map_err(|error| self.failed(&error))?;
        if from.offset == 0 {
            let framer = framer(self.source).with_cursor(self.cursor(0, &facts)).skip_records(from.records());
            return Ok(OpenedFile { source_file: self, file, framer });
        }
        if facts.object_id() != 0 && !self.is_same_object(&facts, from) {
            return Err(self.changed(from, OTHER_OBJECT));
        }
        let framer = self.framer(&self.header(&mut file)?, from.offset, &facts).skip_records(from.records());
        if !file.seek_to(from.offset).map_err(|error| self.failed(&error))? {
            let bytes = facts.bytes;
            let now = if file.is_compressed() {
                "it is shorter now".into()
            } else {
                format!("it has shrunk to {bytes} bytes")
            };
            return Err(self.changed(from, &now));
        }
        Ok(OpenedFile { source_file: self, file, framer })
    }

    /// Returns whether an object is the one that the position refers to.
    pub fn is_same_object(&self, facts: &FileFacts, from: Position) -> bool {
        match self.source.format {
            Format::Avro(_) => short_object_id(facts.object_id().unsigned_abs()) == from.of_known(),
            _ => facts.object_id() == from.mark,
        }
    }

    /// Creates a framer for the records after `offset`.
    pub fn framer(&self, header: &Bytes, offset: u64, facts: &FileFacts) -> Framer {
        framer(self.source).with_cursor(self.cursor(offset, facts)).after_header(header.clone())
    }

    fn cursor(&self, offset: u64, facts: &FileFacts) -> StreamCursor {
        let path = self.path.display().to_string();
        let (file, object_id) = (self.name.clone(), facts.object_id().unsigned_abs());
        StreamCursor { file, path, object_id, at: Counter::Bytes(offset) }
    }

    /// Returns the header of the file; empty if the format has none.
    pub fn header(&self, file: &mut Stream) -> Result<Bytes, Error> {
        let mut framer = framer(self.source);
        file.seek_to(0).map_err(|error| self.failed(&error))?;
        let in_lines = matches!(self.source.format, Format::Text | Format::Json | Format::Csv { header: false, .. });
        let bytes = if in_lines { MARK_READ_BYTES } else { HEADER_READ_BYTES };
        while framer.header().is_none() && !framer.ended() {
            let buffer = framer.buffer(bytes);
            let read = file.fill(buffer, bytes as u64);
            if read.map_err(|error| self.failed(&error))? == 0 {
                framer.end();
            }
            while framer.next(true).is_some() {}
        }
        Ok(framer.header().cloned().unwrap_or_default())
    }

    /// Returns the rejection reason for the rest of a damaged file.
    pub fn unreadable(&self, damage: &str) -> String {
        format!("cannot continue in `{}`: {damage}", self.path.display())
    }

    /// Returns the error for a file that cannot be read while the job runs.
    pub fn failed(&self, error: &std::io::Error) -> Error {
        failed(self.source, &self.path, error)
    }

    /// Returns the error for a file that has changed since it was read up to `from`.
    pub fn changed(&self, from: Position, what: &str) -> Error {
        let (name, path, read) = (&self.source.name, self.path.display(), from.offset);
        Error::job(format!(
            "source `{name}`: cannot continue in `{path}`, whose first {read} bytes are in batches: {what}; restore \
             the file unchanged, or discard its position with `--drop-state {name}`: the existing file is then read \
             from its beginning"
        ))
    }
}

/// An open file at the position to read from.
pub struct OpenedFile<'a> {
    source_file: SourceFile<'a>,
    file: Stream,
    framer: Framer,
}

impl OpenedFile<'_> {
    /// Returns the framer; the caller reads the file.
    pub fn into_framer(self) -> Framer {
        self.framer
    }

    /// Puts the records of the file into the inbox and returns the end of the file. `None`: the inbox is closed.
    ///
    /// Blocks of the size of a part are read and passed on unchanged: a record only costs finding its end. The last chunk is held back until the end
    /// of the file is reached, as that position goes with it. Other input, such as a pipe, is read as it arrives, and no record waits for the next
    /// one.
    pub fn read(mut self, inbox: &Inbox, runtime: &Handle) -> Result<Option<Position>, Error> {
        let regular = self.file.is_regular().map_err(|error| self.source_file.failed(&error))?;
        let mut last = None;
        while !self.framer.ended() {
            // A small compressed file may expand to much data without any record.
            if self.file.is_compressed() && inbox.closed_within(runtime, Duration::ZERO) {
                return Ok(None);
            }
            if regular { self.fill() } else { self.fill_once() }?;
            while let Some(chunk) = self.framer.next(self.framer.ended() || !regular) {
                let ready = if regular { last.replace(chunk) } else { Some(chunk) };
                if let Some(ready) = ready
                    && !runtime.block_on(inbox.put(ready))
                {
                    return Ok(None);
                }
            }
        }
        let Counter::Bytes(offset) = self.framer.counter() else { return Err(Error::bug("a file counts bytes")) };
        let facts = self.file.facts_at_end().map_err(|error| self.source_file.failed(&error))?;
        // The position is the file's own length, even if it is compressed.
        let offset = if self.file.is_compressed() { facts.bytes } else { offset };
        let end = Position { offset, mark: facts.mark() };
        Ok(runtime.block_on(inbox.put_last(last, self.source_file.name, end)).then_some(end))
    }

    /// Reads a block.
    fn fill(&mut self) -> Result<(), Error> {
        let wanted = self.framer.wanted();
        let buffer = self.framer.buffer(wanted);
        let read = self.file.fill(buffer, wanted as u64);
        match read.map_err(|error| self.source_file.failed(&error))? {
            0 => self.end(),
            _ => Ok(()),
        }
    }

    /// Handles the end of the readable data: the file ends here or is damaged.
    fn end(&mut self) -> Result<(), Error> {
        match self.file.damage().map_err(|error| self.source_file.failed(&error))? {
            None => {
                self.framer.end();
                reject_unfit_header(self.source_file.source, &mut self.framer);
            }
            Some(damage) => {
                let why = self.source_file.unreadable(&damage);
                warn!(
                    "source `{}`: {why}. The rest is not read; provide a complete file under another name",
                    self.source_file.source.name
                );
                self.framer.break_off(&why);
                self.framer.reject_rest(why);
            }
        }
        Ok(())
    }

    /// Reads the available data, or waits for some.
    fn fill_once(&mut self) -> Result<(), Error> {
        let mut block = [0; PIPE_READ_BYTES];
        let read = loop {
            match self.file.read(&mut block) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read.map_err(|error| self.source_file.failed(&error))?,
            }
        };
        match block.get(..read) {
            Some(bytes @ [_, ..]) => self.framer.buffer(read).extend_from_slice(bytes),
            _ => self.end()?,
        }
        Ok(())
    }
}
