//! Reading files: source `file`, and each file of a `directory`.

use super::compressed::Stream;
use super::content::Content;
use super::file_facts::{FileChange, FileFacts};
use super::framing::{Counter, Framer, StreamCursor};
use super::outage::Outage;
use super::replay::NOT_A_FILE;
use super::{framer, plain, reject_unfit_header, until_closed};
use bytes::Bytes;
use millstream_base::batch::chunk::Chunk;
use millstream_base::batch::position::{Position, Positions, known_shortly};
use millstream_base::error::Error;
use millstream_base::inbox::Inbox;
use millstream_base::job::spec::{Format, SourceSpec};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tracing::warn;

/// How much of a file is read at a time to find its header.
const HEADER_READ_BYTES: usize = 64 << 10;
/// The same, where only a byte order mark is looked for.
const MARK_READ_BYTES: usize = 4;
/// How much of a pipe is read at a time: what a pipe holds.
const PIPE_READ_BYTES: usize = 64 << 10;

/// How often to look whether a file that was read has changed.
const CHANGED_LOOK_EVERY: Duration = Duration::from_secs(1);

/// Reads one file to its end; the source is finished then.
pub fn receive(source: &SourceSpec, path: &Path, from: &Positions, inbox: &Arc<Inbox>, runtime: &Handle) {
    let from = from.get("").copied().unwrap_or_default();
    let read = if from.ended() { Ok(Some(from)) } else { read(source, path, from, inbox, runtime) };
    match read {
        Ok(Some(end)) => {
            inbox.finish();
            let watched = FinishedFile { source: source.name.clone(), path: path.to_owned(), end };
            let inbox = inbox.clone();
            until_closed(inbox, runtime, "the watch over a file that was read", watched.tell());
        }
        Ok(None) => {}
        Err(error) => inbox.fail(error),
    }
}

/// Reads the file from there to its end; `None`: the inbox is closed.
fn read(
    source: &SourceSpec,
    path: &Path,
    from: Position,
    inbox: &Inbox,
    runtime: &Handle,
) -> Result<Option<Position>, Error> {
    let there =
        Outage::new(source, path).wait_out(|| std::fs::metadata(path), |time| !inbox.closed_within(runtime, time));
    // What is wrong with a file that is still not there is said by who opens it.
    if let Ok(None) = there {
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
    /// Waits until somebody writes to it, and says so, once.
    async fn tell(self) {
        loop {
            // A pipe has no length, and what has gone is not read again whatever comes in its place.
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
            tokio::time::sleep(CHANGED_LOOK_EVERY).await;
        }
    }
}

/// What became of an object that was read in part.
pub const OTHER_OBJECT: &str = "it is another object now, as its length or its etag tells";

/// One file of a source.
pub struct SourceFile<'a> {
    /// The source.
    pub source: &'a SourceSpec,
    /// Where the file is.
    pub path: PathBuf,
    /// How positions and extents name it.
    pub name: String,
}

impl<'a> SourceFile<'a> {
    /// Opens the file to read on from a position.
    pub fn open(self, from: Position) -> Result<OpenedFile<'a>, Error> {
        if from.offset > 0 {
            let metadata = std::fs::metadata(&self.path).map_err(|error| self.changed(from, &plain(&error)))?;
            if !metadata.is_file() {
                return Err(self.changed(from, NOT_A_FILE)); // Opening a pipe would wait for its writer.
            }
        }
        let file = match self.source.format {
            // Read from its end, which a pipe does not have.
            Format::Parquet => millstream_base::regular::open(&self.path),
            _ => File::open(&self.path),
        };
        let file = file.map_err(|error| self.failed(&error))?;
        self.at(file, from)
    }

    /// As `open`, of a file or object that is open.
    pub fn at(self, file: impl Into<Content>, from: Position) -> Result<OpenedFile<'a>, Error> {
        let mut file = Stream::of(self.source, &self.path, file).map_err(|error| self.failed(&error))?;
        let facts = file.facts().map_err(|error| self.failed(&error))?;
        if from.offset == 0 {
            let framer = framer(self.source).at(self.cursor(0, &facts)).skipping(from.records());
            return Ok(OpenedFile { part: self, file, framer });
        }
        if facts.known_by() != 0 && !self.goes_on_in(&facts, from) {
            return Err(self.changed(from, OTHER_OBJECT));
        }
        let framer = self.framer(&self.header(&mut file)?, from.offset, &facts).skipping(from.records());
        if !file.seek_to(from.offset).map_err(|error| self.failed(&error))? {
            let bytes = facts.bytes;
            let now =
                if file.is_packed() { "it holds less now".into() } else { format!("it has shrunk to {bytes} bytes") };
            return Err(self.changed(from, &now));
        }
        Ok(OpenedFile { part: self, file, framer })
    }

    /// Whether an object is the one of a position within it.
    pub fn goes_on_in(&self, facts: &FileFacts, from: Position) -> bool {
        match self.source.format {
            Format::Avro(_) => known_shortly(facts.known_by().unsigned_abs()) == from.of_known(),
            _ => facts.known_by() == from.mark,
        }
    }

    /// A framer for the records from a byte of the file on.
    pub fn framer(&self, header: &Bytes, offset: u64, facts: &FileFacts) -> Framer {
        framer(self.source).at(self.cursor(offset, facts)).behind_header(header.clone())
    }

    fn cursor(&self, offset: u64, facts: &FileFacts) -> StreamCursor {
        let path = self.path.display().to_string();
        let (file, known_by) = (self.name.clone(), facts.known_by().unsigned_abs());
        StreamCursor { file, path, known_by, at: Counter::Bytes(offset) }
    }

    /// The header at the beginning of the file; empty where the format has none.
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

    /// What a rejected row says of a file that is damaged.
    pub fn unreadable(&self, damage: &str) -> String {
        format!("cannot read on in `{}`: {damage}", self.path.display())
    }

    /// The error of a file that cannot be read while the job runs.
    pub fn failed(&self, error: &std::io::Error) -> Error {
        failed(self.source, &self.path, error)
    }

    /// The error of a file that is not what it was when it was read up to `from`.
    pub fn changed(&self, from: Position, what: &str) -> Error {
        let (name, path, read) = (&self.source.name, self.path.display(), from.offset);
        Error::job(format!(
            "source `{name}`: cannot read on in `{path}`, of which batches hold the first {read} bytes: {what}; bring \
             the file back as it was, or forget what was read with `--drop-state {name}`, and all that is there is \
             read from its beginning"
        ))
    }
}

