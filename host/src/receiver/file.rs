//! Reading files: source `file`, and each file of a `directory`.

use super::framing::{Counter, Framer, Place};
use super::inbox::Inbox;
use super::replay::NOT_A_FILE;
use super::{framer, plain};
use crate::batch::chunk::Chunk;
use crate::checkpoint::types::{Position, Positions};
use crate::error::Error;
use crate::job::spec::SourceSpec;
use bytes::Bytes;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use tokio::runtime::Handle;

/// How much of a file is read at a time to find its header.
const HEADER_READ_BYTES: usize = 64 << 10;

/// Reads one file to its end; the source is finished then.
pub fn receive(source: &SourceSpec, path: &Path, from: &Positions, inbox: &Inbox, runtime: &Handle) {
    let from = from.get("").copied().unwrap_or_default();
    if from.mark != 0 {
        return inbox.finish();
    }
    let part = Part { source, path: path.to_owned(), name: String::new() };
    let opened = part.open(from);
    match opened.and_then(|opened| opened.read(inbox, runtime)) {
        Ok(_) => inbox.finish(),
        Err(error) => inbox.fail(error),
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
    /// Puts the records of the file into the inbox. `false`: the inbox is closed.
    ///
    /// A block of the size of a part is read at a time and handed on as it is, so that a record costs no more than
    /// finding its end. The last chunk is held back until it is known to be the last: the end of the file goes with it.
    pub fn read(mut self, inbox: &Inbox, runtime: &Handle) -> Result<bool, Error> {
        let mut last = None;
        while !self.framer.ended() {
            self.fill()?;
            while let Some(chunk) = self.framer.next(self.framer.ended()) {
                if let Some(before) = last.replace(chunk)
                    && !runtime.block_on(inbox.put(before))
                {
                    return Ok(false);
                }
            }
        }
        let Counter::Bytes(offset) = self.framer.counter() else { return Ok(true) };
        Ok(runtime.block_on(inbox.put_last(last, self.part.name, offset)))
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
}

/// Reads a whole file at once, for tables that a job is given at its start.
pub fn read_whole(source: &SourceSpec, path: &Path) -> Result<Vec<Chunk>, Error> {
    let mut framer = framer(source);
    let bytes = std::fs::read(path).map_err(|error| failed(source, path, &error))?;
    framer.buffer(bytes.len()).extend_from_slice(&bytes);
    framer.end();
    Ok(std::iter::from_fn(|| framer.next(true)).collect())
}

/// The error of a file that cannot be read while the job runs.
pub fn failed(source: &SourceSpec, path: &Path, error: &std::io::Error) -> Error {
    Error::environment(format!("source `{}`: cannot read `{}`: {}", source.name, path.display(), plain(error)))
}
