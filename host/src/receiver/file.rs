//! Reading files: source `file`, and each file of a `directory`.

use super::inbox::Inbox;
use super::{framer, plain};
use crate::batch::chunk::Chunk;
use crate::error::Error;
use crate::job::spec::SourceSpec;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use tokio::runtime::Handle;

/// Reads one file to its end; the source is finished then.
pub fn receive(source: &SourceSpec, path: &Path, inbox: &Inbox, runtime: &Handle) {
    let file = File::open(path).map_err(|error| failed(source, path, &error));
    match file.and_then(|file| read(source, path, file, inbox, runtime)) {
        Ok(_) => inbox.finish(),
        Err(error) => inbox.fail(error),
    }
}

/// Puts the records of a file into the inbox. `false`: the inbox is closed.
///
/// A block of the size of a part is read at a time and handed on as it is, so that a record costs no more than
/// finding its end.
pub fn read(source: &SourceSpec, path: &Path, mut file: File, inbox: &Inbox, runtime: &Handle) -> Result<bool, Error> {
    let mut framer = framer(source);
    loop {
        let wanted = framer.wanted();
        let buffer = framer.buffer(wanted);
        let read = file.by_ref().take(wanted as u64).read_to_end(buffer);
        if read.map_err(|error| failed(source, path, &error))? == 0 {
            framer.end();
        }
        let ended = framer.ended();
        while let Some(chunk) = framer.next(ended) {
            if !runtime.block_on(inbox.put(chunk)) {
                return Ok(false);
            }
        }
        if ended {
            return Ok(true);
        }
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