/// A file to read on.
pub struct OpenedFile<'a> {
    part: SourceFile<'a>,
    file: Stream,
    framer: Framer,
}

impl OpenedFile<'_> {
    /// The framer of what comes next, and the file at that place is left to the caller.
    pub fn into_framer(self) -> Framer {
        self.framer
    }

    /// Puts the records of the file into the inbox, and says where its end is. `None`: the inbox is closed.
    ///
    /// A block of the size of a part is read at a time and handed on as it is, so that a record costs no more than
    /// finding its end. The last chunk is held back until it is known to be the last: the end of the file goes with it.
    /// What is no regular file, as a pipe, is read as it comes, and no record waits for the next one.
    pub fn read(mut self, inbox: &Inbox, runtime: &Handle) -> Result<Option<Position>, Error> {
        let regular = self.file.is_regular().map_err(|error| self.part.failed(&error))?;
        let mut last = None;
        while !self.framer.ended() {
            // Much may come of little, and hold no record.
            if self.file.is_packed() && inbox.closed_within(runtime, Duration::ZERO) {
                return Ok(None);
            }
            if regular { self.fill() } else { self.fill_once() }?;
            while let Some(chunk) = self.framer.next(self.framer.ended() || !regular) {
                let before = if regular { last.replace(chunk) } else { Some(chunk) };
                if let Some(before) = before
                    && !runtime.block_on(inbox.put(before))
                {
                    return Ok(None);
                }
            }
        }
        let Counter::Bytes(offset) = self.framer.counter() else { return Err(Error::bug("a file counts bytes")) };
        let facts = self.file.facts_at_end().map_err(|error| self.part.failed(&error))?;
        // A file is known by its own length, compressed or not.
        let offset = if self.file.is_packed() { facts.bytes } else { offset };
        let end = Position { offset, mark: facts.mark() };
        Ok(runtime.block_on(inbox.put_last(last, self.part.name, end)).then_some(end))
    }

    /// Reads a block.
    fn fill(&mut self) -> Result<(), Error> {
        let wanted = self.framer.wanted();
        let buffer = self.framer.buffer(wanted);
        let read = self.file.fill(buffer, wanted as u64);
        match read.map_err(|error| self.part.failed(&error))? {
            0 => self.end(),
            _ => Ok(()),
        }
    }

    /// Nothing more can be read: the file ends here, or is damaged.
    fn end(&mut self) -> Result<(), Error> {
        match self.file.damage().map_err(|error| self.part.failed(&error))? {
            None => {
                self.framer.end();
                reject_unfit_header(self.part.source, &mut self.framer);
            }
            Some(damage) => {
                let why = self.part.unreadable(&damage);
                warn!(
                    "source `{}`: {why}. What is behind is not read; bring a whole file under another name",
                    self.part.source.name
                );
                self.framer.break_off(&why);
                self.framer.refuse_rest(why);
            }
        }
        Ok(())
    }

    /// Reads what is there, or waits until something is.
    fn fill_once(&mut self) -> Result<(), Error> {
        let mut block = [0; PIPE_READ_BYTES];
        let read = loop {
            match self.file.read(&mut block) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read.map_err(|error| self.part.failed(&error))?,
            }
        };
        match block.get(..read) {
            Some(bytes @ [_, ..]) => self.framer.buffer(read).extend_from_slice(bytes),
            _ => self.end()?,
        }
        Ok(())
    }
}

/// Reads a whole file at once, for tables that a job is given at its start.
pub fn read_whole(source: &SourceSpec, path: &Path) -> Result<Vec<Chunk>, Error> {
    let mut framer = framer(source);
    let bytes = millstream_base::regular::read(path).map_err(|error| failed(source, path, &error))?;
    framer.buffer(bytes.len()).extend_from_slice(&bytes);
    framer.end();
    Ok(std::iter::from_fn(|| framer.next(true)).collect())
}

/// The error of a file that cannot be read while the job runs.
pub fn failed(source: &SourceSpec, path: &Path, error: &std::io::Error) -> Error {
    if let Some(told) = error.get_ref().and_then(|why| why.downcast_ref::<Error>()) {
        return told.clone();
    }
    let told = format!("source `{}`: cannot read `{}`: {}", source.name, path.display(), plain(error));
    // Starting again mends no file.
    if error.kind() == ErrorKind::Unsupported { Error::job(told) } else { Error::environment(told) }
}
