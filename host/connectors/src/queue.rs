//! The `queue` source and sink: a file with one line per batch, each a JSON array of rows. For tests of jobs.

pub mod declaration;
mod replay;
pub mod sink;

use millstream_base::error::Error;
use millstream_base::limits::{PART_BYTES_MAX, PART_ROWS_MAX};
use millstream_connect::receiver::failed;
use millstream_job::spec::SourceSpec;
use millstream_rows::batch::chunk::Chunk;
use millstream_rows::batch::position::{Extent, Position, Positions};
use millstream_rows::decode::json::array_elements;
use millstream_rows::inbox::Inbox;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use tokio::runtime::Handle;

/// Settings of a source: the file it reads, as in the job file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueReads {
    /// The file.
    pub path: PathBuf,
}

/// Maximum bytes of one line, which is one batch held in memory.
const LINE_BYTES_MAX: u64 = 256 << 20;

/// Reads the file to its end; then the source is finished. A line that is not an array fails the source.
fn receive(source: &SourceSpec, path: &Path, from: &Positions, inbox: &Inbox, runtime: &Handle) {
    let from = from.get("").copied().unwrap_or_default();
    match read(source, path, from, inbox, runtime) {
        Ok(true) => inbox.finish(),
        Ok(false) => {}
        Err(error) => inbox.fail(error),
    }
}

fn read(source: &SourceSpec, path: &Path, from: Position, inbox: &Inbox, runtime: &Handle) -> Result<bool, Error> {
    let broken = |error| failed(source, path, &error);
    let mut file = BufReader::new(millstream_base::regular::open(path).map_err(broken)?);
    let mut line = Vec::new();
    let (mut offset, mut number) = (0_u64, 0_u64);
    loop {
        line.clear();
        number += 1;
        // Lines that were read before are skipped again, so that messages can number the following ones.
        let read = file.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(broken)? as u64;
        let start = offset;
        offset += read;
        if read == 0 && start < from.offset {
            return Err(shrunk_error(source, path, from, start));
        }
        if read == 0 {
            return Ok(true);
        }
        if start < from.offset {
            continue;
        }
        let Some(mut chunks) = batch(&line, start).map_err(|reason| wrong(source, path, number, &reason))? else {
            continue;
        };
        if start == from.offset {
            skip(&mut chunks, from.mark);
        }
        if !runtime.block_on(inbox.put_batch(chunks, Position { offset, mark: 0 })) {
            return Ok(false);
        }
    }
}

fn wrong(source: &SourceSpec, path: &Path, line: u64, reason: &str) -> Error {
    Error::environment(format!(
        "source `{}`: {}:{line}: {reason}; expected one JSON array of rows per line, one line per batch: \
         [{{\"k\":\"a\",\"v\":1}}, …], and [] for a batch without rows",
        source.name,
        path.display()
    ))
}

fn shrunk_error(source: &SourceSpec, path: &Path, from: Position, bytes: u64) -> Error {
    let (name, path, read) = (&source.name, path.display(), from.offset);
    Error::job(format!(
        "source `{name}`: cannot continue in `{path}`, whose first {read} bytes are in batches: it has shrunk to \
         {bytes} bytes; restore the original file, or discard its position with `--drop-state {name}`"
    ))
}

/// Drops the first rows of a line.
fn skip(chunks: &mut [Chunk], rows: i64) {
    let mut left = usize::try_from(rows).unwrap_or(0);
    for chunk in chunks {
        if left == 0 {
            return;
        }
        left -= chunk.cut_front(left).rows();
    }
}

/// Reads the line of the file that begins at `start`, including its end, as chunks; `None`: it has changed.
fn reread(file: &mut impl Read, start: u64, bytes: u64) -> std::io::Result<Option<Vec<Chunk>>> {
    if bytes > LINE_BYTES_MAX {
        return Ok(None);
    }
    let mut line = Vec::new();
    file.take(bytes).read_to_end(&mut line)?;
    let is_complete = line.len() as u64 == bytes;
    Ok(if is_complete { batch(&line, start).ok().flatten() } else { None })
}

/// Decodes one line, which begins at byte `start`, into rows of undecoded JSON; `None` for a blank line.
fn batch(line: &[u8], start: u64) -> Result<Option<Vec<Chunk>>, String> {
    let line_bytes = line.len() as u64;
    if line_bytes == LINE_BYTES_MAX {
        return Err(format!("the line is longer than {LINE_BYTES_MAX} bytes"));
    }
    let text = std::str::from_utf8(line).map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to()))?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    let mut chunks = Vec::new();
    let (mut row, mut bytes, mut ends) = (0, Vec::new(), Vec::new());
    let mut cut = |bytes: &mut Vec<u8>, ends: &mut Vec<u32>| {
        let (bytes, ends) = (std::mem::take(bytes).into(), std::mem::take(ends));
        let extent = Extent { file: String::new(), start, bytes: line_bytes, row };
        row += ends.len() as u64;
        chunks.push(Chunk { bytes, ends, extent, ..Chunk::default() });
    };
    for record in array_elements(text)? {
        if ends.len() == PART_ROWS_MAX || (!ends.is_empty() && bytes.len() + record.len() > PART_BYTES_MAX) {
            cut(&mut bytes, &mut ends);
        }
        bytes.extend_from_slice(record.as_bytes());
        ends.push(bytes.len() as u32);
    }
    cut(&mut bytes, &mut ends);
    Ok(Some(chunks))
}
