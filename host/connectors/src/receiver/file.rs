//! Reading files: source `file`, and each file of a `directory`.

use super::away::Away;
use super::facts::{Facts, Since};
use super::framing::{Counter, Framer, Place};
use super::inbox::Inbox;
use super::replay::NOT_A_FILE;
use super::{framer, plain, until_closed};
use crate::batch::chunk::Chunk;
use crate::batch::position::{Position, Positions};
use crate::error::Error;
use crate::job::spec::SourceSpec;
use bytes::Bytes;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tracing::warn;

/// How much of a file is read at a time to find its header.
const HEADER_READ_BYTES: usize = 64 << 10;
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
            let watched = Changing { source: source.name.clone(), path: path.to_owned(), end };
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
        Away::new(source, path).wait_out(|| std::fs::metadata(path), |time| !inbox.closed_within(runtime, time));
    // What is wrong with a file that is still not there is said by who opens it.
    if let Ok(None) = there {
        return Ok(None);
    }
    Part { source, path: path.to_owned(), name: String::new() }.open(from)?.read(inbox, runtime)
}

/// A file that was read to its end.
struct Changing {
    source: String,
    path: PathBuf,
    end: Position,
}

impl Changing {
    /// Waits until somebody writes to it, and says so, once.
    async fn tell(self) {
        loop {
            // A pipe has no length, and what has gone is not read again whatever comes in its place.
            let facts = std::fs::metadata(&self.path).ok().filter(std::fs::Metadata::is_file);
            if let Some(facts) = facts.map(|metadata| Facts::of(&metadata))
                && facts.since(self.end) != Since::Same
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

/// One file of a source.
pub struct Part<'a> {
    /// The source.
    pub source: &'a SourceSpec,
    /// Where the file is.
    pub path: PathBuf,
    /// How positions and extents name it.
    pub name: String,
}

impl<'a> Part<'a> {
    /// Opens the file to read on from a position.
    pub fn open(self, from: Position) -> Result<Opened<'a>, Error> {
        if from.offset > 0 {
            let metadata = std::fs::metadata(&self.path).map_err(|error| self.changed(from, &plain(&error)))?;
            if !metadata.is_file() {
                return Err(self.changed(from, NOT_A_FILE)); // Opening a pipe would wait for its writer.
            }
        }
        let file = File::open(&self.path).map_err(|error| self.failed(&error))?;
        self.at(file, from)
    }

    /// As `open`, of a file that is open.
    pub fn at(self, mut file: File, from: Position) -> Result<Opened<'a>, Error> {
        let framer = framer(self.source);
        if from.offset == 0 {
            let framer = framer.at(Place { file: self.name.clone(), at: Counter::Bytes(0) });
            return Ok(Opened { part: self, file, framer });
        }
        let bytes = file.metadata().map_err(|error| self.failed(&error))?.len();
        if bytes < from.offset {
            return Err(self.changed(from, &format!("it has shrunk to {bytes} bytes")));
        }
        let framer = self.framer(&self.header(&mut file)?, from.offset);
        file.seek(SeekFrom::Start(from.offset)).map_err(|error| self.failed(&error))?;
        Ok(Opened { part: self, file, framer })
    }

    /// A framer for the records from a byte of the file on.
    pub fn framer(&self, header: &Bytes, offset: u64) -> Framer {
        let place = Place { file: self.name.clone(), at: Counter::Bytes(offset) };
        framer(self.source).at(place).behind_header(header.clone())
    }

    /// The header at the beginning of the file; empty where the format has none.
    pub fn header(&self, file: &mut File) -> Result<Bytes, Error> {
        let mut framer = framer(self.source);
        file.seek(SeekFrom::Start(0)).map_err(|error| self.failed(&error))?;
        while framer.header().is_none() && !framer.ended() {
            let buffer = framer.buffer(HEADER_READ_BYTES);
            let read = file.by_ref().take(HEADER_READ_BYTES as u64).read_to_end(buffer);
            if read.map_err(|error| self.failed(&error))? == 0 {
                framer.end();
            }
            while framer.next(true).is_some() {}
        }
        Ok(framer.header().cloned().unwrap_or_default())
    }

    /// The error of a file that cannot be read while the job runs.
    pub fn failed(&self, error: &std::io::Error) -> Error {
        failed(self.source, &self.path, error)
    }

    /// The error of a file that is not what it was when it was read up to `from`.
    fn changed(&self, from: Position, what: &str) -> Error {
        let (name, path, read) = (&self.source.name, self.path.display(), from.offset);
        Error::job(format!(
            "source `{name}`: cannot read on in `{path}`, of which batches hold the first {read} bytes: {what}; bring \
             the file back as it was, or forget what was read with `--drop-state {name}`, and all that is there is \
             read from its beginning"
        ))
    }
}

/// A file to read on.
pub struct Opened<'a> {
    part: Part<'a>,
    file: File,
    framer: Framer,
}

impl Opened<'_> {
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
        let regular = self.file.metadata().map_err(|error| self.part.failed(&error))?.is_file();
        let mut last = None;
        while !self.framer.ended() {
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
        let facts = Facts::of(&self.file.metadata().map_err(|error| self.part.failed(&error))?);
        let end = Position { offset, mark: facts.mark() };
        Ok(runtime.block_on(inbox.put_last(last, self.part.name, end)).then_some(end))
    }

    /// Reads a block.
    fn fill(&mut self) -> Result<(), Error> {
        let wanted = self.framer.wanted();
        let buffer = self.framer.buffer(wanted);
        let read = self.file.by_ref().take(wanted as u64).read_to_end(buffer);
        if read.map_err(|error| self.part.failed(&error))? == 0 {
            self.framer.end();
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
            _ => self.framer.end(),
        }
        Ok(())
    }
}

/// Reads a whole file at once, for tables that a job is given at its start.
pub fn read_whole(source: &SourceSpec, path: &Path) -> Result<Vec<Chunk>, Error> {
    let mut framer = framer(source);
    let bytes = crate::regular::read(path).map_err(|error| failed(source, path, &error))?;
    framer.buffer(bytes.len()).extend_from_slice(&bytes);
    framer.end();
    Ok(std::iter::from_fn(|| framer.next(true)).collect())
}

/// The error of a file that cannot be read while the job runs.
pub fn failed(source: &SourceSpec, path: &Path, error: &std::io::Error) -> Error {
    Error::environment(format!("source `{}`: cannot read `{}`: {}", source.name, path.display(), plain(error)))
}
